//! Writes a JSON object on one line, directly into a string.
//!
//! The output is ASCII: other characters are escaped, so that no Unicode line separator
//! ends a line early.

use super::{
    decision_fields::Fields,
    escape::{MAX_ITEM, Style, escape},
};
use std::fmt::{Display, Write};

/// A writer of an object.
pub(super) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Begins an object.
    pub(super) fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Ends the object.
    pub(super) fn end(self) {
        self.out.push('}');
    }

    fn name(&mut self, name: &'static str) {
        self.separate();
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    fn separate(&mut self) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
    }

    fn quoted(&mut self, max: usize, value: impl Display) {
        self.out.push('"');
        escape(self.out, Style::Json, max, value);
        self.out.push('"');
    }

    fn braced<T>(&mut self, value: T, fill: impl Fn(&mut Self, T)) {
        self.out.push('{');
        self.empty = true;
        fill(self, value);
        self.out.push('}');
        self.empty = false;
    }

    /// Writes an array; `write` writes one item.
    fn array<T>(
        &mut self,
        name: &'static str,
        items: impl Iterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) {
        self.name(name);
        self.out.push('[');
        for (number, item) in items.enumerate() {
            if number > 0 {
                self.out.push(',');
            }
            write(self, item);
        }
        self.out.push(']');
    }
}

impl Fields for Object<'_> {
    fn long_text(&mut self, name: &'static str, max: usize, value: Option<impl Display>) {
        self.name(name);
        match value {
            Some(value) => self.quoted(max, value),
            None => self.out.push_str("null"),
        }
    }

    fn number(&mut self, name: &'static str, value: u128) {
        self.name(name);
        // Writing to a string can't fail.
        let _ = write!(self.out, "{value}");
    }

    fn truth(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.out.push_str(if value { "true" } else { "false" });
    }

    fn texts(&mut self, name: &'static str, values: impl Iterator<Item = impl Display>) {
        self.array(name, values, |object, value| object.quoted(MAX_ITEM, value));
    }

    fn object<T>(&mut self, name: &'static str, value: Option<T>, fill: impl Fn(&mut Self, T)) {
        self.name(name);
        match value {
            Some(value) => self.braced(value, fill),
            None => self.out.push_str("null"),
        }
    }

    fn objects<T>(
        &mut self,
        name: &'static str,
        values: impl Iterator<Item = T>,
        fill: impl Fn(&mut Self, T),
    ) {
        self.array(name, values, |object, value| object.braced(value, &fill));
    }
}
