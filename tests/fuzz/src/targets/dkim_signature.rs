//! DKIM signatures: a whole message with DKIM-Signature fields.

use super::Target;
use crate::{
    message::{Message, header_block, verification, verify},
    random::Random,
    signed,
};
use sixgate::dkim::DkimResult;
use std::sync::Arc;

/// The target.
pub const TARGET: Target = Target {
    name: "dkim_signature",
    check,
    seeds,
    dictionary: &[
        "; ",
        ";",
        "=",
        ":",
        "\r\n ",
        " ",
        "v=1;",
        "a=rsa-sha256;",
        "b=;",
        "bh=;",
        "c=relaxed/simple;",
        "d=example.com;",
        "h=From:",
        "i=@example.com;",
        "l=0;",
        "q=dns/txt;",
        "s=ed;",
        "t=1;",
        "x=9999999999;",
        "z=a:b;",
        "\0",
        "\r",
        "\n",
        "\r\nFrom: b@example.net",
        "\r\nDKIM-Signature: v=1;",
    ],
};

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut random = Random::new(1);
    let mut seeds = Vec::new();
    while seeds.len() < 32 {
        let message = signed::unsigned(&mut random);
        let signing = signed::sign(&message, &mut random);
        seeds.extend(crate::now::now(signing).map(|message| message.to_bytes()));
    }
    seeds
}

/// Checks one message.
///
/// # Panics
/// If there is not exactly one result for each signature, a reason is not printable ASCII, or a
/// message passes that has not exactly one From field.
pub fn check(bytes: &[u8]) {
    let message = Message::parse(bytes);
    let outcome = verify(&message, &Arc::new(signed::zone()));
    assert_eq!(outcome.signatures.len(), message.count("DKIM-Signature"));
    assert!(verification(header_block(&message)).key_names().len() <= 100);
    for signature in &outcome.signatures {
        assert!(signature.reason.bytes().all(|c| matches!(c, b' '..=b'~')));
        assert!(signature.result != DkimResult::Pass || message.count("From") == 1);
    }
}
