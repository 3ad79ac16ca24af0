//! Remembers how long senders have been deferred (`replies.give_up_after`).
//!
//! A sender without IPv4 retries over IPv6 for days, and its users learn nothing
//! meanwhile. Such a sender is detected by a message that is retried: for each pair of
//! sender domain and /64 network, one deferred message is watched. Once it has been
//! deferred for long enough, the network evidently does not fall back to IPv4, and
//! everything from the pair that would be deferred is rejected permanently until one of
//! its messages passes.
//!
//! Frequent deferrals of a pair prove nothing: most MTAs try IPv4 within seconds, so each
//! of their messages is deferred once and then delivered. Therefore another message never
//! counts as an attempt of the watched one.
//!
//! Memory is bounded. An evicted pair starts over, so eviction never causes an early
//! rejection. Times are from a clock that runs since boot: setting the time of day does
//! not change them, and another process on the same machine can use them.

use crate::address::Domain;
use aws_lc_rs::digest;
use nix::time::{ClockId, clock_gettime};
use quick_cache::sync;
use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    io::{self, Read, Write},
    net::IpAddr,
    time::Duration,
};

/// The memory limit for all pairs, in bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// The memory of a pair in bytes: key, entry, and their overhead in the cache.
const PAIR_BYTES: usize = 128;

const CAPACITY: usize = MAX_BYTES / PAIR_BYTES;

/// The number of attempts before a sender is given up.
const ATTEMPTS: u8 = 3;

/// The minimum interval between two counted attempts is `give_up_after` divided by this,
/// so that a burst is one attempt.
const SPACING: u32 = 8;

/// After `give_up_after` divided by this without a retry, another message is watched.
/// MTAs retry more often.
const PAUSE: u32 = 2;

/// How long a given-up pair is remembered without an attempt.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The deferred senders.
pub struct Deferrals {
    /// The key of the hashes, so that peers cannot choose names with the same hash.
    key: [u8; 32],
    pairs: sync::Cache<Pair, Watched>,
}

/// A sender domain and a client network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair(u128);

/// A hash of the properties that a message shares with its retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(u64);

/// Milliseconds since the machine booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(u64);

impl Uptime {
    /// Returns the current time; `None` if the system has no such clock.
    pub fn now() -> Option<Self> {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
        let millis = Duration::from(now).as_millis();
        u64::try_from(millis).ok().map(Self)
    }

    fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The watched message of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    message: MessageId,
    first: Uptime,
    /// The last counted attempt.
    counted: Uptime,
    /// The last attempt.
    last: Uptime,
    attempts: u8,
    is_given_up: bool,
}

impl Watched {
    fn new(message: MessageId, now: Uptime) -> Self {
        Self {
            message,
            first: now,
            counted: now,
            last: now,
            attempts: 1,
            is_given_up: false,
        }
    }

    /// Returns the state after a deferral at `now`; `None` if unchanged.
    fn after_deferral(self, message: MessageId, after: Duration, now: Uptime) -> Option<Self> {
        let idle = now.since(self.last);
        if self.is_given_up {
            return Some(match idle > REMEMBERED {
                true => Self::new(message, now),
                false => Self { last: now, ..self },
            });
        }
        if idle > after / PAUSE {
            return Some(Self::new(message, now));
        }
        if message != self.message {
            return None;
        }
        let mut watched = Self { last: now, ..self };
        if now.since(self.counted) >= after / SPACING {
            watched.counted = now;
            watched.attempts = self.attempts.saturating_add(1);
        }
        watched.is_given_up = watched.attempts >= ATTEMPTS && now.since(self.first) >= after;
        Some(watched)
    }
}

impl Default for Deferrals {
    fn default() -> Self {
        let mut key = [0; 32];
        for (number, part) in (0_u64..).zip(key.chunks_mut(8)) {
            part.copy_from_slice(&RandomState::new().hash_one(number).to_ne_bytes());
        }
        Self::with_key(key)
    }
}

impl Deferrals {
    fn with_key(key: [u8; 32]) -> Self {
        Self {
            key,
            pairs: sync::Cache::new(CAPACITY),
        }
    }

    /// Returns the pair of a sender; `None` if it can't be given up: the null reverse-path
    /// has no address to notify, and IPv4 clients are not checked.
    pub fn pair(&self, client: IpAddr, sender_domain: Option<&str>) -> Option<Pair> {
        let domain = Domain::parse(sender_domain?).ok()?;
        let IpAddr::V6(ip) = client else {
            return None;
        };
        let hash = self.hash(&[&ip.octets()[..8], domain.as_str().as_bytes()]);
        let head = hash.as_ref().first_chunk()?;
        Some(Pair(u128::from_be_bytes(*head)))
    }

    /// Returns the ID of a message with these properties, which a retry shares.
    pub fn message(&self, properties: &[&[u8]]) -> MessageId {
        let hash = self.hash(properties);
        let head = hash.as_ref().first_chunk().copied().unwrap_or_default();
        MessageId(u64::from_be_bytes(head))
    }

    fn hash(&self, parts: &[&[u8]]) -> digest::Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.finish()
    }

    /// Records that a message of the pair is deferred. Returns how long the pair has been
    /// deferred, if that is long enough to give it up.
    pub fn deferred(
        &self,
        pair: Pair,
        message: MessageId,
        after: Duration,
        now: Uptime,
    ) -> Option<Duration> {
        let Some(known) = self.pairs.get(&pair) else {
            self.pairs.insert(pair, Watched::new(message, now));
            return None;
        };
        let watched = known.after_deferral(message, after, now)?;
        // One of two concurrent attempts may be lost, which only delays giving up.
        self.pairs.insert(pair, watched);
        watched.is_given_up.then(|| now.since(watched.first))
    }

    /// Records that a message of the pair has passed.
    pub fn passed(&self, pair: Pair) {
        self.pairs.remove(&pair);
    }

    /// Returns the number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

impl fmt::Debug for Deferrals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferrals")
            .field("pairs", &self.len())
            .finish()
    }
}

/// The header of the handover format.
const FORMAT: &[u8; 8] = b"deferra1";

/// The size of a pair in the handover format, in bytes.
const RECORD: usize = 16 + 4 * 8 + 2;

/// Handover: passes the pairs to another process on the same machine.
impl Deferrals {
    /// Writes all pairs.
    ///
    /// # Errors
    /// Fails with the errors of the writer.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let mut text = Vec::with_capacity(FORMAT.len() + 40 + self.len() * RECORD);
        text.extend_from_slice(FORMAT);
        text.extend_from_slice(&self.key);
        let pairs: Vec<(Pair, Watched)> = self.pairs.iter().collect();
        text.extend_from_slice(&(pairs.len() as u64).to_be_bytes());
        for (pair, watched) in pairs {
            text.extend_from_slice(&pair.0.to_be_bytes());
            let numbers = [
                watched.message.0,
                watched.first.0,
                watched.counted.0,
                watched.last.0,
            ];
            numbers
                .iter()
                .for_each(|number| text.extend_from_slice(&number.to_be_bytes()));
            text.extend_from_slice(&[watched.attempts, u8::from(watched.is_given_up)]);
        }
        to.write_all(&text)
    }

    /// Reads the output of [`Deferrals::write`] to its end.
    ///
    /// # Errors
    /// Fails with the errors of the reader, and with [`io::ErrorKind::InvalidData`] for
    /// any other input.
    pub fn read(from: impl Read) -> io::Result<Self> {
        // The list of a later version may be longer.
        let most = (FORMAT.len() + 40 + 2 * CAPACITY * RECORD) as u64;
        let mut text = Vec::new();
        from.take(most).read_to_end(&mut text)?;
        Self::parse(&text, Uptime::now()).ok_or_else(|| {
            let reason = format!("{} bytes are not what a handover passes on", text.len());
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })
    }

    fn parse(text: &[u8], now: Option<Uptime>) -> Option<Self> {
        let text = text.strip_prefix(FORMAT)?;
        let (key, text) = text.split_first_chunk()?;
        let (count, text) = text.split_first_chunk()?;
        let records = text.chunks_exact(RECORD);
        if u64::from_be_bytes(*count) != records.len() as u64 || !records.remainder().is_empty() {
            return None;
        }
        let deferrals = Self::with_key(*key);
        for record in records {
            let (pair, mut rest) = record.split_first_chunk()?;
            let mut number = || {
                let (number, after) = rest.split_first_chunk()?;
                rest = after;
                Some(u64::from_be_bytes(*number))
            };
            let [message, first, counted, last] = [number()?, number()?, number()?, number()?];
            let &[attempts, is_given_up] = rest else {
                return None;
            };
            // Ignores times in the future, until which no attempt would count.
            if first <= counted && counted <= last && Some(Uptime(last)) <= now {
                let watched = Watched {
                    message: MessageId(message),
                    first: Uptime(first),
                    counted: Uptime(counted),
                    last: Uptime(last),
                    attempts,
                    is_given_up: is_given_up == 1,
                };
                deferrals
                    .pairs
                    .insert(Pair(u128::from_be_bytes(*pair)), watched);
            }
        }
        Some(deferrals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn client(network: u64) -> IpAddr {
        let network = (0x2001_0db8_0000_0000 + u128::from(network)) << 64;
        IpAddr::V6(Ipv6Addr::from_bits(network + 1))
    }

    fn hours(hours: f64) -> Uptime {
        Uptime(1_000_000 + (hours * 3_600_000.0) as u64)
    }

    /// Plays attempts at these hours, each of the message with that number; returns which
    /// give up.
    fn play(attempts: &[(f64, u8)]) -> Vec<bool> {
        let deferrals = Deferrals::default();
        let pair = deferrals.pair(client(1), Some("sender.example")).unwrap();
        let attempts = attempts.iter().map(|&(hour, number)| {
            let message = deferrals.message(&[&[number]]);
            deferrals
                .deferred(pair, message, DAY, hours(hour))
                .is_some()
        });
        attempts.collect()
    }

    #[test]
    fn a_message_that_comes_back_for_a_day_gives_its_sender_up() {
        // Postfix: every 4000 s.
        let postfix: Vec<_> = (0..24)
            .map(|n| (f64::from(n) * 4000.0 / 3600.0, 1))
            .collect();
        let decided = play(&postfix);
        assert_eq!(
            decided.iter().position(|given_up| *given_up),
            Some(22),
            "24.4 h"
        );
        assert!(decided[22..].iter().all(|given_up| *given_up));
        // Three attempts are enough, two are not.
        assert_eq!(
            play(&[(0.0, 1), (12.0, 1), (24.0, 1)]),
            [false, false, true]
        );
        assert_eq!(play(&[(0.0, 1), (24.0, 1)]), [false, false]);
        // Then all messages of the pair are given up.
        let then = play(&[
            (0.0, 1),
            (12.0, 1),
            (24.0, 1),
            (24.1, 2),
            (180.0, 3),
            (400.0, 4),
        ]);
        assert_eq!(then, [false, false, true, true, true, false]);
    }

    #[test]
    fn other_messages_do_not_count_as_attempts() {
        // A sender that falls back to IPv4: a new message every hour for a week.
        let falls_back: Vec<_> = (0..168).map(|n| (f64::from(n), n)).collect();
        assert!(play(&falls_back).iter().all(|given_up| !given_up));
        // The same, together with a message that is retried.
        let mut both: Vec<_> = (1..30).map(|n| (f64::from(n) + 0.5, n)).collect();
        both.extend((0..30).map(|n| (f64::from(n), 200)));
        both.sort_by(|a, b| a.0.total_cmp(&b.0));
        let decided = play(&both);
        let first = decided.iter().position(|given_up| *given_up).unwrap();
        assert_eq!(both[first], (24.0, 200));
        // A message that is not retried is not watched forever.
        let mut later = vec![(0.0, 1), (13.0, 2)];
        later.extend((14..40).map(|n| (f64::from(n), 2)));
        assert!(play(&later).contains(&true));
    }

    #[test]
    fn attempts_within_seconds_are_one() {
        let burst: Vec<_> = (0..1000).map(|n| (f64::from(n) / 3600.0, 1)).collect();
        assert!(play(&burst).iter().all(|given_up| !given_up));
        let mut bursts = burst.clone();
        bursts.extend([(11.9, 1), (23.8, 1), (24.0, 1)]);
        let decided = play(&bursts);
        assert_eq!(decided.iter().filter(|given_up| **given_up).count(), 1);
        // Two bursts a day apart are two attempts.
        let two = [burst.as_slice(), &[(11.9, 1)], &[(12.0, 1)]].concat();
        assert!(play(&two).iter().all(|given_up| !given_up));
    }

    #[test]
    fn a_passed_message_resets_its_pair_and_no_other() {
        let deferrals = Deferrals::default();
        let pair = |network, domain| deferrals.pair(client(network), Some(domain)).unwrap();
        let message = deferrals.message(&[b"m"]);
        let deferred = |pair, hour| {
            deferrals
                .deferred(pair, message, DAY, hours(hour))
                .is_some()
        };
        let ours = pair(1, "sender.example");
        assert_eq!(ours, pair(1, "Sender.EXAMPLE."));
        for hour in [0.0, 8.0, 16.0] {
            assert!(!deferred(ours, hour));
            assert!(!deferred(pair(2, "sender.example"), hour));
        }
        deferrals.passed(ours);
        assert!(!deferred(ours, 24.0));
        assert!(deferred(pair(2, "sender.example"), 24.0));
        assert!(!deferred(pair(2, "other.example"), 24.0));
        assert_eq!(deferrals.pair(client(1), None), None);
        assert_eq!(deferrals.pair(client(1), Some("[192.0.2.1]")), None);
        assert_eq!(
            deferrals.pair("192.0.2.1".parse().unwrap(), Some("a.example")),
            None
        );
    }

    #[test]
    fn a_million_clients_take_bounded_memory_and_cause_no_early_rejection() {
        let deferrals = Deferrals::default();
        let message = deferrals.message(&[b"m"]);
        let pair = |network| {
            deferrals
                .pair(client(network), Some("sender.example"))
                .unwrap()
        };
        let faithful = pair(u64::from(u32::MAX));
        let mut given_up = 0;
        for round in 0..4_u32 {
            for n in 0..250_000_u64 {
                let now = hours(f64::from(round) * 8.0 + n as f64 / 250_000.0);
                let network = n + u64::from(round) * 250_000;
                let early = deferrals.deferred(pair(network), message, DAY, now);
                assert_eq!(early, None, "{network}");
                // It is retried every quarter of an hour.
                if n % 60_000 == 0 {
                    let decided = deferrals.deferred(faithful, message, DAY, now);
                    let is_due = now >= hours(24.0);
                    assert!(decided.is_none() || is_due);
                    given_up += u32::from(decided.is_some());
                }
            }
            assert!(deferrals.len() <= CAPACITY, "{}", deferrals.len());
        }
        assert!(given_up > 0, "evicted although it came back all the time");
    }

    #[test]
    fn a_handover_keeps_the_pairs_and_invalid_bytes_are_refused() {
        let deferrals = Deferrals::default();
        let pair = deferrals.pair(client(1), Some("sender.example")).unwrap();
        let message = deferrals.message(&[b"m"]);
        for hour in [0.0, 8.0, 16.0] {
            deferrals.deferred(pair, message, DAY, hours(hour));
        }
        let mut text = Vec::new();
        deferrals.write(&mut text).unwrap();
        let next = Deferrals::parse(&text, Some(hours(17.0))).unwrap();
        assert_eq!(next.pair(client(1), Some("sender.example")), Some(pair));
        assert!(
            next.deferred(pair, next.message(&[b"m"]), DAY, hours(24.0))
                .is_some()
        );
        // After another boot, the times are in the future.
        let next = Deferrals::parse(&text, Some(hours(1.0))).unwrap();
        assert!(next.is_empty());
        for end in 0..text.len() {
            assert!(
                Deferrals::parse(&text[..end], Some(hours(17.0))).is_none(),
                "{end}"
            );
        }
        text.push(0);
        assert!(Deferrals::parse(&text, Some(hours(17.0))).is_none());
        assert!(Deferrals::read(&b"nonsense"[..]).is_err());
    }
}
