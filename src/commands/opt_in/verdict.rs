//! Looks up what applies to domains, in the same sources as the milter.
//!
//! Queries several domains at once. A domain without an answer is `unknown`; after a number of
//! them in a row, the timeout for the others is short.

use crate::{
    address::Domain,
    commands,
    config::Config,
    dns::Dns,
    exit::{Exit, Failure},
    opt_in::{Answer, Listed, Source, Sources},
    policy::OptIn,
};
use std::{fmt, sync::Arc};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant},
};

/// The number of domains looked up at once: more than a source sends to its server at once,
/// so that the server is never idle.
const CONCURRENCY: usize = 16;

/// The number of domains in a row without an answer after which the others get
/// [`SHORT_TIMEOUT`]: with an unresponsive server, each would take
/// `limits.stage_timeout`.
const GIVE_UP_AFTER: usize = 2 * CONCURRENCY;

/// Long enough for an answer of the servers that work.
const SHORT_TIMEOUT: Duration = Duration::from_millis(50);

/// What applies to a domain, and why.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) domain: Domain,
    pub(super) answer: Answer,
    /// The deciding entry, if a list decides.
    pub(super) listed: Option<Listed>,
    pub(super) reason: String,
}

impl Verdict {
    /// `yes`, `no` or `unknown`.
    pub(super) fn word(&self) -> &'static str {
        match self.answer.opt_in {
            OptIn::Yes => "yes",
            OptIn::No => "no",
            OptIn::Temperror => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, source, reason) = (self.word(), self.answer.source, &self.reason);
        write!(f, "{word} ({source}: {reason})")
    }
}

/// Looks up each domain in all sources. Returns the verdicts in the order of `domains`.
pub(super) fn look_up(
    config: &Config,
    sources: &Sources,
    domains: Vec<Domain>,
) -> Result<Vec<Verdict>, Failure> {
    let answers = answers(config, sources, &domains)?;
    let listed = sources.listed_all(&domains);
    let answered = domains.into_iter().zip(answers).zip(listed);
    let verdict = |((domain, (answer, reason)), listed): ((_, Answered), Option<Listed>)| Verdict {
        domain,
        answer,
        reason: reason.unwrap_or_else(|| sources.reason(answer, listed.as_ref())),
        listed: listed.filter(|_| answer.source.is_list()),
    };
    Ok(answered.map(verdict).collect())
}

/// Looks up domains as [`look_up`] does, without finding the deciding entries.
pub(super) fn answers(
    config: &Config,
    sources: &Sources,
    domains: &[Domain],
) -> Result<Vec<Answered>, Failure> {
    let dns = Dns::new(&config.dns).map_err(|error| Failure::new(Exit::Unavailable, error))?;
    let runtime = commands::runtime()?;
    let timeout = config.limits.stage_timeout;
    Ok(runtime.block_on(query_servers(sources, dns, timeout, domains)))
}

/// An answer; with its reason if a server gave it, because a source stores only the last error
/// of its server.
pub(super) type Answered = (Answer, Option<String>);

async fn query_servers(
    sources: &Sources,
    dns: Dns,
    timeout: Duration,
    domains: &[Domain],
) -> Vec<Answered> {
    let dns = Arc::new(dns);
    let mut answers = vec![None; domains.len()];
    let mut pending = JoinSet::new();
    let mut unanswered = 0;
    let mut waiting = domains.iter().enumerate();
    loop {
        while pending.len() < CONCURRENCY
            && let Some((index, domain)) = waiting.next()
        {
            let (sources, dns, domain) = (sources.clone(), Arc::clone(&dns), domain.clone());
            let timeout = match unanswered < GIVE_UP_AFTER {
                true => timeout,
                false => timeout.min(SHORT_TIMEOUT),
            };
            let deadline = Instant::now() + timeout;
            pending.spawn(async move {
                let answer = sources.query(&dns, deadline, Some(&domain)).await;
                let reason = (!answer.source.is_list()).then(|| sources.reason(answer, None));
                (index, (answer, reason))
            });
        }
        let Some(joined) = pending.join_next().await else {
            break;
        };
        // A panic leaves its domain unknown.
        let Ok((index, answered)) = joined else {
            continue;
        };
        match (answered.0.opt_in, &answered.1) {
            (OptIn::Temperror, _) => unanswered += 1,
            (_, Some(_)) => unanswered = 0,
            (_, None) => {}
        }
        answers[index] = Some(answered);
    }
    let unknown = || {
        let answer = Answer {
            opt_in: OptIn::Temperror,
            source: Source::Default,
        };
        (answer, Some("the lookup failed".to_owned()))
    };
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(unknown))
        .collect()
}
