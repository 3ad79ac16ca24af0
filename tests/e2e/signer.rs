//! Signs messages by RFC 6376, independently of the library that the program uses to
//! verify, so that the same defect in both cannot hide.

use aws_lc_rs::{
    digest,
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use std::fmt;

/// A private key, generated for each run.
pub enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key"))
    }

    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().expect("an Ed25519 key"))
    }

    /// The value of `p=` in the key record (RFC 6376 section 3.6.1, RFC 8463
    /// section 4.2).
    pub fn public(&self) -> String {
        match self {
            Self::Rsa(pair) => {
                let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a public key");
                base64(der.as_ref())
            }
            Self::Ed25519(pair) => base64(pair.public_key().as_ref()),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) => "ed25519-sha256",
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    text,
                    &mut signature,
                )
                .expect("a signature");
                signature
            }
            // RFC 8463 section 3: what is signed is the hash.
            Self::Ed25519(pair) => pair.sign(sha256(text).as_ref()).as_ref().to_vec(),
        }
    }
}

/// RFC 6376 section 3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canonicalization {
    Simple,
    Relaxed,
}

impl fmt::Display for Canonicalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        })
    }
}

/// The parameters of a signature.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub key: &'a Key,
    pub domain: &'a str,
    pub selector: &'a str,
    pub header: Canonicalization,
    pub body: Canonicalization,
    /// The names for `h=`.
    pub fields: &'a [&'a str],
    /// Additional tags, each with its semicolon, such as `x=1; `.
    pub tags: &'a str,
}

impl Signer<'_> {
    /// The message with a DKIM-Signature field in front.
    pub fn sign(&self, message: &str) -> String {
        let (headers, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
        let body_hash = sha256(&canonical_body(self.body, body));
        let field = format!(
            "DKIM-Signature: v=1; a={}; c={}/{};\r\n\td={}; s={}; {}\r\n\th={};\r\n\tbh={};\r\n\tb=",
            self.key.algorithm(),
            self.header,
            self.body,
            self.domain,
            self.selector,
            self.tags,
            self.fields.join(":"),
            base64(body_hash.as_ref()),
        );
        let mut signed = self.canonical_fields(headers);
        let own = canonical_field(self.header, &field);
        signed.push_str(own.strip_suffix("\r\n").unwrap_or(&own));
        let signature = base64(&self.key.sign(signed.as_bytes()));
        format!("{field}{signature}\r\n{message}")
    }

    /// The fields of `h=` in its order, each name from the bottom up (RFC 6376
    /// section 5.4.2).
    fn canonical_fields(&self, headers: &str) -> String {
        let mut unused = fields(headers);
        let mut text = String::new();
        for name in self.fields {
            let is_named = |field: &String| field_name(field).eq_ignore_ascii_case(name);
            if let Some(index) = unused.iter().rposition(is_named) {
                text.push_str(&canonical_field(self.header, &unused.remove(index)));
            }
        }
        text
    }
}

fn fields(headers: &str) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in headers.split("\r\n") {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => {
                field.push_str("\r\n");
                field.push_str(line);
            }
            _ => fields.push(line.to_owned()),
        }
    }
    fields
}

fn field_name(field: &str) -> &str {
    field.split(':').next().unwrap_or_default().trim_end()
}

fn canonical_field(canonicalization: Canonicalization, field: &str) -> String {
    match canonicalization {
        Canonicalization::Simple => format!("{field}\r\n"),
        Canonicalization::Relaxed => {
            let (name, value) = field.split_once(':').unwrap_or((field, ""));
            let words: Vec<&str> = value.split_ascii_whitespace().collect();
            let name = name.trim_end().to_ascii_lowercase();
            format!("{name}:{}\r\n", words.join(" "))
        }
    }
}

fn canonical_body(canonicalization: Canonicalization, body: &str) -> Vec<u8> {
    let mut text = match canonicalization {
        Canonicalization::Simple => body.to_owned(),
        Canonicalization::Relaxed => body.split("\r\n").map(relaxed_line).collect(),
    };
    let end = text.trim_end_matches("\r\n").len();
    text.truncate(end);
    if !text.is_empty() || canonicalization == Canonicalization::Simple {
        text.push_str("\r\n");
    }
    text.into_bytes()
}

fn relaxed_line(line: &str) -> String {
    let mut relaxed = String::with_capacity(line.len() + 2);
    let mut space = false;
    for c in line.chars() {
        let is_space = matches!(c, ' ' | '\t');
        if space && !is_space {
            relaxed.push(' ');
        }
        if !is_space {
            relaxed.push(c);
        }
        space = is_space;
    }
    relaxed + "\r\n"
}

fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|index| chunk.get(index).copied().unwrap_or(0));
        let bits = u32::from_be_bytes([0, a, b, c]);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 0x3f;
            let padding = digit > chunk.len();
            let letter = ALPHABET[value as usize];
            text.push(if padding { '=' } else { char::from(letter) });
        }
    }
    text
}
