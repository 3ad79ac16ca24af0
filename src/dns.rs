//! The interface to the DNS: a lookup finds records, finds that there are none, or fails.
//!
//! Everything above uses [`Resolve`], so that an evaluation can run over zones in memory.
//! [`Dns`] is the live resolver; it does not validate DNSSEC (the configured server
//! does), does not read a hosts file and never appends a search domain.

mod cache;
pub(crate) mod exchangers;
mod live;
mod name;
pub mod primary;
mod server;
mod socket;
mod system;
mod trace;

pub use live::{Dns, NoServer, ServerHealth};
pub use name::{Name, NameError};
pub use system::system_servers;
pub use trace::{Question, Traced};

use std::{
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

/// The DNS lookups that PTR, SPF and DKIM need.
///
/// Lookups follow aliases (CNAME). Names are looked up as they are: no search list, no
/// case folding.
pub trait Resolve: Send + Sync + 'static {
    /// Looks up TXT records, each with its strings joined without a separator (RFC 7208
    /// section 3.3, RFC 6376 section 3.6.2.2). An answer from the cache has only records
    /// that can serve the purpose, or one empty record if there is none of these.
    fn txt(&self, name: &Name, purpose: Purpose) -> impl Future<Output = Answer<Vec<u8>>> + Send;
    /// Looks up IPv4 addresses.
    fn a(&self, name: &Name) -> impl Future<Output = Answer<Ipv4Addr>> + Send;
    /// Looks up IPv6 addresses.
    fn aaaa(&self, name: &Name) -> impl Future<Output = Answer<Ipv6Addr>> + Send;
    /// Looks up mail exchangers, in the order received.
    fn mx(&self, name: &Name) -> impl Future<Output = Answer<Mx>> + Send;
    /// Looks up the names of an address, below `in-addr.arpa` or `ip6.arpa`.
    fn ptr(&self, ip: IpAddr) -> impl Future<Output = Answer<Name>> + Send;
    /// Returns whether a parent zone denies that a name exists: NXDOMAIN with the SOA
    /// record of that zone (RFC 2308 section 3). Without this record, nothing is proven.
    fn is_denied(&self, name: &Name) -> impl Future<Output = Result<bool, Failure>> + Send;
}

/// The purpose of a TXT lookup, which decides which records are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The SPF record of a domain.
    Spf,
    /// The key records of a DKIM selector.
    Key,
    /// Anything else; all records are cached.
    Other,
}

impl Purpose {
    /// Returns whether a record can serve the purpose; true in case of doubt, as SPF and
    /// DKIM check it.
    fn may_use(self, record: &[u8]) -> bool {
        const SPF: &[u8] = b"v=spf1";
        match self {
            Self::Spf => {
                let start = record.get(..SPF.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(SPF))
            }
            // The tag p=, with white space around the name (RFC 6376 section 3.2).
            Self::Key => record.split(|byte| *byte == b';').any(|tag| {
                let name = tag.split(|byte| *byte == b'=').next();
                name.is_some_and(|name| name.len() < tag.len() && name.trim_ascii() == b"p")
            }),
            Self::Other => true,
        }
    }
}

/// A mail exchanger (RFC 5321 section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mx {
    /// Lower is preferred.
    pub preference: u16,
    /// The host; the root name for a null MX (RFC 7505).
    pub exchange: Name,
}

/// The outcome of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// At least one record of the queried type.
    Found(Records<T>),
    /// A definite answer that there is no record.
    Absent(Absence),
    /// A temporary failure.
    Temperror(Failure),
}

/// The records of one answer; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<T> {
    /// In the order received.
    pub records: Vec<T>,
    /// When the shortest of their TTLs expires.
    pub valid_until: Instant,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Absence {
    /// The name does not exist.
    NxDomain,
    /// The name exists without a record of this type.
    NoData,
}

/// Why a lookup failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No server answered in time.
    Timeout,
    /// The server failed (SERVFAIL), for example because DNSSEC validation or
    /// the domain's own servers did.
    ServFail,
    /// The server refuses to answer this client (REFUSED).
    Refused,
    /// Anything else: an invalid answer, another response code, a socket error. The text
    /// is for logs.
    Other(String),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NxDomain => "NXDOMAIN",
            Self::NoData => "NODATA",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::ServFail => f.write_str("SERVFAIL"),
            Self::Refused => f.write_str("REFUSED"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl<T> Answer<T> {
    /// Describes the records, separated by commas, or why there are none.
    pub fn describe(&self, describe: impl Fn(&T) -> String) -> String {
        match self {
            Self::Found(found) => {
                let records: Vec<String> = found.records.iter().map(describe).collect();
                records.join(", ")
            }
            Self::Absent(absence) => absence.to_string(),
            Self::Temperror(failure) => failure.to_string(),
        }
    }

    /// Returns the answer with its records converted, without those for which `convert`
    /// returns `None`. If none is left, the answer is NODATA.
    fn filter_map<U>(self, convert: impl FnMut(T) -> Option<U>) -> Answer<U> {
        let found = match self {
            Self::Found(found) => found,
            Self::Absent(absence) => return Answer::Absent(absence),
            Self::Temperror(failure) => return Answer::Temperror(failure),
        };
        let records: Vec<U> = found.records.into_iter().filter_map(convert).collect();
        if records.is_empty() {
            return Answer::Absent(Absence::NoData);
        }
        Answer::Found(Records {
            records,
            valid_until: found.valid_until,
        })
    }
}
