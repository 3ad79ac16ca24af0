//! `opt_in.mx`: the exchangers by which a domain opts in.

use super::{
    quantities::Wait,
    value::{Kind, List, Scalar},
};
use crate::{address::Domain, dns::Name};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Domains opt in by their own MX records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptInMx {
    /// A domain has opted in if one of its mail exchangers is one of these. The
    /// default is none, and then no MX record is looked up.
    #[serde(with = "List::<ExchangerName>")]
    pub hosts: Vec<MxHost>,
    /// How long a domain stays opted in after its record has changed. The default is
    /// 24 h.
    #[serde(with = "Scalar::<Wait>")]
    pub grace: Duration,
}

impl Default for OptInMx {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            grace: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A mail exchanger, or all below a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MxHost {
    name: Domain,
    /// `.mx6.example.net`: the names below `mx6.example.net`, not that name itself.
    is_parent: bool,
}

impl MxHost {
    /// Whether an MX record with this exchanger is meant.
    pub fn matches(&self, exchange: &Name) -> bool {
        let Ok(name) = Name::parse(self.name.as_str()) else {
            return false;
        };
        match self.is_parent {
            true => exchange.is_within(&name) && *exchange != name,
            false => *exchange == name,
        }
    }

    /// The name of a single host; `None` for all below a domain.
    pub fn host(&self) -> Option<&Domain> {
        (!self.is_parent).then_some(&self.name)
    }
}

impl fmt::Display for MxHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.is_parent { "." } else { "" };
        write!(f, "{dot}{}", self.name)
    }
}

/// `mx6.example.net` or `.mx6.example.net`.
struct ExchangerName;

impl Kind for ExchangerName {
    type Value = MxHost;
    const EXPECTED: &'static str =
        "a host name such as mx6.example.net, or .mx6.example.net for all names below it";

    fn parse(text: &str) -> Result<MxHost, String> {
        let is_parent = text.starts_with('.');
        let name = text.strip_prefix('.').unwrap_or(text);
        let wrong = |reason: String| match text.strip_prefix('*').filter(|t| t.starts_with('.')) {
            Some(parent) if Domain::parse(&parent[1..]).is_ok() => {
                format!("{text:?} is not allowed here; write {parent}")
            }
            _ => format!(
                "{text:?} is not a host name: {reason}; write {}",
                Self::EXPECTED
            ),
        };
        let name = Domain::parse(name).map_err(|error| wrong(error.to_string()))?;
        if name.as_str().parse::<std::net::IpAddr>().is_ok() {
            return Err(wrong(
                "an MX record names a host, not an address".to_owned(),
            ));
        }
        Ok(MxHost { name, is_parent })
    }

    fn show(value: &MxHost) -> String {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchangers_match_by_name_or_below_a_domain() {
        let table = [
            ("mx6.example.net", "mx6.example.net", true),
            ("mx6.example.net", "MX6.Example.NET.", true),
            ("mx6.example.net", "a.mx6.example.net", false),
            (".mx6.example.net", "a.mx6.example.net", true),
            (".mx6.example.net", "a.b.mx6.example.net", true),
            (".mx6.example.net", "mx6.example.net", false),
            (".mx6.example.net", "badmx6.example.net", false),
            ("mx6.example.net", ".", false),
            (".mx6.example.net", "mx6.example.net.evil.example", false),
        ];
        for (host, exchange, want) in table {
            let host = ExchangerName::parse(host).unwrap();
            let name = Name::parse(exchange).unwrap();
            assert_eq!(host.matches(&name), want, "{host} {exchange}");
        }
    }

    #[test]
    fn an_error_says_what_to_write() {
        let table = [
            ("*.mx6.example.net", "write .mx6.example.net"),
            ("", "write a host name such as"),
            ("192.0.2.1", "an MX record names a host, not an address"),
            ("mx6 example", "is not a host name"),
        ];
        for (text, want) in table {
            let error = ExchangerName::parse(text).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
