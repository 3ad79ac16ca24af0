//! Looks up the keys of a message concurrently, and caches them parsed.
//!
//! A key that could not be fetched in time is a temperror, never an absent key.

use super::{
    key::{Key, is_key_record},
    outcome::{DkimResult, Refusal},
};
use crate::dns::{Answer, Name, Purpose, Records, Resolve};
use quick_cache::{Weighter, sync};
use std::{fmt, panic::resume_unwind, sync::Arc, time::Instant};
use tokio::{
    task::{JoinError, JoinSet},
    time,
};

/// The key records for a message, by name; at most one name per signature to verify.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<(Name, Found)>);

/// The key records at a name in the order in which they are tried, never empty and no
/// more than [`MAX_RECORDS`]; or the reason why there is none.
type Found = Result<Arc<[Record]>, Refusal>;

/// A key, or the error in its record.
pub(super) type Record = Result<Key, Refusal>;

/// The maximum number of key records at one name that are tried.
const MAX_RECORDS: usize = 3;

impl Keys {
    pub(super) fn get(&self, name: &Name) -> Found {
        let in_time = self.0.iter().find(|(known, _)| known == name);
        let found = in_time.map(|(_, found)| found.clone());
        found.unwrap_or_else(|| Err(temperror("the key record did not come in time")))
    }
}

/// Looks up the key records at `names` concurrently, except those in `cache`. Returns
/// when all answers have arrived or at the deadline.
pub async fn fetch_keys<R: Resolve>(
    resolver: &Arc<R>,
    cache: &KeyCache,
    names: &[Name],
    deadline: Instant,
) -> Keys {
    let (mut keys, missing) = cache.cached(names);
    if missing.is_empty() {
        return keys;
    }
    let mut questions = JoinSet::new();
    for name in missing {
        questions.spawn(query(Arc::clone(resolver), name.clone()));
    }
    let collected = collect(&mut questions, cache, &mut keys);
    // A missing key counts as a temperror, so the timeout needs no handling of its own.
    let _ = time::timeout_at(deadline.into(), collected).await;
    keys
}

async fn query<R: Resolve>(resolver: Arc<R>, name: Name) -> (Name, Answer<Vec<u8>>) {
    let answer = resolver.txt(&name, Purpose::Key).await;
    (name, answer)
}

async fn collect(
    questions: &mut JoinSet<(Name, Answer<Vec<u8>>)>,
    cache: &KeyCache,
    keys: &mut Keys,
) {
    while let Some(finished) = questions.join_next().await {
        match finished.map_err(JoinError::try_into_panic) {
            Ok((name, answer)) => {
                let found = read(answer, &name, cache);
                keys.0.push((name, found));
            }
            // A panic must not become a temperror, which `on_dns_failure: accept` would
            // accept.
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime is shutting down, together with this task.
            Err(Err(_cancelled)) => {}
        }
    }
}

/// Reads and caches an answer (RFC 6376 section 6.1.2, steps 1 to 4).
fn read(answer: Answer<Vec<u8>>, name: &Name, cache: &KeyCache) -> Found {
    match answer {
        Answer::Found(records) => {
            let found = key_records(&records);
            let length = records.records.iter().map(Vec::len).sum();
            cache.insert(name.clone(), found.clone(), length, records.valid_until);
            found
        }
        Answer::Absent(absence) => Err(Refusal::new(
            DkimResult::Permerror,
            format!("there is no key record at {name} ({absence})"),
        )),
        Answer::Temperror(failure) => {
            let failure = failure.to_string().escape_default().to_string();
            Err(temperror(format!(
                "the key record could not be fetched: {failure}"
            )))
        }
    }
}

/// Selects the key records among the TXT records of a name. If there are several, results
/// are "undefined" (RFC 6376 section 3.6.2.2), and section 6.1.2 step 4 allows trying
/// them in turn. They are sorted, because DNS servers rotate them.
fn key_records(records: &Records<Vec<u8>>) -> Found {
    let mut texts: Vec<&Vec<u8>> = match records.records.as_slice() {
        // Kept even if it is not a key record, so that the error describes what is wrong
        // with it.
        [only] => vec![only],
        several => several.iter().filter(|text| is_key_record(text)).collect(),
    };
    texts.sort_unstable();
    texts.dedup();
    texts.truncate(MAX_RECORDS);
    match texts.is_empty() {
        false => Ok(texts.into_iter().map(|text| Key::parse(text)).collect()),
        true => Err(Refusal::new(
            DkimResult::Permerror,
            format!(
                "none of the {} TXT records at the key's name is a key record",
                records.records.len()
            ),
        )),
    }
}

fn temperror(reason: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(DkimResult::Temperror, reason)
}

/// A cache of recently used keys, parsed, each until the TTL of its record expires.
pub struct KeyCache(sync::Cache<Name, Cached, Bytes>);

#[derive(Clone)]
struct Cached {
    found: Found,
    valid_until: Instant,
    bytes: usize,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Name, Cached> for Bytes {
    fn weight(&self, _name: &Name, cached: &Cached) -> u64 {
        cached.bytes as u64
    }
}

impl Default for KeyCache {
    fn default() -> Self {
        Self(sync::Cache::with_weighter(
            Self::MAX_BYTES / 1024,
            Self::MAX_BYTES as u64,
            Bytes,
        ))
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").finish_non_exhaustive()
    }
}

impl KeyCache {
    /// The memory limit for all keys, in bytes. An RSA key and its name take about 1 KiB,
    /// and a busy host sees a few hundred selectors an hour. An evicted key costs a
    /// lookup in the DNS cache and some microseconds.
    pub const MAX_BYTES: usize = 4 << 20;

    /// The maximum size in bytes of an answer whose keys are cached. A 4096-bit key takes
    /// a fifth.
    const MAX_ANSWER_BYTES: usize = 4096;

    /// The memory of an entry besides its record, in bytes: the parsed key with its
    /// tables, the name, and the links of the cache.
    const ENTRY_BYTES: usize = 768;

    /// Returns the cached keys of `names`, and the names that are not in the cache.
    fn cached<'a>(&self, names: &'a [Name]) -> (Keys, Vec<&'a Name>) {
        let now = Instant::now();
        let (mut keys, mut missing) = (Keys::default(), Vec::new());
        for name in names {
            match self.get(name, now) {
                Some(found) => keys.0.push((name.clone(), found)),
                None => missing.push(name),
            }
        }
        (keys, missing)
    }

    fn get(&self, name: &Name, now: Instant) -> Option<Found> {
        let cached = self.0.get(name)?;
        (now < cached.valid_until).then_some(cached.found)
    }

    /// Caches the keys in TXT records with a total length of `length` bytes.
    fn insert(&self, name: Name, found: Found, length: usize, valid_until: Instant) {
        if length > Self::MAX_ANSWER_BYTES {
            return;
        }
        let cached = Cached {
            found,
            valid_until,
            bytes: Self::ENTRY_BYTES + length,
        };
        self.0.insert(name, cached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn name(number: usize) -> Name {
        Name::parse(format!("s{number}._domainkey.example.org")).unwrap()
    }

    fn nothing() -> Found {
        Err(temperror("nothing"))
    }

    #[test]
    fn a_key_is_kept_until_its_ttl_runs_out() {
        let cache = KeyCache::default();
        let start = Instant::now();
        let end = start + Duration::from_secs(300);
        cache.insert(name(1), nothing(), 400, end);
        assert!(cache.get(&name(1), start).is_some());
        assert!(cache.get(&name(1), end).is_none());
        assert!(cache.get(&name(2), start).is_none());
    }
}
