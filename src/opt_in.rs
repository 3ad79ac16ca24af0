//! Which recipient domains take mail over IPv6.
//!
//! Sources are asked in a fixed order and the first definite answer wins; the
//! default speaks for a domain that no source knows.

use crate::{address::Domain, config, policy};
use std::{collections::HashSet, fmt};

/// The sources of one configuration.
#[derive(Clone, Debug)]
pub struct Sources {
    domains: HashSet<Domain>,
    default: bool,
}

/// What the sources say of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it opted in.
    pub opt_in: policy::OptIn,
    /// Who says so.
    pub source: Source,
}

/// Who decided about a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `opt_in.domains` of the configuration.
    Domains,
    /// No source knows the domain: `opt_in.default`.
    Default,
    /// The recipient has no domain that could opt in.
    NoDomain,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Domains => "domains",
            Self::Default => "default",
            Self::NoDomain => "no-domain",
        })
    }
}

impl Sources {
    /// Prepares the sources of a configuration.
    pub fn new(config: &config::OptIn) -> Self {
        Self {
            domains: config.domains.iter().cloned().collect(),
            default: config.default,
        }
    }

    /// Asks for a domain; `None` is a recipient without one, which can't opt in
    /// whatever the default is.
    pub fn ask(&self, domain: Option<&Domain>) -> Answer {
        let (yes, source) = match domain {
            None => (false, Source::NoDomain),
            Some(domain) if self.domains.contains(domain) => (true, Source::Domains),
            Some(_) => (self.default, Source::Default),
        };
        let opt_in = if yes {
            policy::OptIn::Yes
        } else {
            policy::OptIn::No
        };
        Answer { opt_in, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_found_itself_and_its_subdomains_are_not() {
        let table = [
            // default, domain, want
            (false, Some("contoso.com"), true, Source::Domains),
            (false, Some("mail.contoso.com"), false, Source::Default),
            (false, Some("com"), false, Source::Default),
            (true, Some("other.example"), true, Source::Default),
            (true, None, false, Source::NoDomain),
        ];
        for (default, domain, yes, source) in table {
            let sources = Sources::new(&config::OptIn {
                default,
                domains: vec![Domain::parse("Contoso.com.").unwrap()],
            });
            let domain = domain.map(|text| Domain::parse(text).unwrap());
            let answer = sources.ask(domain.as_ref());
            assert_eq!(answer.opt_in == policy::OptIn::Yes, yes, "{domain:?}");
            assert_eq!(answer.source, source, "{domain:?}");
        }
    }
}
