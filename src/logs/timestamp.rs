//! Parses the time at the beginning of a log line: RFC 3164 (`Nov 21 06:33:30`, local
//! time, no year) or RFC 3339 (`2026-11-21T06:33:30.123456+01:00`, and the spellings of
//! journalctl and tracing).

use jiff::{Timestamp, civil, tz::TimeZone};

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

const DAY: i64 = 86400;

/// How many years to search for a date: the gap between two February 29ths is at most
/// eight years.
const YEARS_BACK: i16 = 8;

/// Parses the times of one log.
#[derive(Clone, Debug)]
pub(super) struct Timestamps {
    zone: TimeZone,
    /// When the log was last written: no line is newer.
    written: Timestamp,
    /// `Nov 21 06` of the previous line, and when that hour began. Caches the calendar
    /// arithmetic for an hour.
    hour: ([u8; 9], Option<i64>),
}

impl Timestamps {
    pub(super) fn new(zone: TimeZone, written: Timestamp) -> Self {
        let hour = ([0; 9], None);
        Self {
            zone,
            written,
            hour,
        }
    }

    /// Parses a time. Returns the seconds since 1970 and the text after the time.
    pub(super) fn read<'a>(&mut self, line: &'a [u8]) -> Option<(i64, &'a [u8])> {
        match line.first()? {
            b'0'..=b'9' => rfc3339(line),
            b'A'..=b'Z' => self.rfc3164(line),
            _ => None,
        }
    }

    fn rfc3164<'a>(&mut self, line: &'a [u8]) -> Option<(i64, &'a [u8])> {
        let (time, rest) = line.split_at_checked(15)?;
        let [b':', m1, m2, b':', s1, s2] = time[9..] else {
            return None;
        };
        let seconds = i64::from(two(m1, m2)?) * 60 + i64::from(two(s1, s2)?);
        let hour: [u8; 9] = time[..9].try_into().ok()?;
        if hour != self.hour.0 {
            self.hour = (hour, self.begin_of_hour(hour));
        }
        Some((self.hour.1? + seconds, skip_fraction(rest)))
    }

    /// Returns the begin of the hour. The year is the latest that does not put the line
    /// more than a day after the log was written, which allows for clock differences.
    fn begin_of_hour(&self, [a, b, c, _, d1, d2, _, h1, h2]: [u8; 9]) -> Option<i64> {
        let month = MONTHS.iter().position(|name| **name == [a, b, c])?;
        let month = i8::try_from(month + 1).ok()?;
        let day = two(if d1 == b' ' { b'0' } else { d1 }, d2)?;
        let hour = two(h1, h2)?;
        let year = self.written.to_zoned(self.zone.clone()).year();
        (year - YEARS_BACK..=year + 1).rev().find_map(|year| {
            let local = civil::DateTime::new(year, month, day, hour, 0, 0, 0).ok()?;
            let begin = local.to_zoned(self.zone.clone()).ok()?;
            let begin = begin.timestamp().as_second();
            (begin <= self.written.as_second() + DAY).then_some(begin)
        })
    }
}

pub(super) fn rfc3339(line: &[u8]) -> Option<(i64, &[u8])> {
    let (time, rest) = line.split_at_checked(19)?;
    let &[
        y1,
        y2,
        y3,
        y4,
        b'-',
        o1,
        o2,
        b'-',
        d1,
        d2,
        b'T' | b' ',
        h1,
        h2,
        b':',
        m1,
        m2,
        b':',
        s1,
        s2,
    ] = time
    else {
        return None;
    };
    let year = i64::from(two(y1, y2)?) * 100 + i64::from(two(y3, y4)?);
    let days = days_since_1970(year, two(o1, o2)?.into(), two(d1, d2)?.into())?;
    let hours = days * 24 + i64::from(two(h1, h2)?);
    let seconds = (hours * 60 + i64::from(two(m1, m2)?)) * 60 + i64::from(two(s1, s2)?);
    let (offset, rest) = offset(skip_fraction(rest))?;
    Some((seconds - offset, rest))
}

/// Parses the offset `Z`, `+01:00` or `+0100` to seconds.
fn offset(text: &[u8]) -> Option<(i64, &[u8])> {
    let (sign, digits) = match text {
        [b'Z', rest @ ..] => return Some((0, rest)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let ([h1, h2, b':', m1, m2, rest @ ..] | [h1, h2, m1, m2, rest @ ..]) = digits else {
        return None;
    };
    let minutes = i64::from(two(*h1, *h2)?) * 60 + i64::from(two(*m1, *m2)?);
    Some((sign * minutes * 60, rest))
}

fn skip_fraction(text: &[u8]) -> &[u8] {
    match text {
        [b'.', digits @ ..] => {
            let end = digits.iter().position(|byte| !byte.is_ascii_digit());
            &digits[end.unwrap_or(digits.len())..]
        }
        _ => text,
    }
}

fn two(tens: u8, ones: u8) -> Option<i8> {
    let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
    i8::try_from((tens.wrapping_sub(b'0')) as u32 * 10 + u32::from(ones.wrapping_sub(b'0')))
        .ok()
        .filter(|_| digits)
}

/// Counts days. Years begin in March here, so that a leap day is the last day of a year.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zone: &str, written: &str) -> Timestamps {
        let zone = TimeZone::get(zone).unwrap();
        Timestamps::new(zone, written.parse().unwrap())
    }

    #[test]
    fn every_spelling_is_understood() {
        let table = [
            "2026-11-21T06:33:30Z",
            "2026-11-21T06:33:30.123456Z",
            "2026-11-21T07:33:30.123456+01:00",
            "2026-11-21T07:33:30+0100",
            "2026-11-21 01:03:30-05:30",
            "Nov 21 07:33:30",
            "Nov 21 07:33:30.123456",
        ];
        let want: Timestamp = "2026-11-21T06:33:30Z".parse().unwrap();
        for time in table {
            let line = format!("{time} rest");
            let read = at("Europe/Berlin", "2026-11-21T12:00:00Z")
                .read(line.as_bytes())
                .map(|(time, rest)| (time, rest.to_vec()));
            assert_eq!(read, Some((want.as_second(), b" rest".to_vec())), "{time}");
        }
    }

    #[test]
    fn the_missing_year_is_that_of_the_last_change() {
        let table = [
            (
                "Dec 31 23:59:59",
                "2027-01-01T00:00:05Z",
                "2026-12-31T23:59:59Z",
            ),
            (
                "Jan  1 00:00:01",
                "2027-01-01T00:00:05Z",
                "2027-01-01T00:00:01Z",
            ),
            (
                "Jan  1 00:00:01",
                "2026-12-31T23:59:58Z",
                "2027-01-01T00:00:01Z",
            ),
            (
                "Feb 29 10:00:00",
                "2027-03-01T00:00:00Z",
                "2024-02-29T10:00:00Z",
            ),
        ];
        for (time, written, want) in table {
            let want: Timestamp = want.parse().unwrap();
            let read = at("UTC", written).read(time.as_bytes()).map(|(t, _)| t);
            assert_eq!(read, Some(want.as_second()), "{time}");
        }
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for text in ["1970-01-01", "2000-02-29", "2026-11-21", "2100-03-01"] {
            let date: civil::Date = text.parse().unwrap();
            let days = days_since_1970(date.year().into(), date.month().into(), date.day().into());
            let want = date.to_zoned(TimeZone::UTC).unwrap().timestamp();
            assert_eq!(
                days.map(|days| days * DAY),
                Some(want.as_second()),
                "{text}"
            );
        }
    }

    #[test]
    fn invalid_times_are_none() {
        for line in [
            "",
            "Nov",
            "Foo 21 06:33:30",
            "Nov 31 06:33:30",
            "2026-13-01T00:00:00Z",
            "99",
            "{",
        ] {
            let read = at("UTC", "2026-11-21T12:00:00Z")
                .read(line.as_bytes())
                .is_some();
            assert!(!read, "{line}");
        }
    }
}
