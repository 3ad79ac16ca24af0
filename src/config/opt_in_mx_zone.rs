//! `opt_in.mx_zone`: a host name per domain, whose AAAA record follows the opt-in.

use super::{
    DnsServer,
    dns_server::DnsServerAddress,
    numbers::Wait,
    value::{Kind, List, Optional, Scalar},
};
use crate::address::Domain;
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

/// The zone with the host names of mail exchangers, one per domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MxZone {
    /// The host names are one label below this name. The default is none, which disables
    /// the section.
    #[serde(with = "Optional::<Suffix>")]
    pub suffix: Option<Domain>,
    /// The zone that contains these names. The default is `suffix`.
    #[serde(with = "Optional::<Suffix>")]
    pub zone: Option<Domain>,
    /// IPv4 addresses of the mail servers.
    #[serde(with = "List::<ServerIpv4>")]
    pub a: Vec<Ipv4Addr>,
    /// IPv6 addresses of the mail servers.
    #[serde(with = "List::<ServerIpv6>")]
    pub aaaa: Vec<Ipv6Addr>,
    /// TTL of the records. The default is 5 min.
    #[serde(with = "Scalar::<Ttl>")]
    pub ttl: Duration,
    /// Files with all domains, one per line. The default is none: the domains of the
    /// opt-in lists.
    #[serde(with = "List::<DomainsFile>")]
    pub domains: Vec<PathBuf>,
    /// The primary server of the zone, which accepts dynamic updates. The default is
    /// none.
    #[serde(with = "Optional::<DnsServerAddress>")]
    pub server: Option<DnsServer>,
    /// A file with the TSIG key for updates and transfers. The default is none.
    #[serde(with = "Optional::<KeyFile>")]
    pub key_file: Option<PathBuf>,
    /// How long an opt-out waits in addition to the TTL. The default is 5 min.
    #[serde(with = "Scalar::<Wait>")]
    pub grace: Duration,
    /// The interval at which the daemon compares AAAA records with opt-ins; 0 disables
    /// this. The default is 1 h.
    #[serde(with = "Scalar::<Wait>")]
    pub check_interval: Duration,
}

impl Default for MxZone {
    fn default() -> Self {
        Self {
            suffix: None,
            zone: None,
            a: Vec::new(),
            aaaa: Vec::new(),
            ttl: Duration::from_secs(5 * 60),
            domains: Vec::new(),
            server: None,
            key_file: None,
            // As long as Postfix reuses a connection (smtp_connection_reuse_time_limit).
            grace: Duration::from_secs(5 * 60),
            check_interval: Duration::from_secs(60 * 60),
        }
    }
}

impl MxZone {
    /// Returns a missing or inconsistent setting: the key, and a part of a line for
    /// people.
    pub(super) fn complaint(&self) -> Option<(&'static str, String)> {
        let missing = |expected: &str| format!("it is missing; write {expected}");
        let Some(suffix) = &self.suffix else {
            let is_default = Self {
                ttl: self.ttl,
                grace: self.grace,
                check_interval: self.check_interval,
                ..Self::default()
            } == *self;
            return (!is_default).then(|| ("suffix", missing(Suffix::EXPECTED)));
        };
        if self.a.is_empty() {
            return Some(("a", missing(ServerIpv4::EXPECTED)));
        }
        if self.aaaa.is_empty() {
            return Some(("aaaa", missing(ServerIpv6::EXPECTED)));
        }
        let zone = self.zone.as_ref().unwrap_or(suffix);
        if zone != suffix && !suffix.ancestors().any(|above| above == *zone) {
            let complaint = format!("{suffix} is not in {zone}; write {suffix} or a name above it");
            return Some(("zone", complaint));
        }
        match (&self.server, &self.key_file) {
            (Some(_), None) => Some(("key_file", missing(KeyFile::EXPECTED))),
            (None, Some(_)) => Some(("server", missing(DnsServerAddress::EXPECTED))),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}

/// `opt_in.mx_zone.suffix` and `.zone`.
pub(super) struct Suffix;

/// The maximum length of a suffix in bytes. Of the 253 bytes of a name, this leaves 64
/// for the label and a dot.
const LONGEST_SUFFIX: usize = 189;

impl Kind for Suffix {
    type Value = Domain;
    const EXPECTED: &'static str = "a name such as mx.example.net";

    fn parse(text: &str) -> Result<Domain, String> {
        let name = text.trim_start_matches(['*', '.']);
        let write = match Domain::parse(name) {
            Ok(name) if name.as_str() != text => format!("write {name}"),
            _ => format!("write {}", Self::EXPECTED),
        };
        let domain =
            Domain::parse(text).map_err(|why| format!("{text:?} is not a name: {why}; {write}"))?;
        match domain.as_str().len() {
            0..=LONGEST_SUFFIX => Ok(domain),
            _ => Err(format!(
                "{text:?} leaves no room for a label in front of it; \
                 write a name of {LONGEST_SUFFIX} bytes or less"
            )),
        }
    }

    fn show(value: &Domain) -> String {
        value.to_string()
    }
}

/// An address of `opt_in.mx_zone.a`.
pub(super) struct ServerIpv4;

impl Kind for ServerIpv4 {
    type Value = Ipv4Addr;
    const EXPECTED: &'static str = "an IPv4 address of the mail server such as 192.0.2.25";

    fn parse(text: &str) -> Result<Ipv4Addr, String> {
        match text.parse::<Ipv4Addr>() {
            Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() => Ok(ip),
            Ok(_) => Err(no_host::<Self>(text)),
            Err(_) => Err(no_address::<Self>(text)),
        }
    }

    fn show(value: &Ipv4Addr) -> String {
        value.to_string()
    }

    fn check_list(values: &[Ipv4Addr]) -> Result<(), String> {
        no_duplicates(values)
    }
}

/// An address of `opt_in.mx_zone.aaaa`.
pub(super) struct ServerIpv6;

impl Kind for ServerIpv6 {
    type Value = Ipv6Addr;
    const EXPECTED: &'static str = "an IPv6 address of the mail server such as \"2001:db8::25\"";

    fn parse(text: &str) -> Result<Ipv6Addr, String> {
        let is_host = |ip: Ipv6Addr| {
            !ip.is_unspecified()
                && !ip.is_multicast()
                && !ip.is_unicast_link_local()
                && ip.to_ipv4_mapped().is_none()
        };
        match text.parse::<Ipv6Addr>() {
            Ok(ip) if is_host(ip) => Ok(ip),
            Ok(_) => Err(no_host::<Self>(text)),
            Err(_) => Err(no_address::<Self>(text)),
        }
    }

    fn show(value: &Ipv6Addr) -> String {
        value.to_string()
    }

    fn check_list(values: &[Ipv6Addr]) -> Result<(), String> {
        no_duplicates(values)
    }
}

fn no_address<K: Kind>(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => format!("{text:?} is an IPv4 address; write {}", K::EXPECTED),
        Ok(IpAddr::V6(_)) => format!("{text:?} is an IPv6 address; write {}", K::EXPECTED),
        Err(_) => format!("{text:?} is not an address; write {}", K::EXPECTED),
    }
}

fn no_host<K: Kind>(text: &str) -> String {
    format!(
        "no sender can deliver mail to {text:?}; write {}",
        K::EXPECTED
    )
}

fn no_duplicates<T: PartialEq + ToString>(values: &[T]) -> Result<(), String> {
    let twice = (1..values.len()).find(|&index| values[..index].contains(&values[index]));
    match twice {
        Some(index) => Err(format!(
            "{} is given twice; remove one",
            values[index].to_string()
        )),
        None => Ok(()),
    }
}

/// `opt_in.mx_zone.ttl`: whole seconds.
pub(super) struct Ttl;

impl Kind for Ttl {
    type Value = Duration;
    const EXPECTED: &'static str = "a TTL from 1s to 1d, such as 5m";

    fn parse(text: &str) -> Result<Duration, String> {
        let ttl = Wait::parse(text)?;
        let is_whole = ttl.subsec_nanos() == 0;
        match ttl.as_secs() {
            1..=86_400 if is_whole => Ok(ttl),
            _ => Err(format!(
                "{text:?} is not allowed here; write {}: an opt-out waits for it",
                Self::EXPECTED
            )),
        }
    }

    fn show(value: &Duration) -> String {
        Wait::show(value)
    }
}

/// A file of `opt_in.mx_zone.domains`.
pub(super) struct DomainsFile;

impl Kind for DomainsFile {
    type Value = PathBuf;
    const EXPECTED: &'static str =
        "an absolute path such as /etc/postfix/domains, of a file with a domain a line";

    fn parse(text: &str) -> Result<PathBuf, String> {
        absolute::<Self>(text)
    }

    fn show(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

/// `opt_in.mx_zone.key_file`.
pub(super) struct KeyFile;

impl Kind for KeyFile {
    type Value = PathBuf;
    const EXPECTED: &'static str = "an absolute path such as /etc/sixgate/mx-zone.key, of a file \
         as tsig-keygen writes it";

    fn parse(text: &str) -> Result<PathBuf, String> {
        match text.starts_with('/') {
            true => Ok(PathBuf::from(text)),
            // Not quoted, because it may be the secret itself.
            false => Err(format!("this is not a path; write {}", Self::EXPECTED)),
        }
    }

    fn show(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

fn absolute<K: Kind>(text: &str) -> Result<PathBuf, String> {
    match text.starts_with('/') {
        true => Ok(PathBuf::from(text)),
        false => Err(format!("{text:?} is not a path; write {}", K::EXPECTED)),
    }
}

/// Parsers of command line options, equivalent to the keys of the same names.
///
/// # Errors
/// Each fails with a part of a line for people.
pub mod option {
    use super::*;

    /// Parses `--suffix`.
    pub fn suffix(text: &str) -> Result<Domain, String> {
        Suffix::parse(text)
    }

    /// Parses `--a`.
    pub fn a(text: &str) -> Result<Ipv4Addr, String> {
        ServerIpv4::parse(text)
    }

    /// Parses `--aaaa`.
    pub fn aaaa(text: &str) -> Result<Ipv6Addr, String> {
        ServerIpv6::parse(text)
    }

    /// Parses `--ttl`.
    pub fn ttl(text: &str) -> Result<Duration, String> {
        Ttl::parse(text)
    }

    /// Parses `--settle` and `--grace`.
    pub fn duration(text: &str) -> Result<Duration, String> {
        Wait::parse(text)
    }

    /// Parses `--server`.
    pub fn server(text: &str) -> Result<DnsServer, String> {
        DnsServerAddress::parse(text)
    }
}
