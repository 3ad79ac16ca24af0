//! Slows down clients that present wrong tokens.

use quick_cache::unsync::Cache;
use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The maximum number of networks that are remembered.
const CAPACITY: usize = 1024;

/// The number of wrong tokens without a wait, because people mistype.
const FREE: u32 = 2;

/// The maximum wait. It starts at 1 s and doubles with each wrong token.
const MAX_WAIT: Duration = Duration::from_secs(32);

/// After this time without a wrong token, earlier ones are forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);

/// The clients that have presented wrong tokens.
pub(super) struct Failures(Mutex<Cache<Network, Failure>>);

/// An IPv4 address, or an IPv6 /64, because one client can have every address of that; `None`
/// for all clients of a unix socket.
type Network = Option<IpAddr>;

#[derive(Clone, Copy)]
struct Failure {
    count: u32,
    time: Instant,
}

impl Default for Failures {
    fn default() -> Self {
        Self(Mutex::new(Cache::new(CAPACITY)))
    }
}

impl Failures {
    /// Returns how long the client has to wait before its next attempt.
    pub(super) fn wait(&self, client: Option<IpAddr>) -> Option<Duration> {
        self.wait_at(client, Instant::now())
    }

    /// Records a wrong token.
    pub(super) fn record(&self, client: Option<IpAddr>) {
        self.record_at(client, Instant::now());
    }

    /// Forgets wrong tokens of a client that has presented the right one.
    pub(super) fn forget(&self, client: Option<IpAddr>) {
        self.lock().remove(&network(client));
    }

    fn wait_at(&self, client: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let failure = self.lock().get(&network(client)).copied()?;
        let end = failure.time + failure.wait();
        end.checked_duration_since(now)
            .filter(|wait| !wait.is_zero())
    }

    fn record_at(&self, client: Option<IpAddr>, now: Instant) {
        let network = network(client);
        let mut failures = self.lock();
        let before = failures.get(&network).copied();
        let before = before.filter(|failure| now.duration_since(failure.time) < MEMORY);
        let count = before.map_or(0, |failure| failure.count).saturating_add(1);
        failures.insert(network, Failure { count, time: now });
    }

    fn lock(&self) -> MutexGuard<'_, Cache<Network, Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn wait(self) -> Duration {
        match self.count.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => Duration::from_secs(1 << doublings.min(5)).min(MAX_WAIT),
        }
    }
}

fn network(client: Option<IpAddr>) -> Network {
    client.map(|address| match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn from_the_third_wrong_token_on_the_wait_doubles_up_to_half_a_minute() {
        let failures = Failures::default();
        let client = Some("2001:db8::1".parse().unwrap());
        let neighbour = Some("2001:db8::2".parse().unwrap());
        let stranger = Some("2001:db8:0:1::1".parse().unwrap());
        let mut now = Instant::now();
        for wait in [0, 0, 1, 2, 4, 8, 16, 32, 32, 32] {
            failures.record_at(client, now);
            let wait = (wait > 0).then_some(SECOND * wait);
            assert_eq!(failures.wait_at(client, now), wait);
            assert_eq!(failures.wait_at(neighbour, now), wait, "the same /64");
            assert_eq!(failures.wait_at(stranger, now), None);
            now += wait.unwrap_or_default();
            assert_eq!(failures.wait_at(client, now), None, "it is over");
        }
        failures.record_at(client, now + MEMORY);
        assert_eq!(failures.wait_at(client, now + MEMORY), None, "forgotten");
    }

    #[test]
    fn the_right_token_ends_it_and_takes_no_entry_of_its_own() {
        let failures = Failures::default();
        let client = Some("192.0.2.1".parse().unwrap());
        let now = Instant::now();
        (0..5).for_each(|_| failures.record_at(client, now));
        assert!(failures.wait_at(client, now).is_some());
        failures.forget(client);
        assert_eq!(failures.wait_at(client, now), None);
        failures.forget(None);
        assert!(failures.lock().is_empty());
    }

    #[test]
    fn networks_are_remembered_up_to_a_number() {
        let failures = Failures::default();
        for number in 0..100_000_u32 {
            failures.record_at(Some(IpAddr::V4(number.into())), Instant::now());
        }
        assert!(failures.lock().len() <= CAPACITY);
    }
}
