//! Escapes values that a peer chose: the output is printable ASCII of bounded length that
//! can end neither its field nor its line.

use std::fmt::{self, Display, Write};

/// The maximum length of a value, in bytes after escaping. A longer one is truncated and
/// ends with `...`.
pub(super) const MAX_VALUE: usize = 320;

/// The maximum length of a list item, likewise. Ordinary host names fit.
pub(super) const MAX_ITEM: usize = 100;

/// How unsafe bytes are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `\xHH` for each byte that is not printable ASCII, for white space, and for the
    /// field delimiters of a decision line.
    Field,
    /// The same, but spaces and delimiters are not escaped, for a text at the end of its
    /// line.
    Message,
    /// As inside the quotes of a JSON string (RFC 8259 section 7).
    Json,
}

/// Appends `value` to `out`, truncated with `...` if it is longer than `max` bytes.
/// Returns whether it was truncated.
pub(crate) fn escape(out: &mut String, style: Style, max: usize, value: impl Display) -> bool {
    let mut escaping = Escaping {
        out,
        style,
        left: max,
        cut: false,
    };
    // The only error is the one that stops writing a truncated value.
    let _ = write!(escaping, "{value}");
    escaping.cut
}

struct Escaping<'a> {
    out: &'a mut String,
    style: Style,
    left: usize,
    cut: bool,
}

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while !rest.is_empty() {
            let harmless = rest.bytes().take_while(|&byte| self.style.keeps(byte));
            let (run, behind) = rest.split_at(harmless.count());
            self.push_run(run)?;
            let mut chars = behind.chars();
            if let Some(c) = chars.next() {
                self.push_escaped(c)?;
            }
            rest = chars.as_str();
        }
        Ok(())
    }
}

impl Escaping<'_> {
    fn push_run(&mut self, run: &str) -> fmt::Result {
        match run.get(..self.left) {
            Some(fits) if fits.len() < run.len() => {
                self.out.push_str(fits);
                self.cut_off()
            }
            Some(_) | None => {
                self.out.push_str(run);
                self.left -= run.len();
                Ok(())
            }
        }
    }

    fn push_escaped(&mut self, c: char) -> fmt::Result {
        let before = self.out.len();
        match self.style {
            Style::Field | Style::Message => push_bytes(self.out, c),
            Style::Json => push_json(self.out, c),
        }
        match self.left.checked_sub(self.out.len() - before) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.out.truncate(before);
                self.cut_off()
            }
        }
    }

    fn cut_off(&mut self) -> fmt::Result {
        if !self.cut {
            self.cut = true;
            self.out.push_str("...");
        }
        Err(fmt::Error)
    }
}

impl Style {
    /// Returns whether a byte is written unescaped.
    pub(crate) fn keeps(self, byte: u8) -> bool {
        match self {
            Self::Field => {
                byte.is_ascii_graphic()
                    && !matches!(byte, b'<' | b'>' | b'\\' | b'[' | b']' | b';' | b',')
            }
            Self::Message => matches!(byte, b' '..=b'~') && byte != b'\\',
            Self::Json => matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'),
        }
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn push_bytes(out: &mut String, c: char) {
    let mut bytes = [0; 4];
    for byte in c.encode_utf8(&mut bytes).bytes() {
        out.push_str("\\x");
        push_hex(out, u16::from(byte), 2);
    }
}

fn push_json(out: &mut String, c: char) {
    if matches!(c, '"' | '\\') {
        out.push('\\');
        out.push(c);
        return;
    }
    let mut units = [0; 2];
    for unit in c.encode_utf16(&mut units) {
        out.push_str("\\u");
        push_hex(out, *unit, 4);
    }
}

fn push_hex(out: &mut String, number: u16, digits: u16) {
    for place in (0..digits).rev() {
        let digit = usize::from((number >> (4 * place)) & 0xf);
        out.push(char::from(DIGITS[digit]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(style: Style, value: &str) -> String {
        let mut out = String::new();
        escape(&mut out, style, MAX_VALUE, value);
        out
    }

    #[test]
    fn peer_chosen_text_can_end_neither_its_field_nor_its_line() {
        let table = [
            // value, as a field, as a message, in JSON
            (
                "a@example.org",
                "a@example.org",
                "a@example.org",
                "a@example.org",
            ),
            (
                "a\r\nNOQUEUE: accept",
                "a\\x0d\\x0aNOQUEUE:\\x20accept",
                "a\\x0d\\x0aNOQUEUE: accept",
                "a\\u000d\\u000aNOQUEUE: accept",
            ),
            ("a> rule=x", "a\\x3e\\x20rule=x", "a> rule=x", "a> rule=x"),
            ("\u{1b}[31m", "\\x1b\\x5b31m", "\\x1b[31m", "\\u001b[31m"),
            ("\u{2028}", "\\xe2\\x80\\xa8", "\\xe2\\x80\\xa8", "\\u2028"),
            (
                "\u{1f4e8}",
                "\\xf0\\x9f\\x93\\xa8",
                "\\xf0\\x9f\\x93\\xa8",
                "\\ud83d\\udce8",
            ),
            ("\\x41", "\\x5cx41", "\\x5cx41", "\\\\x41"),
            ("\"q\"@e", "\"q\"@e", "\"q\"@e", "\\\"q\\\"@e"),
            ("\0\u{7f}", "\\x00\\x7f", "\\x00\\x7f", "\\u0000\\u007f"),
        ];
        for (value, field, message, json) in table {
            assert_eq!(escaped(Style::Field, value), field);
            assert_eq!(escaped(Style::Message, value), message);
            assert_eq!(escaped(Style::Json, value), json);
        }
    }

    #[test]
    fn overlong_values_are_truncated_but_never_within_an_escape() {
        let long = "x".repeat(65536);
        let want = "x".repeat(MAX_VALUE) + "...";
        assert_eq!(escaped(Style::Field, &long), want);
        assert_eq!(
            escaped(Style::Json, &"x".repeat(MAX_VALUE)).len(),
            MAX_VALUE
        );

        let hostile = format!("x{}", "\u{2028}".repeat(65536));
        for style in [Style::Field, Style::Message, Style::Json] {
            let out = escaped(style, &hostile);
            assert!(out.len() <= MAX_VALUE + 3, "{style:?}");
            let whole = out.trim_end_matches("...").len() - 1;
            let unit = escaped(style, "\u{2028}").len();
            assert_eq!(whole % unit, 0, "{style:?} {out}");
        }
    }

    #[test]
    fn json_that_was_cut_off_is_json_still() {
        for hostile in ["\"", "\\", "\r", "\u{1f4e8}", "é\"\\"] {
            let quoted = format!("\"{}\"", escaped(Style::Json, &hostile.repeat(65536)));
            let read: String = serde_json::from_str(&quoted).unwrap();
            assert!(read.starts_with(hostile) && read.ends_with("..."), "{read}");
        }
    }
}
