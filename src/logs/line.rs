//! Splits a log line into time, program and text.
//!
//! The program is taken from the header that the log daemon wrote, never from the text,
//! so that a peer cannot forge lines through another program.

use super::{decision, journal::Record, timestamp::Timestamps};
use jiff::{Timestamp, tz::TimeZone};

/// The state of reading one log.
#[derive(Clone, Debug)]
pub struct Log {
    timestamps: Timestamps,
    /// The time of the previous line, which also applies to lines without a time.
    last: Option<i64>,
}

impl Log {
    /// Creates the state for a log. Times without a zone are in `zone`. `written` is when
    /// the log was last written, which determines the year of RFC 3164 times.
    pub fn new(zone: TimeZone, written: Timestamp) -> Self {
        Self {
            timestamps: Timestamps::new(zone, written),
            last: None,
        }
    }

    /// Returns the time of the first line in `text` that has one, in seconds since 1970.
    pub fn first_time(&mut self, text: &[u8]) -> Option<i64> {
        text.split(|&byte| byte == b'\n')
            .find_map(|line| self.time(line))
    }

    fn time(&mut self, line: &[u8]) -> Option<i64> {
        match line {
            [b'{', ..] => match Record::parse(line) {
                Some(record) => record.time(),
                None => decision::json_time(line),
            },
            _ => self.timestamps.read(line).map(|(time, _)| time),
        }
    }

    /// Splits a line; `None` if it is not from a relevant program.
    pub(super) fn read<'a>(&mut self, line: &'a [u8]) -> Option<LogLine<'a>> {
        let (time, origin) = match self.timestamps.read(line) {
            Some((time, rest)) => (Some(time), after_time(rest)?),
            None => (None, without_head(line)?),
        };
        self.last = time.or(self.last);
        Some(LogLine {
            time: self.last,
            origin,
        })
    }

    /// Sets the time from a record that contains one.
    pub(super) fn at(&mut self, time: Option<i64>) -> Option<i64> {
        self.last = time.or(self.last);
        self.last
    }
}

/// A line of a relevant program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogLine<'a> {
    /// Seconds since 1970, if this line or one before it has a time.
    pub(super) time: Option<i64>,
    pub(super) origin: Origin<'a>,
}

/// The program that wrote a line, with its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin<'a> {
    Sixgate(&'a [u8]),
    /// Postfix or Sendmail.
    Mta(&'a [u8]),
}

impl<'a> Origin<'a> {
    /// Recognizes the program by its tag; `None` for any other program.
    pub(super) fn of(tag: &[u8], text: &'a [u8]) -> Option<Self> {
        match tag {
            b"sixgate" => Some(Self::Sixgate(without_level(text))),
            tag if is_mta(tag) => Some(Self::Mta(text)),
            _ => None,
        }
    }
}

/// Parses the text after the time. Standard error has a level in place of host and tag.
fn after_time(rest: &[u8]) -> Option<Origin<'_>> {
    match strip_level(rest) {
        Some(text) => Some(Origin::Sixgate(text)),
        None => after_host(rest),
    }
}

/// Parses ` host tag[pid]: text`.
fn after_host(rest: &[u8]) -> Option<Origin<'_>> {
    let rest = rest.strip_prefix(b" ")?;
    let tag = &rest[memchr::memchr(b' ', rest)? + 1..];
    let end = memchr::memchr3(b'[', b':', b' ', tag)?;
    let (tag, rest) = tag.split_at(end);
    let rest = match rest {
        [b'[', ..] => &rest[memchr::memchr(b']', rest)? + 1..],
        rest => rest,
    };
    Origin::of(tag, rest.strip_prefix(b": ")?)
}

/// Parses a line without a header, from `journalctl -o cat` or standard error without
/// times. Log daemons write a header before every line, so this cannot be a line of
/// another program.
fn without_head(line: &[u8]) -> Option<Origin<'_>> {
    let text = without_level(line);
    let queue_id = &text[..memchr::memchr(b':', text)?];
    let is_bare = !queue_id.is_empty() && queue_id.iter().all(u8::is_ascii_alphanumeric);
    is_bare.then_some(Origin::Sixgate(text))
}

/// Returns whether a tag is one of the Postfix programs that log senders, recipients and
/// deliveries, under any `syslog_name`, or Sendmail under its usual names.
fn is_mta(tag: &[u8]) -> bool {
    match memchr::memrchr(b'/', tag) {
        Some(slash) => matches!(
            &tag[slash + 1..],
            b"smtpd"
                | b"cleanup"
                | b"qmgr"
                | b"oqmgr"
                | b"local"
                | b"virtual"
                | b"lmtp"
                | b"smtp"
                | b"pipe"
                | b"error"
                | b"discard"
        ),
        None => tag.starts_with(b"sendmail") || tag.starts_with(b"sm-"),
    }
}

fn without_level(text: &[u8]) -> &[u8] {
    strip_level(text).unwrap_or(text)
}

/// Removes the level that tracing writes to standard error: ` INFO text`, optionally with
/// the target before the text.
fn strip_level(text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii_start();
    let levels: [&[u8]; 5] = [b"INFO ", b"DEBUG ", b"WARN ", b"ERROR ", b"TRACE "];
    let rest = levels.iter().find_map(|level| text.strip_prefix(*level))?;
    Some(rest.strip_prefix(b"sixgate::decision: ").unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_read_from_the_header_only() {
        let decision = "NOQUEUE: accept: rule=spf-pass";
        let mta = "4F9D195432C: client=a[192.0.2.1]";
        let table = [
            (
                format!("Nov 21 06:33:30 mx sixgate[12]: {decision}"),
                Some(true),
            ),
            (
                format!("Nov 21 06:33:30 mx sixgate: {decision}"),
                Some(true),
            ),
            (
                format!("Nov 21 06:33:30 mx sixgate[12]:  INFO {decision}"),
                Some(true),
            ),
            (
                format!("2026-11-21T06:33:30.123456Z  INFO {decision}"),
                Some(true),
            ),
            (
                format!("2026-11-21T06:33:30.123456Z  INFO sixgate::decision: {decision}"),
                Some(true),
            ),
            (
                format!("2026-11-21T06:33:30.123+01:00 mx sixgate[12]: {decision}"),
                Some(true),
            ),
            (format!(" INFO {decision}"), Some(true)),
            (decision.to_owned(), Some(true)),
            (
                format!("Nov 21 06:33:30 mx postfix/smtpd[12]: {mta}"),
                Some(false),
            ),
            (
                format!("Nov 21 06:33:30 mx postfix-in/submission/smtpd[12]: {mta}"),
                Some(false),
            ),
            (format!("Nov 21 06:33:30 mx sm-mta[12]: {mta}"), Some(false)),
            (
                format!("Nov 21 06:33:30 mx sendmail[12]: {mta}"),
                Some(false),
            ),
            (
                format!("Nov 21 06:33:30 mx dovecot: lmtp(x): sixgate[12]: {decision}"),
                None,
            ),
            (
                format!("Nov 21 06:33:30 mx notsixgate[12]: {decision}"),
                None,
            ),
            (format!("Nov 21 06:33:30 mx dovecot: {decision}"), None),
            (format!("    sixgate[12]: {decision}"), None),
        ];
        let written = "2026-11-21T12:00:00Z".parse().unwrap();
        for (line, by_sixgate) in table {
            let read = Log::new(TimeZone::UTC, written)
                .read(line.as_bytes())
                .map(|line| line.origin == Origin::Sixgate(decision.as_bytes()));
            assert_eq!(read, by_sixgate, "{line}");
        }
    }
}
