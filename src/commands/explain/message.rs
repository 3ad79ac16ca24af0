//! Reads a message from a file: the header block into memory, the body as a stream. So memory
//! is bounded by the maximum size of a header block.

use crate::dkim::HeaderBlock;
use anyhow::{Context, Result};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
};

/// The body of a message, which can be read once.
pub(super) struct Body {
    /// The first line, which was read to find the end of the header.
    first_line: Vec<u8>,
    rest: Box<dyn BufRead>,
    /// Whether line breaks are converted to CRLF, with which the message was signed and sent.
    /// Stored messages usually have those of the system.
    adds_cr: bool,
}

/// Opens a file, or standard input for `-`, and reads the header. Keeps up to `header_bytes`
/// of it.
pub(super) fn open(file: &Path, header_bytes: usize) -> Result<(HeaderBlock, Body)> {
    let mut header = HeaderBlock::new(header_bytes);
    let keep = |name: &[u8], value: &[u8]| header.push_transmitted(name, value);
    let body = match file == Path::new("-") {
        true => read_header(io::stdin().lock(), header_bytes, keep),
        false => {
            File::open(file).and_then(|file| read_header(BufReader::new(file), header_bytes, keep))
        }
    };
    let body = body.with_context(|| format!("{}: can't be read", file.display()))?;
    Ok((header, body))
}

/// Reads a message in memory as [`open`] does.
#[cfg(feature = "status")]
pub(super) fn of(message: Vec<u8>, header_bytes: usize) -> Result<(HeaderBlock, Body)> {
    let mut header = HeaderBlock::new(header_bytes);
    let keep = |name: &[u8], value: &[u8]| header.push_transmitted(name, value);
    let body = read_header(Cursor::new(message), header_bytes, keep)?;
    Ok((header, body))
}

/// Calls `keep` for each header field, truncated to `limit`: the name without the colon, and
/// the exact value with its folds.
fn read_header(
    mut reader: impl BufRead + 'static,
    limit: usize,
    mut keep: impl FnMut(&[u8], &[u8]),
) -> io::Result<Body> {
    // One byte more than a header block accepts, so that it detects the excess.
    let most = limit.saturating_add(1);
    let first_line = read_line(&mut reader, most)?;
    let adds_cr = !first_line.ends_with(b"\r\n");
    let mut lines: Box<dyn BufRead> = match first_line.starts_with(b"From ") {
        // The separator line of an mbox, which is not part of the message.
        true => Box::new(reader),
        false => Box::new(Cursor::new(first_line).chain(reader)),
    };
    let mut field = Vec::new();
    loop {
        let mut line = read_line(&mut lines, most)?;
        let is_whole = line.ends_with(b"\n");
        if adds_cr && is_whole {
            line.splice(line.len() - 1.., *b"\r\n");
        }
        let is_fold = matches!(line.first(), Some(b' ' | b'\t')) && !field.is_empty();
        if !is_fold {
            let whole = field.strip_suffix(b"\r\n").unwrap_or(&field);
            if let Some((name, value)) = split_field(whole) {
                keep(name, value);
            }
            field.clear();
            if split_field(&line).is_none() {
                // The empty line, or a line that is not a header field: then the body starts
                // without an empty line.
                line.drain(..if line == b"\r\n" { 2 } else { 0 });
                return Ok(Body {
                    first_line: line,
                    rest: lines,
                    adds_cr,
                });
            }
        }
        field.extend_from_slice(&line);
        field.truncate(most);
        if !is_whole {
            lines.skip_until(b'\n')?;
        }
    }
}

/// Reads a line with its line break, at most `most` bytes.
fn read_line(reader: &mut impl BufRead, most: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(most as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&b| b == b':')?;
    let (name, value) = line.split_at(colon);
    let well_formed = !name.is_empty() && name.trim_ascii_end().iter().all(u8::is_ascii_graphic);
    well_formed.then(|| (name, &value[1..]))
}

impl Body {
    /// Calls `take` for each piece of the body, with CRLF.
    pub(super) fn read(mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        take(&self.first_line);
        let mut with_crlf = Vec::new();
        loop {
            let piece = self.rest.fill_buf()?;
            let length = piece.len();
            match (length, self.adds_cr) {
                (0, _) => return Ok(()),
                (_, false) => take(piece),
                (_, true) => {
                    with_crlf.clear();
                    for line in piece.split_inclusive(|&b| b == b'\n') {
                        let (text, line_break): (_, &[u8]) = match line.strip_suffix(b"\n") {
                            Some(text) => (text, b"\r\n"),
                            None => (line, b""),
                        };
                        with_crlf.extend_from_slice(text);
                        with_crlf.extend_from_slice(line_break);
                    }
                    take(&with_crlf);
                }
            }
            self.rest.consume(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split_into_fields_and_body() {
        type Row = (
            &'static [u8],
            &'static [(&'static str, &'static str)],
            &'static str,
        );
        let table: [Row; 5] = [
            // file, want_fields, want_body
            (
                b"From: a@b\r\nSubject: x\r\n\ty\r\n\r\nbody\r\n",
                &[("From", " a@b"), ("Subject", " x\r\n\ty")],
                "body\r\n",
            ),
            (
                b"A: 1\nB:2\n\nx\n\ny\n",
                &[("A", " 1"), ("B", "2")],
                "x\r\n\r\ny\r\n",
            ),
            (b"From a@b Sat Nov 21\nA: 1\n\n", &[("A", " 1")], ""),
            (b"A: 1\r\nno field\r\n", &[("A", " 1")], "no field\r\n"),
            (b"", &[], ""),
        ];
        for (file, want_fields, want_body) in table {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let (fields, body) = read(file);
            let fields: Vec<_> = fields.iter().map(|(n, v)| (text(n), text(v))).collect();
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(fields, want_fields);
            assert_eq!(text(&body), want_body);
        }
    }

    #[test]
    fn overlong_fields_are_truncated_and_the_body_is_complete() {
        let long = "x".repeat(200_000);
        let table = [
            (format!("A: 1\r\nX: {long}\r\n\r\n"), 2),
            (format!("A: 1\r\nX: 1\r\n {long}\r\n {long}\r\n\r\n"), 2),
            // Too long for a field, so the body began without an empty line.
            ("A: 1\r\n".to_owned(), 1),
        ];
        for (header, want) in table {
            let body_text = format!("{long}: x\r\n");
            let (fields, body) = read(format!("{header}{body_text}").as_bytes());
            assert_eq!(fields.len(), want);
            assert!(fields.iter().all(|(_, value)| value.len() <= LIMIT));
            assert!(want == 1 || fields[1].1.len() > LIMIT - 3, "it is noticed");
            assert_eq!(body, body_text.as_bytes());
        }
    }

    const LIMIT: usize = 10_000;

    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    fn read(file: &[u8]) -> (Fields, Vec<u8>) {
        let mut fields = Vec::new();
        let keep = |name: &[u8], value: &[u8]| fields.push((name.to_vec(), value.to_vec()));
        let body = read_header(Cursor::new(file.to_vec()), LIMIT, keep).unwrap();
        let mut bytes = Vec::new();
        body.read(|piece| bytes.extend_from_slice(piece)).unwrap();
        (fields, bytes)
    }
}
