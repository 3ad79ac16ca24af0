//! A record of the journal, as `journalctl -o json` prints it: one object a
//! line.

use serde::Deserialize;
use std::borrow::Cow;

/// What is needed of a record.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    /// The program, as syslog's tag.
    #[serde(rename = "SYSLOG_IDENTIFIER", borrow, default)]
    pub(super) identifier: Cow<'a, str>,
    /// What it said. A text that is not UTF-8 comes as a list of octets, and no
    /// line of interest has one.
    #[serde(rename = "MESSAGE", borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow, default)]
    microseconds: Cow<'a, str>,
}

impl<'a> Record<'a> {
    /// `None` if the line is something else.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        // Our own JSON lines are looked at once only.
        memchr::memmem::find(line, b"\"MESSAGE\"")?;
        serde_json::from_slice(line).ok()
    }

    /// Seconds since 1970.
    pub(super) fn time(&self) -> Option<i64> {
        let microseconds: i64 = self.microseconds.parse().ok()?;
        Some(microseconds / 1_000_000)
    }
}
