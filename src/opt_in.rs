//! The opt-in sources: which recipient domains accept mail over IPv6.
//!
//! Sources are queried in a fixed order and the first definite answer wins; the default
//! applies to a domain that no source knows. A temporary failure of a source ends the
//! search, because a later source must not override its possible answer.

pub mod entry;
pub mod files;
pub mod list;
pub mod managed;
pub mod mx_zone;
pub mod pending;

mod cache;
mod dns_zone;
mod lists;
mod mx;
pub mod redis;
mod socketmap;
#[cfg(feature = "sql")]
mod sql;
#[cfg(not(feature = "sql"))]
#[path = "opt_in/sql/absent.rs"]
mod sql;

use crate::{address::Domain, config, dns::Resolve, list_file::ListError, policy};
pub use dns_zone::OPTED_IN;
pub use lists::{ListStatus, Listed, SourceList};

use dns_zone::DnsZone;
use lists::Lists;
use mx::MxRecords;
use redis::Redis;
use socketmap::Socketmap;
use sql::Sql;
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The sources of one configuration. Clones share the sources.
#[derive(Clone, Debug)]
pub struct Sources {
    lists: Lists,
    mx: Option<MxRecords>,
    sql: Option<Sql>,
    redis: Option<Redis>,
    dns_zone: Option<DnsZone>,
    socketmap: Option<Socketmap>,
    default: bool,
}

/// The answer of the sources for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the domain opted in.
    pub opt_in: policy::OptIn,
    /// The source of the answer.
    pub source: Source,
}

/// The status of a source that is queried over the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The source.
    pub source: Source,
    /// The number of domains with a cached answer.
    pub domains: usize,
    /// The time since the last definite answer; `None` if there was none.
    pub age: Option<Duration>,
    /// The current failure; `None` while it answers or was never queried.
    pub error: Option<String>,
}

/// The result of checking one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCheck {
    /// The source that the server belongs to.
    pub source: Source,
    /// The URL of the server, without parameters.
    pub url: String,
    /// The finding.
    pub finding: ServerFinding,
}

/// The finding of a server check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFinding {
    /// The server answers.
    Ok,
    /// The server is unreachable, for this reason.
    Unreachable(String),
    /// The server answers but has no entries, so all domains are unknown.
    Empty(String),
    /// The server can be reached, but the query or the key is wrong.
    Wrong(String),
}

/// The answer of one source for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceAnswer {
    /// The domain opted in.
    Yes,
    /// The domain opted out.
    No,
    /// The source has no entry for the domain: continue with the next one.
    NoEntry,
    /// The source has a temporary failure.
    Temperror,
}

/// The source that decided about a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The file that `sixgate opt-in` edits, `opt_in.managed_file`.
    Managed,
    /// `opt_in.domains` of the configuration.
    Domains,
    /// A list of `opt_in.files`.
    File,
    /// The domain's own MX record, by `opt_in.mx`.
    Mx,
    /// The database `opt_in.sql`.
    Sql,
    /// The hash `opt_in.redis`.
    Redis,
    /// The zone `opt_in.dns_zone`.
    DnsZone,
    /// The server `opt_in.socketmap`.
    Socketmap,
    /// No source knows the domain: `opt_in.default`.
    Default,
    /// The recipient has no domain that could opt in.
    NoDomain,
}

impl Source {
    /// Returns whether the source is a list in memory.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Managed | Self::Domains | Self::File)
    }

    /// Returns whether the source is queried at the start until it has answered once.
    /// Without an answer, no mail over IPv6 can be decided.
    pub fn is_queried_at_start(self) -> bool {
        matches!(self, Self::Sql | Self::Redis)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Managed => "managed",
            Self::Domains => "domains",
            Self::File => "file",
            Self::Mx => "mx",
            Self::Sql => "sql",
            Self::Redis => "redis",
            Self::DnsZone => "dns-zone",
            Self::Socketmap => "socketmap",
            Self::Default => "default",
            Self::NoDomain => "no-domain",
        })
    }
}

impl Sources {
    /// Reads the lists that a configuration names. A list that `previous` has under the
    /// same name is read again and shared with it, so that connections from before a
    /// reload see later changes too. Blocks while it reads files.
    ///
    /// # Errors
    /// Fails if a list can't be read, is invalid, or is empty without the line `# empty`.
    pub fn open(config: &config::OptIn, previous: Option<&Self>) -> Result<Self, ListError> {
        Ok(Self {
            lists: Lists::open(config, previous.map(|old| &old.lists))?,
            mx: MxRecords::new(
                &config.mx,
                config.cache,
                previous.and_then(|old| old.mx.as_ref()),
            ),
            sql: Sql::new(
                &config.sql,
                config.cache,
                previous.and_then(|old| old.sql.as_ref()),
            ),
            redis: Redis::new(
                &config.redis,
                config.cache,
                previous.and_then(|old| old.redis.as_ref()),
            ),
            dns_zone: config.dns_zone.as_ref().map(|zone| {
                let old = previous.and_then(|old| old.dns_zone.as_ref());
                DnsZone::new(zone, config.cache, old)
            }),
            socketmap: config.socketmap.as_ref().map(|socketmap| {
                let old = previous.and_then(|old| old.socketmap.as_ref());
                Socketmap::new(socketmap, config.cache, old)
            }),
            default: config.default,
        })
    }

    /// Returns a warning if no domain accepts mail over IPv6.
    pub fn warning(&self) -> Option<&'static str> {
        (!self.may_opt_in()).then_some(
            "opt_in: no domain has opted in, so \"mode: enforce\" refuses all mail over IPv6",
        )
    }

    /// Returns whether any domain has opted in, or a server may answer so.
    pub fn may_opt_in(&self) -> bool {
        let has_server = self.mx.is_some()
            || self.sql.is_some()
            || self.redis.is_some()
            || self.dns_zone.is_some()
            || self.socketmap.is_some();
        self.default || has_server || !self.lists.are_empty()
    }

    /// Returns the status of the lists, in the order in which they are searched.
    pub fn list_status(&self) -> Vec<ListStatus> {
        self.lists.status()
    }

    /// Returns the status of the servers, in the order in which they are queried.
    pub fn server_status(&self) -> Vec<ServerStatus> {
        let managed = self.managed_redis().map(Redis::status);
        let mx = self.mx.as_ref().map(MxRecords::status);
        let sql = self.sql.as_ref().map(Sql::status);
        let redis = self.redis_after_lists().map(Redis::status);
        let zone = self.dns_zone.as_ref().map(DnsZone::status);
        let socketmap = self.socketmap.as_ref().map(Socketmap::status);
        let servers = [managed, mx, sql, redis, zone, socketmap];
        servers.into_iter().flatten().collect()
    }

    /// Returns the Redis hash that replaces the managed file, if it does.
    fn managed_redis(&self) -> Option<&Redis> {
        self.redis.as_ref().filter(|redis| redis.is_managed())
    }

    fn redis_after_lists(&self) -> Option<&Redis> {
        self.redis.as_ref().filter(|redis| !redis.is_managed())
    }

    /// Follows the lists in the background, and queries the servers until they have
    /// answered once. Must be called in a tokio runtime.
    pub fn follow(&self) {
        self.lists.follow();
        if let Some(sql) = &self.sql {
            sql.probe();
        }
        if let Some(redis) = &self.redis {
            redis.follow();
        }
    }

    /// Connects to each server of `opt_in.sql` and `opt_in.redis`, and checks the query
    /// and the key there.
    pub async fn check_servers(&self) -> Vec<ServerCheck> {
        let mut checks = Vec::new();
        if let Some(sql) = &self.sql {
            checks.extend(sql.check().await);
        }
        if let Some(redis) = &self.redis {
            checks.extend(redis.check().await);
        }
        checks
    }

    /// Looks up a domain. `None` is a recipient without a domain, which can't opt in even
    /// if the default is yes. A source that has not answered by `deadline` counts as a
    /// temporary failure. Lists answer without waiting.
    pub async fn query<R: Resolve>(
        &self,
        resolver: &Arc<R>,
        deadline: Instant,
        domain: Option<&Domain>,
    ) -> Answer {
        let Some(domain) = domain else {
            return Answer::definite(policy::OptIn::No, Source::NoDomain);
        };
        if let Some(redis) = self.managed_redis() {
            let known = redis.query(deadline, domain).await;
            if let Some(answer) = Answer::of(known, Source::Redis) {
                return answer;
            }
        }
        if let Some(answer) = self.lists.answer(domain) {
            return answer;
        }
        if let Some(answer) = self.query_servers(resolver, deadline, domain).await {
            return answer;
        }
        Answer::definite(self.default(), Source::Default)
    }

    /// Returns the list entry that decides about a domain, if there is one. Reads the
    /// file for its location; for commands only.
    pub fn listed(&self, domain: &Domain) -> Option<Listed> {
        self.listed_all(std::slice::from_ref(domain)).pop()?
    }

    /// Looks up many domains as [`Sources::listed`] does; reads each file once.
    pub fn listed_all(&self, domains: &[Domain]) -> Vec<Option<Listed>> {
        self.lists.listed(domains)
    }

    /// Describes the reason for an answer.
    pub fn reason(&self, answer: Answer, listed: Option<&Listed>) -> String {
        match (answer.source, answer.opt_in, listed) {
            (Source::Managed | Source::Domains | Source::File, _, Some(listed)) => {
                listed.to_string()
            }
            (Source::Managed | Source::Domains | Source::File, _, None) => {
                "the list has changed since".to_owned()
            }
            (
                Source::Mx | Source::Sql | Source::Redis | Source::DnsZone | Source::Socketmap,
                policy::OptIn::Temperror,
                _,
            ) => self.failure_of(answer.source),
            (Source::Mx, _, _) => {
                "its MX record names a host of opt_in.mx.hosts, or did within opt_in.mx.grace"
                    .to_owned()
            }
            (Source::Sql | Source::Redis | Source::DnsZone | Source::Socketmap, _, _) => {
                "it says so".to_owned()
            }
            (Source::Default, policy::OptIn::Yes, _) => {
                "no source knows it, and opt_in.default is yes".to_owned()
            }
            (Source::Default, _, _) => "no source knows it".to_owned(),
            (Source::NoDomain, _, _) => "what is not a valid domain can't opt in".to_owned(),
        }
    }

    fn failure_of(&self, source: Source) -> String {
        let servers = self.server_status();
        let server = servers.iter().find(|server| server.source == source);
        match server.and_then(|server| server.error.as_ref()) {
            Some(error) => format!("no usable answer: {error}"),
            None => "no usable answer".to_owned(),
        }
    }

    /// Returns the lists, in the order in which they are searched.
    pub fn lists(&self) -> [SourceList<'_>; 3] {
        self.lists.each()
    }

    async fn query_servers<R: Resolve>(
        &self,
        resolver: &Arc<R>,
        deadline: Instant,
        domain: &Domain,
    ) -> Option<Answer> {
        if let Some(mx) = &self.mx {
            let known = mx.query(resolver, deadline, domain).await;
            if let Some(answer) = Answer::of(known, Source::Mx) {
                return Some(answer);
            }
        }
        if let Some(sql) = &self.sql {
            let known = sql.query(deadline, domain).await;
            if let Some(answer) = Answer::of(known, Source::Sql) {
                return Some(answer);
            }
        }
        if let Some(redis) = self.redis_after_lists() {
            let known = redis.query(deadline, domain).await;
            if let Some(answer) = Answer::of(known, Source::Redis) {
                return Some(answer);
            }
        }
        if let Some(zone) = &self.dns_zone {
            let known = zone.query(resolver, deadline, domain).await;
            if let Some(answer) = Answer::of(known, Source::DnsZone) {
                return Some(answer);
            }
        }
        let socketmap = self.socketmap.as_ref()?;
        let known = socketmap.query(deadline, domain).await;
        Answer::of(known, Source::Socketmap)
    }

    fn default(&self) -> policy::OptIn {
        match self.default {
            true => policy::OptIn::Yes,
            false => policy::OptIn::No,
        }
    }
}

impl Answer {
    /// Converts the answer of a source; `None` to continue with the next one.
    fn of(known: SourceAnswer, source: Source) -> Option<Self> {
        let opt_in = match known {
            SourceAnswer::Yes => policy::OptIn::Yes,
            SourceAnswer::No => policy::OptIn::No,
            SourceAnswer::Temperror => policy::OptIn::Temperror,
            SourceAnswer::NoEntry => return None,
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
    use std::fs;

    fn dns() -> Arc<Dns> {
        let no_server = config::Dns {
            servers: vec![config::DnsServer::new([127, 0, 0, 1].into(), None)],
            ..config::Dns::default()
        };
        Arc::new(Dns::new(&no_server).unwrap())
    }

    #[tokio::test]
    async fn the_first_source_that_knows_a_domain_decides() {
        let folder = tempfile::tempdir().unwrap();
        let [managed_file, file] =
            ["managed.list", "file.list"].map(|name| folder.path().join(name));
        fs::write(&managed_file, "a.example\n!b.example\n.c.example\n").unwrap();
        fs::write(
            &file,
            "!a.example\nb.example\n!x.c.example\ne.example\n!d.example\n",
        )
        .unwrap();
        let entries = ["!.c.example", "d.example"];
        let config = config::OptIn {
            default: false,
            domains: entries.map(|entry| entry.parse().unwrap()).into(),
            files: vec![file],
            managed_file,
            ..config::OptIn::default()
        };
        let table = [
            ("a.example", true, Source::Managed),
            ("b.example", false, Source::Managed),
            ("x.c.example", true, Source::Managed),
            ("d.example", true, Source::Domains),
            ("e.example", true, Source::File),
            ("other.example", false, Source::Default),
        ];
        let sources = Sources::open(&config, None).unwrap();
        for (domain, yes, source) in table {
            let domain = Domain::parse(domain).unwrap();
            let answer = sources.query(&dns(), Instant::now(), Some(&domain)).await;
            assert_eq!(answer.opt_in == policy::OptIn::Yes, yes, "{domain}");
            assert_eq!(answer.source, source, "{domain}");
        }
    }

    #[tokio::test]
    async fn the_default_is_for_domains_alone() {
        let config = config::OptIn {
            default: true,
            ..config::OptIn::default()
        };
        let sources = Sources::open(&config, None).unwrap();
        let domain = Domain::parse("other.example").unwrap();
        let answer = sources.query(&dns(), Instant::now(), Some(&domain)).await;
        assert_eq!(answer.opt_in, policy::OptIn::Yes);
        let answer = sources.query(&dns(), Instant::now(), None).await;
        assert_eq!(answer.opt_in, policy::OptIn::No);
        assert_eq!(answer.source, Source::NoDomain);
    }
}
