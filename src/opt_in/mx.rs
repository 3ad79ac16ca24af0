//! The source `opt_in.mx`: a domain opts in by its own MX record.
//!
//! The answer is yes or unknown, never no. Whoever can change the MX record of a domain
//! decides where its mail goes, so this needs no list and no administrator.

use super::{
    ServerStatus, Source, SourceAnswer,
    cache::{Cache, DefiniteAnswer, Reply},
};
use crate::{
    address::Domain,
    config::{self, HostPattern},
    dns::{Answer, Mx, Name, Resolve},
};
use quick_cache::sync;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// The maximum number of domains remembered for the grace period, up to 90 MiB.
const CAPACITY: usize = 1 << 18;

/// The mail exchangers that mean yes, and the cache.
#[derive(Clone, Debug)]
pub(super) struct MxRecords {
    hosts: Arc<[HostPattern]>,
    grace: Duration,
    cache: Cache,
    last_yes: Arc<sync::Cache<Domain, Instant>>,
}

impl MxRecords {
    /// Creates the source; `None` if there are no hosts. Takes over the cache of `old` if
    /// the hosts are the same.
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
                cache: cache.inherit_from(&old.cache),
                last_yes: Arc::clone(&old.last_yes),
            },
            None => Self {
                hosts,
                grace: mx.grace,
                cache,
                last_yes: Arc::new(sync::Cache::new(CAPACITY)),
            },
        })
    }

    pub(super) fn status(&self) -> ServerStatus {
        self.cache.status(Source::Mx)
    }

    pub(super) async fn query<R: Resolve>(
        &self,
        resolver: &Arc<R>,
        deadline: Instant,
        domain: &Domain,
    ) -> SourceAnswer {
        if let Some(known) = self.cache.fresh(domain) {
            return known;
        }
        let Ok(name) = Name::parse(domain.as_str()) else {
            return SourceAnswer::NoEntry;
        };
        let (resolver, this, domain_asked) = (Arc::clone(resolver), self.clone(), domain.clone());
        let question = || async move {
            match resolver.mx(&name).await {
                Answer::Found(found) if this.names_our_host(&found.records) => {
                    this.remember(domain_asked);
                    Reply::Definite(DefiniteAnswer::Yes, Some(found.valid_until.into()))
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
        self.last_yes.insert(domain, Instant::now());
    }

    /// Returns the answer for a domain without such a record. Senders use the old record
    /// until its TTL expires, and their queues use it for longer, so the domain stays
    /// opted in for the grace period.
    fn after_grace(&self, domain: &Domain, valid_until: Option<Instant>) -> Reply {
        let grace_ends = self.last_yes.get(domain).map(|last| last + self.grace);
        match grace_ends.filter(|ends| Instant::now() < *ends) {
            Some(ends) => {
                let until = valid_until.map_or(ends, |until| until.min(ends));
                Reply::Definite(DefiniteAnswer::Yes, Some(until))
            }
            None => Reply::Definite(DefiniteAnswer::NoEntry, valid_until),
        }
    }
}
