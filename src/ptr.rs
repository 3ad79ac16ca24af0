//! Reverse DNS of the client: whether its address has names, and whether one of them
//! resolves back to it (iprev, RFC 8601 section 3).
//!
//! Gathers facts only; the policy decides what follows from them.

use crate::{
    dns::{Answer, Name, Resolve},
    policy::{Confirmation, Ptr},
};
use std::net::IpAddr;

/// The maximum number of names kept and tried for confirmation. RFC 8601 section 3
/// suggests a limit; this is the one of RFC 7208 section 4.6.4.
pub const MAX_NAMES: usize = 10;

/// The result of the reverse lookup of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reverse {
    /// Whether there is a PTR record that names a host.
    pub result: Ptr,
    /// The first [`MAX_NAMES`] host names, in the order received. If there is none, the
    /// first names that are not valid host names.
    pub names: Vec<Name>,
    /// NXDOMAIN, NODATA, names that are not host names, or the failure, for logs;
    /// empty if found.
    pub reason: String,
}

impl Reverse {
    /// Returns the names if they count as reverse DNS, otherwise none.
    pub fn host_names(&self) -> &[Name] {
        match self.result {
            Ptr::Found => &self.names,
            Ptr::None | Ptr::Temperror => &[],
        }
    }

    /// Returns the result for a lookup that ran into its deadline.
    pub fn timed_out() -> Self {
        Self {
            result: Ptr::Temperror,
            names: Vec::new(),
            reason: "timeout".to_owned(),
        }
    }
}

/// Looks up the PTR records of an address.
pub async fn look_up<R: Resolve>(resolver: &R, ip: IpAddr) -> Reverse {
    let (result, names, reason) = match resolver.ptr(ip).await {
        Answer::Found(found) => return host_names(found.records),
        Answer::Absent(absence) => (Ptr::None, Vec::new(), absence.to_string()),
        Answer::Temperror(failure) => (Ptr::Temperror, Vec::new(), failure.to_string()),
    };
    Reverse {
        result,
        names,
        reason,
    }
}

/// Drops names that are not valid host names, such as the root.
fn host_names(mut names: Vec<Name>) -> Reverse {
    if !names.iter().any(Name::is_host_name) {
        let list: Vec<String> = names.iter().take(3).map(Name::to_string).collect();
        return Reverse {
            result: Ptr::None,
            reason: format!("only names that are not host names: {}", list.join(", ")),
            names: kept(names),
        };
    }
    names.retain(Name::is_host_name);
    Reverse {
        result: Ptr::Found,
        names: kept(names),
        reason: String::new(),
    }
}

/// Limits the names that a connection keeps in memory; a zone may have thousands.
fn kept(mut names: Vec<Name>) -> Vec<Name> {
    names.truncate(MAX_NAMES);
    names.shrink_to_fit();
    names
}

/// Looks up the first [`MAX_NAMES`] of `names` until one resolves to the address.
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
