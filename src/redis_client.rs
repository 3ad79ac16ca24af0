//! Hashes in Redis: read with a deadline, edited atomically, and followed.
//!
//! All queries share one connection per server. A list of servers is tried in its order;
//! a failed one is tried only after the others for a while. A call takes at most the
//! timeout for each server. Errors never contain a password.

mod connection;
mod edit;
mod follow;
mod types;

use crate::config;
use connection::Server;
use futures_util::{FutureExt as _, future::BoxFuture};
use redis::{ErrorKind, ServerErrorKind};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

pub use follow::Notices;
pub use types::{Change, Fields, Notice, RedisFailure};

/// The servers of one configuration. Clones share their connections.
#[derive(Clone, Debug)]
pub struct RedisClient {
    servers: Arc<[Server]>,
    timeout: Duration,
}

impl Fields {
    /// Converts an answer that ends with the value of [`MARKER`].
    fn new(found: Vec<Option<Vec<u8>>>, exists: bool, number: usize) -> Result<Self, RedisFailure> {
        let mut values = found;
        if values.len() != number + 1 {
            return Err(RedisFailure::refused("its answer has another length"));
        }
        values.truncate(number);
        Ok(Self { values, exists })
    }
}

/// A field that edits keep in a hash, so that it exists without entries and a deleted
/// hash differs from an empty one. Fields that begin with `#` are not entries.
pub const MARKER: &str = "#";

impl RedisFailure {
    fn unreachable(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_unreachable: true,
        }
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_unreachable: false,
        }
    }
}

impl From<redis::RedisError> for RedisFailure {
    fn from(error: redis::RedisError) -> Self {
        let is_unreachable = match error.kind() {
            ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::AuthenticationFailed
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::InvalidClientConfig => true,
            ErrorKind::Server(kind) => matches!(
                kind,
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::TryAgain
            ),
            _ => false,
        };
        Self {
            reason: describe(&error),
            is_unreachable,
        }
    }
}

/// Describes an error in one line of limited length: servers quote their input.
fn describe(error: &redis::RedisError) -> String {
    let text = match (error.kind(), error.code(), error.detail()) {
        (ErrorKind::Server(ServerErrorKind::Moved), ..) => {
            "it is a node of a cluster; write cluster: yes".to_owned()
        }
        (ErrorKind::Server(ServerErrorKind::ResponseError), _, Some(detail)) => detail.to_owned(),
        (_, Some(code), Some(detail)) => format!("{code} {detail}"),
        (ErrorKind::AuthenticationFailed, ..) => {
            format!("it does not let us in: {error}")
        }
        _ => error.to_string(),
    };
    let text = text.replace(char::is_control, " ");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl RedisClient {
    /// Creates a client without connecting.
    pub fn new(config: &config::Redis) -> Self {
        let servers = match config.cluster {
            true => vec![Server::cluster(config)],
            false => Server::each(config),
        };
        Self {
            servers: servers.into(),
            timeout: config.timeout,
        }
    }

    /// Returns a client for the same servers with another timeout per server.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            servers: Arc::clone(&self.servers),
            timeout,
        }
    }

    /// Reads fields of a hash atomically with one HMGET. If none exists, not even
    /// [`MARKER`], a transaction repeats it and checks whether the hash exists. If it
    /// does not, tries the next server: a replica may have lost its data.
    ///
    /// # Errors
    /// Fails if no server answers, or the key is not a hash.
    pub async fn fields<'a>(
        &'a self,
        key: &'a str,
        fields: &'a [String],
    ) -> Result<Fields, RedisFailure> {
        let query = &|server: &'a Server| {
            async move {
                let mut command = redis::cmd("HMGET");
                command.arg(key).arg(fields).arg(MARKER);
                let found = server.query::<Vec<Option<Vec<u8>>>>(&command).await?;
                if found.iter().any(Option::is_some) {
                    return Fields::new(found, true, fields.len());
                }
                let mut transaction = redis::pipe();
                transaction.atomic().add_command(command);
                transaction.cmd("EXISTS").arg(key);
                let (found, exists) = server.query_pipeline(&transaction).await?;
                Fields::new(found, exists, fields.len())
            }
            .boxed()
        };
        self.try_servers_until(query, |found| found.exists).await
    }

    /// Reads a whole hash in parts, so that a large one does not block the server. Fields
    /// that exist during the whole time are returned once; fields that change may be
    /// missing. Sorted by field; `None` if there is no such hash.
    ///
    /// # Errors
    /// Fails if no server answers, or the key is not a hash.
    pub async fn hash<'a>(
        &'a self,
        key: &'a str,
    ) -> Result<Option<Vec<(String, String)>>, RedisFailure> {
        let scan = &|server| edit::scan(server, key).boxed();
        self.try_servers_until(scan, Option::is_some).await
    }

    /// Checks whether each server can be reached and has the hash. Returns the URL of
    /// each without parameters, and the number of fields or the failure. A cluster is one
    /// server.
    pub async fn check(&self, key: &str) -> Vec<(String, Result<u64, RedisFailure>)> {
        let mut checks = Vec::with_capacity(self.servers.len());
        for server in self.servers.iter() {
            let mut length = redis::cmd("HLEN");
            length.arg(key);
            let asked = timeout(self.timeout, server.query::<u64>(&length)).await;
            let found = asked.unwrap_or_else(|_elapsed| Err(self.no_answer()));
            if found.as_ref().is_err_and(|failure| failure.is_unreachable) {
                server.disconnect();
            }
            checks.push((server.name().to_owned(), found));
        }
        checks
    }

    fn no_answer(&self) -> RedisFailure {
        RedisFailure::unreachable(format!("no answer within {:?}", self.timeout))
    }

    /// Queries the servers in their order until one answers.
    async fn try_servers<'a, T>(
        &'a self,
        query: &(dyn Fn(&'a Server) -> BoxFuture<'a, Result<T, RedisFailure>> + Sync),
    ) -> Result<T, RedisFailure> {
        self.try_servers_until(query, |_| true).await
    }

    /// Queries the servers in their order until one has a result that `is_found` accepts.
    /// If none has, returns the answer of a reachable one.
    async fn try_servers_until<'a, T>(
        &'a self,
        query: &(dyn Fn(&'a Server) -> BoxFuture<'a, Result<T, RedisFailure>> + Sync),
        is_found: impl Fn(&T) -> bool,
    ) -> Result<T, RedisFailure> {
        let mut problems = Vec::new();
        let mut is_unreachable = true;
        let mut not_found = None;
        let (failed, well): (Vec<_>, Vec<_>) = self.servers.iter().partition(|s| s.has_failed());
        for server in well.into_iter().chain(failed) {
            let asked = timeout(self.timeout, query(server)).await;
            let answer = asked.unwrap_or_else(|_elapsed| Err(self.no_answer()));
            server.note(answer.as_ref().err());
            match answer {
                Ok(answer) if is_found(&answer) => return Ok(answer),
                Ok(answer) => not_found = Some(answer),
                Err(failure) => {
                    is_unreachable &= failure.is_unreachable;
                    problems.push(match self.servers.len() {
                        1 => failure.reason,
                        _ => format!("{}: {failure}", server.name()),
                    });
                }
            }
        }
        not_found.ok_or_else(|| RedisFailure {
            reason: problems.join("; "),
            is_unreachable,
        })
    }
}
