//! The source `opt_in.redis`: a hash whose fields are domains and whose values are `yes`
//! or `no`.
//!
//! One HMGET looks up the domain and its parents. A hash without fields does not exist in
//! Redis, so a deleted hash, or one on another server, is detected: missing entries do
//! not count then.

pub mod edit;

use super::{
    ServerCheck, ServerFinding, ServerStatus, Source, SourceAnswer,
    cache::{Cache, DefiniteAnswer, Reply, lock},
    entry::{Entry, Scope},
};
use crate::{
    address::Domain,
    config,
    redis_client::{Fields, Notice, RedisClient, RedisFailure},
};
use std::{
    iter::once,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::AbortHandle, time::Instant};

/// The minimum interval between log lines about missing change notifications.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A hash with a cache.
#[derive(Clone, Debug)]
pub(super) struct Redis {
    shared: Arc<Shared>,
    cache: Cache,
}

#[derive(Debug)]
struct Shared {
    config: config::Redis,
    client: RedisClient,
    /// The task that follows the hash while it is in use.
    follower: Mutex<Option<AbortHandle>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(follower) = lock(&self.follower).take() {
            follower.abort();
        }
    }
}

impl Redis {
    /// Creates the source. Takes over the connections and the cache of `old` if its
    /// configuration is the same. `None` if the source is not used.
    pub(super) fn new(
        config: &config::Redis,
        lifetimes: config::OptInCache,
        old: Option<&Self>,
    ) -> Option<Self> {
        let first = config.url.first()?;
        let cache = Cache::new(format!("opt_in.redis {first}"), lifetimes);
        Some(match old.filter(|old| old.shared.config == *config) {
            Some(old) => Self {
                shared: Arc::clone(&old.shared),
                cache: cache.inherit_from(&old.cache),
            },
            None => Self {
                shared: Arc::new(Shared {
                    config: config.clone(),
                    client: RedisClient::new(config),
                    follower: Mutex::default(),
                }),
                cache,
            },
        })
    }

    /// Returns whether the hash replaces the managed file.
    pub(super) fn is_managed(&self) -> bool {
        self.shared.config.managed
    }

    pub(super) fn status(&self) -> ServerStatus {
        self.cache.status(Source::Redis)
    }

    pub(super) async fn query(&self, deadline: Instant, domain: &Domain) -> SourceAnswer {
        let question = || look_up(Arc::clone(&self.shared), domain.clone());
        self.cache.get(domain, deadline, question).await
    }

    /// Queries the server in the background until it has answered once, so that an
    /// unreachable server is reported at the start. Also marks answers as stale when the
    /// hash changes. Must be called in a tokio runtime.
    pub(super) fn follow(&self) {
        let timeout = self.shared.config.timeout;
        self.cache.probe(&self.shared, timeout, look_up);
        let mut follower = lock(&self.shared.follower);
        if follower.is_none() {
            let cache = self.cache.clone();
            let (client, key) = (self.shared.client.clone(), self.shared.config.key.clone());
            *follower = Some(tokio::spawn(follow(client, key, cache)).abort_handle());
        }
    }

    /// Checks each server and the hash.
    pub(super) async fn check(&self) -> Vec<ServerCheck> {
        let key = &self.shared.config.key;
        let checked = self.shared.client.check(key).await.into_iter();
        let check = |(url, found): (String, Result<u64, RedisFailure>)| ServerCheck {
            source: Source::Redis,
            url,
            finding: match found {
                Ok(0) => ServerFinding::Empty(missing(key)),
                Ok(_) => ServerFinding::Ok,
                Err(failure) if failure.is_unreachable => {
                    ServerFinding::Unreachable(failure.reason)
                }
                Err(failure) => ServerFinding::Wrong(explained(key, &failure.reason)),
            },
        };
        checked.map(check).collect()
    }
}

async fn follow(client: RedisClient, key: String, cache: Cache) {
    let mut notices = client.follow(&key);
    let mut logged: Option<Instant> = None;
    let mut is_lost = false;
    while let Some(notice) = notices.next().await {
        match notice {
            // Earlier changes may have been missed.
            Notice::Subscribed => {
                if std::mem::take(&mut is_lost) {
                    tracing::info!("opt_in.redis: changes of {key} are announced again");
                }
                cache.expire_all();
            }
            Notice::Changed(fields) => {
                for field in fields {
                    // An entry for subdomains may affect any number of domains.
                    match Domain::parse(&field) {
                        Ok(domain) if !field.starts_with('.') => cache.expire(&domain),
                        Ok(_) | Err(_) => cache.expire_all(),
                    }
                }
            }
            Notice::AllChanged => cache.expire_all(),
            Notice::Lost(reason) => {
                if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                    logged = Some(Instant::now());
                    is_lost = true;
                    tracing::warn!(
                        "opt_in.redis: changes of {key} are not announced, so they count when \
                         opt_in.cache lets the last answer go: {reason}"
                    );
                }
            }
        }
    }
}

async fn look_up(shared: Arc<Shared>, domain: Domain) -> Reply {
    let key = &shared.config.key;
    let fields: Vec<String> = entries(&domain).map(|entry| field(&entry)).collect();
    match shared.client.fields(key, &fields).await {
        Ok(found) => read(key, &fields, &found),
        Err(failure) => Reply::Failed(explained(key, &failure.reason)),
    }
}

/// Returns the entries that apply to a domain, the most specific first: `a.example.org`,
/// `.example.org`, `.org`.
fn entries(domain: &Domain) -> impl Iterator<Item = Entry> {
    let parents = domain.ancestors().map(|domain| Entry {
        domain,
        scope: Scope::Subdomains,
        opted_in: true,
    });
    once(Entry::opt_in(domain.clone())).chain(parents)
}

/// Returns the field of an entry.
fn field(entry: &Entry) -> String {
    match entry.scope {
        Scope::Itself => entry.domain.to_string(),
        Scope::Subdomains => format!(".{}", entry.domain),
    }
}

/// Reads the answer; the most specific entry wins.
fn read(key: &str, fields: &[String], found: &Fields) -> Reply {
    let mut values = fields.iter().zip(&found.values);
    let first = values.find_map(|(field, value)| Some((field, value.as_deref()?)));
    let Some((field, value)) = first else {
        return match found.exists {
            true => Reply::Definite(DefiniteAnswer::NoEntry, None),
            false => Reply::Failed(missing(key)),
        };
    };
    match opted_in(&String::from_utf8_lossy(value)) {
        Some((true, _)) => Reply::Definite(DefiniteAnswer::Yes, None),
        Some((false, _)) => Reply::Definite(DefiniteAnswer::No, None),
        None => {
            let value = value.escape_ascii().to_string();
            let value: String = value.chars().take(60).collect();
            Reply::Failed(format!(
                "\"{value}\" in the field {field} of {key} is not allowed here; write yes or no"
            ))
        }
    }
}

/// Parses a value and its comment. `None` if it is neither yes nor no.
fn opted_in(value: &str) -> Option<(bool, &str)> {
    let (word, comment) = value.split_once('#').unwrap_or((value, ""));
    match word.trim().to_ascii_lowercase().as_str() {
        "yes" => Some((true, comment.trim())),
        "no" => Some((false, comment.trim())),
        _ => None,
    }
}

fn missing(key: &str) -> String {
    format!("there is no hash {key}, or it is empty")
}

/// Adds the key to an error, as Redis does not name it.
fn explained(key: &str, reason: &str) -> String {
    match reason.contains("WRONGTYPE") {
        true => format!("{key} is not a hash but a key of another type"),
        false => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_domain_and_its_parents_with_a_dot() {
        let domain = Domain::parse("a.b.example.org").unwrap();
        let fields: Vec<String> = entries(&domain).map(|entry| field(&entry)).collect();
        assert_eq!(
            fields,
            ["a.b.example.org", ".b.example.org", ".example.org", ".org"]
        );
    }

    #[test]
    fn the_most_specific_field_is_the_answer() {
        let fields = ["a.example.org", ".example.org", ".org"].map(str::to_owned);
        let nothing = Reply::Definite(DefiniteAnswer::NoEntry, None);
        let table: [(&[&str], Reply); 7] = [
            (
                &["yes", "no", ""],
                Reply::Definite(DefiniteAnswer::Yes, None),
            ),
            (
                &["", "NO # for now", "yes"],
                Reply::Definite(DefiniteAnswer::No, None),
            ),
            (
                &["", "", "yes#x"],
                Reply::Definite(DefiniteAnswer::Yes, None),
            ),
            (&["", "", ""], nothing),
            (
                &["maybe", "yes", ""],
                not_an_answer("maybe", "a.example.org"),
            ),
            (&["", "# yes", ""], not_an_answer("# yes", ".example.org")),
            (&["", "yes no", ""], not_an_answer("yes no", ".example.org")),
        ];
        for (values, want) in table {
            let value = |value: &&str| (!value.is_empty()).then(|| value.as_bytes().to_vec());
            let found = Fields {
                values: values.iter().map(value).collect(),
                exists: true,
            };
            assert_eq!(read("key", &fields, &found), want, "{values:?}");
        }
    }

    fn not_an_answer(value: &str, field: &str) -> Reply {
        Reply::Failed(format!(
            "\"{value}\" in the field {field} of key is not allowed here; write yes or no"
        ))
    }

    #[test]
    fn a_hash_that_is_missing_says_nothing_about_anybody() {
        let fields = ["a.example".to_owned()];
        let found = Fields {
            values: vec![None],
            exists: false,
        };
        let want = Reply::Failed("there is no hash key, or it is empty".to_owned());
        assert_eq!(read("key", &fields, &found), want);
    }
}
