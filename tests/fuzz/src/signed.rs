//! Generated signed messages, and the keys that verify them.
//!
//! The private keys in `keys/` are used for nothing else.

use crate::{
    message::{Message, NOW},
    random::Random,
    zone::Zone,
};
use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use viadkim::{
    crypto::{HashAlgorithm, KeyType, SigningKey},
    header::{FieldBody, FieldName, HeaderFields},
    signature::{
        Canonicalization, CanonicalizationAlgorithm, DomainName, Selector, SigningAlgorithm,
    },
    signer::{Expiration, HeaderSelection, SignRequest, Timestamp},
};

const RSA: &str = include_str!("../keys/rsa.pem");
const ED25519: &str = include_str!("../keys/ed25519.pem");

/// The key record of the RSA key of 1024 bits, at `rsa._domainkey.example.com`.
pub const RSA_RECORD: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCmexHqbenLCHFDLObW0orvUq8U0KPFVbt3AXqIuMFZR7DYcUMZqW8VcCad+bYJALmwUWZtg3ynbZWuyuQUxPG6YNH0JH6+z9uVdjwDPIBNjb5HSdPsaxt3i2n7rQ1o2XkVkxHZldqQrmXNsuUZAtq0aHjYAdI5A9+MvaT61eKs0wIDAQAB";
/// The key record of the Ed25519 key, at `ed._domainkey.example.com`.
pub const ED25519_RECORD: &str =
    "v=DKIM1; k=ed25519; p=RpH6mDqiYfELqoIDLj91Bf2Mcb4jPjZMslqL7cYP6Jk=";

/// The names of the key records.
pub const KEY_NAMES: [&str; 2] = ["rsa._domainkey.example.com", "ed._domainkey.example.com"];

/// Returns a zone with both keys.
pub fn zone() -> Zone {
    let mut zone = Zone::default();
    zone.add_txt(KEY_NAMES[0], RSA_RECORD);
    zone.add_txt(KEY_NAMES[1], ED25519_RECORD);
    zone
}

const NAMES: &[&str] = &[
    "Subject",
    "To",
    "Date",
    "Message-ID",
    "Received",
    "SUBJECT",
    "X-A",
    "MIME-Version",
    "x-a",
    "Cc",
];

const VALUES: &[&str] = &[
    " hello",
    "",
    " ",
    " a  b\t c ",
    "\ta",
    " one\r\n two",
    " one \r\n\t two \r\n three",
    " \"q\" <a@b>",
    " gr\u{fc}n",
    " a:b;c=d",
    "  x",
    "x\t",
];

const FROM: &[&str] = &[
    " a@example.com",
    "A <a@example.com>",
    " \"x@y\"\r\n <a@example.com>  ",
    "\ta@sub.example.com ",
];

const LINES: &[&str] = &[
    "", "hello", " ", "a  b", "\t", "x ", " y", "a\tb", "--", ".", "\r", "\n", "a\rb", "\u{e9}",
    "  \t ", "a \r",
];

/// Generates an unsigned message.
pub fn unsigned(random: &mut Random) -> Message {
    let mut fields = vec![(b"From".to_vec(), random.pick(FROM).as_bytes().to_vec())];
    for _ in 0..random.below(6) {
        let place = random.below(fields.len() + 1);
        let field = (random.pick(NAMES).into(), random.pick(VALUES).into());
        fields.insert(place, field);
    }
    let mut body = Vec::new();
    for _ in 0..random.below(7) {
        body.extend_from_slice(random.pick(LINES).as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    if random.one_in(6) {
        body.extend_from_slice(random.pick(LINES).as_bytes());
    }
    Message { fields, body }
}

/// Signs with viadkim and adds the field at the top. Returns `None` if viadkim refuses.
pub async fn sign(message: &Message, random: &mut Random) -> Option<Message> {
    let headers = header_fields(message)?;
    let request = request(message, random);
    let signed = viadkim::sign(headers, &message.body, [request])
        .await
        .ok()?;
    let output = signed.into_iter().next()?.ok()?;
    let mut message = message.clone();
    let field = (
        output.header_name.into_bytes(),
        output.header_value.into_bytes(),
    );
    message.fields.insert(0, field);
    Some(message)
}

/// Converts the fields for viadkim. Returns `None` if it rejects them.
pub fn header_fields(message: &Message) -> Option<HeaderFields> {
    let field = |(name, value): &(Vec<u8>, Vec<u8>)| {
        let name = FieldName::new(std::str::from_utf8(name).ok()?).ok()?;
        Some((name, FieldBody::new(value.clone()).ok()?))
    };
    let fields: Option<Vec<_>> = message.fields.iter().map(field).collect();
    HeaderFields::new(fields?).ok()
}

fn request(message: &Message, random: &mut Random) -> SignRequest<&'static SigningKey> {
    let (key, selector) = match random.one_in(12) {
        true => (rsa(), "rsa"),
        false => (ed25519(), "ed"),
    };
    let domain = DomainName::new("example.com").expect("a domain");
    let selector = Selector::new(selector).expect("a selector");
    let algorithm = match key.key_type() {
        KeyType::Rsa => SigningAlgorithm::RsaSha256,
        KeyType::Ed25519 => SigningAlgorithm::Ed25519Sha256,
    };
    assert_eq!(algorithm.hash_algorithm(), HashAlgorithm::Sha256);
    let mut request = SignRequest::new(domain, selector, algorithm, key);
    request.canonicalization = Canonicalization {
        header: canonicalization(random),
        body: canonicalization(random),
    };
    request.timestamp = Timestamp::Exact(NOW - 60);
    request.expiration = match random.one_in(2) {
        true => Expiration::Never,
        false => Expiration::After(Duration::from_secs(86_400)),
    };
    request.copy_headers = random.one_in(10);
    request.header_selection = selection(message, random);
    request
}

fn canonicalization(random: &mut Random) -> CanonicalizationAlgorithm {
    match random.one_in(2) {
        true => CanonicalizationAlgorithm::Simple,
        false => CanonicalizationAlgorithm::Relaxed,
    }
}

/// Selects From and other fields, some of which the message does not have.
fn selection(message: &Message, random: &mut Random) -> HeaderSelection {
    let mut names = vec![FieldName::new("From").expect("a name")];
    for (name, _) in &message.fields {
        if random.one_in(2) && name != b"From" {
            let name = String::from_utf8_lossy(name).into_owned();
            names.extend(FieldName::new(name));
        }
    }
    for _ in 0..random.below(3) {
        names.extend(FieldName::new(
            random.pick(&["From", "Subject", "X-A", "List-Id"]),
        ));
    }
    HeaderSelection::Manual(names)
}

fn rsa() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::from_pkcs8_pem(RSA).expect("a key"))
}

fn ed25519() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::from_pkcs8_pem(ED25519).expect("a key"))
}

/// Returns [`NOW`] for viadkim.
pub fn time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}
