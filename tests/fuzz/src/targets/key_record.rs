//! Key records: a correctly signed message, and any TXT records at the name of its key.

use super::Target;
use crate::{
    message::{Message, verify},
    random::Random,
    signed::{self, ED25519_RECORD, KEY_NAMES, RSA_RECORD},
    zone::Zone,
};
use sixgate::dkim::DkimResult;
use std::sync::{Arc, OnceLock};

/// The target.
pub const TARGET: Target = Target {
    name: "key_record",
    check,
    seeds,
    dictionary: &[
        ";",
        "; ",
        "=",
        "v=DKIM1;",
        "k=rsa;",
        "k=ed25519;",
        "t=y;",
        "t=s;",
        "h=sha256;",
        "h=sha1;",
        "s=email;",
        "s=*;",
        "p=",
        "p=;",
        "n=x;",
        " ",
        "\r\n ",
        ":",
        "\0",
        "=3D",
        "\x1e",
        "\x1ev=spf1 -all",
        "\x1ev=DKIM1; p=",
        "v=DKIM1; k=ed25519; p=AAAA\x1e",
    ],
};

/// Separates the records in the input.
const SEPARATOR: u8 = 0x1e;

fn seeds() -> Vec<Vec<u8>> {
    let both = format!("{RSA_RECORD}\x1e{ED25519_RECORD}");
    let beside = format!("google-site-verification=x\x1e{ED25519_RECORD}\x1ev=spf1 -all");
    [RSA_RECORD, ED25519_RECORD, &both, &beside]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Checks the records of one name.
///
/// # Panics
/// If the message passes although no record contains its key, or none of the records passes it
/// alone.
pub fn check(input: &[u8]) {
    let records: Vec<&[u8]> = input.split(|&c| c == SEPARATOR).collect();
    for (message, key) in messages() {
        if passes(message, &records) {
            assert!(has_digits(input, key), "passes with another key");
            let alone = |record: &&[u8]| passes(message, &[record]);
            assert!(records.iter().any(alone), "passes with no single record");
        }
    }
}

fn passes(message: &Message, records: &[&[u8]]) -> bool {
    let mut zone = Zone::default();
    for name in KEY_NAMES {
        for &record in records {
            zone.add_txt(name, record);
        }
    }
    let outcome = verify(message, &Arc::new(zone));
    let mut signatures = outcome.signatures.iter();
    signatures.any(|signature| signature.result == DkimResult::Pass)
}

/// Returns whether the records contain the middle of the key's Base64 text, which a mutation of
/// the structure around the key leaves unchanged.
fn has_digits(record: &[u8], key: &str) -> bool {
    let digits: Vec<u8> = record
        .iter()
        .copied()
        .filter(|c| !c.is_ascii_whitespace())
        .collect();
    let (_, key) = key.split_once("p=").unwrap_or_default();
    let middle = &key.as_bytes()[key.len() / 2..key.len() / 2 + 16];
    digits.windows(middle.len()).any(|window| window == middle)
}

/// Returns a message signed with each key, and the record of the key.
fn messages() -> &'static [(Message, &'static str)] {
    static MESSAGES: OnceLock<Vec<(Message, &'static str)>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        [RSA_RECORD, ED25519_RECORD]
            .map(|r| (signed_for(r), r))
            .to_vec()
    })
}

fn signed_for(record: &str) -> Message {
    let mut random = Random::new(7);
    loop {
        let message = signed::unsigned(&mut random);
        let signed = crate::now::now(signed::sign(&message, &mut random));
        let Some(message) = signed else { continue };
        if passes(&message, &[record.as_bytes()]) {
            return message;
        }
    }
}
