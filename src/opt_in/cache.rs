//! What the servers among the sources said before: answers for a while, last
//! known answers while a server fails, and one question at a time for a domain.
//!
//! In the manner of RFC 8767: an answer that is no longer fresh is asked for
//! anew, and serves on when nothing better comes. It never turns a failure into
//! an answer: without a last known one the domain is in doubt.

mod health;

use super::{Known, ServerStatus, Source};
use crate::{address::Domain, config, dns::Failure, recent::Recent};
use health::Health;
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

/// How many domains of one server are remembered at most, which take 97 MiB if
/// their names are as long as can be, and 38 MiB with names of up to 32 octets;
/// half of it are remembered in any case. It is not `dns.cache_bytes`: who
/// keeps no DNS answers still wants to be made up for while a server fails.
const CAPACITY: usize = 1 << 18;

/// How long a mail that could have the last known answer waits for a new one.
/// RFC 8767 section 5 recommends 1.8 s.
const PATIENCE: Duration = Duration::from_millis(1800);

/// The same while the server is known to fail: time enough for one that is back
/// to say so to the very first mail.
const PATIENCE_WHILE_FAILING: Duration = Duration::from_millis(50);

/// A question ends at its deadline; so much later at most has been noted why.
const LAST_WORD: Duration = Duration::from_millis(100);

/// While the server is known to fail, so many questions are under way at most
/// before mails with a last known answer stop adding to them.
const PROBES: usize = 16;

/// How often an unreachable server is asked at the start, until it answers.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// A domain that nobody has (RFC 6761 section 6.4), for questions without a mail.
pub(super) const NOBODY: &str = "sixgate-probe.invalid";

/// The answers of one server.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    lifetimes: config::OptInCache,
    shared: Arc<Shared>,
}

/// What a server says when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is sure, until then if it says how long.
    Definite(Says, Option<Instant>),
    /// It can't tell now. The text is for the log.
    Failed(String),
}

impl From<Failure> for Reply {
    /// The DNS did not answer. Its text may quote what a server sent.
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string().escape_default().to_string())
    }
}

/// A definite answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The domain opted in.
    Yes,
    /// It opted out.
    No,
    /// There is no entry for it.
    Nothing,
}

#[derive(Debug)]
struct Shared {
    answers: Mutex<Recent<Domain, Entry>>,
    under_way: Mutex<HashMap<Domain, Pending>>,
    health: Mutex<Health>,
    /// Grows when all answers are to be asked for anew.
    generation: AtomicU64,
}

/// A question under way: `None` until it has an answer.
type Pending = watch::Receiver<Option<Known>>;

#[derive(Clone, Copy, Debug)]
struct Entry {
    says: Says,
    since: Instant,
    valid_until: Option<Instant>,
    /// That of the cache when the question was asked.
    generation: u64,
}

/// The generation of an answer that is to be asked for anew.
const EXPIRED: u64 = u64::MAX;

/// What is remembered of a domain.
enum Last {
    Fresh(Says),
    Stale(Says),
    Nothing,
}

impl Cache {
    /// Remembers nothing yet. `server` is its name in the log.
    pub(super) fn new(server: String, lifetimes: config::OptInCache) -> Self {
        Self {
            lifetimes,
            shared: Arc::new(Shared {
                answers: Mutex::new(Recent::new(CAPACITY)),
                under_way: Mutex::default(),
                health: Mutex::new(Health::new(server)),
                generation: AtomicU64::new(0),
            }),
        }
    }

    /// Goes on with what another cache of the same server remembers. The
    /// lifetimes are its own.
    pub(super) fn succeeding(self, old: &Self) -> Self {
        Self {
            shared: Arc::clone(&old.shared),
            ..self
        }
    }

    /// The answer for a domain while it is fresh, for callers whose questions take an
    /// effort to prepare.
    pub(super) fn fresh(&self, domain: &Domain) -> Option<Known> {
        match self.last(domain) {
            Last::Fresh(says) => Some(says.into()),
            Last::Stale(_) | Last::Nothing => None,
        }
    }

    /// The answer for a domain. `question` is asked if need be; when it has no
    /// reply by `deadline`, it has failed.
    pub(super) async fn get<Q>(
        &self,
        domain: &Domain,
        deadline: Instant,
        question: impl FnOnce() -> Q,
    ) -> Known
    where
        Q: Future<Output = Reply> + Send + 'static,
    {
        match self.last(domain) {
            Last::Fresh(says) => says.into(),
            Last::Stale(says) if self.shared.is_busy_failing() => says.into(),
            Last::Stale(says) => {
                let answer = self.shared.ask(domain, deadline, question);
                self.shared.better_than(says, answer, deadline).await
            }
            Last::Nothing => {
                let answer = self.shared.ask(domain, deadline, question);
                let until = deadline + LAST_WORD;
                in_time(answer, until).await.unwrap_or(Known::Temperror)
            }
        }
    }

    /// Asks the server, which has `timeout` for a question, until it has answered once, so
    /// that one that is unreachable at the start is reported before mail comes. Ends when
    /// nobody else has the source. Needs a runtime.
    pub(super) fn probe<S, Q>(
        &self,
        source: &Arc<S>,
        timeout: Duration,
        look_up: impl Fn(Arc<S>, Domain) -> Q + Send + Sync + 'static,
    ) where
        S: Send + Sync + 'static,
        Q: Future<Output = Reply> + Send + 'static,
    {
        let Ok(nobody) = Domain::parse(NOBODY) else {
            return;
        };
        let in_use = Arc::downgrade(source);
        let cache = self.clone();
        tokio::spawn(async move {
            while lock(&cache.shared.health).last_success().is_none()
                && let Some(source) = in_use.upgrade()
            {
                let deadline = Instant::now() + timeout * 2;
                let question = || look_up(source, nobody.clone());
                cache.get(&nobody, deadline, question).await;
                sleep(PROBE_INTERVAL).await;
            }
        });
    }

    /// How the server does.
    pub(super) fn status(&self, source: Source) -> ServerStatus {
        let domains = lock(&self.shared.answers).len();
        let health = lock(&self.shared.health);
        ServerStatus {
            source,
            domains,
            age: health.last_success(),
            error: health.failure().map(str::to_owned),
        }
    }

    /// Has the next mail for a domain ask anew. The last answer serves only if nothing
    /// better comes.
    pub(super) fn expire(&self, domain: &Domain) {
        // A question that is pending may have been answered before the change.
        if lock(&self.shared.under_way).contains_key(domain) {
            self.expire_all();
            return;
        }
        let mut answers = lock(&self.shared.answers);
        if let Some(entry) = answers.get(domain) {
            let expired = Entry {
                generation: EXPIRED,
                ..entry
            };
            answers.insert(domain.clone(), expired);
        }
    }

    /// The same for all domains.
    pub(super) fn expire_all(&self) {
        self.shared.generation.fetch_add(1, Ordering::Relaxed);
    }

    fn last(&self, domain: &Domain) -> Last {
        let Some(entry) = lock(&self.shared.answers).get(domain) else {
            return Last::Nothing;
        };
        let now = Instant::now();
        let fresh_until = entry.fresh_until(&self.lifetimes);
        let generation = self.shared.generation.load(Ordering::Relaxed);
        if now < fresh_until && entry.generation == generation {
            Last::Fresh(entry.says)
        } else if now < fresh_until + self.lifetimes.stale {
            Last::Stale(entry.says)
        } else {
            Last::Nothing
        }
    }
}

impl Entry {
    fn fresh_until(&self, lifetimes: &config::OptInCache) -> Instant {
        let lifetime = match self.says {
            Says::Yes | Says::No => lifetimes.positive,
            Says::Nothing => lifetimes.negative,
        };
        let kept = self.since + lifetime;
        self.valid_until.map_or(kept, |until| until.min(kept))
    }
}

impl Shared {
    fn is_busy_failing(&self) -> bool {
        lock(&self.health).is_failing() && lock(&self.under_way).len() >= PROBES
    }

    /// Asks, or joins those who wait for the same domain. The question goes on
    /// without them, so that the next mail has its answer.
    fn ask<Q>(
        self: &Arc<Self>,
        domain: &Domain,
        deadline: Instant,
        question: impl FnOnce() -> Q,
    ) -> Pending
    where
        Q: Future<Output = Reply> + Send + 'static,
    {
        let mut under_way = lock(&self.under_way);
        if let Some(pending) = under_way.get(domain) {
            return pending.clone();
        }
        let (sender, pending) = watch::channel(None);
        under_way.insert(domain.clone(), pending.clone());
        let turn = Turn {
            shared: Arc::clone(self),
            domain: domain.clone(),
            generation: self.generation.load(Ordering::Relaxed),
        };
        let question = question();
        tokio::spawn(async move {
            let reply = timeout_at(deadline, question).await;
            let late = |_elapsed| Reply::Failed("no answer in time".to_owned());
            let known = turn.take_note(reply.unwrap_or_else(late));
            sender.send_replace(Some(known));
        });
        pending
    }

    /// A new answer if there is one soon, else the last known one.
    async fn better_than(&self, last: Says, answer: Pending, deadline: Instant) -> Known {
        let patience = last.patience(lock(&self.health).is_failing());
        let until = patience.map_or(deadline, |patience| deadline.min(Instant::now() + patience));
        match in_time(answer, until).await {
            Some(known @ (Known::Yes | Known::No | Known::Nothing)) => known,
            Some(Known::Temperror) => last.into(),
            None => {
                lock(&self.health).is_slow();
                last.into()
            }
        }
    }
}

impl Says {
    /// How long a mail waits for a new answer that could have this one; `None`
    /// is as long as it can. What may refuse for good a domain that has opted in
    /// since is worth waiting for.
    fn patience(self, is_failing: bool) -> Option<Duration> {
        match (self, is_failing) {
            (Self::Yes, true) => Some(PATIENCE_WHILE_FAILING),
            (Self::Yes, false) | (Self::No | Self::Nothing, true) => Some(PATIENCE),
            (Self::No | Self::Nothing, false) => None,
        }
    }
}

/// The answer, if it comes by then.
async fn in_time(answer: Pending, until: Instant) -> Option<Known> {
    let mut answer = answer;
    match timeout_at(until, answer.wait_for(Option::is_some)).await {
        Ok(Ok(known)) => *known,
        // The question ended without a reply: a defect, which proves nothing.
        Ok(Err(_)) => Some(Known::Temperror),
        Err(_elapsed) => None,
    }
}

/// The right to ask for a domain, given back whatever becomes of the question.
struct Turn {
    shared: Arc<Shared>,
    domain: Domain,
    generation: u64,
}

impl Turn {
    fn take_note(&self, reply: Reply) -> Known {
        match reply {
            Reply::Definite(says, valid_until) => {
                lock(&self.shared.health).succeeded();
                let since = Instant::now();
                let entry = Entry {
                    says,
                    since,
                    valid_until,
                    generation: self.generation,
                };
                lock(&self.shared.answers).insert(self.domain.clone(), entry);
                says.into()
            }
            Reply::Failed(reason) => {
                lock(&self.shared.health).failed(&reason);
                Known::Temperror
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.shared.under_way).remove(&self.domain);
    }
}

impl From<Says> for Known {
    fn from(says: Says) -> Self {
        match says {
            Says::Yes => Self::Yes,
            Says::No => Self::No,
            Says::Nothing => Self::Nothing,
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder leaves it whole, even one that panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
