//! What a domain costs whose DNS servers do not answer: the mail from there must
//! be answered while the MTA still waits, and nobody else's may wait for it.

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

/// Whether `limits.stage_timeout` lets every server be asked.
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
        true => Finding::ok(Check::MuteDomain, format!("a question may take {sum}")),
        false => Finding::warning(
            Check::MuteDomain,
            format!("a question may take {sum}: the last server may never be asked"),
            "lower dns.timeout, or name fewer servers",
        ),
    }
}

/// Asks for a name that is known to be mute, and meanwhile for others.
pub(super) async fn look_up(dns: Dns, config: &Config, name: &str) -> Finding {
    let Ok(mute) = Name::parse(name) else {
        return Finding::warning(
            Check::MuteDomain,
            format!("{name:?} is not a valid domain name"),
            "give --mute a name whose DNS servers do not answer",
        );
    };
    let dns = Arc::new(dns);
    let asking = Arc::clone(&dns);
    let start = Instant::now();
    let question =
        tokio::spawn(async move { (asking.txt(&mute, Purpose::Other).await, start.elapsed()) });
    let concurrent = concurrent(&dns, config.limits.stage_timeout).await;
    match question.await {
        Ok((Answer::Temperror(_), elapsed)) => judge(name, config, elapsed, concurrent),
        Ok((Answer::Found(_) | Answer::Absent(_), elapsed)) => Finding::ok(
            Check::MuteDomain,
            format!("{name} is not mute: it is answered in {elapsed:.1?}"),
        ),
        Err(error) => Finding::problem(Check::MuteDomain, error.to_string(), "report this defect"),
    }
}

/// How long another question takes; `None` if it fails.
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
            format!("{seen}; meanwhile another question takes {quick:.1?}"),
        ),
        Some(_) | None => Finding::problem(
            Check::MuteDomain,
            format!("{seen}, and meanwhile other questions wait or fail"),
            "the DNS server holds everybody up for one mute domain: ask another, such as unbound",
        ),
    }
}
