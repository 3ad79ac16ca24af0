//! Bodies: the hashes do not depend on how a body is split into chunks, and equal those of its
//! canonical form (RFC 6376 section 3.4), which is computed here line by line.

use super::Target;
use crate::message::{Message, hash, header_block, verification};
use crate::random::Random;
use sixgate::dkim::{BodyHashes, Verification};
use std::sync::OnceLock;

/// The target.
pub const TARGET: Target = Target {
    name: "body_chunks",
    check,
    seeds,
    dictionary: &[
        "\r\n", "\r\n\r\n", "\r", "\n", " ", "\t", " \r\n", "  ", "a", ".\r\n", "\r\r\n",
    ],
};

fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 4] = [
        b"\x01hello\r\n",
        b"\x07\r\n\r\n a  b\t\r\n\r\n \r\n\r\n",
        b"\x03no line break at the end \t",
        b"\x20a\rb\nc\r\r\n\n\r\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

/// Checks one body. The first byte determines how it is split.
///
/// # Panics
/// If hashes differ.
pub fn check(input: &[u8]) {
    let Some((&cut, body)) = input.split_first() else {
        return;
    };
    let [both, simple, relaxed] = verifications();
    let whole = hash(both, body);
    assert_eq!(in_chunks(both, body, |_| 1), whole, "byte by byte");
    let mut random = Random::new(cut.into());
    assert_eq!(
        in_chunks(both, body, |_| 1 + random.below(9)),
        whole,
        "in random chunks"
    );
    assert_eq!(
        in_chunks(both, body, |_| usize::from(cut) + 1),
        whole,
        "in equal chunks"
    );
    assert_eq!(
        hash(simple, &simple_form(body)),
        hash(simple, body),
        "simple"
    );
    assert_eq!(
        hash(relaxed, &relaxed_form(body)),
        hash(relaxed, body),
        "relaxed"
    );
}

fn in_chunks(
    verification: &Verification,
    body: &[u8],
    mut length: impl FnMut(usize) -> usize,
) -> BodyHashes {
    let mut hasher = verification.body_hasher();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(length(rest.len()).min(rest.len()));
        hasher.update(chunk);
        rest = after;
    }
    hasher.finish()
}

/// Returns the simple canonical form (section 3.4.3).
fn simple_form(body: &[u8]) -> Vec<u8> {
    let mut form = body.to_vec();
    while form.ends_with(b"\r\n") {
        form.truncate(form.len() - 2);
    }
    form.extend_from_slice(b"\r\n");
    form
}

/// Returns the relaxed canonical form (section 3.4.4).
fn relaxed_form(body: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = split_lines(body).map(relaxed_line).collect();
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    let ended = lines
        .into_iter()
        .map(|line| [line, b"\r\n".to_vec()].concat());
    ended.collect::<Vec<_>>().concat()
}

fn split_lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let text = rest?;
        match text.windows(2).position(|window| window == b"\r\n") {
            Some(end) => {
                rest = Some(&text[end + 2..]);
                Some(&text[..end])
            }
            None => rest.take(),
        }
    })
}

fn relaxed_line(line: &[u8]) -> Vec<u8> {
    let mut form: Vec<u8> = Vec::new();
    for &c in line {
        match c {
            b' ' | b'\t' if form.last() == Some(&b' ') => {}
            b' ' | b'\t' => form.push(b' '),
            _ => form.push(c),
        }
    }
    if form.last() == Some(&b' ') {
        form.pop();
    }
    form
}

/// Returns verifications that need both hashes, only the simple one, and only the relaxed one.
fn verifications() -> &'static [Verification; 3] {
    static VERIFICATIONS: OnceLock<[Verification; 3]> = OnceLock::new();
    let signature = |canonicalization: &str| {
        format!(
            "DKIM-Signature: v=1; a=ed25519-sha256; c=simple/{canonicalization}; d=example.com; s=ed; \
             h=From; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
        )
    };
    let wants = |canonicalizations: &[&str]| {
        let signatures: String = canonicalizations.iter().map(|&c| signature(c)).collect();
        let message = Message::parse(format!("{signatures}From: a@example.com\r\n").as_bytes());
        let verification = verification(header_block(&message));
        assert!(verification.body_hasher().is_needed());
        verification
    };
    VERIFICATIONS.get_or_init(|| {
        [
            wants(&["simple", "relaxed"]),
            wants(&["simple"]),
            wants(&["relaxed"]),
        ]
    })
}
