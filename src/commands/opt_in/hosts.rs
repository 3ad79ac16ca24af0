//! Looks up the host names of domains (`opt_in.mx_zone`) in the DNS.

use crate::{
    address::Domain,
    commands,
    config::Config,
    dns::{Answer, Dns, Failure as DnsFailure},
    exit::{Exit, Failure},
    opt_in::{
        mx_zone::MxZone,
        pending::{self, Pending},
    },
};
use std::{net::Ipv6Addr, sync::Arc};
use tokio::{task::JoinSet, time::timeout};

/// The number of host names that are looked up at once.
const CONCURRENCY: usize = 32;

/// A host name and its AAAA records.
pub(super) struct Host {
    /// The name, without a trailing dot.
    pub(super) name: String,
    pub(super) aaaa: Answer<Ipv6Addr>,
    /// The opt-out in progress, if there is one.
    pub(super) pending: Option<Pending>,
}

/// Looks up the host names of domains, in their order. Returns `None` without
/// `opt_in.mx_zone`.
pub(super) fn look_up(config: &Config, domains: &[Domain]) -> Result<Option<Vec<Host>>, Failure> {
    let Some(zone) = MxZone::new(&config.opt_in.mx_zone) else {
        return Ok(None);
    };
    let pending = pending::read(&config.opt_in.managed_file)?;
    let dns = Dns::new(&config.dns).map_err(|error| Failure::new(Exit::Unavailable, error))?;
    let runtime = commands::runtime()?;
    let answers = runtime.block_on(look_up_all(config, &zone, dns, domains));
    let hosts = domains.iter().zip(answers).map(|(domain, aaaa)| Host {
        name: zone.host(domain),
        aaaa,
        pending: pending.get(domain).cloned(),
    });
    Ok(Some(hosts.collect()))
}

async fn look_up_all(
    config: &Config,
    zone: &MxZone,
    dns: Dns,
    domains: &[Domain],
) -> Vec<Answer<Ipv6Addr>> {
    let (zone, dns) = (Arc::new(zone.clone()), Arc::new(dns));
    let limit = config.limits.stage_timeout;
    let mut answers = vec![Answer::Temperror(DnsFailure::Timeout); domains.len()];
    let mut waiting = domains.iter().cloned().enumerate();
    let mut pending = JoinSet::new();
    loop {
        while pending.len() < CONCURRENCY
            && let Some((index, domain)) = waiting.next()
        {
            let (zone, dns) = (Arc::clone(&zone), Arc::clone(&dns));
            pending.spawn(async move {
                let answer = timeout(limit, zone.look_up(&*dns, &domain)).await;
                (index, answer)
            });
        }
        match pending.join_next().await {
            Some(Ok((index, Ok(answer)))) => answers[index] = answer,
            // After a timeout or a panic, the answer stays unknown.
            Some(_) => {}
            None => return answers,
        }
    }
}
