//! The frame of a log line: time, level, and what the target requires.

use super::{
    super::{decision_fields::Fields, json::Object},
    journal::{self, Journal},
    outlet::Place,
};
use crate::config::LogFormat;
use jiff::{Timestamp, Zoned};
use std::{fmt::Write, process};
use tracing::Level;

/// A loggable event, in both forms.
pub(super) trait Said {
    /// Writes the text form, without a line break.
    fn text(&self, line: &mut String);
    /// Writes the fields from `event` on.
    fn fields(&self, fields: &mut impl Fields);
}

/// The format and target, which are fixed at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    format: LogFormat,
    place: Place,
}

/// The initial buffer size in bytes, enough for an ordinary decision.
const USUAL_LENGTH: usize = 1024;

/// The facility "mail system" (RFC 5424 section 6.2.1).
const FACILITY: u8 = 2;

impl Frame {
    pub(super) fn new(format: LogFormat, place: Place) -> Self {
        Self { format, place }
    }

    /// Formats the whole record for the target.
    pub(super) fn render(&self, level: Level, said: &impl Said) -> String {
        let mut record = String::with_capacity(USUAL_LENGTH);
        // Writing to a string can't fail.
        let _ = self.begin(&mut record, level);
        match self.format {
            LogFormat::Text => said.text(&mut record),
            LogFormat::Json => object(&mut record, level, said),
        }
        self.end(&mut record, said);
        record
    }

    fn begin(&self, record: &mut String, level: Level) -> std::fmt::Result {
        let severity = severity(level);
        match (self.place, self.format) {
            (Place::Journal, _) => journal::begin(record, severity, FACILITY),
            (Place::Syslog, _) => {
                let priority = FACILITY * 8 + severity;
                let time = Zoned::now();
                let time = time.strftime("%b %e %H:%M:%S");
                // RFC 3164 section 4.1.2 puts the host name after the time; on the local
                // host it is omitted, as in syslog(3).
                write!(record, "<{priority}>{time} sixgate[{}]: ", process::id())
            }
            // sd-daemon(3)
            (Place::JournalStream, _) => write!(record, "<{severity}>"),
            (Place::Stderr, LogFormat::Text) => {
                write!(record, "{:.3} {level:>5} ", Timestamp::now())
            }
            (Place::Stderr, LogFormat::Json) => Ok(()),
        }
    }

    fn end(&self, record: &mut String, said: &impl Said) {
        match self.place {
            Place::Journal => {
                record.push('\n');
                said.fields(&mut Journal::new(record));
            }
            Place::JournalStream | Place::Stderr => record.push('\n'),
            Place::Syslog => {}
        }
    }
}

fn object(record: &mut String, level: Level, said: &impl Said) {
    let mut object = Object::begin(record);
    object.text("time", Some(format_args!("{:.3}", Timestamp::now())));
    object.text("level", Some(level_word(level)));
    said.fields(&mut object);
    object.end();
}

/// Converts a level to a severity (RFC 5424 section 6.2.1).
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}
