//! The primary server of a zone: reads host names from it, and changes them by signed
//! dynamic updates (RFC 2136, RFC 8945).
//!
//! Knows A and AAAA records of names that are one label below a suffix. All other
//! records of the zone are left alone.

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

/// The server, the zone and the key to use there.
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
    /// In seconds.
    pub ttl: u32,
    /// In ascending order.
    pub addresses: Vec<IpAddr>,
}

/// What there is at a host name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRecords {
    /// Its A records.
    pub a: Option<RrSet>,
    /// Its AAAA records.
    pub aaaa: Option<RrSet>,
    /// Whether it has a CNAME record, and so can't have others.
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
    /// Which type.
    pub family: Family,
    /// What there has to be for the change to be made.
    pub before: Option<RrSet>,
    /// What is to be there.
    pub after: Option<RrSet>,
}

/// Why the server could not be used. Shown as half a line.
#[derive(Debug)]
pub enum PrimaryError {
    /// It can't be reached, or stopped to answer.
    Unreachable(String),
    /// It knows another key or another time.
    Key(String),
    /// It does not do this for us.
    Refused(String),
    /// The zone is no longer what the change was made for.
    Changed,
    /// The answer makes no sense, or is not signed.
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
    /// Both names are domains, so they are valid names.
    ///
    /// # Errors
    /// When a name is too long for the DNS.
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

    /// The server, for people.
    pub fn server(&self) -> &DnsServer {
        &self.server
    }

    /// The zone, for people and programs.
    pub fn zone(&self) -> String {
        self.zone.to_string()
    }

    /// The host name with this label, with a trailing dot.
    pub fn host_name(&self, label: &str) -> String {
        format!("{label}.{}", self.suffix)
    }

    fn host(&self, label: &str) -> Result<Name, PrimaryError> {
        let name = Name::new().append_label(label.as_bytes());
        let name = name.and_then(|name| name.append_domain(&self.suffix));
        name.map_err(|error| PrimaryError::Broken(format!("{label}: {error}")))
    }

    /// The label of a name that is one label below the suffix.
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
    /// As zone files have it.
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
    /// Of these addresses; `None` without any.
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

    /// Those of one type.
    pub fn of(&self, family: Family) -> Option<&RrSet> {
        match family {
            Family::V4 => self.a.as_ref(),
            Family::V6 => self.aaaa.as_ref(),
        }
    }
}

/// What an answer says of the key, or that the request was refused.
fn check(answer: &Message, key: &TsigKey, tried: &str) -> Result<(), PrimaryError> {
    let name = key.name();
    let name = name.trim_end_matches('.');
    let of_key = answer.signature().and_then(|tsig| tsig.data.error);
    let complaint = match of_key {
        // Knot says so, too, when the key is not for this.
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
