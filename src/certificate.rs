//! Names of TLS client certificates, and the patterns of `exempt.certificates`.
//!
//! The name is the common name (CN) of the subject, as the MTA sends it. Patterns and names
//! are host names; they are compared as A-labels, without regard to case.

use crate::address::{Domain, DomainError};
use std::{fmt, str::FromStr};

/// An entry of `exempt.certificates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificatePattern {
    /// `mx.example.org`: only this name.
    Exact(Domain),
    /// `*.example.org`: names with exactly one more label.
    OneLabelBelow(Domain),
}

impl CertificatePattern {
    /// Returns whether the pattern matches the common name of a certificate. It never matches
    /// a name that is not ASCII: certificates contain internationalized host names as A-labels
    /// (RFC 6125 section 6.4.2).
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(domain) => name.eq_ignore_ascii_case(domain.as_str()),
            Self::OneLabelBelow(domain) => name.split_once('.').is_some_and(|(label, parent)| {
                parent.eq_ignore_ascii_case(domain.as_str()) && is_label(label)
            }),
        }
    }

    /// Returns whether the pattern matches every name below a top-level domain.
    pub fn is_below_top_level(&self) -> bool {
        matches!(self, Self::OneLabelBelow(domain) if domain.parent().is_none())
    }
}

/// Returns whether a text is one label. The `*` of a wildcard certificate
/// (`CN=*.example.org`) is not, so such a certificate does not match.
fn is_label(label: &str) -> bool {
    Domain::parse(label).is_ok_and(|domain| domain.parent().is_none()) && label.is_ascii()
}

/// Why a text is not a [`CertificatePattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePatternError {
    /// A `*` that is not the whole first label.
    Wildcard,
    /// `*.` without a domain, or a name that is not a valid host name.
    Name(DomainError),
}

impl fmt::Display for CertificatePatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wildcard => {
                f.write_str("a * is allowed only as the whole first label (*.example.org)")
            }
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CertificatePatternError {}

impl FromStr for CertificatePattern {
    type Err = CertificatePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (parent, name) = match text.strip_prefix("*.") {
            Some(parent) => (true, parent),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(CertificatePatternError::Wildcard);
        }
        let domain = Domain::parse(name).map_err(CertificatePatternError::Name)?;
        Ok(match parent {
            true => Self::OneLabelBelow(domain),
            false => Self::Exact(domain),
        })
    }
}

impl fmt::Display for CertificatePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(domain) => domain.fmt(f),
            Self::OneLabelBelow(domain) => write!(f, "*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_one_name_or_for_one_label_below_a_name() {
        let long_label = format!("{}.partner.example", "x".repeat(64));
        let table = [
            // pattern, common name, want
            ("mx.partner.example", "mx.partner.example", true),
            ("mx.partner.example", "MX.Partner.EXAMPLE", true),
            ("MX.Partner.Example.", "mx.partner.example", true),
            ("mx.partner.example", "mx.partner.example.", false),
            ("mx.partner.example", "mx.partner.example.net", false),
            ("mx.partner.example", "a.mx.partner.example", false),
            ("mx.partner.example", "mxapartner.example", false),
            ("mx.partner.example", " mx.partner.example", false),
            ("mx.partner.example", "*.partner.example", false),
            ("mx.partner.example", "", false),
            ("mx.partner.example", "/CN=mx.partner.example", false),
            ("*.partner.example", "mx.partner.example", true),
            ("*.Partner.Example", "MX.PARTNER.example", true),
            ("*.partner.example", "a.mx.partner.example", false),
            ("*.partner.example", "partner.example", false),
            ("*.partner.example", ".partner.example", false),
            ("*.partner.example", "*.partner.example", false),
            ("*.partner.example", "m*.partner.example", false),
            ("*.partner.example", "a b.partner.example", false),
            ("*.partner.example", "mx.partner.example.", false),
            ("*.partner.example", "/CN=mx.partner.example", false),
            ("*.partner.example", "mx+2e.partner.example", false),
            ("*.partner.example", "é.partner.example", false),
            ("*.partner.example", "xn--9ca.partner.example", true),
            ("*.partner.example", long_label.as_str(), false),
            ("mx.bücher.example", "mx.xn--bcher-kva.example", true),
            ("mx.bücher.example", "mx.bücher.example", false),
            ("*.bücher.example", "mx.XN--BCHER-KVA.example", true),
        ];
        for (pattern, name, want) in table {
            let parsed: CertificatePattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn a_wildcard_is_the_whole_first_label() {
        let table = [
            ("*", "only as the whole first label"),
            ("**.example.org", "only as the whole first label"),
            ("mx*.example.org", "only as the whole first label"),
            ("*.*.example.org", "only as the whole first label"),
            ("mx.*.example.org", "only as the whole first label"),
            ("*.", "empty"),
            ("", "empty"),
            (".example.org", "empty label"),
            ("Partner AG", "character"),
            ("/CN=mx.example.org", "character"),
        ];
        for (text, want) in table {
            let error = text.parse::<CertificatePattern>().unwrap_err();
            assert!(error.to_string().contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_is_shown_as_it_is_read() {
        for text in ["mx.example.org", "*.example.org"] {
            let pattern: CertificatePattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
        }
    }
}
