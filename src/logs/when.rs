//! Points in time as people name them: `yesterday`, `7d`, `2026-11-14`,
//! `2026-11-14T10:00`.

use jiff::{Timestamp, ToSpan, Zoned, civil};

/// Reads a point in time; what has no zone is in that of `now`.
///
/// # Errors
/// When it is none, with the spellings that are.
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

fn named(text: &str, now: &Zoned) -> Option<Timestamp> {
    let date = match text {
        "now" => return Some(now.timestamp()),
        "today" => now.date(),
        "yesterday" => now.date().yesterday().ok()?,
        _ => return None,
    };
    begin_of(date.into(), now)
}

/// `7d`: so long before now.
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
