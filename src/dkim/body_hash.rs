//! The body hash, computed while the body arrives: canonicalization (RFC 6376 section
//! 3.4) and SHA-256.
//!
//! Chunks may be split anywhere. Nothing is buffered except, as counts, the white space
//! and line breaks that may turn out to end the body.

use super::signature::Canonicalization;
use aws_lc_rs::digest::{Context, SHA256};
use std::fmt;

/// Hashes a body in each canonicalization that its signatures use.
pub struct BodyHasher {
    simple: Option<Simple>,
    relaxed: Option<Relaxed>,
}

/// The hashes of a whole body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyHashes {
    simple: Option<[u8; 32]>,
    relaxed: Option<[u8; 32]>,
}

impl BodyHasher {
    pub(super) fn new(wanted: impl Iterator<Item = Canonicalization>) -> Self {
        let mut hasher = Self {
            simple: None,
            relaxed: None,
        };
        for canonicalization in wanted {
            match canonicalization {
                Canonicalization::Simple => hasher.simple = Some(Simple::new()),
                Canonicalization::Relaxed => hasher.relaxed = Some(Relaxed::new()),
            }
        }
        hasher
    }

    /// Returns whether any signature depends on the body. If not, the caller may skip it.
    pub fn is_needed(&self) -> bool {
        self.simple.is_some() || self.relaxed.is_some()
    }

    /// Hashes the next part of the body, with its line breaks as transmitted.
    pub fn update(&mut self, chunk: &[u8]) {
        if let Some(simple) = &mut self.simple {
            simple.update(chunk);
        }
        if let Some(relaxed) = &mut self.relaxed {
            relaxed.update(chunk);
        }
    }

    /// Finishes the hashes at the end of the body.
    pub fn finish(self) -> BodyHashes {
        BodyHashes {
            simple: self.simple.map(Simple::finish),
            relaxed: self.relaxed.map(Relaxed::finish),
        }
    }
}

impl fmt::Debug for BodyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyHasher")
            .field("simple", &self.simple.is_some())
            .field("relaxed", &self.relaxed.is_some())
            .finish()
    }
}

impl BodyHashes {
    pub(super) fn get(&self, canonicalization: Canonicalization) -> Option<[u8; 32]> {
        match canonicalization {
            Canonicalization::Simple => self.simple,
            Canonicalization::Relaxed => self.relaxed,
        }
    }
}

/// Simple canonicalization (RFC 6376 section 3.4.3): the body as it is, ending in exactly
/// one CRLF.
struct Simple {
    line_breaks: u64,
    cr: bool,
    out: Sink,
}

impl Simple {
    fn new() -> Self {
        Self {
            line_breaks: 0,
            cr: false,
            out: Sink::new(),
        }
    }

    fn update(&mut self, chunk: &[u8]) {
        let not_break = |c: &u8| !matches!(c, b'\r' | b'\n');
        let content = chunk.iter().rposition(not_break).map_or(0, |n| n + 1);
        let (content, breaks) = chunk.split_at(content);
        if !content.is_empty() {
            self.write_pending();
            self.out.write(content);
        }
        for &c in breaks {
            self.update_break(c);
        }
    }

    /// Handles a CR or LF that may be part of the line breaks at the end. A lone CR or LF
    /// is ordinary content.
    fn update_break(&mut self, c: u8) {
        match (self.cr, c) {
            (true, b'\n') => {
                self.cr = false;
                self.line_breaks += 1;
            }
            (false, b'\r') => self.cr = true,
            (true, _) => {
                self.write_pending();
                self.cr = true;
            }
            (false, _) => {
                self.write_pending();
                self.out.write(&[c]);
            }
        }
    }

    fn write_pending(&mut self) {
        self.out.write_line_breaks(self.line_breaks);
        self.line_breaks = 0;
        if std::mem::take(&mut self.cr) {
            self.out.write(b"\r");
        }
    }

    fn finish(mut self) -> [u8; 32] {
        if self.cr {
            self.write_pending();
        }
        self.out.write(b"\r\n");
        self.out.finish()
    }
}

/// Relaxed canonicalization (RFC 6376 section 3.4.4): no white space at the end of a
/// line, each run of white space as one space, no empty lines at the end; an empty body
/// stays empty.
struct Relaxed {
    line_breaks: u64,
    space: bool,
    cr: bool,
    empty: bool,
    out: Sink,
}

impl Relaxed {
    fn new() -> Self {
        Self {
            line_breaks: 0,
            space: false,
            cr: false,
            empty: true,
            out: Sink::new(),
        }
    }

    fn update(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some((&c, after)) = rest.split_first() {
            rest = match c {
                b' ' | b'\t' | b'\r' => {
                    self.update_blank(c);
                    after
                }
                b'\n' if self.cr => {
                    self.end_line();
                    after
                }
                _ => self.update_content(rest),
            };
        }
    }

    fn update_blank(&mut self, c: u8) {
        if self.cr {
            self.write_pending();
        }
        match c {
            b'\r' => self.cr = true,
            _ => self.space = true,
        }
    }

    fn end_line(&mut self) {
        self.space = false;
        self.cr = false;
        self.line_breaks += 1;
    }

    /// Writes everything up to the next byte that may have to change.
    fn update_content<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let (content, rest) = rest.split_at(unchanged(rest));
        self.write_pending();
        self.out.write(content);
        rest
    }

    fn write_pending(&mut self) {
        self.out.write_line_breaks(self.line_breaks);
        self.line_breaks = 0;
        if std::mem::take(&mut self.space) {
            self.out.write(b" ");
        }
        if std::mem::take(&mut self.cr) {
            self.out.write(b"\r");
        }
        self.empty = false;
    }

    fn finish(mut self) -> [u8; 32] {
        if self.cr {
            self.write_pending();
        }
        if !self.empty {
            self.out.write(b"\r\n");
        }
        self.out.finish()
    }
}

/// Returns how many bytes, starting with content, pass unchanged. A single space between
/// words and a line break between lines do; the last two bytes depend on the next chunk.
fn unchanged(content: &[u8]) -> usize {
    let mut start = 0;
    while let Some(block) = content[start..].first_chunk() {
        match first_change(block) {
            Some(at) => return start + at,
            None => start += BLOCK,
        }
    }
    let rest = &content[start..];
    let change = rest
        .windows(3)
        .position(|at| is_changed(at[0], at[1], at[2]));
    start + change.unwrap_or_else(|| up_to_last_blank(rest))
}

/// The number of bytes examined at once with SIMD instructions.
const BLOCK: usize = 32;

/// Returns the first byte of a block that may have to change. The last two bytes are only
/// context for those before them.
fn first_change(block: &[u8; BLOCK + 2]) -> Option<usize> {
    let may_be_changed = |n: usize| may_be_changed(block[n], block[n + 1]);
    if !(0..BLOCK).fold(false, |any, n| any | may_be_changed(n)) {
        return None;
    }
    let mut changes = [0; BLOCK];
    for (n, change) in changes.iter_mut().enumerate() {
        *change = is_changed(block[n], block[n + 1], block[n + 2]).into();
    }
    first_one(&changes)
}

/// Returns the index of the first nonzero byte, examining eight at a time.
fn first_one(bytes: &[u8; BLOCK]) -> Option<usize> {
    let (words, _) = bytes.as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let (place, word) = words.enumerate().find(|(_, word)| *word != 0)?;
    Some(8 * place + word.trailing_zeros() as usize / 8)
}

/// Returns whether a byte may have to change, given the two that follow. Has no branches,
/// so that [`first_change`] is vectorized.
fn is_changed(byte: u8, next: u8, after_next: u8) -> bool {
    let is_break = (byte == b'\r') & (next == b'\n') & !is_space(after_next);
    may_be_changed(byte, next) & !is_break
}

/// Returns the same as [`is_changed`] if only the next byte is known.
fn may_be_changed(byte: u8, next: u8) -> bool {
    (byte == b'\t') | (byte == b'\r') | (byte == b' ') & is_space(next)
}

/// Returns whether a byte is white space, or another byte that is as rare and tested at
/// the same time: stopping too often only costs time.
fn is_space(byte: u8) -> bool {
    byte <= b' '
}

fn is_blank(byte: u8) -> bool {
    (byte == b' ') | (byte == b'\t') | (byte == b'\r')
}

fn up_to_last_blank(rest: &[u8]) -> usize {
    let last = rest.len().saturating_sub(2);
    let blank = rest[last..].iter().position(|&byte| is_blank(byte));
    blank.map_or(rest.len(), |n| last + n)
}

/// SHA-256 with a buffer, because words and line breaks are too short to hash one by one.
struct Sink {
    context: Context,
    buffer: Vec<u8>,
}

impl Sink {
    const BUFFER: usize = 4096;

    fn new() -> Self {
        Self {
            context: Context::new(&SHA256),
            buffer: Vec::with_capacity(Self::BUFFER),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > Self::BUFFER {
            self.context.update(&self.buffer);
            self.buffer.clear();
        }
        if bytes.len() > Self::BUFFER {
            self.context.update(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn write_line_breaks(&mut self, count: u64) {
        for _ in 0..count {
            self.write(b"\r\n");
        }
    }

    fn finish(mut self) -> [u8; 32] {
        self.context.update(&self.buffer);
        let mut hash = [0; 32];
        hash.copy_from_slice(self.context.finish().as_ref());
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Canonicalization::{Relaxed, Simple};

    /// Body, its simple and its relaxed form.
    #[rustfmt::skip]
    const BODIES: [(&str, &str, &str); 24] = [
        // RFC 6376 section 3.4.5
        (" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"),
        // Section 3.4.3: an empty body is "a single CRLF"; section 3.4.4: "a
        // null input".
        ("", "\r\n", ""),
        ("\r\n", "\r\n", ""),
        ("\r\n\r\n\r\n", "\r\n", ""),
        ("a", "a\r\n", "a\r\n"),
        ("a\r\n", "a\r\n", "a\r\n"),
        ("a\r\nb", "a\r\nb\r\n", "a\r\nb\r\n"),
        ("\r\n\r\na", "\r\n\r\na\r\n", "\r\n\r\na\r\n"),
        ("a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n", "a\r\n\r\n\r\nb\r\n"),
        // White space at the ends of lines and of the body.
        ("a \t\r\n", "a \t\r\n", "a\r\n"),
        ("a \t", "a \t\r\n", "a\r\n"),
        (" ", " \r\n", ""),
        (" \r\n", " \r\n", ""),
        ("a\r\n \t\r\n \r\n", "a\r\n \t\r\n \r\n", "a\r\n"),
        ("a\r\n \r\nb", "a\r\n \r\nb\r\n", "a\r\n\r\nb\r\n"),
        ("a\t \tb \r\n c", "a\t \tb \r\n c\r\n", "a b\r\n c\r\n"),
        // A lone CR or LF is not a line break.
        ("a\rb\nc\r\n", "a\rb\nc\r\n", "a\rb\nc\r\n"),
        ("a\r", "a\r\r\n", "a\r\r\n"),
        ("\r", "\r\r\n", "\r\r\n"),
        ("a\n\n", "a\n\n\r\n", "a\n\n\r\n"),
        ("a\r\r\n\r\n", "a\r\r\n", "a\r\r\n"),
        ("a \r b\r\n", "a \r b\r\n", "a \r b\r\n"),
        ("\r\n\n\r\n", "\r\n\n\r\n", "\r\n\n\r\n"),
        // Form feed and NUL are bytes like any other.
        ("a\u{c} \0\r\n", "a\u{c} \0\r\n", "a\u{c} \0\r\n"),
    ];

    fn hash(chunks: &[&[u8]]) -> BodyHashes {
        let mut hasher = BodyHasher::new([Simple, Relaxed].into_iter());
        chunks.iter().for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    }

    fn sha256(text: &str) -> Option<[u8; 32]> {
        let digest = aws_lc_rs::digest::digest(&SHA256, text.as_bytes());
        digest.as_ref().try_into().ok()
    }

    #[test]
    fn bodies_are_canonicalized_by_rfc_6376_section_3_4() {
        for (body, simple, relaxed) in BODIES {
            let hashes = hash(&[body.as_bytes()]);
            assert_eq!(hashes.get(Simple), sha256(simple), "simple {body:?}");
            assert_eq!(hashes.get(Relaxed), sha256(relaxed), "relaxed {body:?}");
        }
    }

    #[test]
    fn any_chunking_gives_the_same_hash() {
        for (body, ..) in BODIES {
            let whole = hash(&[body.as_bytes()]);
            let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
            assert_eq!(hash(&bytes), whole, "bytes of {body:?}");
            for second in 0..=body.len() {
                let (start, end) = body.as_bytes().split_at(second);
                for first in 0..=second {
                    let (start, middle) = start.split_at(first);
                    assert_eq!(hash(&[start, middle, end]), whole, "{body:?}");
                }
            }
        }
    }

    /// Compares with byte-by-byte input, which never forms a block.
    #[test]
    fn where_blocks_begin_and_end_makes_no_difference() {
        for (body, ..) in BODIES {
            for before in 0..=2 * BLOCK {
                let body = format!("{}{body}{body}{}", "x".repeat(before), "y".repeat(BLOCK));
                let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
                assert_eq!(hash(&[body.as_bytes()]), hash(&bytes), "{body:?}");
            }
        }
    }

    #[test]
    fn a_body_larger_than_the_buffer_is_hashed_whole() {
        let lines = format!("{}  x\r\n", "y".repeat(3000)).repeat(50);
        let hashes = hash(&[lines.as_bytes(), &b"\r\n".repeat(5000)]);
        assert_eq!(hashes.get(Simple), sha256(&lines));
        assert_eq!(hashes.get(Relaxed), sha256(&lines.replace("  ", " ")));
    }

    #[test]
    fn only_the_canonicalizations_named_are_computed() {
        let none = BodyHasher::new([].into_iter());
        assert!(!none.is_needed());
        let relaxed = BodyHasher::new([Relaxed].into_iter());
        assert!(relaxed.is_needed());
        let hashes = relaxed.finish();
        assert_eq!(hashes.get(Simple), None);
        assert_eq!(hashes.get(Relaxed), sha256(""));
    }
}
