//! Compares the AAAA records of host names in the DNS with the opt-ins.

use super::MxZone;
use crate::{
    address::Domain,
    dns::{Absence, Answer, Name, Resolve},
    policy::OptIn,
};
use std::{fmt, net::Ipv6Addr};

/// Whether the AAAA records of a host name match the opt-in of its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drift {
    /// They match.
    None,
    /// The domain has opted in, but its host name has no AAAA record: it receives no mail
    /// over IPv6.
    MissingAaaa,
    /// The domain has not opted in, but its host name has an AAAA record: mail over IPv6
    /// bounces.
    UnexpectedAaaa,
    /// The host name does not exist. If an MX record points to it, mail is lost.
    NoHost,
    /// The DNS lookup or the opt-in source failed.
    Unknown,
}

impl Drift {
    /// All variants.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::MissingAaaa,
        Self::UnexpectedAaaa,
        Self::NoHost,
        Self::Unknown,
    ];

    /// Compares the AAAA records with an opt-in. While an opt-out is pending, there must
    /// be no AAAA records, although the domain is still opted in.
    pub fn new(opt_in: OptIn, is_pending: bool, aaaa: &Answer<Ipv6Addr>) -> Self {
        match (opt_in, aaaa) {
            (OptIn::Temperror, _) | (_, Answer::Temperror(_)) => Self::Unknown,
            (_, Answer::Absent(Absence::NxDomain)) => Self::NoHost,
            (OptIn::Yes, Answer::Absent(_)) if is_pending => Self::None,
            (OptIn::Yes, Answer::Absent(_)) => Self::MissingAaaa,
            (OptIn::Yes, Answer::Found(_)) | (OptIn::No, Answer::Absent(_)) => Self::None,
            (OptIn::No, Answer::Found(_)) => Self::UnexpectedAaaa,
        }
    }

    /// Returns the name in output for scripts and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MissingAaaa => "missing-aaaa",
            Self::UnexpectedAaaa => "unexpected-aaaa",
            Self::NoHost => "no-host",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MxZone {
    /// Looks up the AAAA records of a domain's host name, as senders see them.
    pub async fn look_up<R: Resolve>(&self, resolver: &R, domain: &Domain) -> Answer<Ipv6Addr> {
        match Name::parse(self.host(domain)) {
            Ok(host) => resolver.aaaa(&host).await,
            // Unreachable: the configuration ensures that the suffix leaves room for
            // every label.
            Err(_) => Answer::Absent(Absence::NxDomain),
        }
    }
}
