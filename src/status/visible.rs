//! Escapes invisible characters, and those that reorder text, in texts from people and from the
//! DNS.
//!
//! The templates escape HTML.

use std::borrow::Cow;

/// Escapes control characters, line separators and bidirectional controls as `\u{202e}`. Line
/// breaks and tabs stay.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn is_hidden(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        c if c.is_control() => true,
        // Format characters: soft hyphen, Arabic letter mark, zero width and bidirectional
        // controls, separators, the byte order mark, interlinear annotations, tags.
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_escaped() {
        let table = [
            ("a@example.org\n\tb", "a@example.org\n\tb"),
            ("müller@例え.jp", "müller@例え.jp"),
            ("a\u{202e}moc.b", "a\\u{202e}moc.b"),
            ("\0\u{1b}[31m\r", "\\u{0}\\u{1b}[31m\\u{d}"),
            ("\u{2066}\u{200f}\u{feff}", "\\u{2066}\\u{200f}\\u{feff}"),
        ];
        for (text, want) in table {
            assert_eq!(visible(text), want);
        }
    }
}
