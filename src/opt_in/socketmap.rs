//! The source `opt_in.socketmap`: a server of Postfix's socketmap protocol
//! (socketmap_table(5)), behind which LDAP, SQL and Redis may be.
//!
//! The keys are those of Postfix's transport(5): the domain, then `.parent` for each
//! parent. Postfix queries a socketmap for whole keys only; here a plain table can list
//! subdomains too, and servers that do not support this return NOTFOUND. One connection
//! is kept; while it is busy, others are opened. The cache in front of this source sets
//! the deadline of a query.

mod wire;

use super::{
    ServerStatus, Source, SourceAnswer,
    cache::{Cache, DefiniteAnswer, Reply},
};
use crate::{address::Domain, config};
use std::{
    io,
    iter::{once, successors},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{sync::Semaphore, time::Instant};
use wire::{Connection, Response};

/// The maximum number of concurrent queries. Each has its own connection, so that a slow
/// one does not delay the others.
const CONNECTIONS: usize = 8;

/// A socketmap server with a cache.
#[derive(Clone, Debug)]
pub(super) struct Socketmap {
    table: Arc<Table>,
    cache: Cache,
}

impl Socketmap {
    /// Creates the source. Takes over the connection and the cache of `old` if it is the
    /// same map of the same server.
    pub(super) fn new(
        config: &config::Socketmap,
        lifetimes: config::OptInCache,
        old: Option<&Self>,
    ) -> Self {
        let cache = Cache::new(format!("opt_in.socketmap {config}"), lifetimes);
        match old.filter(|old| old.table.config == *config) {
            Some(old) => Self {
                table: Arc::clone(&old.table),
                cache: cache.inherit_from(&old.cache),
            },
            None => Self {
                table: Arc::new(Table::new(config)),
                cache,
            },
        }
    }

    pub(super) fn status(&self) -> ServerStatus {
        self.cache.status(Source::Socketmap)
    }

    pub(super) async fn query(&self, deadline: Instant, domain: &Domain) -> SourceAnswer {
        let question = || look_up(Arc::clone(&self.table), domain.clone());
        self.cache.get(domain, deadline, question).await
    }
}

/// Looks up a domain; the most specific entry wins.
async fn look_up(table: Arc<Table>, domain: Domain) -> Reply {
    for key in keys(domain.as_str()) {
        match table.query(&key).await {
            Ok(Response::NotFound) => {}
            Ok(Response::Found(data)) => return read(&key, &data),
            Ok(Response::Failed(reason)) => return Reply::Failed(reason),
            Err(error) => return Reply::Failed(error.to_string()),
        }
    }
    Reply::Definite(DefiniteAnswer::NoEntry, None)
}

/// Returns the keys of a domain: `a.example.org`, `.example.org`, `.org`.
fn keys(domain: &str) -> impl Iterator<Item = String> {
    let parents = successors(parent(domain), |name| parent(name));
    once(domain.to_owned()).chain(parents.map(|parent| format!(".{parent}")))
}

fn parent(domain: &str) -> Option<&str> {
    domain.split_once('.').map(|(_, parent)| parent)
}

/// Converts data to an answer: the truth values of databases and the words of access(5).
fn read(key: &str, data: &[u8]) -> Reply {
    let word = data.trim_ascii().to_ascii_lowercase();
    match word.as_slice() {
        b"yes" | b"true" | b"t" | b"1" | b"ok" => Reply::Definite(DefiniteAnswer::Yes, None),
        b"no" | b"false" | b"f" | b"0" | b"reject" => Reply::Definite(DefiniteAnswer::No, None),
        _ => Reply::Failed(format!(
            "\"{}\" for {key} is not allowed here; write yes or no",
            wire::printable(data)
        )),
    }
}

/// A map of a server, and its idle connection.
#[derive(Debug)]
struct Table {
    config: config::Socketmap,
    idle: Mutex<Option<Connection>>,
    turns: Semaphore,
}

impl Table {
    fn new(config: &config::Socketmap) -> Self {
        Self {
            config: config.clone(),
            idle: Mutex::default(),
            turns: Semaphore::new(CONNECTIONS),
        }
    }

    async fn query(&self, key: &str) -> io::Result<Response> {
        let _turn = self.turns.acquire().await;
        let request = format!("{} {key}", self.config.map);
        let idle = self.idle().take();
        if let Some(idle) = idle {
            // The server may have closed the connection since the last query, or have
            // been restarted: retry on a new one.
            if let Ok(response) = self.query_on(idle, &request).await {
                return Ok(response);
            }
        }
        let connection = Connection::open(&self.config.server).await?;
        self.query_on(connection, &request).await
    }

    /// Sends a request on a connection. A connection that failed, or whose query was
    /// canceled, is closed: a late reply would be taken for the next one.
    async fn query_on(&self, connection: Connection, request: &str) -> io::Result<Response> {
        let mut connection = connection;
        let response = connection.query(request).await?;
        *self.idle() = Some(connection);
        Ok(response)
    }

    fn idle(&self) -> MutexGuard<'_, Option<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_the_domain_and_its_parents_with_a_dot() {
        let table = [
            (
                "mail.example.org",
                vec!["mail.example.org", ".example.org", ".org"],
            ),
            ("example.org", vec!["example.org", ".org"]),
            ("localhost", vec!["localhost"]),
        ];
        for (domain, want) in table {
            assert_eq!(keys(domain).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn data_is_a_truth_value_or_an_error() {
        for data in ["yes", "YES", " true\n", "t", "1", "OK"] {
            assert_eq!(
                read("k", data.as_bytes()),
                Reply::Definite(DefiniteAnswer::Yes, None),
                "{data}"
            );
        }
        for data in ["no", "False", "f", "0", "REJECT"] {
            assert_eq!(
                read("k", data.as_bytes()),
                Reply::Definite(DefiniteAnswer::No, None),
                "{data}"
            );
        }
        for data in ["", "maybe", "smtp:[192.0.2.1]", "10", "yes no", "\u{1}\n"] {
            let reply = read("example.org", data.as_bytes());
            let Reply::Failed(reason) = reply else {
                panic!("{data}: {reply:?}");
            };
            assert!(
                reason.contains("for example.org is not allowed here"),
                "{reason}"
            );
            assert!(!reason.contains(char::is_control), "{reason}");
        }
    }
}
