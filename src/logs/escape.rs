//! Escapes values to printable ASCII without spaces, so that none can move a cursor,
//! break a line or look like two values.
//!
//! Text decision lines contain escaped values already; values of JSON lines and of MTA
//! lines are escaped in the same way, so that equal values compare equal.

use crate::telemetry::escape::Style;
use std::{borrow::Cow, fmt::Write};

/// Escapes a value as in a text decision line: bytes that are not printable ASCII, and
/// field delimiters, become `\xHH`.
pub(crate) fn escape(raw: &str) -> Cow<'_, str> {
    escape_where(raw, |byte| !Style::Field.keeps(byte))
}

/// Returns a value that should be escaped already. The log may come from another program,
/// so unprintable bytes are still escaped.
pub(crate) fn printable(escaped: &str) -> Cow<'_, str> {
    escape_where(escaped, |byte| !byte.is_ascii_graphic())
}

fn escape_where(text: &str, needs_escape: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if !text.bytes().any(&needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        // Writing to a `String` can't fail.
        let _ = match needs_escape(byte) {
            true => write!(escaped, "\\x{byte:02x}"),
            false => escaped.write_char(char::from(byte)),
        };
    }
    Cow::Owned(escaped)
}

/// Reverses the escaping; `None` if the result is not UTF-8.
pub(crate) fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut pieces = escaped.split("\\x");
    bytes.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// Makes a value readable: `[192.0.2.1]` and `bücher` in place of their escapes. The
/// backslash and anything that is neither printable ASCII nor a letter or digit stay
/// escaped, so that a value can neither move a cursor nor reverse a line.
pub(crate) fn readable(escaped: &str) -> Cow<'_, str> {
    let raw = match escaped.contains("\\x") {
        true => unescape(escaped),
        false => None,
    };
    let Some(raw) = raw else {
        return Cow::Borrowed(escaped);
    };
    let mut text = String::with_capacity(escaped.len());
    for c in raw.chars() {
        match c {
            ' '..='~' if c != '\\' => text.push(c),
            c if !c.is_ascii() && c.is_alphanumeric() => text.push(c),
            c => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a `String` can't fail.
                    let _ = write!(text, "\\x{byte:02x}");
                }
            }
        }
    }
    Cow::Owned(text)
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

    #[test]
    fn readable_values_contain_nothing_harmful() {
        let table = [
            ("a.example", "a.example"),
            ("\\x5b192.0.2.1\\x5d", "[192.0.2.1]"),
            ("b\\xc3\\xbccher", "b\u{fc}cher"),
            ("a\\x20b\\x2c\\x3c", "a b,<"),
            ("\\x1b\\x5b2J", "\\x1b[2J"),
            ("a\\x0d\\x0ab", "a\\x0d\\x0ab"),
            // A right-to-left override.
            ("\\xe2\\x80\\xaeabc", "\\xe2\\x80\\xaeabc"),
            ("\\x5cx5b", "\\x5cx5b"),
            ("\\xff", "\\xff"),
            ("\\x", "\\x"),
        ];
        for (escaped, want) in table {
            assert_eq!(readable(escaped), want);
        }
    }
}
