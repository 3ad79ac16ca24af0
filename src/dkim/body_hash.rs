//! The hash of the body, computed while it comes: canonicalization (RFC 6376
//! section 3.4) and SHA-256.
//!
//! The body comes in chunks split anywhere; nothing of it is kept but the white
//! space and the line breaks, as counts, that may turn out to be its end.

use super::signature::Canonicalization;
use aws_lc_rs::digest::{Context, SHA256};
use std::fmt;

/// Hashes a body by each canonicalization that a signature of it names.
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

    /// Whether any signature depends on the body. If none does, it need not be
    /// fed.
    pub fn is_needed(&self) -> bool {
        self.simple.is_some() || self.relaxed.is_some()
    }

    /// Takes the next part of the body, with the line breaks it had on the
    /// wire.
    pub fn update(&mut self, chunk: &[u8]) {
        if let Some(simple) = &mut self.simple {
            simple.update(chunk);
        }
        if let Some(relaxed) = &mut self.relaxed {
            relaxed.update(chunk);
        }
    }

    /// Ends the body.
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

/// RFC 6376 section 3.4.3: the body as it is, ending in exactly one CRLF.
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

    /// A CR or LF that may be part of the last line breaks. Without its other
    /// half it is content like any octet.
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

/// RFC 6376 section 3.4.4: no white space at the end of a line, runs of it as
/// one space, no empty lines at the end; nothing at all for an empty body.
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

    /// Writes all up to the next octet that may have to be changed.
    fn update_content<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let end = rest.iter().position(|c| matches!(c, b' ' | b'\t' | b'\r'));
        let (content, rest) = rest.split_at(end.unwrap_or(rest.len()));
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

/// SHA-256 behind a buffer: words and line breaks are too short to hash one by
/// one.
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

    fn write(&mut self, octets: &[u8]) {
        if self.buffer.len() + octets.len() > Self::BUFFER {
            self.context.update(&self.buffer);
            self.buffer.clear();
        }
        if octets.len() > Self::BUFFER {
            self.context.update(octets);
        } else {
            self.buffer.extend_from_slice(octets);
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
