//! Whether a domain has opted in, and which source says so: the answer that mail would get.

use super::State;
use crate::{address::Domain, policy::OptIn, server::http::Peer};
use serde::Serialize;
use tokio::runtime::Handle;

/// The opt-in of a domain.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// The domain, in A-labels.
    pub(super) domain: String,
    /// Whether it has opted in: `yes`, `no` or `unknown`.
    pub(super) verdict: &'static str,
    pub(super) source: String,
    /// The entry of a list that decides. `file` and `line` are its position.
    pub(super) entry: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<usize>,
    pub(super) reason: String,
}

/// The reason why there is no verdict.
#[derive(Debug)]
pub(super) enum VerdictError {
    /// The text is not a valid domain, for this reason.
    NoDomain(String),
    /// The client has another request in progress, or too many clients have one.
    Busy,
    /// A panic.
    Failed,
}

/// Queries the sources.
pub(super) async fn look_up(
    state: &State,
    domain: &str,
    client: Peer,
) -> Result<Verdict, VerdictError> {
    let domain = Domain::parse(domain).map_err(|why| VerdictError::NoDomain(why.to_string()))?;
    let slot = state.0.checks.begin(client).ok_or(VerdictError::Busy)?;
    let snapshot = state.snapshot();
    // Mail does not need the line of an entry, so the list is read again to find it.
    let asked = state.0.mail.spawn_blocking(move || {
        let answer = Handle::current().block_on(snapshot.checks.opt_in(Some(&domain)));
        let sources = snapshot.checks.opt_in_sources();
        let listed = match answer.source.is_list() {
            true => sources.listed(&domain),
            false => None,
        };
        let location = listed.as_ref().and_then(|listed| listed.location.as_ref());
        drop(slot);
        Verdict {
            domain: domain.to_string(),
            verdict: match answer.opt_in {
                OptIn::Yes => "yes",
                OptIn::No => "no",
                OptIn::Temperror => "unknown",
            },
            source: answer.source.to_string(),
            entry: listed.as_ref().map(|listed| listed.entry.to_string()),
            file: location.map(|location| location.file.display().to_string()),
            line: location.map(|location| location.line),
            reason: sources.reason(answer, listed.as_ref()),
        }
    });
    // The panic hook has logged the panic.
    asked.await.map_err(|_panic| VerdictError::Failed)
}
