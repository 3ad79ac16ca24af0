//! The zone of host names for mail exchangers: each domain has its own host name with A
//! records, and with AAAA records only if it has opted in, so that senders do not try
//! IPv6 where it would be refused.

mod domains;
mod drift;
mod label;
mod plan;

use crate::{address::Domain, config};
pub use domains::{Domains, DomainsError};
pub use drift::Drift;
pub use label::label;
pub use plan::{Plan, Wanted};
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// The settings that all host names share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxZone {
    /// The domain that the host names are one label below of.
    pub suffix: Domain,
    /// The addresses of every host name.
    pub a: Vec<Ipv4Addr>,
    /// The addresses of the host names of domains that have opted in.
    pub aaaa: Vec<Ipv6Addr>,
    /// The TTL of the records.
    pub ttl: Duration,
}

impl MxZone {
    /// Creates the settings; `None` if the section is not used.
    pub fn new(config: &config::MxZone) -> Option<Self> {
        Some(Self {
            suffix: config.suffix.clone()?,
            a: config.a.clone(),
            aaaa: config.aaaa.clone(),
            ttl: config.ttl,
        })
    }

    /// Returns the host name of a domain, without a trailing dot.
    pub fn host(&self, domain: &Domain) -> String {
        format!("{}.{}", label(domain), self.suffix)
    }
}
