//! The use of exemptions: a counter per entry for `/metrics`, and the time of the last
//! use, which is stored in a file next to the managed list.
//!
//! For a connection, recording a use is two atomic operations. A task of its own writes
//! the file rarely.

use super::entry::{parse_network, show};
use crate::{
    list_file::edit::{EditError, replace},
    telemetry::metrics::{self, ExemptSeries},
};
use ipnet::Ipv6Net;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    },
};

/// The suffix of the file with the uses.
const SUFFIX: &str = ".used";

/// The first line of the file with the uses.
const HEADER: &str = "# When exempt networks were used last. sixgate writes this file.\n";

/// How far in the future a recorded time may be. Later times were written while the clock
/// was wrong, and are ignored.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// The value for "never" in [`Use::last`].
const NEVER: i64 = i64::MIN;

/// The use of one entry.
#[derive(Debug)]
pub struct Use {
    network: Ipv6Net,
    /// Seconds since 1970.
    since: AtomicI64,
    last: AtomicI64,
    /// Created at the first use: most entries of a long list are never used.
    series: OnceLock<ExemptSeries>,
}

/// The recorded use of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When recording began.
    pub since: Timestamp,
    /// The last use.
    pub used: Option<Timestamp>,
}

impl Use {
    /// Creates an unused entry, added on `added`, or now if that is unknown.
    pub(super) fn new(network: Ipv6Net, added: Option<Date>) -> Self {
        let added = added.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
        let since = added.map_or_else(Timestamp::now, |added| added.timestamp());
        Self {
            network,
            since: AtomicI64::new(since.as_second()),
            last: AtomicI64::new(NEVER),
            series: OnceLock::new(),
        }
    }

    /// Counts a connection that the entry exempts.
    pub(super) fn count(&self) {
        let now = Timestamp::now().as_second();
        self.last.store(now, Ordering::Relaxed);
        let series = self
            .series
            .get_or_init(|| metrics::get().exempt_series(&show(&self.network)));
        series.inc();
    }

    /// Returns the current record.
    pub fn record(&self) -> Record {
        let time = |second| Timestamp::from_second(second).unwrap_or_default();
        let last = self.last.load(Ordering::Relaxed);
        Record {
            since: time(self.since.load(Ordering::Relaxed)),
            used: (last != NEVER).then(|| time(last)),
        }
    }

    /// Merges an earlier record.
    pub(super) fn restore(&self, before: &Record) {
        let since = before.since.as_second();
        self.since.fetch_min(since, Ordering::Relaxed);
        if let Some(used) = before.used {
            self.last.fetch_max(used.as_second(), Ordering::Relaxed);
        }
    }
}

/// The uses of all entries, by network.
pub(super) type Records = BTreeMap<Ipv6Net, Record>;

/// Returns the path of the file with the uses, next to the managed list.
pub(super) fn file_beside(managed_file: &Path) -> PathBuf {
    let mut name = managed_file.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// Reads the recorded uses. Skips invalid lines, because mail does not depend on this
/// file.
pub(super) fn read(file: &Path) -> Records {
    let text = fs::read_to_string(file).unwrap_or_default();
    let latest = Timestamp::now() + AHEAD;
    let recorded = text.lines().filter_map(parse);
    recorded
        .filter(|(_, record)| record.since <= latest && record.used.is_none_or(|t| t <= latest))
        .collect()
}

/// Parses `2001:db8::/32 since=TIME used=TIME`.
fn parse(line: &str) -> Option<(Ipv6Net, Record)> {
    let mut words = line.split(' ');
    let network = parse_network(words.next()?).ok()?;
    let mut record = Record {
        since: words.next()?.strip_prefix("since=")?.parse().ok()?,
        used: None,
    };
    if let Some(used) = words.next() {
        record.used = Some(used.strip_prefix("used=")?.parse().ok()?);
    }
    Some((network, record))
}

/// Writes the uses if they differ from the file. Keeps later uses that another process
/// has recorded.
///
/// # Errors
/// Fails if the directory or the file can't be written.
pub(super) fn write(file: &Path, mut records: Records) -> Result<(), EditError> {
    for (network, recorded) in read(file) {
        if let Some(record) = records.get_mut(&network) {
            record.since = record.since.min(recorded.since);
            record.used = record.used.max(recorded.used);
        }
    }
    let mut text = HEADER.to_owned();
    for (network, record) in &records {
        // Writing to a string can't fail.
        let _ = write!(text, "{} since={:.0}", show(network), record.since);
        if let Some(used) = record.used {
            let _ = write!(text, " used={used:.0}");
        }
        text.push('\n');
    }
    match fs::read_to_string(file) {
        Ok(old) if old == text => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && records.is_empty() => Ok(()),
        Ok(_) | Err(_) => replace(file, &text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_survive_a_restart_and_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = file_beside(&folder.path().join("exempt.list"));
        assert_eq!(read(&file), Records::new());
        let network = |text| parse_network(text).unwrap();
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let record = |since, used: Option<&str>| Record {
            since: time(since),
            used: used.map(time),
        };
        let early = "2026-01-01T00:00:00Z";
        let late = "2026-02-01T00:00:00Z";
        let mut records = Records::from([
            (network("2001:db8::/32"), record(late, Some(early))),
            (network("2001:db8::1"), record(early, None)),
        ]);
        write(&file, records.clone()).unwrap();
        assert_eq!(read(&file), records);

        // Another process has recorded a later use; an entry was removed.
        records.remove(&network("2001:db8::1"));
        let other = Records::from([(network("2001:db8::/32"), record(early, Some(late)))]);
        write(&file, other.clone()).unwrap();
        write(&file, records).unwrap();
        assert_eq!(read(&file), other);

        let future = "2001:db8:1::/48 since=2026-01-01T00:00:00Z used=9000-01-01T00:00:00Z";
        let text = fs::read_to_string(&file).unwrap() + "nonsense\n" + future + "\n";
        fs::write(&file, text).unwrap();
        assert_eq!(read(&file), other);
    }
}
