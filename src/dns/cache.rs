//! A cache of DNS answers, bounded in bytes: records for their TTL, and negative answers
//! for the negative TTL of the zone (RFC 2308). A failed lookup is never cached.
//!
//! All record types share one memory limit. Answers are stored in the form in which they
//! are used; hickory's own cache stores whole messages, ten times as large, and decodes
//! them on every hit. A zone that an attacker controls must not fill the memory or evict
//! what others use: an answer longer than [`MAX_ANSWER_BYTES`] is not cached, and entries
//! without a hit are evicted first.

use super::{Answer, Mx, Name, Purpose, Records};
use crate::telemetry::metrics;
use quick_cache::{Equivalent, Weighter, sync};
use std::{
    fmt,
    mem::size_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

/// The maximum size in bytes of a cached answer. SPF and key records take a tenth of it;
/// a longer answer costs a query each time, which the DNS server answers from its own
/// cache.
const MAX_ANSWER_BYTES: usize = 4096;

/// The memory of an entry besides its key and value, in bytes: links of the eviction
/// queues, its part of the hash table, and the allocator's rounding.
const OVERHEAD: usize = 96;

/// The size of an ordinary entry in bytes. It only determines how many keys of evicted
/// entries the cache remembers.
const TYPICAL_ENTRY_BYTES: usize = 1024;

/// Answers by question.
pub(super) struct Cache(sync::Cache<Key, Entry, Bytes>);

/// An answer and its expiry; `None` if it must not be cached.
#[derive(Clone, Debug)]
pub(super) struct Timed<T> {
    pub(super) answer: Answer<T>,
    pub(super) keep_until: Option<Instant>,
}

/// A borrowed key, for a lookup in the cache.
#[derive(Clone, Copy, Hash)]
pub(super) enum Question<'a> {
    Name(Kind, &'a Name),
    Address(IpAddr),
}

/// The record type; TXT has an entry for each purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Txt(Purpose),
    A,
    Aaaa,
    Mx,
    Soa,
}

/// An owned [`Question`] with the same hash.
#[derive(Clone, Hash, PartialEq, Eq)]
enum Key {
    Name(Kind, Name),
    Address(IpAddr),
}

/// An answer and its memory usage.
#[derive(Clone)]
struct Entry {
    bytes: usize,
    stored: Stored,
}

/// A record type that can be cached.
pub(super) trait Record: Clone {
    /// Returns the memory of a record outside of the value itself, in bytes.
    fn heap_bytes(&self) -> usize;
    fn store(answer: Timed<Self>) -> Stored;
    fn load(stored: Stored) -> Option<Timed<Self>>;
}

macro_rules! records {
    ($($variant:ident($record:ty): $heap_bytes:expr;)*) => {
        /// An answer of any record type.
        #[derive(Clone)]
        pub(super) enum Stored {
            $($variant(Timed<$record>),)*
        }

        $(impl Record for $record {
            fn heap_bytes(&self) -> usize {
                let heap_bytes: fn(&Self) -> usize = $heap_bytes;
                heap_bytes(self)
            }

            fn store(answer: Timed<Self>) -> Stored {
                Stored::$variant(answer)
            }

            fn load(stored: Stored) -> Option<Timed<Self>> {
                match stored {
                    Stored::$variant(answer) => Some(answer),
                    _ => None,
                }
            }
        })*
    };
}

records! {
    Txt(Vec<u8>): Vec::capacity;
    A(Ipv4Addr): |_| 0;
    Aaaa(Ipv6Addr): |_| 0;
    Mx(Mx): |mx| mx.exchange.heap_bytes();
    Ptr(Name): Name::heap_bytes;
    Soa(()): |_| 0;
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, _key: &Key, entry: &Entry) -> u64 {
        entry.bytes as u64
    }
}

impl Equivalent<Key> for Question<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        match (self, key) {
            (Self::Name(kind, name), Key::Name(its_kind, its_name)) => {
                kind == its_kind && *name == its_name
            }
            (Self::Address(address), Key::Address(its_address)) => address == its_address,
            _ => false,
        }
    }
}

impl Question<'_> {
    fn to_key(self) -> Key {
        match self {
            Self::Name(kind, name) => Key::Name(kind, name.clone()),
            Self::Address(address) => Key::Address(address),
        }
    }
}

impl Key {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Name(_, name) => name.heap_bytes(),
            Self::Address(_) => 0,
        }
    }
}

impl Cache {
    /// Creates an empty cache that uses at most `bytes` of memory; 0 disables it.
    pub(super) fn new(bytes: usize) -> Self {
        Self(sync::Cache::with_weighter(
            bytes / TYPICAL_ENTRY_BYTES,
            bytes as u64,
            Bytes,
        ))
    }

    /// Returns the cached answer, or the answer of `query`. `trim` reduces a new answer to
    /// what is cached.
    pub(super) async fn get_or_query<T: Record>(
        &self,
        question: Question<'_>,
        trim: impl FnOnce(&Timed<T>) -> Timed<T>,
        query: impl Future<Output = Timed<T>>,
    ) -> Timed<T> {
        if let Some(cached) = self.get(question, Instant::now()) {
            return cached;
        }
        let fresh = query.await;
        if fresh.is_current(Instant::now()) {
            self.insert(question, trim(&fresh));
        }
        fresh
    }

    fn get<T: Record>(&self, question: Question<'_>, now: Instant) -> Option<Timed<T>> {
        let cached = T::load(self.0.get(&question)?.stored)?;
        cached.is_current(now).then_some(cached)
    }

    fn insert<T: Record>(&self, question: Question<'_>, answer: Timed<T>) {
        let answer_bytes = answer.heap_bytes();
        if answer_bytes > MAX_ANSWER_BYTES {
            return;
        }
        let key = question.to_key();
        let inline = size_of::<Key>() + size_of::<Entry>() + OVERHEAD;
        let bytes = inline + key.heap_bytes() + answer_bytes;
        let stored = T::store(answer);
        self.0.insert(key, Entry { bytes, stored });
        let used = i64::try_from(self.0.weight()).unwrap_or(i64::MAX);
        metrics::get().dns_cache_bytes.set(used);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl<T> Timed<T> {
    /// Wraps an answer that must not be cached.
    pub(super) fn uncached(answer: Answer<T>) -> Self {
        Self {
            answer,
            keep_until: None,
        }
    }

    /// Converts the records as [`Answer::filter_map`] does.
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

impl<T: Record> Timed<T> {
    fn heap_bytes(&self) -> usize {
        match &self.answer {
            Answer::Found(found) => {
                let own: usize = found.records.iter().map(T::heap_bytes).sum();
                own + found.records.len() * size_of::<T>()
            }
            Answer::Absent(_) | Answer::Temperror(_) => 0,
        }
    }
}

impl Timed<Vec<u8>> {
    /// Returns the answer with only those TXT records that can serve the purpose. If
    /// there are none, one empty record replaces them, to distinguish the answer from an
    /// absent one.
    pub(super) fn trimmed(&self, purpose: Purpose) -> Self {
        let answer = match &self.answer {
            Answer::Found(found) => {
                let useful = found.records.iter().filter(|text| purpose.may_use(text));
                let mut records: Vec<Vec<u8>> = useful.cloned().collect();
                if records.is_empty() {
                    records.push(Vec::new());
                }
                Answer::Found(Records {
                    records,
                    valid_until: found.valid_until,
                })
            }
            other => other.clone(),
        };
        Self {
            answer,
            keep_until: self.keep_until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Absence, Failure};
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn name(number: usize) -> Name {
        Name::parse(format!("n{number}.example")).unwrap()
    }

    fn found(record: impl Into<Vec<u8>>, valid_until: Instant) -> Answer<Vec<u8>> {
        Answer::Found(Records {
            records: vec![record.into()],
            valid_until,
        })
    }

    /// Returns whether the second lookup is answered from the cache.
    async fn is_cached(cache: &Cache, answer: &Answer<Vec<u8>>, keep: Option<Instant>) -> bool {
        let name = name(1);
        let question = Question::Name(Kind::Txt(Purpose::Other), &name);
        let fresh = Timed {
            answer: answer.clone(),
            keep_until: keep,
        };
        let first = cache.get_or_query(question, Timed::clone, async { fresh });
        assert_eq!(first.await.answer, *answer);
        cache.get::<Vec<u8>>(question, Instant::now()).is_some()
    }

    #[tokio::test]
    async fn an_answer_is_cached_as_long_as_it_may_be() {
        let now = Instant::now();
        let records = found("x", now + HOUR);
        let long = found(vec![b'x'; MAX_ANSWER_BYTES], now + HOUR);
        let absent = Answer::Absent(Absence::NxDomain);
        let failed = Answer::Temperror(Failure::ServFail);
        let table = [
            (&records, Some(now + HOUR), true),
            (&records, Some(now), false),
            (&records, None, false),
            (&long, Some(now + HOUR), false),
            (&absent, Some(now + HOUR), true),
            (&absent, None, false),
            (&failed, None, false),
        ];
        for (answer, keep_until, cached) in table {
            let cache = Cache::new(1 << 20);
            assert_eq!(is_cached(&cache, answer, keep_until).await, cached);
        }
        let nothing = Cache::new(0);
        assert!(!is_cached(&nothing, &records, Some(now + HOUR)).await);
    }

    #[test]
    fn an_expired_answer_is_not_served() {
        let (cache, name, now) = (Cache::new(1 << 20), name(1), Instant::now());
        let question = Question::Name(Kind::Txt(Purpose::Spf), &name);
        let answer = found("x", now + HOUR);
        let keep_until = Some(now + HOUR);
        cache.insert(question, Timed { answer, keep_until });
        assert!(cache.get::<Vec<u8>>(question, now).is_some());
        assert!(cache.get::<Vec<u8>>(question, now + HOUR).is_none());
        let other_purpose = Question::Name(Kind::Txt(Purpose::Key), &name);
        assert!(cache.get::<Vec<u8>>(other_purpose, now).is_none());
    }

    #[test]
    fn one_time_answers_fill_no_more_than_the_budget_and_evict_no_used_ones() {
        const BUDGET: usize = 1 << 20;
        let (cache, now) = (Cache::new(BUDGET), Instant::now());
        let keep_until = Some(now + HOUR);
        let used = name(0);
        let used = Question::Name(Kind::Txt(Purpose::Spf), &used);
        let answer = found("v=spf1 -all", now + HOUR);
        cache.insert(used, Timed { answer, keep_until });
        assert!(cache.get::<Vec<u8>>(used, now).is_some());
        for number in 1..20_000 {
            let name = name(number);
            let question = Question::Name(Kind::Txt(Purpose::Spf), &name);
            let answer = found(vec![b'x'; 4000], now + HOUR);
            cache.insert(question, Timed { answer, keep_until });
        }
        assert!(cache.0.weight() <= BUDGET as u64);
        assert!(cache.0.len() > BUDGET / 4096 / 2, "{}", cache.0.len());
        assert!(cache.get::<Vec<u8>>(used, now).is_some());
    }

    #[test]
    fn of_txt_records_only_those_for_the_purpose_are_cached() {
        let now = Instant::now();
        let all = ["site-verification=p", "V=SPF1 -all", "v=DKIM1; p =abc"];
        let answer = Timed {
            answer: Answer::Found(Records {
                records: all.map(|text| text.as_bytes().to_vec()).to_vec(),
                valid_until: now,
            }),
            keep_until: Some(now),
        };
        let table = [
            (Purpose::Spf, vec![all[1]]),
            (Purpose::Key, vec![all[2]]),
            (Purpose::Other, all.to_vec()),
        ];
        for (purpose, want) in table {
            let Answer::Found(found) = answer.trimmed(purpose).answer else {
                panic!("{purpose:?}");
            };
            let want: Vec<&[u8]> = want.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(found.records, want, "{purpose:?}");
        }
    }
}
