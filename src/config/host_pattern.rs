//! A host name, or all names below a domain.

use crate::{address::Domain, dns::Name};
use std::{fmt, net::IpAddr};

/// A host, or all hosts below a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    name: Domain,
    /// `.mx6.example.net`: the names below `mx6.example.net`, not that name itself.
    is_parent: bool,
}

impl HostPattern {
    /// Parses `mx6.example.net` or `.mx6.example.net`. The error is a part of a line for
    /// people: `expected` is what to write, `no_address` the error for an address.
    pub(super) fn parse(text: &str, expected: &str, no_address: &str) -> Result<Self, String> {
        let is_parent = text.starts_with('.');
        let name = text.strip_prefix('.').unwrap_or(text);
        let wrong = |reason: &str| match text.strip_prefix('*').filter(|t| t.starts_with('.')) {
            Some(parent) if Domain::parse(&parent[1..]).is_ok() => {
                format!("{text:?} is not allowed here; write {parent}")
            }
            _ => format!("{text:?} is not a host name: {reason}; write {expected}"),
        };
        let name = Domain::parse(name).map_err(|error| wrong(&error.to_string()))?;
        match name.as_str().parse::<IpAddr>() {
            Ok(_) => Err(wrong(no_address)),
            Err(_) => Ok(Self { name, is_parent }),
        }
    }

    /// Returns whether the pattern matches a name.
    pub fn matches(&self, host: &Name) -> bool {
        let Ok(name) = Name::parse(self.name.as_str()) else {
            return false;
        };
        match self.is_parent {
            true => host.is_within(&name) && *host != name,
            false => *host == name,
        }
    }

    /// Returns the name of a single host; `None` for a domain pattern.
    pub fn host(&self) -> Option<&Domain> {
        (!self.is_parent).then_some(&self.name)
    }

    /// Returns whether it matches all names below a top-level domain.
    pub fn is_below_top_level(&self) -> bool {
        self.is_parent && self.name.parent().is_none()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.is_parent { "." } else { "" };
        write!(f, "{dot}{}", self.name)
    }
}
