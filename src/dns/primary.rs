//! The primary server of a zone: reads host names and changes them by signed dynamic
//! updates (RFC 2136, RFC 8945).
//!
//! Handles A and AAAA records of names that are one label below a suffix. Never changes
//! other records of the zone.

mod connection;
mod transfer;
mod tsig_key;
mod update;

pub use connection::Connection;
pub use tsig_key::{KeyError, TsigKey};
pub use update::batches;

use crate::{address::Domain, config::DnsServer};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RecordType, rdata::tsig::TsigError},
};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// The server, the zone and the TSIG key.
#[derive(Clone, Debug)]
pub struct Primary {
    server: DnsServer,
    zone: Name,
    suffix: Name,
    key: TsigKey,
    timeout: Duration,
}

/// The records of one type at a host name; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrSet {
    /// The TTL in seconds.
    pub ttl: u32,
    /// The addresses in ascending order.
    pub addresses: Vec<IpAddr>,
}

/// The records at a host name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRecords {
    /// Its A records.
    pub a: Option<RrSet>,
    /// Its AAAA records.
    pub aaaa: Option<RrSet>,
    /// Whether it has a CNAME record and therefore no others.
    pub is_alias: bool,
}

/// The type of an [`RrSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A
    V4,
    /// AAAA
    V6,
}

/// The replacement of the records of one type at a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The label of the host name.
    pub label: String,
    /// The record type.
    pub family: Family,
    /// The records that have to exist for the change to be applied.
    pub before: Option<RrSet>,
    /// The new records.
    pub after: Option<RrSet>,
}

/// Why a request failed. `Display` writes a part of a line.
#[derive(Debug)]
pub enum PrimaryError {
    /// The server can't be reached, or stopped answering.
    Unreachable(String),
    /// The server has another key, or its clock differs.
    Key(String),
    /// The server refuses the request.
    Refused(String),
    /// The zone has changed in the meantime.
    Changed,
    /// The answer is invalid, or not signed.
    Broken(String),
}

impl fmt::Display for PrimaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Key(why) | Self::Refused(why) | Self::Broken(why) => {
                f.write_str(why)
            }
            Self::Changed => f.write_str("the zone has been changed meanwhile"),
        }
    }
}

impl std::error::Error for PrimaryError {}

impl From<io::Error> for PrimaryError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            kind if error.raw_os_error().is_some() => kind.to_string(),
            _ => error.to_string(),
        })
    }
}

impl From<hickory_proto::ProtoError> for PrimaryError {
    fn from(error: hickory_proto::ProtoError) -> Self {
        Self::Broken(format!("a message can't be encoded: {error}"))
    }
}

impl Primary {
    /// Creates the description of a primary server. Both names are valid domains already.
    ///
    /// # Errors
    /// Fails if a name is too long for the DNS.
    pub fn new(
        server: DnsServer,
        zone: &Domain,
        suffix: &Domain,
        key: TsigKey,
        timeout: Duration,
    ) -> Result<Self, PrimaryError> {
        Ok(Self {
            server,
            zone: absolute(zone.as_str())?,
            suffix: absolute(suffix.as_str())?,
            key,
            timeout,
        })
    }

    /// Returns the server, for messages.
    pub fn server(&self) -> &DnsServer {
        &self.server
    }

    /// Returns the zone, for messages and output.
    pub fn zone(&self) -> String {
        self.zone.to_string()
    }

    /// Returns the host name of this label, with a trailing dot.
    pub fn host_name(&self, label: &str) -> String {
        format!("{label}.{}", self.suffix)
    }

    fn host(&self, label: &str) -> Result<Name, PrimaryError> {
        let name = Name::new().append_label(label.as_bytes());
        let name = name.and_then(|name| name.append_domain(&self.suffix));
        name.map_err(|error| PrimaryError::Broken(format!("{label}: {error}")))
    }

    /// Returns the label of a name that is one label below the suffix.
    fn label_of(&self, name: &Name) -> Option<String> {
        let is_below = name.num_labels() == self.suffix.num_labels() + 1;
        if !is_below || !self.suffix.zone_of(name) {
            return None;
        }
        let label = name.iter().next()?;
        Some(std::str::from_utf8(label).ok()?.to_ascii_lowercase())
    }
}

fn absolute(name: &str) -> Result<Name, PrimaryError> {
    let name = Name::from_ascii(format!("{name}."));
    name.map_err(|error| PrimaryError::Broken(error.to_string()))
}

impl Family {
    /// Returns the record type as in zone files.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
        }
    }

    fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

impl RrSet {
    /// Creates the record set of these addresses; `None` without any.
    pub fn new(ttl: u32, addresses: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        let mut addresses: Vec<IpAddr> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        (!addresses.is_empty()).then_some(Self { ttl, addresses })
    }

    fn add(set: &mut Option<Self>, ttl: u32, address: IpAddr) {
        let addresses = set.take().map(|set| set.addresses).unwrap_or_default();
        *set = Self::new(ttl, addresses.into_iter().chain([address]));
    }
}

impl HostRecords {
    fn add_v4(&mut self, ttl: u32, address: Ipv4Addr) {
        RrSet::add(&mut self.a, ttl, address.into());
    }

    fn add_v6(&mut self, ttl: u32, address: Ipv6Addr) {
        RrSet::add(&mut self.aaaa, ttl, address.into());
    }

    /// Returns the records of one type.
    pub fn of(&self, family: Family) -> Option<&RrSet> {
        match family {
            Family::V4 => self.a.as_ref(),
            Family::V6 => self.aaaa.as_ref(),
        }
    }
}

/// Checks an answer for TSIG errors and refusals.
fn check(answer: &Message, key: &TsigKey, tried: &str) -> Result<(), PrimaryError> {
    let name = key.name();
    let name = name.trim_end_matches('.');
    let of_key = answer.signature().and_then(|tsig| tsig.data.error);
    let complaint = match of_key {
        // Knot also sends BADKEY if the key is not permitted for this.
        Some(TsigError::BadKey) => {
            return Err(PrimaryError::Refused(format!(
                "it refuses {tried}: it does not know the key {name}, or the key is not allowed \
                 to do this (BADKEY)"
            )));
        }
        Some(TsigError::BadSig) => {
            format!("the secret of the key {name} is not the one that it has (BADSIG)")
        }
        Some(TsigError::BadTime) => "its clock and ours differ by more than 5 min (BADTIME)".into(),
        Some(other) => format!("it does not accept the signature ({other:?})"),
        None => return check_code(answer.response_code, tried),
    };
    Err(PrimaryError::Key(complaint))
}

fn check_code(code: ResponseCode, tried: &str) -> Result<(), PrimaryError> {
    let name = match code {
        ResponseCode::NoError => return Ok(()),
        ResponseCode::NXDomain
        | ResponseCode::YXDomain
        | ResponseCode::YXRRSet
        | ResponseCode::NXRRSet => return Err(PrimaryError::Changed),
        ResponseCode::Refused => "REFUSED",
        ResponseCode::NotAuth => "NOTAUTH",
        ResponseCode::NotZone => "NOTZONE",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::NotImp => "NOTIMP",
        other => {
            return Err(PrimaryError::Refused(format!(
                "it refuses {tried}: {other}"
            )));
        }
    };
    Err(PrimaryError::Refused(format!("it refuses {tried}: {name}")))
}
