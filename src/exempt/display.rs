//! Describes the ends and uses of exempt networks, for commands and reports.

use super::{Found, Record, Source, entry::Entry, entry::show};
use jiff::{SignedDuration, Timestamp, Zoned};
use std::path::Path;

/// Formats the end of an entry: `until 2026-12-12 10:00 CET (in 14 days)`, or `without an
/// end`.
pub fn ends(entry: &Entry, now: &Zoned) -> String {
    match entry.until {
        Some(time) if time > now.timestamp() => format!("until {}", end(time, now)),
        Some(time) => ended(time, now),
        None => "without an end".to_owned(),
    }
}

/// Formats a future end: `2026-12-12 10:00 CET (in 14 days)`.
pub fn end(time: Timestamp, now: &Zoned) -> String {
    let left = time.duration_since(now.timestamp());
    format!("{} (in {})", moment(time, now), span(left))
}

/// Formats a past end: `ended 2026-11-12 10:00 CET (16 days ago)`.
pub fn ended(time: Timestamp, now: &Zoned) -> String {
    let ago = now.timestamp().duration_since(time);
    format!("ended {} ({} ago)", moment(time, now), span(ago))
}

/// Formats the last use: `2026-11-28 (2 hours ago)`, or `never since 2026-05-01`, the
/// date when recording began.
pub fn last_use(record: &Record, now: &Zoned) -> String {
    let day = |time: Timestamp| time.to_zoned(now.time_zone().clone()).strftime("%F");
    match record.used {
        Some(time) => {
            let ago = now
                .timestamp()
                .duration_since(time)
                .max(SignedDuration::ZERO);
            format!("{} ({} ago)", day(time), span(ago))
        }
        None => format!("never since {}", day(record.since)),
    }
}

/// Formats an entry and its location: `2001:db8::/32 in /var/lib/sixgate/exempt.list:4`.
pub fn place(found: &Found, file: &Path) -> String {
    let network = show(&found.listed.entry.network);
    match found.source {
        Source::Managed if found.listed.line == 0 => {
            format!("{network} in {} of Redis", file.display())
        }
        Source::Managed => format!("{network} in {}:{}", file.display(), found.listed.line),
        Source::Networks => format!("{network} in exempt.networks"),
    }
}

/// Formats an entry as [`place`] does, with its end and its comment.
pub fn describe(found: &Found, file: &Path, now: &Zoned) -> String {
    let mut text = place(found, file);
    if found.listed.entry.until.is_some() {
        text = format!("{text}, {}", ends(&found.listed.entry, now));
    }
    match &*found.listed.comment {
        "" => text,
        comment => format!("{text}: {}", comment.replace(char::is_control, " ")),
    }
}

fn moment(time: Timestamp, now: &Zoned) -> String {
    let local = time.to_zoned(now.time_zone().clone());
    local.strftime("%F %H:%M %Z").to_string()
}

/// Formats a duration in the largest unit of which it has at least two, rounded.
pub fn span(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    let units = [(24 * 60 * 60, "day"), (60 * 60, "hour"), (60, "minute")];
    let fits = units.into_iter().find(|(unit, _)| seconds >= 2 * unit);
    let (unit, name) = fits.unwrap_or((1, "second"));
    match (seconds + unit / 2) / unit {
        1 => format!("1 {name}"),
        number => format!("{number} {name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded() {
        let table = [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (60 * 60, "60 minutes"),
            (3 * 60 * 60 - 1, "3 hours"),
            (14 * 24 * 60 * 60 - 1, "14 days"),
        ];
        for (seconds, want) in table {
            assert_eq!(span(SignedDuration::from_secs(seconds)), want);
        }
    }
}
