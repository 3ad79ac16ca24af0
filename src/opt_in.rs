//! Which recipient domains take mail over IPv6.
//!
//! Sources are asked in a fixed order and the first definite answer wins; the
//! default speaks for a domain that no source knows. A source that can't answer
//! now ends the search: one that comes later must not overrule what it may say.

pub mod entry;
pub mod list;

use crate::{address::Domain, config, dns::Resolve, policy};
use std::{collections::HashSet, fmt};
use tokio::time::Instant;

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

/// What one source knows of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// It opted in.
    Yes,
    /// It opted out.
    No,
    /// The source has no entry for it: the next one is asked.
    Nothing,
    /// The source can't tell now.
    Temperror,
}

/// Who decided about a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The file that `sixgate opt-in` edits, `opt_in.managed_file`.
    Managed,
    /// `opt_in.domains` of the configuration.
    Domains,
    /// A list of `opt_in.files`.
    File,
    /// The zone `opt_in.dns_zone`.
    DnsZone,
    /// The server `opt_in.socketmap`.
    Socketmap,
    /// No source knows the domain: `opt_in.default`.
    Default,
    /// The recipient has no domain that could opt in.
    NoDomain,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Managed => "managed",
            Self::Domains => "domains",
            Self::File => "file",
            Self::DnsZone => "dns-zone",
            Self::Socketmap => "socketmap",
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
    /// whatever the default is. A source that has not answered by `deadline`
    /// can't tell. While the sources are lists, nothing is waited for.
    pub async fn ask<R: Resolve>(
        &self,
        resolver: &R,
        deadline: Instant,
        domain: Option<&Domain>,
    ) -> Answer {
        let Some(domain) = domain else {
            return Answer::definite(policy::OptIn::No, Source::NoDomain);
        };
        if let Some(answer) = self.ask_lists(domain) {
            return answer;
        }
        if let Some(answer) = self.ask_servers(resolver, deadline, domain).await {
            return answer;
        }
        Answer::definite(self.default(), Source::Default)
    }

    fn ask_lists(&self, domain: &Domain) -> Option<Answer> {
        let listed = match self.domains.contains(domain) {
            true => Known::Yes,
            false => Known::Nothing,
        };
        Answer::of(listed, Source::Domains)
    }

    async fn ask_servers<R: Resolve>(
        &self,
        _resolver: &R,
        _deadline: Instant,
        _domain: &Domain,
    ) -> Option<Answer> {
        None
    }

    fn default(&self) -> policy::OptIn {
        match self.default {
            true => policy::OptIn::Yes,
            false => policy::OptIn::No,
        }
    }
}

impl Answer {
    /// What a source says; `None` if the next one is to be asked.
    fn of(known: Known, source: Source) -> Option<Self> {
        let opt_in = match known {
            Known::Yes => policy::OptIn::Yes,
            Known::No => policy::OptIn::No,
            Known::Temperror => policy::OptIn::Temperror,
            Known::Nothing => return None,
        };
        Some(Self { opt_in, source })
    }

    fn definite(opt_in: policy::OptIn, source: Source) -> Self {
        Self { opt_in, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Dns;

    #[tokio::test]
    async fn a_domain_is_found_itself_and_its_subdomains_are_not() {
        let table = [
            // default, domain, want
            (false, Some("contoso.com"), true, Source::Domains),
            (false, Some("mail.contoso.com"), false, Source::Default),
            (false, Some("com"), false, Source::Default),
            (true, Some("other.example"), true, Source::Default),
            (true, None, false, Source::NoDomain),
        ];
        let dns = Dns::new(&config::Dns {
            servers: vec!["127.0.0.1:53".parse().unwrap()],
            ..config::Dns::default()
        });
        let dns = dns.unwrap();
        for (default, domain, yes, source) in table {
            let sources = Sources::new(&config::OptIn {
                default,
                domains: vec![Domain::parse("Contoso.com.").unwrap()],
            });
            let domain = domain.map(|text| Domain::parse(text).unwrap());
            let answer = sources.ask(&dns, Instant::now(), domain.as_ref()).await;
            assert_eq!(answer.opt_in == policy::OptIn::Yes, yes, "{domain:?}");
            assert_eq!(answer.source, source, "{domain:?}");
        }
    }
}
