//! The list of `sixgate exempt` in Redis, so that one command serves a fleet: a hash next
//! to that of `opt_in.redis`, whose fields are networks and whose values are `yes` with
//! an optional end and comment.
//!
//! The whole hash is in memory, so that a connection needs no query. While Redis is
//! unreachable, the last known list is used; at the start it is empty, so that mail is
//! checked as usual.

use super::{
    entry::{Comment, Entry, show},
    managed::{Addition, KEPT, Removal, set},
    table::Table,
};
use crate::{
    config, list_file,
    list_file::edit,
    list_file::live::Contents as _,
    redis_client::{Change, Notice, Notices, RedisClient, RedisFailure},
};
use ipnet::Ipv6Net;
use jiff::Timestamp;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak},
    time::{Duration, Instant},
};
use tokio::{task::AbortHandle, time::timeout};

/// The interval at which the hash is read without a change notification.
const REFRESH: Duration = Duration::from_secs(60);

/// The interval after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Changes within this time are read together.
const TOGETHER: Duration = Duration::from_millis(100);

/// The timeout for reading the whole list.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The minimum interval between log lines about a failure to read Redis.
const LOG_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The list of one configuration.
#[derive(Debug)]
pub(super) struct RedisList {
    config: config::Redis,
    key: String,
    client: RedisClient,
    list: RwLock<Arc<Table>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    follower: Option<AbortHandle>,
    error: Option<String>,
    logged: Option<Instant>,
}

impl Drop for RedisList {
    fn drop(&mut self) {
        if let Some(follower) = self.state().follower.take() {
            follower.abort();
        }
    }
}

impl RedisList {
    /// Creates an empty list without connecting.
    pub(super) fn new(config: &config::Redis) -> Self {
        Self {
            config: config.clone(),
            key: key(config),
            client: RedisClient::new(config),
            list: RwLock::default(),
            state: Mutex::default(),
        }
    }

    /// Returns whether this is the list of a configuration.
    pub(super) fn is_of(&self, config: &config::Redis) -> bool {
        self.config == *config
    }

    /// Returns the key of the hash.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Returns the current list, locked against replacement.
    pub(super) fn current(&self) -> RwLockReadGuard<'_, Arc<Table>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why the list in use may differ from the one in Redis.
    pub(super) fn error(&self) -> Option<String> {
        self.state().error.clone()
    }

    /// Reads the hash.
    pub(super) async fn load(&self) -> Result<(), String> {
        let old = Arc::clone(&self.current());
        let read = self.client.with_timeout(READ_TIMEOUT);
        let hash = read.hash(&self.key).await;
        let fields = hash.map_err(|failure| failure.to_string())?;
        let table = match fields {
            Some(fields) => parse(&fields, &old)?,
            // The hash does not exist yet, unless there was one before.
            None if old.is_empty() => Table::default(),
            None => return Err("there is no such hash any more".to_owned()),
        };
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        *list = Arc::new(table);
        Ok(())
    }

    /// Follows the hash in the background. Must be called in a tokio runtime.
    pub(super) fn follow(self: &Arc<Self>) {
        let mut state = self.state();
        if state.follower.is_none() {
            let notices = self.client.follow(&self.key);
            let task = tokio::spawn(follow(Arc::downgrade(self), notices));
            state.follower = Some(task.abort_handle());
        }
    }

    async fn reload(&self) {
        let (key, before) = (&self.key, self.current().len());
        match self.load().await {
            Ok(()) => {
                let mut state = self.state();
                let entries = self.current().len();
                if state.error.take().is_some() || entries != before {
                    tracing::info!("exempt networks: {entries} entries in {key} of Redis");
                }
                state.logged = None;
            }
            Err(error) => {
                let mut state = self.state();
                if state.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                    state.logged = Some(Instant::now());
                    tracing::error!(
                        "exempt networks: {key} of Redis: {error}; the last known list stays in \
                         force ({before} entries)"
                    );
                }
                state.error = Some(format!("exempt networks: {key} of Redis: {error}"));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(list: Weak<RedisList>, mut notices: Notices) {
    loop {
        let Some(current) = list.upgrade() else {
            return;
        };
        current.reload().await;
        let wait = match current.error() {
            Some(_) => RETRY,
            None => REFRESH,
        };
        drop(current);
        match timeout(wait, notices.next()).await {
            Ok(None) => return,
            Ok(Some(Notice::Lost(reason))) => {
                tracing::debug!("changes of exempt networks are not announced: {reason}");
            }
            Ok(Some(_)) | Err(_) => {}
        }
        while let Ok(Some(_)) = timeout(TOGETHER, notices.next()).await {}
    }
}

fn key(config: &config::Redis) -> String {
    format!("{}:exempt", config.key)
}

fn parse(fields: &[(String, String)], old: &Table) -> Result<Table, String> {
    let mut table = Table::default();
    for (field, value) in fields {
        let wrong = |complaint| format!("the field {field:?}: {complaint}");
        let (entry, comment) = entry(field, value).map_err(wrong)?;
        table.insert(entry, comment, 0, old).map_err(wrong)?;
    }
    Ok(table)
}

/// Parses a field into an entry. The value is `yes`, an optional end and a comment.
fn entry<'a>(field: &str, value: &'a str) -> Result<(Entry, Comment<'a>), String> {
    let (text, comment) = list_file::split(value);
    let rest = match text.split_once(char::is_whitespace) {
        Some(("yes", rest)) => rest,
        _ if text == "yes" => "",
        _ => {
            return Err(format!(
                "{text:?} is not allowed here; write yes, or yes until=TIME"
            ));
        }
    };
    let entry: Entry = format!("{field} {rest}").parse()?;
    Ok((entry, Comment::parse(comment)))
}

/// Returns the value of an entry.
fn value(entry: &Entry, today: &str, comment: &str) -> String {
    let until = entry.until.map(|until| format!("  until={until:.0}"));
    edit::with_comment(format!("yes{}", until.unwrap_or_default()), today, comment)
}

/// Adds or changes entries as [`super::managed::Managed::add`] does.
///
/// # Errors
/// Fails if no server accepts the edit.
pub async fn add(
    config: &config::Redis,
    entries: &[(Entry, Option<&str>)],
) -> Result<Vec<Addition>, RedisFailure> {
    let client = RedisClient::new(config).with_timeout(READ_TIMEOUT);
    let (now, today) = (Timestamp::now(), edit::today());
    let fields: Vec<String> = entries.iter().map(|(e, _)| show(&e.network)).collect();
    // A repeated entry is set only once.
    let mut additions = vec![Addition::AlreadyThere(String::new()); entries.len()];
    let decide = |index: usize, old: Option<&str>| {
        let (new, comment) = &entries[index];
        // An invalid value is replaced.
        let listed = old.and_then(|old| entry(&fields[index], old).ok());
        let (addition, comment) = set(listed, new, *comment, now);
        let is_there = matches!(addition, Addition::AlreadyThere(_));
        additions[index] = addition;
        match is_there {
            true => Change::Keep,
            false => Change::Set(value(new, &today, &comment)),
        }
    };
    client.edit(&key(config), &fields, decide).await?;
    remove_expired(&client, config, now).await?;
    Ok(additions)
}

/// Removes entries.
///
/// # Errors
/// Fails if no server accepts the edit.
pub async fn remove(
    config: &config::Redis,
    networks: &[Ipv6Net],
) -> Result<Vec<Removal>, RedisFailure> {
    let client = RedisClient::new(config).with_timeout(READ_TIMEOUT);
    let fields: Vec<String> = networks.iter().map(show).collect();
    let mut removals = vec![Removal::NotThere; networks.len()];
    let decide = |index: usize, old: Option<&str>| {
        removals[index] = match old {
            Some(_) => Removal::Removed,
            None => Removal::NotThere,
        };
        Change::Remove
    };
    client.edit(&key(config), &fields, decide).await?;
    remove_expired(&client, config, Timestamp::now()).await?;
    Ok(removals)
}

/// Removes entries that ended long ago.
async fn remove_expired(
    client: &RedisClient,
    config: &config::Redis,
    now: Timestamp,
) -> Result<(), RedisFailure> {
    let is_old = |field: &str, value: &str| {
        let until = entry(field, value).ok().and_then(|(entry, _)| entry.until);
        until.is_some_and(|until| now.duration_since(until) > KEPT)
    };
    let hash = client.hash(&key(config)).await?.unwrap_or_default();
    let old = hash
        .into_iter()
        .filter(|(field, value)| is_old(field, value));
    let old: Vec<String> = old.map(|(field, _)| field).collect();
    if old.is_empty() {
        return Ok(());
    }
    // The entry may have been renewed in the meantime.
    let decide = |index: usize, value: Option<&str>| match value {
        Some(value) if is_old(&old[index], value) => Change::Remove,
        Some(_) | None => Change::Keep,
    };
    client.edit(&key(config), &old, decide).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        let table = [
            ("2001:db8::/32", "why"),
            ("2001:db8::1 until=2026-12-12T00:00:00Z", "ticket 4711"),
        ];
        for (text, comment) in table {
            let new: Entry = text.parse().unwrap();
            let value = value(&new, "2026-11-28", comment);
            let (read, found) = entry(&show(&new.network), &value).unwrap();
            assert_eq!((read, found.text), (new, comment), "{value}");
        }
        for value in ["no", "", "yes until=never", "until=2026-12-12", "yesterday"] {
            assert!(entry("2001:db8::/32", value).is_err(), "{value}");
        }
        assert!(entry("192.0.2.1", "yes").is_err());
    }
}
