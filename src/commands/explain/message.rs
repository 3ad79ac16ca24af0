//! A message in a file, taken apart into header fields and body.

use anyhow::{Context, Result};
use std::{
    fs,
    io::{self, Read},
    path::Path,
};

/// Header fields and body.
pub(super) struct Message {
    /// Name without the colon, and the exact value, folds included.
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body, with CRLF.
    pub(super) body: Vec<u8>,
}

/// Reads a file, or standard input for `-`.
pub(super) fn read(file: &Path) -> Result<Message> {
    let octets = if file == Path::new("-") {
        let mut octets = Vec::new();
        io::stdin().lock().read_to_end(&mut octets).map(|_| octets)
    } else {
        fs::read(file)
    };
    let octets = octets.with_context(|| format!("{}: can't be read", file.display()))?;
    Ok(parse(&with_crlf(octets)))
}

/// A stored message usually has the line ends of the system; on the wire, and
/// when it was signed, they were CRLF.
fn with_crlf(octets: Vec<u8>) -> Vec<u8> {
    if octets.windows(2).any(|pair| pair == b"\r\n") {
        return octets;
    }
    let lines: Vec<&[u8]> = octets.split(|&b| b == b'\n').collect();
    lines.join(&b"\r\n"[..])
}

fn parse(octets: &[u8]) -> Message {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut rest = without_mbox_line(octets);
    while let Some((line, after)) = split_line(rest) {
        match (line.first(), fields.last_mut()) {
            (None, _) => {
                rest = after;
                break;
            }
            (Some(b' ' | b'\t'), Some((_, value))) => {
                value.extend_from_slice(b"\r\n");
                value.extend_from_slice(line);
            }
            (Some(_), _) => match split_field(line) {
                Some(field) => fields.push(field),
                // No header field: the body began without an empty line.
                None => break,
            },
        }
        rest = after;
    }
    let body = rest.to_vec();
    Message { fields, body }
}

fn without_mbox_line(octets: &[u8]) -> &[u8] {
    match split_line(octets) {
        Some((line, rest)) if line.starts_with(b"From ") => rest,
        _ => octets,
    }
}

/// The first line without its CRLF, and what follows.
fn split_line(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = octets.windows(2).position(|pair| pair == b"\r\n");
    match end {
        Some(end) => Some((&octets[..end], &octets[end + 2..])),
        None if octets.is_empty() => None,
        None => Some((octets, &[])),
    }
}

fn split_field(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let colon = line.iter().position(|&b| b == b':')?;
    let (name, value) = line.split_at(colon);
    let well_formed = !name.is_empty() && name.trim_ascii_end().iter().all(u8::is_ascii_graphic);
    well_formed.then(|| (name.to_vec(), value[1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_apart_at_fields_and_the_empty_line() {
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
            let message = parse(&with_crlf(file.to_vec()));
            let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
            let fields: Vec<_> = message
                .fields
                .iter()
                .map(|(n, v)| (text(n), text(v)))
                .collect();
            let fields: Vec<_> = fields
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            assert_eq!(fields, want_fields);
            assert_eq!(text(&message.body), want_body);
        }
    }
}
