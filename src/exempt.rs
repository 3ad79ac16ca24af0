//! Exempt networks: `exempt.networks` of the configuration, and the list that
//! `sixgate exempt` manages, whose entries may end.
//!
//! An entry that ends is compared with the clock at each connection, so it ends
//! without anything being done, whichever way the clock is set.

pub mod display;
pub mod entry;
pub mod managed;
pub mod redis;
pub mod table;
mod usage;

pub use table::{Listed, Table};
pub use usage::Record;

use self::redis::RedisList;
use crate::{
    config::{Config, EXEMPT_FILE},
    dns::Resolve,
    list_file::{
        ListError,
        edit::EditError,
        live::{LiveList, Presence},
    },
    snapshot::Snapshot,
    telemetry::metrics,
};
use ipnet::{IpNet, Ipv6Net};
use jiff::Timestamp;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{Arc, RwLockReadGuard},
    time::Duration,
};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

/// How long after the start, and how often after that, uses are recorded.
const FIRST_RECORD: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(5 * 60);

/// The exempt networks of one configuration. A copy is the same ones.
#[derive(Clone, Debug)]
pub struct Exemptions {
    networks: Arc<Table>,
    managed: ManagedList,
    /// `exempt.managed_file`, beside which uses are recorded.
    file: PathBuf,
}

/// The list that `sixgate exempt` edits.
#[derive(Clone, Debug)]
enum ManagedList {
    File(Arc<LiveList<Table>>),
    /// With `opt_in.redis.managed`.
    Redis(Arc<RedisList>),
}

impl ManagedList {
    fn in_force(&self) -> RwLockReadGuard<'_, Arc<Table>> {
        match self {
            Self::File(list) => list.in_force(),
            Self::Redis(list) => list.in_force(),
        }
    }

    fn list(&self) -> Arc<Table> {
        Arc::clone(&self.in_force())
    }
}

/// Where an entry is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `exempt.managed_file`, which `sixgate exempt` edits.
    Managed,
    /// `exempt.networks` of the configuration.
    Networks,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Managed => "managed",
            Self::Networks => "networks",
        })
    }
}

/// The entry that exempts a client.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is listed.
    pub source: Source,
    /// The entry.
    pub listed: Listed,
}

impl Exemptions {
    /// Reads the list that a configuration names, and when its entries were used. What
    /// `previous` has under the same name is read again and shared with it. A list in
    /// Redis is empty until [`Exemptions::load`] or [`Exemptions::follow`].
    ///
    /// # Errors
    /// When the list can't be read, is empty without saying so, or is wrong.
    pub fn open(config: &Config, previous: Option<&Self>) -> Result<Self, ListError> {
        let paths = vec![config.exempt_file.clone()];
        let presence = match config.exempt_file == Path::new(EXEMPT_FILE) {
            true => Presence::NotYet,
            false => Presence::Required,
        };
        let networks = config.policy.exempt_networks.iter();
        let networks = networks.filter_map(|network| match network {
            IpNet::V6(network) => Some(*network),
            IpNet::V4(_) => None,
        });
        let old = previous.map(|old| Arc::clone(&old.networks));
        let exemptions = Self {
            networks: Arc::new(Table::of(networks, &old.unwrap_or_default())),
            managed: match (previous.map(|old| &old.managed), &config.opt_in.redis) {
                (Some(ManagedList::Redis(old)), redis) if redis.managed && old.is_of(redis) => {
                    ManagedList::Redis(Arc::clone(old))
                }
                (_, redis) if redis.managed => ManagedList::Redis(Arc::new(RedisList::new(redis))),
                (Some(ManagedList::File(old)), _) if *old.paths() == paths => {
                    old.read_again()?;
                    ManagedList::File(Arc::clone(old))
                }
                _ => {
                    let list = LiveList::open("exempt.managed_file", paths, presence)?;
                    ManagedList::File(Arc::new(list))
                }
            },
            file: config.exempt_file.clone(),
        };
        exemptions.restore_uses();
        Ok(exemptions)
    }

    /// Follows the managed list from now on. Needs a runtime.
    pub fn follow(&self) {
        match &self.managed {
            ManagedList::File(list) => list.follow(),
            ManagedList::Redis(list) => list.follow(),
        }
    }

    /// Reads a list that is in Redis; one in a file was read when it was opened.
    ///
    /// # Errors
    /// When Redis does not answer, or the list is wrong.
    pub async fn load(&self) -> Result<(), String> {
        match &self.managed {
            ManagedList::File(_) => return Ok(()),
            ManagedList::Redis(list) => {
                let loaded = list.load().await;
                loaded.map_err(|error| format!("{} of Redis: {error}", list.key()))?;
            }
        }
        self.restore_uses();
        Ok(())
    }

    /// Whether the list is in Redis.
    pub fn is_in_redis(&self) -> bool {
        matches!(self.managed, ManagedList::Redis(_))
    }

    /// Whether the managed list exempts a client now.
    pub fn has_managed(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V6(ip) => self.managed.in_force().find(ip).is_some(),
            IpAddr::V4(_) => false,
        }
    }

    /// The entry with the longest prefix that exempts a client now, which the managed
    /// list has rather than the configuration.
    pub fn find(&self, ip: IpAddr) -> Option<Found> {
        let IpAddr::V6(ip) = ip else {
            return None;
        };
        let found = |source| move |listed: Listed| Found { source, listed };
        let managed = self.managed.in_force().find(ip).cloned();
        let networks = self.networks.find(ip).cloned();
        let managed = managed.map(found(Source::Managed));
        let networks = networks.map(found(Source::Networks));
        match (managed, networks) {
            (Some(managed), Some(networks)) if managed.length() < networks.length() => {
                Some(networks)
            }
            (managed, networks) => managed.or(networks),
        }
    }

    /// All entries that contain an address, the shortest prefix first, also those
    /// that have ended.
    pub fn covering(&self, ip: Ipv6Addr) -> Vec<Found> {
        let host = Ipv6Net::from(ip);
        let managed = self.managed.list();
        let managed = managed.covering(&host).cloned();
        let networks = self.networks.covering(&host).cloned();
        let found = |source| move |listed: Listed| Found { source, listed };
        let mut covering: Vec<Found> = (managed.map(found(Source::Managed)))
            .chain(networks.map(found(Source::Networks)))
            .collect();
        covering.sort_by_key(Found::length);
        covering
    }

    /// Whether the managed list exempts a whole network without an end.
    pub fn has_for_good(&self, network: &Ipv6Net) -> bool {
        let managed = self.managed.in_force();
        managed
            .covering(network)
            .any(|listed| listed.entry.until.is_none())
    }

    /// The managed list.
    pub fn managed(&self) -> Arc<Table> {
        self.managed.list()
    }

    /// `exempt.networks`
    pub fn networks(&self) -> &Table {
        &self.networks
    }

    /// The managed file; with Redis, the name of the hash.
    pub fn file(&self) -> &Path {
        match &self.managed {
            ManagedList::File(_) => &self.file,
            ManagedList::Redis(list) => Path::new(list.key()),
        }
    }

    /// Why the managed list in force is not what its file says.
    pub fn error(&self) -> Option<String> {
        match &self.managed {
            ManagedList::File(list) => list.error().map(|error| error.to_string()),
            ManagedList::Redis(list) => list.error(),
        }
    }

    /// All entries, first those of the managed list.
    pub fn each(&self) -> impl Iterator<Item = Found> {
        let found = |source| {
            move |listed: &Listed| Found {
                source,
                listed: listed.clone(),
            }
        };
        let managed: Vec<Found> = (self.managed.list().iter())
            .map(found(Source::Managed))
            .collect();
        let networks = self.networks.iter().map(found(Source::Networks));
        managed.into_iter().chain(networks.collect::<Vec<_>>())
    }

    /// Sets the gauges.
    pub fn set_metrics(&self, metrics: &metrics::Exempt) {
        let now = Timestamp::now();
        let [mut in_force, mut ending, mut ended, mut unused] = [0; 4];
        let managed = self.managed.list();
        for listed in managed.iter().chain(self.networks.iter()) {
            match listed.state(now) {
                State::InForce => in_force += 1,
                State::Ending => {
                    in_force += 1;
                    ending += 1;
                }
                State::Ended => ended += 1,
            }
            unused += i64::from(listed.is_unused(now));
        }
        metrics.in_force.set(in_force);
        metrics.ending.set(ending);
        metrics.unused.set(unused);
        metrics.ended.set(ended);
        metrics.stale.set(i64::from(self.error().is_some()));
    }

    fn restore_uses(&self) {
        if self.networks.is_empty() && self.managed.in_force().is_empty() {
            return;
        }
        let recorded = usage::read(&usage::file_beside(&self.file));
        for (network, record) in &recorded {
            for table in [&*self.networks, &*self.managed.list()] {
                if let Some(listed) = table.get(network) {
                    listed.usage.restore(record);
                }
            }
        }
    }

    /// Records when entries were used last, for the next process and for people.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn record_uses(&self) -> Result<(), EditError> {
        let mut records = usage::Records::new();
        for Found { listed, .. } in self.each() {
            let record = listed.usage.record();
            // An entry that says when it was added needs no record before its first use.
            if record.used.is_some() || listed.added.is_none() {
                let known = records.entry(listed.entry.network).or_insert(record);
                known.used = known.used.max(record.used);
            }
        }
        match records.is_empty() {
            true => Ok(()),
            false => usage::write(&usage::file_beside(&self.file), records),
        }
    }
}

impl Found {
    /// Counts a connection that the entry exempts.
    pub fn count(&self) {
        self.listed.usage.count();
    }

    /// Whether it is the same entry of the same list.
    pub fn is_same(&self, other: &Self) -> bool {
        let network = |found: &Self| found.listed.entry.network;
        self.source == other.source && network(self) == network(other)
    }

    fn length(&self) -> u8 {
        self.listed.entry.network.prefix_len()
    }
}

/// Records uses from time to time, as long as the program runs.
pub async fn watch<R: Resolve>(current: watch::Receiver<Arc<Snapshot<R>>>) {
    let mut pause = FIRST_RECORD;
    let mut is_warned = false;
    loop {
        sleep(pause).await;
        pause = EVERY;
        let exemptions = current.borrow().exemptions.clone();
        if exemptions.networks().is_empty() && exemptions.managed().is_empty() {
            continue;
        }
        let file = exemptions.file.clone();
        if let Ok(Err(error)) = spawn_blocking(move || exemptions.record_uses()).await
            && !is_warned
        {
            // Without the package, the default folder may not exist.
            is_warned = true;
            let file = file.display();
            tracing::info!("{file}: when its entries were used can't be recorded: {error}");
        }
    }
}

/// How an entry is at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It exempts, and will for more than a week.
    InForce,
    /// It exempts, and ends within a week.
    Ending,
    /// It has ended.
    Ended,
}

impl State {
    /// The name in metrics and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::InForce => "in-force",
            Self::Ending => "ending",
            Self::Ended => "ended",
        }
    }
}

/// An entry that ends so soon deserves a look.
pub const SOON: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// An entry that was not used for so long may not be needed.
pub const UNUSED: jiff::SignedDuration = jiff::SignedDuration::from_hours(90 * 24);

impl Listed {
    /// How the entry is.
    pub fn state(&self, now: Timestamp) -> State {
        match self.entry.until {
            Some(until) if until <= now => State::Ended,
            Some(until) if until <= now + SOON => State::Ending,
            Some(_) | None => State::InForce,
        }
    }

    /// Whether it exempts, and nobody has used it for a long time.
    pub fn is_unused(&self, now: Timestamp) -> bool {
        let record = self.usage.record();
        let last = record.used.unwrap_or(record.since);
        self.entry.is_in_force(now) && now.duration_since(last) >= UNUSED
    }
}
