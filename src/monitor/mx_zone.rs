//! Periodically compares the AAAA records of host names (`opt_in.mx_zone`) with the
//! opt-ins, for a metric and the log.
//!
//! It does not affect mail: it uses its own resolver without a cache, so that it evicts
//! no entries that mail needs, and looks up one domain at a time at a limited rate.

use crate::{
    config::Config,
    dns::{Dns, Resolve},
    opt_in::{
        Sources,
        mx_zone::{Domains, Drift, MxZone},
        pending,
    },
    snapshot::Snapshot,
    telemetry::metrics,
};
use anyhow::Context as _;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    select,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

/// The delay between two domains: 20 per second, so 100,000 take 83 min.
const PACE: Duration = Duration::from_millis(50);

/// The delay of the first check after the start or a reload, unless the interval is
/// shorter.
const FIRST: Duration = Duration::from_secs(60);

/// Checks at the configured interval, until the runtime shuts down.
pub async fn watch<R: Resolve>(mut current: watch::Receiver<Arc<Snapshot<R>>>) {
    let mut is_first = true;
    let mut before = BTreeMap::new();
    loop {
        let snapshot = Arc::clone(&current.borrow_and_update());
        let wanted = &snapshot.config.opt_in.mx_zone;
        let zone = MxZone::new(wanted).filter(|_| !wanted.check_interval.is_zero());
        let Some(zone) = zone else {
            if current.changed().await.is_err() {
                return;
            }
            continue;
        };
        let wait = match is_first {
            true => wanted.check_interval.min(FIRST),
            false => wanted.check_interval,
        };
        select! {
            changed = current.changed() => match changed {
                Ok(()) => {
                    is_first = true;
                    continue;
                }
                Err(_) => return,
            },
            () = sleep(wait) => {}
        }
        is_first = false;
        let sources = snapshot.checks.opt_in_sources().clone();
        match check(&snapshot.config, &zone, sources).await {
            Ok(found) => {
                found.record();
                found.log(&zone, &before);
                before = found.counts;
            }
            Err(error) => tracing::warn!("opt_in.mx_zone can't be checked: {error:#}"),
        }
    }
}

/// The number of domains per kind of drift, and an example of each.
#[derive(Default)]
struct Found {
    counts: BTreeMap<Drift, i64>,
    examples: BTreeMap<Drift, String>,
}

async fn check(config: &Config, zone: &MxZone, sources: Sources) -> anyhow::Result<Found> {
    let opt_in = config.opt_in.clone();
    let lists = sources.clone();
    let gathered = spawn_blocking(move || -> anyhow::Result<_> {
        let mut domains = Domains::default();
        for file in &opt_in.mx_zone.domains {
            domains.add_file(file)?;
        }
        domains.add_lists(&opt_in, &lists)?;
        Ok(domains.domains)
    });
    let domains = gathered.await??;
    let uncached = crate::config::Dns {
        cache_bytes: 0,
        cache_entries: None,
        ..config.dns.clone()
    };
    let dns = Arc::new(Dns::new(&uncached).context("no DNS server")?);
    let mut found = Found::default();
    let mut turns = interval(PACE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for domain in domains {
        turns.tick().await;
        let deadline = Instant::now() + config.limits.stage_timeout;
        let answer = sources.query(&dns, deadline, Some(&domain)).await;
        let aaaa = zone.look_up(&*dns, &domain).await;
        let mut drift = Drift::new(answer.opt_in, false, &aaaa);
        // The pending opt-outs are read only when needed, so that they are current.
        if drift == Drift::MissingAaaa && is_pending(config, &domain).await {
            drift = Drift::None;
        }
        *found.counts.entry(drift).or_default() += 1;
        let host = || format!("{} of {domain}", zone.host(&domain));
        found.examples.entry(drift).or_insert_with(host);
    }
    Ok(found)
}

async fn is_pending(config: &Config, domain: &crate::address::Domain) -> bool {
    let managed = config.opt_in.managed_file.clone();
    let read = spawn_blocking(move || pending::read(&managed)).await;
    matches!(read, Ok(Ok(pending)) if pending.contains_key(domain))
}

impl Found {
    fn count(&self, drift: Drift) -> i64 {
        self.counts.get(&drift).copied().unwrap_or_default()
    }

    fn record(&self) {
        for drift in Drift::ALL {
            let series = metrics::get()
                .mx_zone_domains
                .with_label_values(&[drift.name()]);
            series.set(self.count(drift));
        }
    }

    /// Logs the changes since the last check.
    fn log(&self, zone: &MxZone, before: &BTreeMap<Drift, i64>) {
        let of = [Drift::UnexpectedAaaa, Drift::MissingAaaa];
        for drift in of {
            let (now, then) = (self.count(drift), before.get(&drift).copied());
            if now == then.unwrap_or_default() {
                continue;
            }
            let Some(example) = self.examples.get(&drift) else {
                tracing::info!("opt_in.mx_zone: no host name drifts any more ({drift})");
                continue;
            };
            let what = match drift {
                Drift::UnexpectedAaaa => {
                    "have an AAAA record and their domains have not opted in, so mail over IPv6 \
                     is refused with 550"
                }
                _ => "have no AAAA record, though their domains have opted in",
            };
            tracing::warn!(
                "opt_in.mx_zone: {now} host names below {} {what}, such as {example}; run sixgate \
                 opt-in sync-dns",
                zone.suffix
            );
        }
    }
}
