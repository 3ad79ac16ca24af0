//! Values as the page holds them: printable ASCII without spaces, so that none
//! can move a cursor, break a line or look like two.
//!
//! Decision lines in text have their values so already; those in JSON, and those
//! of an MTA, are brought to the same form, so that equal values stay equal.

use crate::telemetry::escape::Style;
use std::{borrow::Cow, fmt::Write};

/// A value as a peer chose it, in the form of the text decision line: what is
/// not printable ASCII, and what delimits fields, as `\xHH` per octet.
pub(crate) fn escape(raw: &str) -> Cow<'_, str> {
    escape_where(raw, |octet| !Style::Field.keeps(octet))
}

/// A value that was escaped when it was written. A log that something else
/// wrote may hold anything, so what is not printable is still escaped.
pub(crate) fn printable(escaped: &str) -> Cow<'_, str> {
    escape_where(escaped, |octet| !octet.is_ascii_graphic())
}

fn escape_where(text: &str, needs_escape: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if !text.bytes().any(&needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() * 2);
    for octet in text.bytes() {
        // Writing to a string can't fail.
        let _ = match needs_escape(octet) {
            true => write!(escaped, "\\x{octet:02x}"),
            false => escaped.write_char(char::from(octet)),
        };
    }
    Cow::Owned(escaped)
}

/// What was there before it was escaped, if it was UTF-8.
pub(crate) fn unescape(escaped: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(escaped.len());
    let mut pieces = escaped.split("\\x");
    octets.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        octets.push(u8::from_str_radix(digits, 16).ok()?);
        octets.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_log_give_the_same_value() {
        let table = [
            ("a@example.org", "a@example.org"),
            ("a\r\nb", "a\\x0d\\x0ab"),
            ("\u{1b}[31m", "\\x1b\\x5b31m"),
            ("b\u{fc}cher", "b\\xc3\\xbccher"),
            ("\\x41", "\\x5cx41"),
        ];
        for (raw, want) in table {
            assert_eq!(escape(raw), want);
            assert_eq!(printable(want), want);
            assert_eq!(unescape(want).as_deref(), Some(raw));
        }
        assert_eq!(printable("\u{1b}[31m"), "\\x1b[31m");
    }
}
