//! Exempt networks: `exempt.networks` of the configuration, and the list that
//! `sixgate exempt` manages, whose entries may end.
//!
//! The end of an entry is compared with the clock at each connection, so it needs no
//! timer and follows changes of the clock.

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

/// The delay of the first record of uses after the start, and the interval after that.
const FIRST_RECORD: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(5 * 60);

/// The exempt networks of one configuration. Clones share them.
#[derive(Clone, Debug)]
pub struct Exemptions {
    networks: Arc<Table>,
    managed: ManagedList,
    /// `exempt.managed_file`; uses are recorded in a file next to it.
    file: PathBuf,
}

/// The list that `sixgate exempt` edits.
#[derive(Clone, Debug)]
enum ManagedList {
    File(Arc<LiveList<Table>>),
    /// The list is in Redis (`opt_in.redis.managed`).
    Redis(Arc<RedisList>),
}

impl ManagedList {
    fn current(&self) -> RwLockReadGuard<'_, Arc<Table>> {
        match self {
            Self::File(list) => list.current(),
            Self::Redis(list) => list.current(),
        }
    }

    fn list(&self) -> Arc<Table> {
        Arc::clone(&self.current())
    }
}

/// The list that contains an entry.
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
    /// The list that contains the entry.
    pub source: Source,
    /// The entry.
    pub listed: Listed,
}

impl Exemptions {
    /// Reads the list of a configuration and the last uses of its entries. A list that
    /// `previous` has under the same name is read again and shared with it. A list in
    /// Redis is empty until [`Exemptions::load`] or [`Exemptions::follow`].
    ///
    /// # Errors
    /// Fails if the list can't be read, is invalid, or is empty without the line `#
    /// empty`.
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

    /// Follows the managed list in the background. Must be called in a tokio runtime.
    pub fn follow(&self) {
        match &self.managed {
            ManagedList::File(list) => list.follow(),
            ManagedList::Redis(list) => list.follow(),
        }
    }

    /// Reads a list in Redis. A list in a file was read by [`Exemptions::open`].
    ///
    /// # Errors
    /// Fails if Redis does not answer, or the list is invalid.
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

    /// Returns whether the list is in Redis.
    pub fn is_in_redis(&self) -> bool {
        matches!(self.managed, ManagedList::Redis(_))
    }

    /// Returns whether the managed list exempts a client now.
    pub fn has_managed(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V6(ip) => self.managed.current().find(ip).is_some(),
            IpAddr::V4(_) => false,
        }
    }

    /// Returns the entry with the longest prefix that exempts a client now; the managed
    /// list is preferred to the configuration.
    pub fn find(&self, ip: IpAddr) -> Option<Found> {
        let IpAddr::V6(ip) = ip else {
            return None;
        };
        let found = |source| move |listed: Listed| Found { source, listed };
        let managed = self.managed.current().find(ip).cloned();
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

    /// Returns all entries that contain an address, the shortest prefix first, including
    /// ended ones.
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

    /// Returns whether the managed list exempts a whole network without an end.
    pub fn exempts_permanently(&self, network: &Ipv6Net) -> bool {
        let managed = self.managed.current();
        managed
            .covering(network)
            .any(|listed| listed.entry.until.is_none())
    }

    /// Returns the managed list.
    pub fn managed(&self) -> Arc<Table> {
        self.managed.list()
    }

    /// Returns the networks of `exempt.networks`.
    pub fn networks(&self) -> &Table {
        &self.networks
    }

    /// Returns the path of the managed file; with Redis, the name of the hash.
    pub fn file(&self) -> &Path {
        match &self.managed {
            ManagedList::File(_) => &self.file,
            ManagedList::Redis(list) => Path::new(list.key()),
        }
    }

    /// Returns why the managed list in use differs from its file.
    pub fn error(&self) -> Option<String> {
        match &self.managed {
            ManagedList::File(list) => list.error().map(|error| error.to_string()),
            ManagedList::Redis(list) => list.error(),
        }
    }

    /// Returns all entries, first those of the managed list.
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

    /// Updates the gauges.
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
        if self.networks.is_empty() && self.managed.current().is_empty() {
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

    /// Records the last uses of entries, for the next process and for commands.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub fn record_uses(&self) -> Result<(), EditError> {
        let mut records = usage::Records::new();
        for Found { listed, .. } in self.each() {
            let record = listed.usage.record();
            // An entry with a date in its comment needs no record before its first use.
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

    /// Returns whether both are the same entry of the same list.
    pub fn is_same(&self, other: &Self) -> bool {
        let network = |found: &Self| found.listed.entry.network;
        self.source == other.source && network(self) == network(other)
    }

    fn length(&self) -> u8 {
        self.listed.entry.network.prefix_len()
    }
}

/// Records uses periodically while the program runs.
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
            // Logged only once: without the package, the default directory may not exist.
            is_warned = true;
            let file = file.display();
            tracing::info!("{file}: when its entries were used can't be recorded: {error}");
        }
    }
}

/// The state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The entry exempts for more than another week.
    InForce,
    /// The entry exempts, and ends within a week.
    Ending,
    /// The entry has ended.
    Ended,
}

impl State {
    /// Returns the name in metrics and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::InForce => "in-force",
            Self::Ending => "ending",
            Self::Ended => "ended",
        }
    }
}

/// The remaining time below which an entry is reported as ending.
pub const SOON: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// The time without a use after which an entry is reported as unused.
pub const UNUSED: jiff::SignedDuration = jiff::SignedDuration::from_hours(90 * 24);

impl Listed {
    /// Returns the state of the entry.
    pub fn state(&self, now: Timestamp) -> State {
        match self.entry.until {
            Some(until) if until <= now => State::Ended,
            Some(until) if until <= now + SOON => State::Ending,
            Some(_) | None => State::InForce,
        }
    }

    /// Returns whether the entry is in force but was not used for [`UNUSED`].
    pub fn is_unused(&self, now: Timestamp) -> bool {
        let record = self.usage.record();
        let last = record.used.unwrap_or(record.since);
        self.entry.is_in_force(now) && now.duration_since(last) >= UNUSED
    }
}
