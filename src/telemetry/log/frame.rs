//! The frame of a log line: time, level, and what the target requires.

use super::{
    super::{decision_fields::Fields, json::Object},
    journal::{self, Journal},
    target::RecordFormat,
};
use crate::config::LogFormat;
use jiff::{Timestamp, Zoned};
use std::{fmt::Write, process};
use tracing::Level;

/// A loggable event, in both forms.
pub(super) trait LogRecord {
    /// Writes the text form, without a line break.
    fn text(&self, line: &mut String);
    /// Writes the fields from `event` on.
    fn fields(&self, fields: &mut impl Fields);
}

/// The format and target, which are fixed at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    format: LogFormat,
    record_format: RecordFormat,
}

/// The initial buffer size in bytes, enough for an ordinary decision.
const USUAL_LENGTH: usize = 1024;

/// The facility "mail system" (RFC 5424 section 6.2.1).
const FACILITY: u8 = 2;

impl Frame {
    pub(super) fn new(format: LogFormat, record_format: RecordFormat) -> Self {
        Self {
            format,
            record_format,
        }
    }

    /// Formats the whole record for the target.
    pub(super) fn render(&self, level: Level, record: &impl LogRecord) -> String {
        let mut line = String::with_capacity(USUAL_LENGTH);
        // Writing to a string can't fail.
        let _ = self.begin(&mut line, level);
        match self.format {
            LogFormat::Text => record.text(&mut line),
            LogFormat::Json => object(&mut line, level, record),
        }
        self.end(&mut line, record);
        line
    }

    fn begin(&self, line: &mut String, level: Level) -> std::fmt::Result {
        let severity = severity(level);
        match (self.record_format, self.format) {
            (RecordFormat::Journal, _) => journal::begin(line, severity, FACILITY),
            (RecordFormat::Syslog, _) => {
                let priority = FACILITY * 8 + severity;
                let time = Zoned::now();
                let time = time.strftime("%b %e %H:%M:%S");
                // RFC 3164 section 4.1.2 puts the host name after the time; on the local
                // host it is omitted, as in syslog(3).
                write!(line, "<{priority}>{time} sixgate[{}]: ", process::id())
            }
            // sd-daemon(3)
            (RecordFormat::JournalStream, _) => write!(line, "<{severity}>"),
            (RecordFormat::Stderr, LogFormat::Text) => {
                write!(line, "{:.3} {level:>5} ", Timestamp::now())
            }
            (RecordFormat::Stderr, LogFormat::Json) => Ok(()),
        }
    }

    fn end(&self, line: &mut String, record: &impl LogRecord) {
        match self.record_format {
            RecordFormat::Journal => {
                line.push('\n');
                record.fields(&mut Journal::new(line));
            }
            RecordFormat::JournalStream | RecordFormat::Stderr => line.push('\n'),
            RecordFormat::Syslog => {}
        }
    }
}

fn object(line: &mut String, level: Level, record: &impl LogRecord) {
    let mut object = Object::begin(line);
    object.text("time", Some(format_args!("{:.3}", Timestamp::now())));
    object.text("level", Some(level_word(level)));
    record.fields(&mut object);
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
