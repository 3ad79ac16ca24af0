//! The native protocol of systemd's journal: one datagram per entry, one field per line.
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>
//!
//! Values never contain a line break, so the form with lengths is not needed. A field
//! with several values is repeated; the journal indexes each.

use super::super::{
    decision_fields::Fields,
    escape::{MAX_ITEM, Style, escape},
};
use std::fmt::{self, Display, Write};

/// Writes the beginning of an entry up to and including `MESSAGE=`.
pub(super) fn begin(entry: &mut String, severity: u8, facility: u8) -> fmt::Result {
    write!(
        entry,
        "PRIORITY={severity}\nSYSLOG_FACILITY={facility}\nSYSLOG_IDENTIFIER=sixgate\nMESSAGE="
    )
}

/// Writes the fields of sixgate.
pub(super) struct Journal<'a> {
    entry: &'a mut String,
    /// The prefix for fields inside an object.
    prefix: Option<&'static str>,
}

impl<'a> Journal<'a> {
    /// Continues an entry after the line of another field.
    pub(super) fn new(entry: &'a mut String) -> Self {
        Self {
            entry,
            prefix: None,
        }
    }

    fn field(&mut self, name: &'static str, max: usize, value: impl Display) {
        self.entry.push_str("SIXGATE_");
        if let Some(prefix) = self.prefix {
            self.upper_case(prefix);
            self.entry.push('_');
        }
        self.upper_case(name);
        self.entry.push('=');
        escape(self.entry, Style::Message, max, value);
        self.entry.push('\n');
    }

    fn upper_case(&mut self, name: &'static str) {
        let upper = name.chars().map(|c| c.to_ascii_uppercase());
        self.entry.extend(upper);
    }

    fn inside<T>(&mut self, name: &'static str, value: T, fill: impl Fn(&mut Self, T)) {
        self.prefix = Some(name);
        fill(self, value);
        self.prefix = None;
    }
}

impl Fields for Journal<'_> {
    fn long_text(&mut self, name: &'static str, max: usize, value: Option<impl Display>) {
        if let Some(value) = value {
            self.field(name, max, value);
        }
    }

    fn number(&mut self, name: &'static str, value: u128) {
        self.field(name, MAX_ITEM, value);
    }

    fn truth(&mut self, name: &'static str, value: bool) {
        self.field(name, MAX_ITEM, value);
    }

    fn texts(&mut self, name: &'static str, values: impl Iterator<Item = impl Display>) {
        for value in values {
            self.field(name, MAX_ITEM, value);
        }
    }

    fn object<T>(&mut self, name: &'static str, value: Option<T>, fill: impl Fn(&mut Self, T)) {
        if let Some(value) = value {
            self.inside(name, value, fill);
        }
    }

    fn objects<T>(
        &mut self,
        name: &'static str,
        values: impl Iterator<Item = T>,
        fill: impl Fn(&mut Self, T),
    ) {
        for value in values {
            self.inside(name, value, &fill);
        }
    }
}
