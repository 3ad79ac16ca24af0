//! Parses times and durations in command line arguments: `yesterday`, `7d`, `2026-11-14`,
//! `2026-11-14T10:00`.

use jiff::{SignedDuration, Timestamp, ToSpan, Zoned, civil};

/// Parses a time. A time without a zone is in the zone of `now`.
///
/// # Errors
/// Fails if it is not a time, and lists the valid forms.
pub fn parse(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    named(text, now)
        .or_else(|| ago(text, now))
        .or_else(|| absolute(text, now))
        .ok_or_else(|| {
            "write today, yesterday, 7d, 24h, 30m, 2026-11-14, 2026-11-14T10:00 or a time with a \
             zone such as 2026-11-14T10:00:00Z"
                .to_owned()
        })
}

/// Parses a duration: `12h`, `14d`, `2w`.
///
/// # Errors
/// Fails if it is not a duration, and lists the valid forms.
pub fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || "write a number and m, h, d or w, such as 12h, 14d or 2w".to_owned();
    let cut = text.len().checked_sub(1).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(cut).ok_or_else(wrong)?;
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        "w" => 7 * 24 * 60,
        _ => return Err(wrong()),
    };
    match number {
        1..5000 => Ok(SignedDuration::from_mins(number * minutes)),
        ..1 => Err(format!("{text} has passed already; {}", wrong())),
        5000.. => Err("that is too long; leave it out for an entry without an end".to_owned()),
    }
}

/// Parses an end time. A time without a zone is in the zone of `now`; a date without a
/// time includes that day.
///
/// # Errors
/// Fails if it is not a time in the future, and lists the valid forms.
pub fn end(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let is_date = text.len() == "2026-12-12".len();
    let end = match text.parse::<civil::Date>() {
        Ok(date) if is_date => date.tomorrow().ok().and_then(|d| begin_of(d.into(), now)),
        Ok(_) | Err(_) => absolute(text, now),
    };
    match end {
        Some(end) if end <= now.timestamp() => Err(format!("{text} is in the past")),
        Some(end) => Ok(end),
        None => Err(
            "write 2026-12-12 (that day is included), 2026-12-12T10:00 or a time with a zone \
             such as 2026-12-12T10:00:00Z"
                .to_owned(),
        ),
    }
}

fn named(text: &str, now: &Zoned) -> Option<Timestamp> {
    let date = match text {
        "now" => return Some(now.timestamp()),
        "today" => now.date(),
        "yesterday" => now.date().yesterday().ok()?,
        _ => return None,
    };
    begin_of(date.into(), now)
}

/// Parses a duration before now, such as `7d`.
fn ago(text: &str, now: &Zoned) -> Option<Timestamp> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|n| (0..5000).contains(n))?;
    let span = match unit {
        "m" => number.minutes(),
        "h" => number.hours(),
        "d" => number.days(),
        "w" => number.weeks(),
        _ => return None,
    };
    Some(now.checked_sub(span).ok()?.timestamp())
}

fn absolute(text: &str, now: &Zoned) -> Option<Timestamp> {
    if let Ok(timestamp) = text.parse() {
        return Some(timestamp);
    }
    let local: civil::DateTime = text.parse().ok()?;
    begin_of(local, now)
}

fn begin_of(local: civil::DateTime, now: &Zoned) -> Option<Timestamp> {
    let zoned = local.to_zoned(now.time_zone().clone()).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_in_the_future_and_a_date_includes_its_day() {
        let now: Zoned = "2026-11-21T06:33:30+01:00[Europe/Berlin]".parse().unwrap();
        let table = [
            ("2026-11-21", Ok("2026-11-21T23:00:00Z")),
            ("2026-12-12", Ok("2026-12-12T23:00:00Z")),
            ("2026-12-12T10:00", Ok("2026-12-12T09:00:00Z")),
            ("2026-12-12T10:00:00Z", Ok("2026-12-12T10:00:00Z")),
            ("2026-11-20", Err("in the past")),
            ("2026-11-21T06:33", Err("in the past")),
            ("14d", Err("write 2026-12-12 ")),
            ("tomorrow", Err("write 2026-12-12 ")),
            ("2026-02-30", Err("write 2026-12-12 ")),
            ("9999-12-31", Err("write 2026-12-12 ")),
        ];
        for (text, want) in table {
            match (end(text, &now), want) {
                (Ok(end), Ok(want)) => assert_eq!(end.to_string(), want, "{text}"),
                (Err(error), Err(want)) => assert!(error.contains(want), "{text}: {error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, hours) in [("60m", 1), ("12h", 12), ("14d", 336), ("2w", 336)] {
            let want = SignedDuration::from_hours(hours);
            assert_eq!(duration(text), Ok(want), "{text}");
        }
        for text in [
            "", "d", "14", "3y", "1.5d", "0d", "-1d", "5000w", "14 d", "\u{e4}",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_spelling_is_a_point_in_time() {
        let now: Zoned = "2026-11-21T06:33:30+01:00[Europe/Berlin]".parse().unwrap();
        let table = [
            ("now", "2026-11-21T05:33:30Z"),
            ("today", "2026-11-20T23:00:00Z"),
            ("yesterday", "2026-11-19T23:00:00Z"),
            ("30m", "2026-11-21T05:03:30Z"),
            ("24h", "2026-11-20T05:33:30Z"),
            ("7d", "2026-11-14T05:33:30Z"),
            // Summer time ended in between.
            ("4w", "2026-10-24T04:33:30Z"),
            ("2026-11-14", "2026-11-13T23:00:00Z"),
            ("2026-11-14T10:00", "2026-11-14T09:00:00Z"),
            ("2026-11-14 10:00:30", "2026-11-14T09:00:30Z"),
            ("2026-11-14T10:00:00Z", "2026-11-14T10:00:00Z"),
            ("2026-11-14T10:00:00-05:00", "2026-11-14T15:00:00Z"),
        ];
        for (text, want) in table {
            let want: Timestamp = want.parse().unwrap();
            assert_eq!(parse(text, &now), Ok(want), "{text}");
        }
        for text in [
            "",
            "d",
            "-7d",
            "7",
            "soon",
            "2026-11-31",
            "99999999999d",
            "\u{e4}",
        ] {
            assert!(parse(text, &now).is_err(), "{text}");
        }
    }
}
