//! The cache for the opt-in sources that are servers: it caches answers, serves stale
//! answers while a server fails, and runs one query per domain at a time.
//!
//! As in RFC 8767, a stale answer is refreshed, and still used if the refresh fails. A
//! failure never becomes an answer: without a stale answer, the opt-in is unknown.

mod health;

use super::{ServerStatus, Source, SourceAnswer};
use crate::{address::Domain, config, dns::Failure};
use health::Health;
use quick_cache::sync;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

/// The maximum number of cached domains per server. They take 99 MiB with names of maximum
/// length, and 43 MiB with names of up to 32 bytes. Domains without a hit are evicted first,
/// so a flood of invented ones does not evict those that receive mail.
/// `dns.cache_bytes` does not apply: stale answers are needed even if DNS answers are not
/// cached.
const CAPACITY: usize = 1 << 18;

/// How long a message waits for a new answer if there is a stale one. RFC 8767 section 5
/// recommends 1.8 s.
const MAX_WAIT: Duration = Duration::from_millis(1800);

/// The maximum wait while the server is failing: long enough for a server that works
/// again to answer the first message.
const MAX_WAIT_WHILE_FAILING: Duration = Duration::from_millis(50);

/// The time after the deadline of a query by which its failure is recorded.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// While the server is failing, the number of pending queries above which messages with a
/// stale answer start no more.
const MAX_PENDING_WHILE_FAILING: usize = 16;

/// The interval at which an unreachable server is queried at the start, until it answers.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// A domain that cannot exist (RFC 6761 section 6.4), for queries without a message.
pub(super) const PROBE_DOMAIN: &str = "sixgate-probe.invalid";

/// The cache of one server.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    lifetimes: config::OptInCache,
    shared: Arc<Shared>,
}

/// The reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A definite answer, with its expiry if the server sends one.
    Definite(DefiniteAnswer, Option<Instant>),
    /// A temporary failure. The text is for the log.
    Failed(String),
}

impl From<Failure> for Reply {
    /// Converts a DNS failure, whose text may quote server output.
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string().escape_default().to_string())
    }
}

/// A definite answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DefiniteAnswer {
    /// The domain opted in.
    Yes,
    /// The domain opted out.
    No,
    /// There is no entry for it.
    NoEntry,
}

#[derive(Debug)]
struct Shared {
    /// Messages with a fresh answer use nothing else of this, so that they share no lock.
    answers: sync::Cache<Domain, Entry>,
    pending: Mutex<HashMap<Domain, Pending>>,
    health: Mutex<Health>,
    /// Incremented to make all answers stale.
    generation: AtomicU64,
}

/// A pending query: `None` until it has an answer.
type Pending = watch::Receiver<Option<SourceAnswer>>;

#[derive(Clone, Copy, Debug)]
struct Entry {
    answer: DefiniteAnswer,
    since: Instant,
    valid_until: Option<Instant>,
    /// The generation of the cache when the query started.
    generation: u64,
}

/// The generation of an answer that was marked as stale.
const EXPIRED: u64 = u64::MAX;

/// The cached answer for a domain.
enum CachedAnswer {
    Fresh(DefiniteAnswer),
    Stale(DefiniteAnswer),
    Missing,
}

impl Cache {
    /// Creates an empty cache. `server` is the name of the server in the log.
    pub(super) fn new(server: String, lifetimes: config::OptInCache) -> Self {
        Self {
            lifetimes,
            shared: Arc::new(Shared {
                answers: sync::Cache::new(CAPACITY),
                pending: Mutex::default(),
                health: Mutex::new(Health::new(server)),
                generation: AtomicU64::new(0),
            }),
        }
    }

    /// Takes over the answers of another cache of the same server, but not its lifetimes.
    pub(super) fn inherit_from(self, old: &Self) -> Self {
        Self {
            shared: Arc::clone(&old.shared),
            ..self
        }
    }

    /// Returns the answer for a domain if it is fresh, for callers whose queries are
    /// expensive to prepare.
    pub(super) fn fresh(&self, domain: &Domain) -> Option<SourceAnswer> {
        match self.cached(domain) {
            CachedAnswer::Fresh(answer) => Some(answer.into()),
            CachedAnswer::Stale(_) | CachedAnswer::Missing => None,
        }
    }

    /// Returns the answer for a domain. Runs `question` if needed, which fails at
    /// `deadline`.
    pub(super) async fn get<Q>(
        &self,
        domain: &Domain,
        deadline: Instant,
        question: impl FnOnce() -> Q,
    ) -> SourceAnswer
    where
        Q: Future<Output = Reply> + Send + 'static,
    {
        match self.cached(domain) {
            CachedAnswer::Fresh(answer) => answer.into(),
            CachedAnswer::Stale(answer) if self.shared.is_failing_with_backlog() => answer.into(),
            CachedAnswer::Stale(stale) => {
                let pending = self.shared.start_query(domain, deadline, question);
                self.shared.newer_than(stale, pending, deadline).await
            }
            CachedAnswer::Missing => {
                let pending = self.shared.start_query(domain, deadline, question);
                let until = deadline + SETTLE_TIME;
                answer_by(pending, until)
                    .await
                    .unwrap_or(SourceAnswer::Temperror)
            }
        }
    }

    /// Queries the server in the background, with `timeout` per query, until it has
    /// answered once, so that an unreachable server is reported at the start. Stops when
    /// the source is dropped. Must be called in a tokio runtime.
    pub(super) fn probe<S, Q>(
        &self,
        source: &Arc<S>,
        timeout: Duration,
        look_up: impl Fn(Arc<S>, Domain) -> Q + Send + Sync + 'static,
    ) where
        S: Send + Sync + 'static,
        Q: Future<Output = Reply> + Send + 'static,
    {
        let Ok(domain) = Domain::parse(PROBE_DOMAIN) else {
            return;
        };
        let in_use = Arc::downgrade(source);
        let cache = self.clone();
        tokio::spawn(async move {
            while lock(&cache.shared.health).last_success().is_none()
                && let Some(source) = in_use.upgrade()
            {
                let deadline = Instant::now() + timeout * 2;
                let question = || look_up(source, domain.clone());
                cache.get(&domain, deadline, question).await;
                sleep(PROBE_INTERVAL).await;
            }
        });
    }

    /// Returns the status of the server.
    pub(super) fn status(&self, source: Source) -> ServerStatus {
        let domains = self.shared.answers.len();
        let health = lock(&self.shared.health);
        ServerStatus {
            source,
            domains,
            age: health.last_success(),
            error: health.failure().map(str::to_owned),
        }
    }

    /// Marks the answer for a domain as stale, so that the next message triggers a new
    /// query.
    pub(super) fn expire(&self, domain: &Domain) {
        // A pending query may have been answered before the change.
        if lock(&self.shared.pending).contains_key(domain) {
            self.expire_all();
            return;
        }
        let answers = &self.shared.answers;
        if let Some(entry) = answers.peek(domain) {
            let expired = Entry {
                generation: EXPIRED,
                ..entry
            };
            // Fails if the entry was evicted in between. An answer that was stored in
            // between is marked as stale, which costs a query.
            let _ = answers.replace(domain.clone(), expired, true);
        }
    }

    /// Marks all answers as stale.
    pub(super) fn expire_all(&self) {
        self.shared.generation.fetch_add(1, Ordering::Relaxed);
    }

    fn cached(&self, domain: &Domain) -> CachedAnswer {
        let Some(entry) = self.shared.answers.get(domain) else {
            return CachedAnswer::Missing;
        };
        let now = Instant::now();
        let fresh_until = entry.fresh_until(&self.lifetimes);
        let generation = self.shared.generation.load(Ordering::Relaxed);
        if now < fresh_until && entry.generation == generation {
            CachedAnswer::Fresh(entry.answer)
        } else if now < fresh_until + self.lifetimes.stale {
            CachedAnswer::Stale(entry.answer)
        } else {
            CachedAnswer::Missing
        }
    }
}

impl Entry {
    fn fresh_until(&self, lifetimes: &config::OptInCache) -> Instant {
        let lifetime = match self.answer {
            DefiniteAnswer::Yes | DefiniteAnswer::No => lifetimes.positive,
            DefiniteAnswer::NoEntry => lifetimes.negative,
        };
        let kept = self.since + lifetime;
        self.valid_until.map_or(kept, |until| until.min(kept))
    }
}

impl Shared {
    fn is_failing_with_backlog(&self) -> bool {
        lock(&self.health).is_failing() && lock(&self.pending).len() >= MAX_PENDING_WHILE_FAILING
    }

    /// Starts a query, or joins a pending one for the same domain. The query continues
    /// when its callers stop waiting, so that the next message has the answer.
    fn start_query<Q>(
        self: &Arc<Self>,
        domain: &Domain,
        deadline: Instant,
        question: impl FnOnce() -> Q,
    ) -> Pending
    where
        Q: Future<Output = Reply> + Send + 'static,
    {
        let mut queries = lock(&self.pending);
        if let Some(pending) = queries.get(domain) {
            return pending.clone();
        }
        let (sender, pending) = watch::channel(None);
        queries.insert(domain.clone(), pending.clone());
        let registration = Registration {
            shared: Arc::clone(self),
            domain: domain.clone(),
            generation: self.generation.load(Ordering::Relaxed),
        };
        let question = question();
        tokio::spawn(async move {
            let reply = timeout_at(deadline, question).await;
            let late = |_elapsed| Reply::Failed("no answer in time".to_owned());
            let known = registration.complete(reply.unwrap_or_else(late));
            sender.send_replace(Some(known));
        });
        pending
    }

    /// Returns a new answer if it arrives soon, else the stale one.
    async fn newer_than(
        &self,
        stale: DefiniteAnswer,
        pending: Pending,
        deadline: Instant,
    ) -> SourceAnswer {
        let max_wait = stale.max_wait(lock(&self.health).is_failing());
        let until = max_wait.map_or(deadline, |wait| deadline.min(Instant::now() + wait));
        match answer_by(pending, until).await {
            Some(known @ (SourceAnswer::Yes | SourceAnswer::No | SourceAnswer::NoEntry)) => known,
            Some(SourceAnswer::Temperror) => stale.into(),
            None => {
                lock(&self.health).is_slow();
                stale.into()
            }
        }
    }
}

impl DefiniteAnswer {
    /// Returns how long a message waits for a new answer instead of this stale one;
    /// `None` is until its deadline. A stale negative answer may permanently reject mail
    /// of a domain that has opted in since, so it waits longer.
    fn max_wait(self, is_failing: bool) -> Option<Duration> {
        match (self, is_failing) {
            (Self::Yes, true) => Some(MAX_WAIT_WHILE_FAILING),
            (Self::Yes, false) | (Self::No | Self::NoEntry, true) => Some(MAX_WAIT),
            (Self::No | Self::NoEntry, false) => None,
        }
    }
}

/// Waits for the answer until `until`.
async fn answer_by(answer: Pending, until: Instant) -> Option<SourceAnswer> {
    let mut answer = answer;
    match timeout_at(until, answer.wait_for(Option::is_some)).await {
        Ok(Ok(known)) => *known,
        // The query task panicked, which proves nothing.
        Ok(Err(_)) => Some(SourceAnswer::Temperror),
        Err(_elapsed) => None,
    }
}

/// The registration of a pending query, removed on drop even if the query panics.
struct Registration {
    shared: Arc<Shared>,
    domain: Domain,
    generation: u64,
}

impl Registration {
    fn complete(&self, reply: Reply) -> SourceAnswer {
        match reply {
            Reply::Definite(answer, valid_until) => {
                lock(&self.shared.health).succeeded();
                let since = Instant::now();
                let entry = Entry {
                    answer,
                    since,
                    valid_until,
                    generation: self.generation,
                };
                self.shared.answers.insert(self.domain.clone(), entry);
                answer.into()
            }
            Reply::Failed(reason) => {
                lock(&self.shared.health).failed(&reason);
                SourceAnswer::Temperror
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.shared.pending).remove(&self.domain);
    }
}

impl From<DefiniteAnswer> for SourceAnswer {
    fn from(answer: DefiniteAnswer) -> Self {
        match answer {
            DefiniteAnswer::Yes => Self::Yes,
            DefiniteAnswer::No => Self::No,
            DefiniteAnswer::NoEntry => Self::NoEntry,
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The data stays consistent even if a holder panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
