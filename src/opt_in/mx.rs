//! The source `opt_in.mx`: a domain opts in by its own MX record.
//!
//! It says yes or nothing. Whoever can change the MX record of a domain decides
//! where its mail goes, so this needs no list and no administrator.

use super::{
    Known, ServerStatus, Source,
    cache::{Cache, Reply, Says, lock},
};
use crate::{
    address::Domain,
    config::{self, HostPattern},
    dns::{Answer, Mx, Name, Resolve},
    recent::Recent,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

/// How many domains are remembered that had such a record, for the grace period:
/// 90 MiB at most. Half of it are remembered in any case.
const CAPACITY: usize = 1 << 18;

/// The exchangers that mean yes, and what the domains' records were before.
#[derive(Clone, Debug)]
pub(super) struct MxRecords {
    hosts: Arc<[HostPattern]>,
    grace: Duration,
    cache: Cache,
    last_yes: Arc<Mutex<Recent<Domain, Instant>>>,
}

impl MxRecords {
    /// Takes over what `old` remembers if the hosts are the same; `None` if there are
    /// no hosts.
    pub(super) fn new(
        mx: &config::OptInMx,
        lifetimes: config::OptInCache,
        old: Option<&Self>,
    ) -> Option<Self> {
        if mx.hosts.is_empty() {
            return None;
        }
        let cache = Cache::new("opt_in.mx".to_owned(), lifetimes);
        let hosts: Arc<[HostPattern]> = mx.hosts.as_slice().into();
        Some(match old.filter(|old| old.hosts == hosts) {
            Some(old) => Self {
                hosts,
                grace: mx.grace,
                cache: cache.succeeding(&old.cache),
                last_yes: Arc::clone(&old.last_yes),
            },
            None => Self {
                hosts,
                grace: mx.grace,
                cache,
                last_yes: Arc::new(Mutex::new(Recent::new(CAPACITY))),
            },
        })
    }

    pub(super) fn status(&self) -> ServerStatus {
        self.cache.status(Source::Mx)
    }

    pub(super) async fn ask<R: Resolve>(
        &self,
        resolver: &Arc<R>,
        deadline: Instant,
        domain: &Domain,
    ) -> Known {
        if let Some(known) = self.cache.fresh(domain) {
            return known;
        }
        let Ok(name) = Name::parse(domain.as_str()) else {
            return Known::Nothing;
        };
        let (resolver, this, domain_asked) = (Arc::clone(resolver), self.clone(), domain.clone());
        let question = || async move {
            match resolver.mx(&name).await {
                Answer::Found(found) if this.names_our_host(&found.records) => {
                    this.remember(domain_asked);
                    Reply::Definite(Says::Yes, Some(found.valid_until.into()))
                }
                Answer::Found(found) => {
                    this.after_grace(&domain_asked, Some(found.valid_until.into()))
                }
                Answer::Absent(_) => this.after_grace(&domain_asked, None),
                Answer::Temperror(failure) => failure.into(),
            }
        };
        self.cache.get(domain, deadline, question).await
    }

    fn names_our_host(&self, exchangers: &[Mx]) -> bool {
        exchangers
            .iter()
            .any(|mx| self.hosts.iter().any(|host| host.matches(&mx.exchange)))
    }

    fn remember(&self, domain: Domain) {
        lock(&self.last_yes).insert(domain, Instant::now());
    }

    /// What holds for a domain without such a record: senders use the old one for as
    /// long as its TTL, and their queues for longer, so that it stays opted in for
    /// the grace period.
    fn after_grace(&self, domain: &Domain, valid_until: Option<Instant>) -> Reply {
        let grace_ends = lock(&self.last_yes)
            .get(domain)
            .map(|last| last + self.grace);
        match grace_ends.filter(|ends| Instant::now() < *ends) {
            Some(ends) => {
                let until = valid_until.map_or(ends, |until| until.min(ends));
                Reply::Definite(Says::Yes, Some(until))
            }
            None => Reply::Definite(Says::Nothing, valid_until),
        }
    }
}
