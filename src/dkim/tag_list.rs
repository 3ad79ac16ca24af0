//! The `tag=value; tag=value` lists of signatures and key records, parsed as strictly as
//! RFC 6376 section 3.2 requires: a duplicate, nameless or malformed tag makes the whole
//! list invalid.

use super::outcome::{DkimResult, Refusal};
use std::ops::Range;

/// A valid tag list; each name occurs once.
#[derive(Debug)]
pub(super) struct TagList<'a> {
    text: &'a [u8],
    tags: Vec<Tag<'a>>,
}

#[derive(Debug)]
struct Tag<'a> {
    name: &'a [u8],
    /// The text between `=` and `;`, including white space.
    span: Range<usize>,
}

/// Why a text is not a valid tag list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagListError {
    /// Nothing between two semicolons, or nothing at all.
    EmptyTag,
    /// A tag without `=`.
    NoValue,
    /// A name that is not a letter followed by letters, digits and underscores.
    Name,
    /// A value that contains a control character.
    Value,
    /// A name used twice.
    Duplicate,
}

impl TagListError {
    fn reason(self) -> &'static str {
        match self {
            Self::EmptyTag => "the tag list has an empty tag (two semicolons in a row)",
            Self::NoValue => "the tag list has a tag without \"=\"",
            Self::Name => "the tag list has a tag name that RFC 6376 section 3.2 does not allow",
            Self::Value => "the tag list has a control character in it",
            Self::Duplicate => "the tag list has the same tag twice (RFC 6376 section 3.2)",
        }
    }

    /// Returns the refusal of the signature or key that consists of the list.
    pub(super) fn refusal(self, result: DkimResult) -> Refusal {
        Refusal::new(result, self.reason())
    }
}

impl<'a> TagList<'a> {
    /// Parses a list; one semicolon may follow the last tag.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, TagListError> {
        let mut tags = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end = position(&text[start..], b';').map_or(text.len(), |n| start + n);
            let blank = trim(&text[start..end]).is_empty();
            if !(blank && end == text.len() && !tags.is_empty()) {
                tags.push(parse_tag(text, start..end)?);
            }
            start = end + 1;
        }
        refuse_duplicates(&tags)?;
        Ok(Self { text, tags })
    }

    /// Returns the value of a tag without surrounding white space.
    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.span(name).map(|span| trim(&self.text[span]))
    }

    /// Returns the position of a tag's value in the text, including surrounding white
    /// space.
    pub(super) fn span(&self, name: &str) -> Option<Range<usize>> {
        let mut tags = self.tags.iter();
        let tag = tags.find(|tag| tag.name == name.as_bytes())?;
        Some(tag.span.clone())
    }

    /// Returns the name of the first tag.
    pub(super) fn first(&self) -> Option<&'a [u8]> {
        self.tags.first().map(|tag| tag.name)
    }
}

/// Returns the items of a colon-separated value, without surrounding white space.
pub(super) fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&c| c == b':').map(trim)
}

/// Removes `[FWS]` at both ends. The caller has checked that each line break belongs to a
/// fold.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let is_content = |&c: &u8| !is_white_space(c);
    let start = text.iter().position(is_content).unwrap_or(text.len());
    let end = text.iter().rposition(is_content).map_or(start, |n| n + 1);
    &text[start..end]
}

/// Returns the text without its white space.
pub(super) fn without_white_space(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().copied().filter(|&byte| !is_white_space(byte))
}

/// Returns whether a byte may be part of `FWS`.
fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn parse_tag(text: &[u8], spec: Range<usize>) -> Result<Tag<'_>, TagListError> {
    if trim(&text[spec.clone()]).is_empty() {
        return Err(TagListError::EmptyTag);
    }
    let equals = position(&text[spec.clone()], b'=').ok_or(TagListError::NoValue)?;
    let name = trim(&text[spec.start..spec.start + equals]);
    let span = spec.start + equals + 1..spec.end;
    if !is_tag_name(name) {
        return Err(TagListError::Name);
    }
    // No early exit: without a branch the compiler vectorizes the loop.
    let are_value_bytes = |all, byte| all & is_value_byte(byte);
    if !text[span.clone()].iter().fold(true, are_value_bytes) {
        return Err(TagListError::Value);
    }
    Ok(Tag { name, span })
}

/// Returns whether a name is valid: `tag-name = ALPHA *ALNUMPUNC`.
fn is_tag_name(name: &[u8]) -> bool {
    let punctuated = |c: &u8| c.is_ascii_alphanumeric() || *c == b'_';
    name.first().is_some_and(u8::is_ascii_alphabetic) && name.iter().all(punctuated)
}

/// Returns whether a byte is `VALCHAR`, white space, or UTF-8, which RFC 8616 allows.
fn is_value_byte(c: &u8) -> bool {
    matches!(c, b'\t' | b'\r' | b'\n' | b' '..=b'~' | 0x80..)
}

fn refuse_duplicates(tags: &[Tag<'_>]) -> Result<(), TagListError> {
    let mut names: Vec<&[u8]> = tags.iter().map(|tag| tag.name).collect();
    names.sort_unstable();
    match names.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(TagListError::Duplicate),
        false => Ok(()),
    }
}

fn position(text: &[u8], byte: u8) -> Option<usize> {
    memchr::memchr(byte, text)
}

/// Returns whether the text is this keyword, an ABNF literal, which is case-insensitive
/// (RFC 5234 section 2.3).
pub(super) fn is(text: &[u8], keyword: &str) -> bool {
    text.eq_ignore_ascii_case(keyword.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_lists_are_read_by_the_grammar_of_rfc_6376_section_3_2() {
        let table: [(&str, &[(&str, &str)]); 9] = [
            ("", &[]),
            ("a=1", &[("a", "1")]),
            ("a=1;", &[("a", "1")]),
            ("a=1; \r\n\t", &[("a", "1")]),
            (" a\t=\r\n 1 ; b = x y ;", &[("a", "1"), ("b", "x y")]),
            ("a=;b=", &[("a", ""), ("b", "")]),
            ("a==b=;", &[("a", "=b=")]),
            ("a_1=x;A_1=y", &[("a_1", "x"), ("A_1", "y")]),
            ("n=gr\u{fc}n", &[("n", "gr\u{fc}n")]),
        ];
        for (text, want) in table {
            let list = TagList::parse(text.as_bytes()).unwrap();
            assert_eq!(list.tags.len(), want.len(), "{text}");
            for (name, value) in want {
                assert_eq!(list.get(name), Some(value.as_bytes()), "{text}");
            }
        }
    }

    #[test]
    fn invalid_tag_lists_are_refused() {
        let table = [
            (";", TagListError::EmptyTag),
            (" ", TagListError::EmptyTag),
            ("a=1;;", TagListError::EmptyTag),
            ("a=1; ;b=2", TagListError::EmptyTag),
            (";a=1", TagListError::EmptyTag),
            ("a", TagListError::NoValue),
            ("a=1;junk", TagListError::NoValue),
            ("=1", TagListError::Name),
            ("1a=1", TagListError::Name),
            ("a b=1", TagListError::Name),
            ("a-b=1", TagListError::Name),
            ("a=\u{1}", TagListError::Value),
            ("a=x\u{c}y", TagListError::Value),
            ("a=1;b=2;a=1", TagListError::Duplicate),
            ("a=1; a =2", TagListError::Duplicate),
        ];
        for (text, want) in table {
            assert_eq!(TagList::parse(text.as_bytes()).err(), Some(want), "{text}");
        }
    }

    #[test]
    fn a_span_is_all_between_equals_sign_and_semicolon() {
        let text = b"bh=x; b = \r\n abc \t; bb=y";
        let list = TagList::parse(text).unwrap();
        assert_eq!(&text[list.span("b").unwrap()], b" \r\n abc \t");
    }
}
