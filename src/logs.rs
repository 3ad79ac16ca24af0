//! Parses logs: sixgate's decision lines, and the lines of Postfix and Sendmail about
//! messages.
//!
//! `Log::for_each` finds them among the lines of other programs. `report` and `trace`
//! are built on it. This module opens no files and reads no clock. Text that a peer can
//! choose is never interpreted as anything but a value.

pub(crate) mod decision;
pub(crate) mod escape;
mod journal;
mod line;
pub(crate) mod mta_line;
pub(crate) mod recent;
mod retries;
pub mod time;
mod timestamp;

pub use decision::Action;
pub(crate) use decision::Decision;
pub use line::Log;
pub use mta_line::Outcome;
pub(crate) use mta_line::{MtaEvent, MtaLine};
pub use retries::Fate;
pub(crate) use retries::{GIVES_UP_AFTER, Retries, SAME_ATTEMPT};

use journal::Record;
use line::Origin;

/// A relevant line.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Seconds since 1970, if this line or one before it has a time.
    pub(crate) time: Option<i64>,
    pub(crate) content: Content<'a>,
}

/// The content of a relevant line.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "it is handed on once, and a box would be an allocation per line"
)]
pub(crate) enum Content<'a> {
    /// A decision of sixgate.
    Decision(Decision<'a>),
    /// A line of Postfix or Sendmail about a message.
    Mta(MtaLine<'a>),
}

/// A span of time in seconds since 1970. The default is all time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first second in it; the default is unbounded.
    pub since: Option<i64>,
    /// The first second after it; the default is unbounded.
    pub until: Option<i64>,
}

impl Window {
    pub(crate) fn is_whole(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    pub(crate) fn contains(&self, time: i64) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

impl Log {
    /// Calls `entry` for each relevant line in a chunk of this log, which has to end at
    /// the end of a line. Returns the number of lines of any program.
    pub(crate) fn for_each(&mut self, piece: &[u8], mut entry: impl FnMut(Entry<'_>)) -> u64 {
        let mut lines = 0;
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', piece).chain([piece.len()]) {
            if let Some(line) = piece.get(begin..end)
                && !line.is_empty()
            {
                lines += 1;
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                self.parse(line, &mut entry);
            }
            begin = end + 1;
        }
        lines
    }

    fn parse(&mut self, line: &[u8], entry: &mut impl FnMut(Entry<'_>)) {
        if !line.starts_with(b"{") {
            if let Some(line) = self.read(line) {
                self.interpret(line.time, line.origin, entry);
            }
        } else if let Some(record) = Record::parse(line) {
            let time = self.at(record.time());
            let text = record.message.as_bytes();
            if let Some(origin) = Origin::of(record.identifier.as_bytes(), text) {
                self.interpret(time, origin, entry);
            }
        } else {
            let time = self.at(None);
            self.interpret(time, Origin::Sixgate(line), entry);
        }
    }

    fn interpret(
        &mut self,
        time: Option<i64>,
        origin: Origin<'_>,
        entry: &mut impl FnMut(Entry<'_>),
    ) {
        match origin {
            Origin::Sixgate(text) => {
                if let Some(decision) = Decision::parse(text) {
                    entry(Entry {
                        time: self.at(decision.time.or(time)),
                        content: Content::Decision(decision),
                    });
                }
            }
            Origin::Mta(text) => {
                if let Some(line) = MtaLine::parse(text) {
                    let content = Content::Mta(line);
                    entry(Entry { time, content });
                }
            }
        }
    }
}
