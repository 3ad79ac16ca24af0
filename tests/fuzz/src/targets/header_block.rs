//! Header blocks: fields as a milter receives them, folded with LF, give the same results as
//! the transmitted fields, folded with CRLF. No signature passes if the block was truncated.

use super::Target;
use crate::message::{Message, hash, outcome, runtime, verification};
use crate::signed;
use sixgate::dkim::{DkimResult, HeaderBlock, Outcome};
use std::sync::Arc;

/// The target.
pub const TARGET: Target = Target {
    name: "header_block",
    check,
    seeds: super::dkim_signature::seeds,
    dictionary: &[
        "\r\n",
        "\r\n ",
        "\n ",
        "\r",
        "\n",
        "\0",
        ":",
        " :",
        "From:",
        "\r\nFrom: x@example.com",
        "\r\nSubject: y",
        "\t",
        " ",
        "DKIM-Signature:",
        "\u{e9}",
        "\u{c}",
    ],
};

/// Checks one message.
///
/// # Panics
/// If the results of the two forms differ, or a signature in a truncated block passes.
pub fn check(bytes: &[u8]) {
    let message = Message::parse(bytes);
    let whole: usize = message
        .fields
        .iter()
        .map(|(n, v)| n.len() + v.len() + 3)
        .sum();
    let transmitted = verified(&message, whole, HeaderBlock::push_transmitted);
    if message.fields.iter().all(|(_, value)| has_only_crlf(value)) {
        let push = |block: &mut HeaderBlock, name: &[u8], value: &[u8]| {
            let folded: Vec<u8> = value.iter().copied().filter(|&c| c != b'\r').collect();
            block.push(name, &folded);
        };
        assert_eq!(verified(&message, whole, push), transmitted);
    }
    let truncated = verified(
        &message,
        whole.saturating_sub(1),
        HeaderBlock::push_transmitted,
    );
    assert!(
        truncated
            .signatures
            .iter()
            .all(|s| s.result != DkimResult::Pass)
    );
}

fn has_only_crlf(value: &[u8]) -> bool {
    let count = |what: &[u8]| {
        value
            .windows(what.len())
            .filter(|window| *window == what)
            .count()
    };
    count(b"\r\n") == count(b"\r") && count(b"\r\n") == count(b"\n")
}

fn verified(
    message: &Message,
    limit: usize,
    push: impl Fn(&mut HeaderBlock, &[u8], &[u8]),
) -> Outcome {
    let mut block = HeaderBlock::new(limit);
    for (name, value) in &message.fields {
        push(&mut block, name, value);
    }
    let verification = verification(block);
    let body = hash(&verification, &message.body);
    let zone = Arc::new(signed::zone());
    runtime().block_on(outcome(verification, &body, &zone))
}
