//! Key records: a message that is signed well, and any record for its key.

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
    ],
};

fn seeds() -> Vec<Vec<u8>> {
    [RSA_RECORD, ED25519_RECORD]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Checks one record.
///
/// # Panics
/// If the message passes without the digits of its key in the record.
pub fn check(record: &[u8]) {
    let mut zone = Zone::default();
    for name in KEY_NAMES {
        zone.add_txt(name, record);
    }
    let zone = Arc::new(zone);
    for (message, key) in messages() {
        let passes = |s: &sixgate::dkim::SignatureResult| s.result == DkimResult::Pass;
        if verify(message, &zone).signatures.iter().any(passes) {
            assert!(has_digits(record, key), "a pass by another key");
        }
    }
}

/// Whether the key's last octets are there, so that a mutation may have touched
/// what wraps the key but not the key.
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

/// A message signed with each key, and the key's record.
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
        let mut zone = Zone::default();
        for name in KEY_NAMES {
            zone.add_txt(name, record);
        }
        let Some(message) = signed else { continue };
        let outcome = verify(&message, &Arc::new(zone));
        if outcome
            .signatures
            .iter()
            .any(|s| s.result == DkimResult::Pass)
        {
            return message;
        }
    }
}
