//! Detects a relay that hides the addresses of SMTP clients.
//!
//! Behind docker-proxy or a plain TCP relay, every client has the relay's private
//! address. If that is IPv4 or loopback, nothing is checked, and no decision line shows
//! it. Such a relay is assumed if nearly all connections come from one private address,
//! none from an IPv6 client, and hardly any from a public IPv4 address. Behind a proxy
//! that passes on client addresses, clients have public ones.
//!
//! [`count`] is called for each connection; [`watch()`] collects the counts every `INTERVAL`
//! and evaluates those of the last `HOURS` hours.

use super::metrics;
use crate::{address::ClientAddr, dns::Resolve, snapshot::Snapshot};
use std::{
    collections::VecDeque,
    fmt, mem,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// The interval at which the counts are evaluated.
const INTERVAL: Duration = Duration::from_secs(10);

const TICKS_PER_HOUR: u32 = 360;

/// The length of the window in hours, including the current one.
const HOURS: usize = 24;

/// The minimum number of connections from the private address.
const MIN_CONNECTIONS: u64 = 1000;

/// The same, once the window is full.
const MIN_CONNECTIONS_IN_FULL_WINDOW: u64 = 100;

/// The minimum share of the private address, in percent.
const MIN_SHARE: u64 = 95;

/// The number of connections from public IPv4 addresses that shows that client addresses are
/// passed on.
const MIN_PUBLIC: u64 = 10;

/// The maximum number of private addresses counted per hour; a new one evicts the rarest.
const MAX_ADDRESSES: usize = 32;

static IPV6: AtomicU64 = AtomicU64::new(0);
static IPV4: AtomicU64 = AtomicU64::new(0);
static PRIVATE: Mutex<Private> = Mutex::new(Private::new());

/// Counts a connection of an SMTP client.
pub fn count(client: ClientAddr) {
    match client {
        ClientAddr::V6(ip) if is_public(ip.into()) => _ = IPV6.fetch_add(1, Ordering::Relaxed),
        ClientAddr::V4(ip) if is_public(ip.into()) => _ = IPV4.fetch_add(1, Ordering::Relaxed),
        ClientAddr::V6(_) | ClientAddr::V4(_) => {
            if let Some(ip) = client.ip() {
                let mut private = PRIVATE.lock().unwrap_or_else(PoisonError::into_inner);
                private.add(ip, 1);
            }
        }
        ClientAddr::Local => {}
    }
}

/// Takes the counts since the last call.
fn take() -> Counts {
    let mut private = PRIVATE.lock().unwrap_or_else(PoisonError::into_inner);
    Counts {
        ipv6: IPV6.swap(0, Ordering::Relaxed),
        ipv4: IPV4.swap(0, Ordering::Relaxed),
        private: mem::replace(&mut private, Private::new()),
    }
}

/// Returns whether a client on the Internet can have the address. Not public are RFC
/// 1918, RFC 6598 and RFC 4193 addresses, loopback and link-local ones.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            !(ip.is_private()
                || is_shared
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified())
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_unique_local()
                || ip.is_unspecified())
        }
    }
}

/// Numbers of connections by origin.
#[derive(Clone, Debug)]
struct Counts {
    /// From public IPv6 addresses.
    ipv6: u64,
    /// From public IPv4 addresses.
    ipv4: u64,
    private: Private,
}

/// Connections from private addresses of either family.
#[derive(Clone, Debug)]
struct Private {
    /// At most [`MAX_ADDRESSES`].
    addresses: Vec<(IpAddr, u64)>,
    forgotten: u64,
}

impl Counts {
    const fn new() -> Self {
        Self {
            ipv6: 0,
            ipv4: 0,
            private: Private::new(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.ipv6 += other.ipv6;
        self.ipv4 += other.ipv4;
        for (address, count) in &other.private.addresses {
            self.private.add(*address, *count);
        }
        self.private.forgotten += other.private.forgotten;
    }

    /// Returns the private address that nearly all connections come from. Connections
    /// from loopback are ignored unless it is loopback itself: health checks and local
    /// programs use loopback in any setup.
    fn dominant(&self) -> Option<Hidden> {
        let addresses = &self.private.addresses;
        let sum = |is_wanted: fn(IpAddr) -> bool| {
            let wanted = addresses.iter().filter(|(ip, _)| is_wanted(*ip));
            wanted.map(|(_, count)| count).sum::<u64>()
        };
        let elsewhere = self.ipv6 + self.ipv4 + self.private.forgotten;
        let without_loopback = elsewhere + sum(|ip| !ip.is_loopback());
        let all = elsewhere + sum(|_| true);
        let hidden = addresses.iter().map(|&(address, count)| Hidden {
            address,
            count,
            total: match address.is_loopback() {
                true => all,
                false => without_loopback,
            },
        });
        let mut dominant = hidden.filter(|h| h.count * 100 >= h.total * MIN_SHARE);
        // Prefers a relay on another address to loopback.
        let first = dominant.next()?;
        Some(match dominant.next() {
            Some(second) if first.address.is_loopback() => second,
            Some(_) | None => first,
        })
    }
}

impl Private {
    const fn new() -> Self {
        Self {
            addresses: Vec::new(),
            forgotten: 0,
        }
    }

    fn add(&mut self, address: IpAddr, count: u64) {
        if let Some((_, known)) = self.addresses.iter_mut().find(|(ip, _)| *ip == address) {
            *known += count;
            return;
        }
        if self.addresses.len() < MAX_ADDRESSES {
            self.addresses.push((address, count));
            return;
        }
        let rarest = self.addresses.iter_mut().min_by_key(|(_, count)| *count);
        if let Some(rarest) = rarest {
            self.forgotten += rarest.1;
            *rarest = (address, count);
        }
    }
}

/// The private address that hides the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hidden {
    address: IpAddr,
    /// The number of connections from it.
    count: u64,
    /// The number of all compared connections.
    total: u64,
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            count,
            total,
        } = self;
        write!(
            f,
            "{count} of {total} connections within {HOURS} hours come from {address}, and none \
             from an IPv6 client: a relay or docker-proxy seems to hide the clients' addresses, \
             so that mail over IPv6 is not checked; pass them on (docs/postfix.md)"
        )
    }
}

/// The counts of the last hours.
#[derive(Debug)]
struct Window {
    /// The counts by hour; the last one is the current hour.
    hours: VecDeque<Counts>,
    /// The number of additions to the current hour.
    ticks: u32,
}

impl Window {
    fn new() -> Self {
        Self {
            hours: VecDeque::from([Counts::new()]),
            ticks: 0,
        }
    }

    fn add(&mut self, counts: &Counts) {
        if self.ticks == TICKS_PER_HOUR {
            self.ticks = 0;
            if self.hours.len() == HOURS {
                self.hours.pop_front();
            }
            self.hours.push_back(Counts::new());
        }
        self.ticks += 1;
        if let Some(hour) = self.hours.back_mut() {
            hour.add(counts);
        }
    }

    /// Returns the private address that hides the clients, if there is one.
    fn hidden(&self) -> Option<Hidden> {
        let mut all = Counts::new();
        self.hours.iter().for_each(|hour| all.add(hour));
        if all.ipv6 > 0 || all.ipv4 >= MIN_PUBLIC {
            return None;
        }
        let enough = match self.hours.len() == HOURS {
            true => MIN_CONNECTIONS_IN_FULL_WINDOW,
            false => MIN_CONNECTIONS,
        };
        all.dominant().filter(|hidden| hidden.count >= enough)
    }
}

/// Evaluates the counts while the program runs: sets the metric, and logs when clients
/// begin to be hidden, every `HOURS` hours while they are, and when they no longer are.
/// Does nothing while no domain can have opted in.
pub async fn watch<R: Resolve>(current: watch::Receiver<Arc<Snapshot<R>>>) {
    let mut window = Window::new();
    let mut ticks_since_warning: Option<u32> = None;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        window.add(&take());
        let may_opt_in = current.borrow().checks.opt_in_sources().may_opt_in();
        let hidden = window.hidden().filter(|_| may_opt_in);
        metrics::get()
            .clients_hidden
            .set(i64::from(hidden.is_some()));
        ticks_since_warning = match (hidden, ticks_since_warning) {
            (Some(_), Some(ticks)) if ticks < REMINDER => Some(ticks + 1),
            (Some(hidden), _) => {
                tracing::warn!("{hidden}");
                Some(0)
            }
            (None, Some(_)) => {
                tracing::info!("clients no longer seem to be hidden behind one private address");
                None
            }
            (None, None) => None,
        };
    }
}

const REMINDER: u32 = TICKS_PER_HOUR * HOURS as u32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts connections by address; public addresses are counted by family.
    fn counts(connections: &[(&str, u64)]) -> Counts {
        let mut counts = Counts::new();
        for (address, count) in connections {
            let ip: IpAddr = address.parse().unwrap();
            match ip {
                IpAddr::V6(_) if is_public(ip) => counts.ipv6 += count,
                IpAddr::V4(_) if is_public(ip) => counts.ipv4 += count,
                _ => counts.private.add(ip, *count),
            }
        }
        counts
    }

    fn hours(window: &mut Window, hours: u32) {
        for _ in 0..hours * TICKS_PER_HOUR {
            window.add(&Counts::new());
        }
    }

    /// The description, the connections of a day by address, and whether clients are
    /// hidden.
    type Row = (&'static str, &'static [(&'static str, u64)], bool);

    #[test]
    fn a_relay_is_distinguished_from_similar_setups() {
        const LAN: [(&str, u64); 3] = [("10.0.0.5", 400), ("10.0.0.6", 400), ("10.0.0.7", 400)];
        let table: [Row; 16] = [
            ("docker-proxy", &[("172.17.0.1", 1000)], true),
            ("carrier-grade NAT", &[("100.64.0.1", 1000)], true),
            ("a relay on the same host", &[("127.0.0.1", 1000)], true),
            ("the same over IPv6", &[("::1", 1000)], true),
            (
                "a container's network that is exempt",
                &[("fd00::1", 1000)],
                true,
            ),
            (
                "and a health check beside it",
                &[("172.17.0.1", 1000), ("127.0.0.1", 2880)],
                true,
            ),
            (
                "and a few who reach the server directly",
                &[("172.17.0.1", 1000), ("192.0.2.1", 9)],
                true,
            ),
            ("nobody", &[], false),
            ("few", &[("172.17.0.1", 99)], false),
            (
                "a small internal relay beside the Internet",
                &[("10.0.0.5", 5000), ("192.0.2.1", 10)],
                false,
            ),
            (
                "a proxy that passes on addresses, and its health check",
                &[("10.0.0.5", 43200), ("2001:db8::1", 1)],
                false,
            ),
            ("several internal hosts", &LAN, false),
            (
                "two of them",
                &[("10.0.0.5", 900), ("10.0.0.6", 100)],
                false,
            ),
            ("public IPv4 alone", &[("192.0.2.1", 5000)], false),
            ("IPv6", &[("2001:db8::1", 5000)], false),
            (
                "local programs",
                &[("127.0.0.1", 5000), ("198.51.100.1", 10)],
                false,
            ),
        ];
        for (what, connections, want) in table {
            let mut window = Window::new();
            hours(&mut window, 23);
            window.add(&counts(connections));
            assert_eq!(window.hidden().is_some(), want, "{what}");
        }
    }

    #[test]
    fn the_first_day_takes_a_thousand_connections_and_a_full_one_a_hundred() {
        let table = [
            // hours, connections, hidden
            (0, 999, false),
            (0, 1000, true),
            (22, 999, false),
            (23, 100, true),
            (23, 99, false),
        ];
        for (after, connections, want) in table {
            let mut window = Window::new();
            hours(&mut window, after);
            window.add(&counts(&[("10.0.0.1", connections)]));
            assert_eq!(window.hidden().is_some(), want, "{after} {connections}");
        }
    }

    #[test]
    fn an_ipv6_client_ends_it_at_once_and_counts_for_a_day() {
        let mut window = Window::new();
        window.add(&counts(&[("10.0.0.1", 2000)]));
        assert!(window.hidden().is_some());
        window.add(&counts(&[("2001:db8::1", 1)]));
        assert_eq!(window.hidden(), None);
        hours(&mut window, 23);
        window.add(&counts(&[("10.0.0.1", 2000)]));
        assert_eq!(window.hidden(), None, "it came in the 24th hour back");
        hours(&mut window, 1);
        window.add(&counts(&[("10.0.0.1", 2000)]));
        assert!(window.hidden().is_some());
    }

    #[test]
    fn many_private_addresses_take_bounded_memory_and_do_not_hide_the_frequent_one() {
        let mut private = Private::new();
        for n in 0..200_000_u32 {
            private.add("172.17.0.1".parse().unwrap(), 30);
            private.add(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), 1);
        }
        assert_eq!(private.addresses.len(), MAX_ADDRESSES);
        let counts = Counts {
            ipv6: 0,
            ipv4: 0,
            private,
        };
        let hidden = counts.dominant().unwrap();
        assert_eq!((hidden.count, hidden.total), (6_000_000, 6_200_000));
    }
}
