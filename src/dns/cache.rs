//! Answers of the DNS that may be kept: records for as long as their TTL says,
//! and that there are none for as long as the zone does (RFC 2308). What can't
//! be known now is never kept.
//!
//! Answers are held as they are used. hickory's own cache holds whole messages,
//! ten times as large, and takes each apart again whenever it is asked for.

use super::Answer;
use crate::recent::Recent;
use std::{
    fmt,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Answers of one record type.
pub(super) struct Cache<K, T>(Mutex<Recent<K, Timed<T>>>);

/// An answer, and until when it may be kept; `None` if it may not.
#[derive(Clone, Debug)]
pub(super) struct Timed<T> {
    pub(super) answer: Answer<T>,
    pub(super) keep_until: Option<Instant>,
}

impl<K: Clone + Eq + Hash, T: Clone> Cache<K, T> {
    /// Holds nothing yet, and never more than `capacity` answers.
    pub(super) fn new(capacity: usize) -> Self {
        Self(Mutex::new(Recent::new(capacity)))
    }

    /// The answer that is kept, or what `ask` brings.
    pub(super) async fn answer(&self, key: &K, ask: impl Future<Output = Timed<T>>) -> Answer<T> {
        self.timed(key, ask).await.answer
    }

    /// The same, and until when it is kept.
    pub(super) async fn timed(&self, key: &K, ask: impl Future<Output = Timed<T>>) -> Timed<T> {
        if let Some(kept) = self.get(key, Instant::now()) {
            return kept;
        }
        let fresh = ask.await;
        if fresh.is_current(Instant::now()) {
            self.with(|recent| recent.insert(key.clone(), fresh.clone()));
        }
        fresh
    }

    fn get(&self, key: &K, now: Instant) -> Option<Timed<T>> {
        let kept = self.with(|recent| recent.get(key))?;
        kept.is_current(now).then_some(kept)
    }

    fn with<U>(&self, work: impl FnOnce(&mut Recent<K, Timed<T>>) -> U) -> U {
        // Nothing in there can be left half-done by a panic.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K, T> fmt::Debug for Cache<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl<T> Timed<T> {
    /// An answer that may not be kept.
    pub(super) fn unkept(answer: Answer<T>) -> Self {
        Self {
            answer,
            keep_until: None,
        }
    }

    /// As [`Answer::filter_map`].
    pub(super) fn filter_map<U>(self, convert: impl FnMut(T) -> Option<U>) -> Timed<U> {
        Timed {
            answer: self.answer.filter_map(convert),
            keep_until: self.keep_until,
        }
    }

    fn is_current(&self, now: Instant) -> bool {
        self.keep_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Absence, Failure, Records};
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn found(record: u8, valid_until: Instant) -> Answer<u8> {
        Answer::Found(Records {
            records: vec![record],
            valid_until,
        })
    }

    async fn ask(cache: &Cache<&str, u8>, answer: &Answer<u8>, keep: Option<Instant>) -> bool {
        let fresh = Timed {
            answer: answer.clone(),
            keep_until: keep,
        };
        let marker = found(99, Instant::now());
        assert_eq!(cache.answer(&"name", async { fresh }).await, *answer);
        let again = async { Timed::unkept(marker.clone()) };
        cache.answer(&"name", again).await == *answer
    }

    #[tokio::test]
    async fn an_answer_is_kept_as_long_as_it_may_be() {
        let now = Instant::now();
        let records = found(1, now + HOUR);
        let absent = Answer::Absent(Absence::NxDomain);
        let failed = Answer::Temperror(Failure::ServFail);
        let table = [
            (&records, Some(now + HOUR), true),
            (&records, Some(now), false),
            (&records, None, false),
            (&absent, Some(now + HOUR), true),
            (&absent, None, false),
            (&failed, None, false),
        ];
        for (answer, keep_until, kept) in table {
            let cache = Cache::new(10);
            assert_eq!(ask(&cache, answer, keep_until).await, kept, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_out_of_date_is_asked_for_anew() {
        let cache = Cache::new(10);
        let until = Instant::now() + HOUR;
        assert!(ask(&cache, &found(1, until), Some(until)).await);
        assert!(cache.get(&"name", until).is_none());
        assert!(cache.get(&"name", until - HOUR).is_some());
    }

    #[tokio::test]
    async fn a_cache_without_room_keeps_nothing() {
        let until = Instant::now() + HOUR;
        assert!(!ask(&Cache::new(0), &found(1, until), Some(until)).await);
    }
}
