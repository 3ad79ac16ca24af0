//! The header block of one message, stored byte for byte up to a limit.
//!
//! Fields are added as a milter receives them. After the last one,
//! [`HeaderBlock::defect`] returns whether the block can be verified at all.

use super::outcome::{DkimResult, Refusal};
use std::{cmp::Ordering, collections::BTreeMap};

/// The header fields of a message, in one buffer.
#[derive(Debug)]
pub struct HeaderBlock {
    bytes: Vec<u8>,
    ends: Vec<FieldEnds>,
    limit: usize,
    truncated: bool,
    signed: bool,
}

/// The end positions of a field's name (its colon) and of the field, which begins where
/// the previous one ends.
#[derive(Clone, Copy, Debug)]
struct FieldEnds {
    colon: u32,
    end: u32,
}

/// The initial buffer size in bytes, enough for an ordinary header.
const USUAL_LENGTH: usize = 4096;
const USUAL_FIELDS: usize = 32;

impl HeaderBlock {
    /// Creates an empty block that stores at most `limit` bytes, line breaks included,
    /// and never more than 4 GiB.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            limit: limit.min(u32::MAX as usize),
            truncated: false,
            signed: false,
        }
    }

    /// Appends a field as a milter receives it: the name without its colon, and the value
    /// exactly as it follows the colon, with folds of LF alone.
    ///
    /// Beyond the limit, nothing more is stored.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_field(name, value, extend_with_crlf);
    }

    /// Appends a field as it was transmitted: as [`Self::push`], but folds have their
    /// CRLF, and an LF without CR is not a line break.
    pub fn push_transmitted(&mut self, name: &[u8], value: &[u8]) {
        self.push_field(name, value, Vec::extend_from_slice);
    }

    fn push_field(&mut self, name: &[u8], value: &[u8], extend: impl Fn(&mut Vec<u8>, &[u8])) {
        self.signed |= is_named(name, b"DKIM-Signature");
        // A field that does not fit without its CRs does not fit with them either.
        if self.truncated || !self.has_room_for(name, value) {
            self.truncated = true;
            return;
        }
        if self.bytes.is_empty() {
            self.bytes.reserve(USUAL_LENGTH.min(self.limit));
            self.ends.reserve(USUAL_FIELDS);
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(b':');
        let colon = self.bytes.len() - 1;
        extend(&mut self.bytes, value);
        self.bytes.extend_from_slice(b"\r\n");
        match self.bytes.len() <= self.limit {
            true => self.ends.push(FieldEnds {
                // The limit keeps both below u32::MAX.
                colon: colon as u32,
                end: self.bytes.len() as u32,
            }),
            false => self.truncated = true,
        }
    }

    fn has_room_for(&self, name: &[u8], value: &[u8]) -> bool {
        let field = name.len() + b":".len() + value.len() + b"\r\n".len();
        self.bytes.len() + field <= self.limit
    }

    /// Returns whether a DKIM-Signature field was added, stored or not.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// Returns whether the block exceeded its limit. Signatures of such a message are not
    /// verified.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty() && !self.truncated
    }

    /// Returns whether a text begins with the first field or, if there are none, with any
    /// field.
    pub(super) fn is_at(&self, text: &[u8]) -> bool {
        let mut parts = text.splitn(2, |&c| c == b':');
        let (Some(name), Some(_)) = (parts.next(), parts.next()) else {
            return false;
        };
        let blanks = name.iter().rev().take_while(|c| matches!(c, b' ' | b'\t'));
        let name = &name[..name.len() - blanks.count()];
        match self.fields().next() {
            Some(first) => is_named(first.name, name),
            None => !name.is_empty() && name.iter().all(u8::is_ascii_graphic),
        }
    }

    /// Returns the fields from top to bottom.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        (0..self.ends.len()).map(|index| self.field(index))
    }

    /// Returns one field by its index from the top.
    pub(super) fn field(&self, index: usize) -> Field<'_> {
        let start = match index.checked_sub(1) {
            Some(previous) => self.ends[previous].end as usize,
            None => 0,
        };
        let FieldEnds { colon, end } = self.ends[index];
        Field {
            name: &self.bytes[start..colon as usize],
            value: &self.bytes[colon as usize + 1..end as usize],
        }
    }

    /// Returns the reason why no signature of this message can pass, if there is one.
    pub(super) fn defect(&self) -> Option<Refusal> {
        if self.truncated {
            let reason = "the header is longer than limits.header_bytes allows";
            return Some(Refusal::new(DkimResult::Policy, reason));
        }
        let malformed = self.fields().find_map(|field| field.defect());
        malformed.or_else(|| self.author_defect())
    }

    /// Returns an error if the author is ambiguous: a mail program must not show another
    /// From field than the one that is signed (RFC 6376 section 8.15).
    fn author_defect(&self) -> Option<Refusal> {
        match self.fields().filter(|f| f.is_named(b"From")).count() {
            0 => Some(Refusal::new(
                DkimResult::Permerror,
                "the message has no From field",
            )),
            1 => None,
            _ => Some(Refusal::new(
                DkimResult::Policy,
                "the message has more than one From field (RFC 5322 section 3.6)",
            )),
        }
    }

    /// Finds the fields with these names in one pass.
    pub(super) fn index<'a>(&'a self, names: impl Iterator<Item = &'a [u8]>) -> Index<'a> {
        let mut names: Vec<FieldName> = names.map(FieldName).collect();
        names.sort_unstable();
        names.dedup();
        let mut index = Index {
            headers: self,
            names,
            places: Vec::new(),
        };
        let number = |field: Field<'a>| index.number(field.bare_name());
        let fields = self.fields().enumerate();
        let known = fields.filter_map(|(place, field)| Some((number(field)?, place)));
        index.places = known.collect();
        index.places.sort_unstable();
        index
    }
}

/// Appends a value with CRLF line breaks, as transmitted and signed (RFC 6376).
fn extend_with_crlf(bytes: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at(end);
        bytes.extend_from_slice(line);
        if !bytes.ends_with(b"\r") {
            bytes.push(b'\r');
        }
        bytes.push(b'\n');
        rest = &after[1..];
    }
    bytes.extend_from_slice(rest);
}

fn is_named(name: &[u8], wanted: &[u8]) -> bool {
    name.trim_ascii_end().eq_ignore_ascii_case(wanted)
}

/// One header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// As written, with the white space that obsolete syntax allows before the
    /// colon (RFC 5322 section 4.5).
    pub(super) name: &'a [u8],
    /// All that follows the colon, CRLF included.
    pub(super) value: &'a [u8],
}

impl<'a> Field<'a> {
    pub(super) fn is_named(&self, wanted: &[u8]) -> bool {
        is_named(self.name, wanted)
    }

    /// Returns the name without white space before the colon.
    pub(super) fn bare_name(&self) -> &'a [u8] {
        self.name.trim_ascii_end()
    }

    /// Returns an error for bytes that programs interpret differently: what was signed
    /// would not be what is read.
    fn defect(&self) -> Option<Refusal> {
        let name = self.bare_name();
        let printable = |c: &u8| matches!(c, b'!'..=b'~') && *c != b':';
        let reason = if name.is_empty() || !name.iter().all(printable) {
            "the header has a field whose name is malformed"
        } else if self.name[name.len()..].iter().any(|&c| !is_wsp(c)) {
            "the header has a control character before a colon"
        } else {
            value_defect(self.value)?
        };
        Some(Refusal::new(DkimResult::Policy, reason))
    }
}

/// Returns an error unless the only line breaks of a value are those of folds and the
/// last one.
fn value_defect(value: &[u8]) -> Option<&'static str> {
    let text = value.strip_suffix(b"\r\n").unwrap_or(value);
    for place in memchr::memchr3_iter(0, b'\r', b'\n', text) {
        let before = text[..place].last();
        let next = text.get(place + 1);
        match text[place] {
            0 => return Some("the header has a NUL in it"),
            b'\r' if next != Some(&b'\n') => return Some("the header has a bare CR in it"),
            b'\n' if before != Some(&b'\r') || !next.is_some_and(|&c| is_wsp(c)) => {
                return Some("the header has a bare LF in it");
            }
            _ => {}
        }
    }
    None
}

fn is_wsp(c: u8) -> bool {
    matches!(c, b' ' | b'\t')
}

/// The positions of the fields with certain names.
#[derive(Debug)]
pub(super) struct Index<'a> {
    headers: &'a HeaderBlock,
    /// Sorted, each once.
    names: Vec<FieldName<'a>>,
    /// The index of a name, and the position of a field with that name; sorted.
    places: Vec<(usize, usize)>,
}

impl<'a> Index<'a> {
    /// Returns one field by its index from the top.
    pub(super) fn field(&self, place: usize) -> Field<'a> {
        self.headers.field(place)
    }

    /// Returns the fields that `names` select (RFC 6376 section 5.4.2): each name selects
    /// the lowest field that no earlier name selected, or nothing if none is left. The
    /// field at `own` is the signature itself, which did not exist when the fields were
    /// signed.
    pub(super) fn select<'n>(
        &self,
        names: impl Iterator<Item = &'n [u8]>,
        own: usize,
    ) -> Vec<Field<'a>> {
        let mut unused = BTreeMap::new();
        let take = |name| {
            let number = self.number(name)?;
            let places = unused.entry(number).or_insert_with(|| self.places(number));
            let lowest = places.iter().rposition(|&(_, place)| place != own)?;
            let (_, place) = places[lowest];
            *places = &places[..lowest];
            Some(self.field(place))
        };
        names.filter_map(take).collect()
    }

    /// Returns the positions of the fields with the name at this index.
    fn places(&self, number: usize) -> &[(usize, usize)] {
        let start = self.places.partition_point(|&(n, _)| n < number);
        let end = self.places.partition_point(|&(n, _)| n <= number);
        &self.places[start..end]
    }

    fn number(&self, name: &[u8]) -> Option<usize> {
        self.names.binary_search(&FieldName(name)).ok()
    }
}

/// A field name, compared without regard to case.
#[derive(Clone, Copy, Debug)]
struct FieldName<'a>(&'a [u8]);

impl Ord for FieldName<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let bytes = |name: &Self| name.0.iter().map(u8::to_ascii_lowercase);
        // Most names differ in length, which is fast to compare.
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| bytes(self).cmp(bytes(other)))
    }
}

impl PartialOrd for FieldName<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FieldName<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for FieldName<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_feed_is_a_fold_for_a_milter_and_a_defect_on_the_wire() {
        let mut transmitted = block(&[("From", " a@example.org")]);
        transmitted.push_transmitted(b"X", b" a\r\n b");
        assert_eq!(transmitted.defect(), None);
        transmitted.push_transmitted(b"X", b" a\n b");
        let refusal = transmitted.defect().unwrap();
        assert_eq!(refusal.reason, "the header has a bare LF in it");
    }

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn block(fields: Fields<'_>) -> HeaderBlock {
        let mut headers = HeaderBlock::new(10_000);
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        headers
    }

    #[test]
    fn fields_are_stored_byte_for_byte_with_crlf() {
        let headers = block(&[("A ", " x\n\ty"), ("b", ""), ("C", "x\r\n y ")]);
        let fields: Vec<_> = headers.fields().map(|f| (f.name, f.value)).collect();
        let want: [(&[u8], &[u8]); 3] = [
            (b"A ", b" x\r\n\ty\r\n"),
            (b"b", b"\r\n"),
            (b"C", b"x\r\n y \r\n"),
        ];
        assert_eq!(fields, want);
    }

    #[test]
    fn ambiguous_syntax_is_a_defect() {
        let from = ("From", " a@example.org");
        let table: [(Fields<'_>, Option<&str>); 14] = [
            (&[from], None),
            (&[from, ("X", " \u{c}\u{b}\u{1b}\u{7f}\u{e9}\n x")], None),
            (&[from, ("X ", "")], None),
            (&[], Some("no From")),
            (&[from, ("from ", " b")], Some("more than one From")),
            (&[from, ("X", "a\0b")], Some("NUL")),
            (&[from, ("X", "a\rb")], Some("bare CR")),
            (&[from, ("X", "a\r")], Some("bare CR")),
            (&[from, ("X", "a\r\r\n b")], Some("bare CR")),
            (&[from, ("X", "a\nb")], Some("bare LF")),
            (&[from, ("X", "a\n")], Some("bare LF")),
            (&[from, ("", "x")], Some("name is malformed")),
            (&[from, ("X Y", "x")], Some("name is malformed")),
            (&[from, ("X\u{c}", "x")], Some("control character")),
        ];
        for (fields, want) in table {
            let reason = block(fields).defect().map(|refusal| refusal.reason);
            let found = reason.as_deref().unwrap_or("none");
            assert!(found.contains(want.unwrap_or("none")), "{fields:?} {found}");
        }
    }

    #[test]
    fn beyond_the_limit_nothing_is_kept_and_nothing_counts() {
        let mut headers = HeaderBlock::new(20);
        headers.push(b"From", b" a@b.example");
        assert!(!headers.is_truncated());
        headers.push(b"DKIM-Signature", b" v=1");
        headers.push(b"A", b"");
        assert!(headers.is_truncated() && headers.is_signed());
        assert_eq!(headers.fields().count(), 1);
        assert_eq!(headers.defect().unwrap().result, DkimResult::Policy);
    }

    #[test]
    fn fields_are_selected_from_the_bottom_and_each_once() {
        let headers = block(&[
            ("DKIM-Signature", "first"),
            ("A", "1"),
            ("DKIM-Signature", "second"),
            ("B", "2"),
            ("a ", "3"),
            ("A", "4"),
        ]);
        let table: [(&[&str], usize, &[&str]); 9] = [
            // names, position of the signature itself, expected result
            (&["a"], 0, &["4"]),
            (&["a", "B", "A"], 0, &["4", "2", "3"]),
            (&["a", "a", "a", "a", "a"], 0, &["4", "3", "1"]),
            (&["c", "b", "b"], 0, &["2"]),
            (&["dkim-signature", "dkim-signature"], 0, &["second"]),
            (&["dkim-signature", "dkim-signature"], 2, &["first"]),
            (&["a", "a", "a"], 5, &["3", "1"]),
            (&["a", "b", "a", "a"], 4, &["4", "2", "1"]),
            (&[], 0, &[]),
        ];
        for (names, own, want) in table {
            let names = || names.iter().map(|name| name.as_bytes());
            let fields = headers.index(names()).select(names(), own);
            let found = fields.iter().map(|f| f.value.trim_ascii());
            assert!(found.eq(want.iter().map(|v| v.as_bytes())), "{want:?}");
        }
    }
}
