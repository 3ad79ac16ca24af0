//! Reverse DNS of the client: whether its address has names, and whether one of
//! them leads back to it (iprev, RFC 8601 section 3).
//!
//! Only asks and reports; what follows from it is the policy's business.

use crate::{
    dns::{Answer, Name, Resolve},
    policy::{Confirmation, Ptr},
};
use std::net::IpAddr;

/// Names tried for confirmation; an address with more is not worth the
/// questions (RFC 8601 section 3 suggests a limit, RFC 7208 section 4.6.4 has
/// this one).
pub const MAX_NAMES: usize = 10;

/// What the reverse look-up of an address brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reverse {
    /// Whether there is a PTR record.
    pub result: Ptr,
    /// The names, in the order received; empty unless found.
    pub names: Vec<Name>,
    /// NXDOMAIN, NODATA or the failure, for logs; empty if found.
    pub reason: String,
}

impl Reverse {
    /// What is known when the deadline ran out.
    pub fn timed_out() -> Self {
        Self {
            result: Ptr::Temperror,
            names: Vec::new(),
            reason: "time-out".to_owned(),
        }
    }
}

/// Asks for the PTR records of an address.
pub async fn look_up<R: Resolve>(resolver: &R, ip: IpAddr) -> Reverse {
    let (result, names, reason) = match resolver.ptr(ip).await {
        Answer::Found(found) => (Ptr::Found, found.records, String::new()),
        Answer::Absent(absence) => (Ptr::None, Vec::new(), absence.to_string()),
        Answer::Temperror(failure) => (Ptr::Temperror, Vec::new(), failure.to_string()),
    };
    Reverse {
        result,
        names,
        reason,
    }
}

/// Asks the first [`MAX_NAMES`] of `names` for the address, until one has it.
pub async fn confirm<R: Resolve>(resolver: &R, ip: IpAddr, names: &[Name]) -> Confirmation {
    let mut confirmation = Confirmation::Unconfirmed;
    for name in names.iter().take(MAX_NAMES) {
        match leads_to(resolver, name, ip).await {
            Confirmation::Confirmed => return Confirmation::Confirmed,
            Confirmation::Unconfirmed => {}
            Confirmation::Temperror => confirmation = Confirmation::Temperror,
        }
    }
    confirmation
}

async fn leads_to<R: Resolve>(resolver: &R, name: &Name, ip: IpAddr) -> Confirmation {
    match ip {
        IpAddr::V4(ip) => contains(resolver.a(name).await, &ip),
        IpAddr::V6(ip) => contains(resolver.aaaa(name).await, &ip),
    }
}

fn contains<T: PartialEq>(answer: Answer<T>, ip: &T) -> Confirmation {
    match answer {
        Answer::Found(found) if found.records.contains(ip) => Confirmation::Confirmed,
        Answer::Found(_) | Answer::Absent(_) => Confirmation::Unconfirmed,
        Answer::Temperror(_) => Confirmation::Temperror,
    }
}
