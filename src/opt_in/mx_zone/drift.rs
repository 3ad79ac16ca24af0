//! Whether AAAA records go together with opt-ins, by what the DNS says of host names.

use super::MxZone;
use crate::{
    address::Domain,
    dns::{Absence, Answer, Name, Resolve},
    policy::OptIn,
};
use std::{fmt, net::Ipv6Addr};

/// How the AAAA records of a host name go together with the opt-in of its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drift {
    /// They agree.
    None,
    /// The domain has opted in, and its host name has no AAAA record: no mail comes
    /// over IPv6.
    MissingAaaa,
    /// The domain has not opted in, and its host name has an AAAA record: mail over
    /// IPv6 is bounced.
    UnexpectedAaaa,
    /// There is no such host name. Mail is lost if an MX record names it.
    NoHost,
    /// The DNS or the opt-in source does not answer.
    Unknown,
}

impl Drift {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::MissingAaaa,
        Self::UnexpectedAaaa,
        Self::NoHost,
        Self::Unknown,
    ];

    /// Compares the AAAA records with an opt-in. While an opt-out is in progress, there
    /// must be none, though the domain is still opted in.
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

    /// For scripts and metrics.
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
    /// The AAAA records of a domain's host name, as senders see them.
    pub async fn look_up<R: Resolve>(&self, resolver: &R, domain: &Domain) -> Answer<Ipv6Addr> {
        match Name::parse(self.host(domain)) {
            Ok(host) => resolver.aaaa(&host).await,
            // Not reached: a suffix leaves room for every label.
            Err(_) => Answer::Absent(Absence::NxDomain),
        }
    }
}
