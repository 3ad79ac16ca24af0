//! The date in generated files, from SOURCE_DATE_EPOCH, so that the same sources result in
//! the same files on any day.

use jiff::{Timestamp, civil, fmt::strtime, tz::TimeZone};
use std::{env, io};

/// A moment, to the second, UTC.
pub struct Date(Timestamp);

impl Date {
    /// Returns SOURCE_DATE_EPOCH, or 1970 without it.
    pub fn from_environment() -> io::Result<Self> {
        let text = env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".into());
        let seconds = text.parse().map_err(io::Error::other)?;
        let moment = Timestamp::from_second(seconds).map_err(io::Error::other)?;
        Ok(Self(moment))
    }

    /// Parses a day such as `2026-11-21` as its midnight; `None` for anything else.
    pub fn from_iso(text: &str) -> Option<Self> {
        let day: civil::Date = text.parse().ok()?;
        let midnight = day.to_zoned(TimeZone::UTC).ok()?;
        Some(Self(midnight.timestamp()))
    }

    /// `2026-11-21`.
    pub fn iso(&self) -> String {
        self.formatted("%Y-%m-%d")
    }

    /// `Sat, 21 Nov 2026 06:35:50 +0000`.
    pub fn rfc5322(&self) -> String {
        self.formatted("%a, %d %b %Y %H:%M:%S +0000")
    }

    fn formatted(&self, format: &str) -> String {
        // These formats are valid for a moment.
        strtime::format(format, self.0).unwrap_or_default()
    }
}
