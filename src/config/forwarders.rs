//! `exempt.forwarders`: known forwarders.

use super::{
    host_pattern::HostPattern,
    value::{Kind, List},
};
use crate::{address::Domain, dns::Name};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Forwarders whose messages need neither SPF nor DKIM, and how a client is verified to
/// be one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Forwarders {
    /// A client is a known forwarder if it passes SPF for one of these domains. The
    /// default is none.
    #[serde(with = "List::<SpfDomain>")]
    pub spf_of: Vec<Domain>,
    /// A client is also a known forwarder if one of these names is its confirmed PTR
    /// name. The default is none.
    #[serde(with = "List::<ForwarderName>")]
    pub names: Vec<HostPattern>,
}

/// The maximum number of domains in `spf_of`: each costs an SPF evaluation for every
/// message that does not pass its own.
pub const MAX_SPF_OF: usize = 16;

impl Forwarders {
    /// Returns whether there are no forwarders.
    pub fn is_empty(&self) -> bool {
        self.spf_of.is_empty() && self.names.is_empty()
    }
}

/// A domain that has an SPF record.
struct SpfDomain;

impl Kind for SpfDomain {
    type Value = Domain;
    const EXPECTED: &'static str = "a domain with an SPF record, such as alumni.example";

    fn parse(text: &str) -> Result<Domain, String> {
        let wrong = |reason: &str| {
            format!(
                "{text:?} is not a domain: {reason}; write {}",
                Self::EXPECTED
            )
        };
        let domain = Domain::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if domain.as_str().parse::<IpAddr>().is_ok() {
            return Err(wrong("addresses go to exempt.networks"));
        }
        // RFC 7208 section 4.3.
        if domain.parent().is_none() {
            return Err(wrong(
                "it has one label, and no SPF record is looked up for such",
            ));
        }
        match Name::parse(domain.as_str()) {
            Ok(_) => Ok(domain),
            Err(error) => Err(wrong(&error.to_string())),
        }
    }

    fn show(value: &Domain) -> String {
        value.to_string()
    }

    fn check_list(domains: &[Domain]) -> Result<(), String> {
        if domains.len() > MAX_SPF_OF {
            return Err(format!(
                "{} domains are too many; write {MAX_SPF_OF} or fewer, for example one that \
                 includes the others",
                domains.len()
            ));
        }
        check_duplicates(domains)
    }
}

/// A host name, or all names below a domain.
struct ForwarderName;

impl Kind for ForwarderName {
    type Value = HostPattern;
    const EXPECTED: &'static str =
        "a host name such as mx.alumni.example, or .alumni.example for all names below it";

    fn parse(text: &str) -> Result<HostPattern, String> {
        HostPattern::parse(text, Self::EXPECTED, "addresses go to exempt.networks")
    }

    fn show(value: &HostPattern) -> String {
        value.to_string()
    }

    fn check_list(names: &[HostPattern]) -> Result<(), String> {
        check_duplicates(names)
    }
}

fn check_duplicates<T: PartialEq + ToString>(values: &[T]) -> Result<(), String> {
    let mut all = values.iter().enumerate();
    match all.find(|(index, value)| values[..*index].contains(value)) {
        Some((_, value)) => Err(format!("{} is given twice; remove one", value.to_string())),
        None => Ok(()),
    }
}
