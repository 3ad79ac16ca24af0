//! The last decisions. Their fields are named as in the log (`log.format: json`).

use super::Problem;
use crate::{
    policy::Ptr,
    status::{
        State,
        history::{Entry, Signature},
        parameters::Pairs,
        selection::Selection,
    },
};
use axum::{
    Json,
    extract::{
        self, Path, Query,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
};
use serde::Serialize;
use std::sync::Arc;

/// The default of `limit`.
const LIMIT: usize = 100;

#[derive(Serialize)]
pub(super) struct Decisions {
    decisions: Vec<Decision>,
    /// The `before` of the next page.
    next: Option<u64>,
}

pub(super) async fn list(
    extract::State(state): extract::State<State>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<Decisions>, Problem> {
    let Query(pairs) = pairs.map_err(|wrong| Problem::new(wrong.status(), wrong.body_text()))?;
    let selection = Selection::new(pairs)?;
    let limit = selection.limit.unwrap_or(LIMIT);
    let page = state
        .0
        .history
        .search(&selection.filter, selection.before, limit);
    Ok(Json(Decisions {
        decisions: page.entries.iter().map(Decision::of).collect(),
        next: page.next,
    }))
}

pub(super) async fn detail(
    extract::State(state): extract::State<State>,
    number: Result<Path<String>, PathRejection>,
) -> Result<Json<Decision>, Problem> {
    let Path(number) = number.map_err(|wrong| Problem::new(wrong.status(), wrong.body_text()))?;
    let found = number
        .parse()
        .ok()
        .and_then(|number| state.0.history.get(number));
    match found {
        Some(entry) => Ok(Json(Decision::of(&entry))),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "there is no such decision, or newer ones have taken its place",
        )),
    }
}

#[derive(Serialize)]
pub(super) struct Decision {
    number: u64,
    time: String,
    queue_id: Option<String>,
    action: &'static str,
    refused: bool,
    stage: String,
    rule: &'static str,
    mode: &'static str,
    reply: Option<String>,
    reply_details: Vec<String>,
    client_name: Option<String>,
    client_address: String,
    seen_as: Option<String>,
    certificate: Option<String>,
    exempt_entry: Option<String>,
    exempt_comment: Option<String>,
    helo: Option<String>,
    from: String,
    to: Option<String>,
    recipients: u32,
    recipient_domains: Vec<String>,
    /// Whether there are more domains than `recipient_domains` has.
    more_recipient_domains: bool,
    ptr: Option<&'static str>,
    ptr_names: Vec<String>,
    opt_in: Option<String>,
    spf: Option<Spf>,
    dkim: Option<&'static str>,
    dkim_signatures: Vec<DkimSignature>,
    forwarder: Option<String>,
    deferred_for: Option<u32>,
    observed_by: Option<&'static str>,
    ms: u32,
    /// Whether a text is cut off.
    cut: bool,
}

#[derive(Serialize)]
struct Spf {
    result: String,
    identity: String,
    domain: Option<String>,
    term: Option<String>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct DkimSignature {
    domain: String,
    selector: String,
    result: String,
    reason: String,
}

impl Decision {
    fn of(entry: &Arc<Entry>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let exempt = entry.exempt_entry();
        Self {
            number: entry.number,
            time: format!("{:.3}", entry.time),
            queue_id: owned(entry.queue_id()),
            action: entry.action.name(),
            refused: entry.is_refused,
            stage: entry.stage.to_string(),
            rule: entry.rule.name(),
            mode: entry.mode.name(),
            reply: owned(entry.reply()),
            reply_details: entry.reply_details().map(str::to_owned).collect(),
            client_name: owned(entry.client_name()),
            client_address: entry.client.to_string(),
            seen_as: entry.seen_as.map(|address| address.to_string()),
            certificate: owned(entry.certificate()),
            exempt_entry: owned(exempt.map(|(network, _)| network)),
            exempt_comment: owned(exempt.map(|(_, comment)| comment)),
            helo: owned(entry.helo()),
            from: entry.sender().to_owned(),
            to: owned(entry.recipient()),
            recipients: entry.recipients,
            recipient_domains: entry.recipient_domains().map(str::to_owned).collect(),
            more_recipient_domains: entry.more_recipient_domains,
            ptr: entry.ptr.map(Ptr::name),
            ptr_names: entry.ptr_names().map(str::to_owned).collect(),
            opt_in: entry.opt_in.map(|source| source.to_string()),
            spf: entry.spf.map(|(result, identity)| Spf {
                result: result.to_string(),
                identity: identity.to_string(),
                domain: owned(entry.spf_domain()),
                term: owned(entry.spf_term()),
                reason: owned(entry.spf_reason()),
            }),
            dkim: entry.dkim_result(),
            dkim_signatures: entry.signatures().map(DkimSignature::of).collect(),
            forwarder: owned(entry.forwarder()),
            deferred_for: entry.deferred_for,
            observed_by: entry.observed_by.map(|reason| reason.name()),
            ms: entry.waited_ms,
            cut: entry.is_cut(),
        }
    }
}

impl DkimSignature {
    fn of(signature: Signature<'_>) -> Self {
        Self {
            domain: signature.domain.to_owned(),
            selector: signature.selector.to_owned(),
            result: signature.result.to_owned(),
            reason: signature.reason.to_owned(),
        }
    }
}
