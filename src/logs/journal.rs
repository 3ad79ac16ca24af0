//! Records of the systemd journal as printed by `journalctl -o json`: one object per
//! line.

use serde::Deserialize;
use std::borrow::Cow;

/// The fields of a record that are used.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    /// The program, as syslog's tag.
    #[serde(rename = "SYSLOG_IDENTIFIER", borrow, default)]
    pub(super) identifier: Cow<'a, str>,
    /// The message. A message that is not UTF-8 is a list of bytes, which no relevant
    /// line has.
    #[serde(rename = "MESSAGE", borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow, default)]
    microseconds: Cow<'a, str>,
}

impl<'a> Record<'a> {
    /// Parses a line; `None` if it is not such a record.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        // Avoids parsing sixgate's own JSON lines twice.
        memchr::memmem::find(line, b"\"MESSAGE\"")?;
        serde_json::from_slice(line).ok()
    }

    /// Returns the time in seconds since 1970.
    pub(super) fn time(&self) -> Option<i64> {
        let microseconds: i64 = self.microseconds.parse().ok()?;
        Some(microseconds / 1_000_000)
    }
}
