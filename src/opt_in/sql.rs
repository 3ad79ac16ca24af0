//! The source `opt_in.sql`: a query to PostgreSQL, MySQL, MariaDB or SQLite.
//!
//! No row, or NULL, means that the source does not know the domain. Parent domains are
//! not looked up: the query can match them. A table that is suddenly empty must not opt
//! out everybody, so a missing row counts only while other domains still have a row.

mod database;
mod truth;

use super::{
    ServerCheck, ServerStatus, Source, SourceAnswer,
    cache::{Cache, DefiniteAnswer, PROBE_DOMAIN, Reply},
};
use crate::{address::Domain, config};
use database::Database;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use truth::Row;

/// The number of domains with a row to remember.
const WITNESSES: usize = 16;

/// How long a remembered row is used as a witness that the table has rows.
const WITNESS_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A database with a cache.
#[derive(Clone, Debug)]
pub(super) struct Sql {
    shared: Arc<Shared>,
    cache: Cache,
}

#[derive(Debug)]
struct Shared {
    config: config::Sql,
    database: Database,
    /// Domains that had a row, newest first.
    witnesses: Mutex<VecDeque<(Domain, Instant)>>,
}

impl Sql {
    /// Creates the source. Takes over the connections and the cache of `old` if its
    /// configuration is the same. `None` if the source is not used.
    pub(super) fn new(
        config: &config::Sql,
        lifetimes: config::OptInCache,
        old: Option<&Self>,
    ) -> Option<Self> {
        let first = config.url.first()?;
        let cache = Cache::new(format!("opt_in.sql {first}"), lifetimes);
        Some(match old.filter(|old| old.shared.config == *config) {
            Some(old) => Self {
                shared: Arc::clone(&old.shared),
                cache: cache.inherit_from(&old.cache),
            },
            None => Self {
                shared: Arc::new(Shared {
                    config: config.clone(),
                    database: Database::new(config),
                    witnesses: Mutex::default(),
                }),
                cache,
            },
        })
    }

    pub(super) fn status(&self) -> ServerStatus {
        self.cache.status(Source::Sql)
    }

    pub(super) async fn query(&self, deadline: Instant, domain: &Domain) -> SourceAnswer {
        let question = || look_up(Arc::clone(&self.shared), domain.clone());
        self.cache.get(domain, deadline, question).await
    }

    /// Queries the database in the background until it has answered once, so that an
    /// unreachable database is reported at the start. Must be called in a tokio runtime.
    pub(super) fn probe(&self) {
        let timeout = self.shared.config.timeout;
        self.cache.probe(&self.shared, timeout, look_up);
    }

    /// Checks each database and the query.
    pub(super) async fn check(&self) -> Vec<ServerCheck> {
        self.shared.database.check(PROBE_DOMAIN).await
    }
}

async fn look_up(shared: Arc<Shared>, domain: Domain) -> Reply {
    let row = match shared.database.query(domain.as_str()).await {
        Ok(row) => row,
        Err(reason) => return Reply::Failed(reason),
    };
    let answer = match row {
        Row::Yes => DefiniteAnswer::Yes,
        Row::No => DefiniteAnswer::No,
        Row::Null => DefiniteAnswer::NoEntry,
        Row::Missing => return shared.missing(&domain).await,
    };
    shared.saw_row(&domain);
    Reply::Definite(answer, None)
}

impl Shared {
    /// Handles a missing row. If it were taken literally after a table was emptied, all
    /// mail over IPv6 would be rejected permanently.
    async fn missing(&self, domain: &Domain) -> Reply {
        if let Some(sentinel) = &self.config.sentinel {
            return match self.database.query(sentinel.as_str()).await {
                Ok(Row::Missing) => Reply::Failed(format!(
                    "there is no row for {sentinel} (opt_in.sql.sentinel), so the table is not \
                     what it should be"
                )),
                Ok(_) => Reply::Definite(DefiniteAnswer::NoEntry, None),
                Err(reason) => Reply::Failed(reason),
            };
        }
        let witnesses = self.living_witnesses();
        let mut without_row = Vec::new();
        for witness in &witnesses {
            if witness == domain {
                without_row.push(witness);
                continue;
            }
            match self.database.query(witness.as_str()).await {
                Ok(Row::Missing) => without_row.push(witness),
                Ok(_) => {
                    // These domains were removed, but the table is not empty.
                    self.lock()
                        .retain(|(known, _)| !without_row.contains(&known));
                    return Reply::Definite(DefiniteAnswer::NoEntry, None);
                }
                Err(reason) => return Reply::Failed(reason),
            }
        }
        match without_row.len() {
            // There is no witness to contradict it.
            0 => Reply::Definite(DefiniteAnswer::NoEntry, None),
            known => Reply::Failed(format!(
                "there is no row for {domain}, and none for the domains that had one before \
                 ({known}): the table seems to have been emptied"
            )),
        }
    }

    fn saw_row(&self, domain: &Domain) {
        let mut witnesses = self.lock();
        witnesses.retain(|(known, _)| known != domain);
        witnesses.truncate(WITNESSES - 1);
        witnesses.push_front((domain.clone(), Instant::now()));
    }

    fn living_witnesses(&self) -> Vec<Domain> {
        let mut witnesses = self.lock();
        witnesses.retain(|(_, seen)| seen.elapsed() < WITNESS_LIFETIME);
        witnesses.iter().map(|(domain, _)| domain.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Domain, Instant)>> {
        self.witnesses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
