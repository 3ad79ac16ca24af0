//! Which senders have been deferred for how long (`replies.give_up_after`).
//!
//! A sender without a way over IPv4 tries again over IPv6 for days, and its users hear
//! nothing. What shows that is a message that comes back: of each sender domain and /64
//! network one deferred message is watched. If it was deferred for long enough, the
//! network does not fall back to IPv4, and whatever the pair sends that would be deferred
//! is refused for good until something of it passes.
//!
//! That a pair was deferred often proves nothing: most MTAs try IPv4 within seconds, and
//! then every message of theirs is deferred once and delivered. So another message never
//! counts as an attempt of the one that is watched.
//!
//! Memory is bounded. A pair that is evicted begins anew, so that nobody is refused early
//! because of it. Times are those of the clock that runs from boot on: no jump of the time
//! of day makes an attempt old, and another process on the same machine knows them, too.

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

/// Memory of all pairs together.
pub const MAX_BYTES: usize = 16 << 20;

/// What a pair takes: key, entry, its links and places in the cache.
const PAIR_BYTES: usize = 128;

const CAPACITY: usize = MAX_BYTES / PAIR_BYTES;

/// How many attempts it takes.
const ATTEMPTS: u8 = 3;

/// The part of `give_up_after` that lies between two attempts that count: those of one
/// minute are one.
const SPACING: u32 = 8;

/// The part of it without a retry after which another message is watched. MTAs make
/// shorter pauses.
const PAUSE: u32 = 2;

/// How long a pair that was given up is remembered without an attempt.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The senders that were deferred.
pub struct Deferrals {
    /// Of the hashes, so that nobody can choose names that share one.
    key: [u8; 32],
    pairs: sync::Cache<Pair, Watched>,
}

/// A sender domain and a client network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair(u128);

/// A message, as far as a retry can be told from another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(u64);

/// Milliseconds since the machine was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(u64);

impl Uptime {
    /// Now; `None` if the system has no such clock.
    pub fn now() -> Option<Self> {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
        let millis = Duration::from(now).as_millis();
        u64::try_from(millis).ok().map(Self)
    }

    fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The message of a pair that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    message: MessageId,
    first: Uptime,
    /// The last attempt that counts.
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

    /// What is watched after a deferral at `now`; `None` if that changes nothing.
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

    /// The pair of a sender; `None` if there is none that could be given up: a bounce to the
    /// null reverse-path reaches nobody, and an IPv4 client is not checked.
    pub fn pair(&self, client: IpAddr, sender_domain: Option<&str>) -> Option<Pair> {
        let domain = Domain::parse(sender_domain?).ok()?;
        let IpAddr::V6(ip) = client else {
            return None;
        };
        let hash = self.hash(&[&ip.octets()[..8], domain.as_str().as_bytes()]);
        let head = hash.as_ref().first_chunk()?;
        Some(Pair(u128::from_be_bytes(*head)))
    }

    /// The message with these properties. A retry has the same.
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

    /// A message of the pair is deferred. Returns how long the pair has been deferred, if
    /// that is enough to give it up.
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
        // Of two attempts at a time one may be lost, which gives nobody up early.
        self.pairs.insert(pair, watched);
        watched.is_given_up.then(|| now.since(watched.first))
    }

    /// A message of the pair has passed.
    pub fn passed(&self, pair: Pair) {
        self.pairs.remove(&pair);
    }

    /// How many pairs are remembered.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether none is.
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

/// What a handover passes on begins with this.
const FORMAT: &[u8; 8] = b"deferra1";

/// The bytes of a pair there.
const RECORD: usize = 16 + 4 * 8 + 2;

/// Handover: another process on the same machine goes on with what is known.
impl Deferrals {
    /// Writes all pairs.
    ///
    /// # Errors
    /// Those of the writer.
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

    /// Reads what [`Deferrals::write`] has written, to its end.
    ///
    /// # Errors
    /// Those of the reader, and [`io::ErrorKind::InvalidData`] if it is anything else.
    pub fn read(from: impl Read) -> io::Result<Self> {
        // Those of a later version may be longer.
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
            // A time to come would make the next attempt wait for it.
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

    /// What happens to attempts at these hours, each of the message with that number.
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
        let told = play(&postfix);
        assert_eq!(
            told.iter().position(|given_up| *given_up),
            Some(22),
            "24.4 h"
        );
        assert!(told[22..].iter().all(|given_up| *given_up));
        // Three attempts are enough, two are not.
        assert_eq!(
            play(&[(0.0, 1), (12.0, 1), (24.0, 1)]),
            [false, false, true]
        );
        assert_eq!(play(&[(0.0, 1), (24.0, 1)]), [false, false]);
        // Then whatever the pair sends.
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
    fn other_messages_are_no_attempts() {
        // A sender that falls back to IPv4: a new message every hour for a week.
        let falls_back: Vec<_> = (0..168).map(|n| (f64::from(n), n)).collect();
        assert!(play(&falls_back).iter().all(|given_up| !given_up));
        // The same beside a message that comes back.
        let mut both: Vec<_> = (1..30).map(|n| (f64::from(n) + 0.5, n)).collect();
        both.extend((0..30).map(|n| (f64::from(n), 200)));
        both.sort_by(|a, b| a.0.total_cmp(&b.0));
        let told = play(&both);
        let first = told.iter().position(|given_up| *given_up).unwrap();
        assert_eq!(both[first], (24.0, 200));
        // One that does not come back is not watched for ever.
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
        let told = play(&bursts);
        assert_eq!(told.iter().filter(|given_up| **given_up).count(), 1);
        // Two bursts a day apart are two attempts.
        let two = [burst.as_slice(), &[(11.9, 1)], &[(12.0, 1)]].concat();
        assert!(play(&two).iter().all(|given_up| !given_up));
    }

    #[test]
    fn what_passes_begins_anew_and_pairs_do_not_mix() {
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
    fn a_million_clients_take_bounded_memory_and_give_nobody_up_early() {
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
                // It comes back every quarter of an hour.
                if n % 60_000 == 0 {
                    let told = deferrals.deferred(faithful, message, DAY, now);
                    let is_due = now >= hours(24.0);
                    assert!(told.is_none() || is_due);
                    given_up += u32::from(told.is_some());
                }
            }
            assert!(deferrals.len() <= CAPACITY, "{}", deferrals.len());
        }
        assert!(given_up > 0, "evicted although it came back all the time");
    }

    #[test]
    fn a_handover_keeps_what_is_known_and_broken_bytes_are_refused() {
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
        // Another boot: its times are to come.
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
