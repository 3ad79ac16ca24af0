//! `opt_in.mx`: the mail exchangers that opt a domain in.

use super::{
    host_pattern::HostPattern,
    numbers::Wait,
    value::{Kind, List, Scalar},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The settings for domains that opt in by their own MX records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptInMx {
    /// A domain has opted in if one of its mail exchangers is one of these. The default
    /// is none, which disables the source.
    #[serde(with = "List::<ExchangerName>")]
    pub hosts: Vec<HostPattern>,
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

/// `mx6.example.net` or `.mx6.example.net`.
struct ExchangerName;

impl Kind for ExchangerName {
    type Value = HostPattern;
    const EXPECTED: &'static str =
        "a host name such as mx6.example.net, or .mx6.example.net for all names below it";

    fn parse(text: &str) -> Result<HostPattern, String> {
        HostPattern::parse(
            text,
            Self::EXPECTED,
            "an MX record names a host, not an address",
        )
    }

    fn show(value: &HostPattern) -> String {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Name;

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
