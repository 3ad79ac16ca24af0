//! Checks lookups of a domain with unresponsive DNS servers: the reply must arrive while the
//! MTA still waits, and other lookups must not be delayed.

use super::{Check, Finding, NAMES};
use crate::{
    config::Config,
    dns::{Answer, Dns, Name, Purpose, Resolve},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Checks that `limits.stage_timeout` is long enough to query every server.
pub(super) fn check_stage_timeout(config: &Config, servers: usize) -> Finding {
    let (timeout, stage) = (config.dns.timeout, config.limits.stage_timeout);
    let round = timeout.saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX));
    let whole = round.saturating_mul(u32::try_from(config.dns.attempts).unwrap_or(u32::MAX));
    let sum = format!(
        "{servers} server(s) x {} attempts x {timeout:?} = {whole:?}, of limits.stage_timeout \
         {stage:?}",
        config.dns.attempts
    );
    match round < stage {
        true => Finding::ok(Check::MuteDomain, format!("a lookup takes up to {sum}")),
        false => Finding::warning(
            Check::MuteDomain,
            format!("a lookup takes up to {sum}: the last server may never be queried"),
            "lower dns.timeout, or configure fewer servers",
        ),
    }
}

/// Looks up a name whose servers are known to be unresponsive, and another name meanwhile.
pub(super) async fn look_up(dns: Dns, config: &Config, name: &str) -> Finding {
    let Ok(unresponsive) = Name::parse(name) else {
        return Finding::warning(
            Check::MuteDomain,
            format!("{name:?} is not a valid domain name"),
            "give --mute a name whose DNS servers do not answer",
        );
    };
    let dns = Arc::new(dns);
    let resolver = Arc::clone(&dns);
    let start = Instant::now();
    let lookup = tokio::spawn(async move {
        (
            resolver.txt(&unresponsive, Purpose::Other).await,
            start.elapsed(),
        )
    });
    let concurrent = concurrent(&dns, config.limits.stage_timeout).await;
    match lookup.await {
        Ok((Answer::Temperror(_), elapsed)) => judge(name, config, elapsed, concurrent),
        Ok((Answer::Found(_) | Answer::Absent(_), elapsed)) => Finding::ok(
            Check::MuteDomain,
            format!("the servers of {name} are responsive: the answer took {elapsed:.1?}"),
        ),
        Err(error) => Finding::problem(Check::MuteDomain, error.to_string(), "report this defect"),
    }
}

/// Returns how long another lookup takes; `None` if it fails.
async fn concurrent(dns: &Dns, limit: Duration) -> Option<Duration> {
    let start = Instant::now();
    let other = Name::parse(NAMES[0]).ok()?;
    match timeout(limit, dns.txt(&other, Purpose::Other)).await {
        Ok(Answer::Found(_) | Answer::Absent(_)) => Some(start.elapsed()),
        Ok(Answer::Temperror(_)) | Err(_) => None,
    }
}

fn judge(name: &str, config: &Config, elapsed: Duration, concurrent: Option<Duration>) -> Finding {
    let answered = elapsed.min(config.limits.stage_timeout);
    let seen = format!("mail from {name} is deferred after {answered:.1?}");
    match concurrent {
        Some(quick) if quick < config.dns.timeout => Finding::ok(
            Check::MuteDomain,
            format!("{seen}; meanwhile, another lookup takes {quick:.1?}"),
        ),
        Some(_) | None => Finding::problem(
            Check::MuteDomain,
            format!("{seen}; meanwhile, other lookups are delayed or fail"),
            "use another DNS server, such as unbound: this one delays all lookups for one domain",
        ),
    }
}
