//! A message: its bytes, its header fields, and the verification of its signatures by sixgate.

use crate::zone::Zone;
use sixgate::dkim::{
    BodyHashes, HeaderBlock, KeyCache, Outcome, Settings, Verification, fetch_keys,
};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::runtime::{Builder, Runtime};

/// The time of all verifications: 2026-01-01.
pub const NOW: u64 = 1_767_225_600;

/// A message, split into fields and body.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The name and value of each field, without the colon and the last CRLF.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The bytes after the empty line.
    pub body: Vec<u8>,
}

impl Message {
    /// Splits a message as a mail server does. A line without a colon is not a field and is
    /// omitted.
    pub fn parse(bytes: &[u8]) -> Self {
        let end = find(bytes, b"\r\n\r\n").map_or(bytes.len(), |n| n + 2);
        let body = bytes.get(end + 2..).unwrap_or_default().to_vec();
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for line in lines(&bytes[..end]) {
            let colon = line.iter().position(|&c| c == b':');
            match (line.first(), fields.last_mut(), colon) {
                (Some(b' ' | b'\t'), Some((_, value)), _) => {
                    value.extend_from_slice(b"\r\n");
                    value.extend_from_slice(line);
                }
                (_, _, Some(colon)) => {
                    fields.push((line[..colon].to_vec(), line[colon + 1..].to_vec()));
                }
                (_, _, None) => {}
            }
        }
        Self { fields, body }
    }

    /// Returns the message as it is transmitted.
    pub fn to_bytes(&self) -> Vec<u8> {
        let fields = self.fields.iter();
        let mut bytes: Vec<u8> = fields
            .flat_map(|(name, value)| [name, b":".as_slice(), value, b"\r\n"].concat())
            .collect();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Returns the number of fields with this name.
    pub fn count(&self, name: &str) -> usize {
        let named =
            |(n, _): &&(Vec<u8>, Vec<u8>)| n.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).count()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn lines(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = find(rest, b"\r\n").unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        Some(line)
    })
}

/// Returns the header block of sixgate with the fields.
pub fn header_block(message: &Message) -> HeaderBlock {
    let mut headers = HeaderBlock::new(1 << 20);
    for (name, value) in &message.fields {
        headers.push_transmitted(name, value);
    }
    headers
}

/// Starts a verification with the default limits, except that up to 100 signatures are verified.
pub fn verification(headers: HeaderBlock) -> Verification {
    let settings = Settings {
        max_signatures: 100,
        min_rsa_bits: 1024,
        now: now(),
    };
    Verification::new(headers, &settings, Some("example.com"))
}

/// Returns [`NOW`] as a system time.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Hashes a body in one piece.
pub fn hash(verification: &Verification, body: &[u8]) -> BodyHashes {
    let mut hasher = verification.body_hasher();
    hasher.update(body);
    hasher.finish()
}

/// Fetches the keys from the zone and verifies the signatures.
pub async fn outcome(verification: Verification, body: &BodyHashes, zone: &Arc<Zone>) -> Outcome {
    let names = verification.key_names();
    let deadline = Instant::now() + Duration::from_secs(60);
    let keys = fetch_keys(zone, &KeyCache::default(), &names, deadline).await;
    verification.verify(body, &keys)
}

/// Verifies a whole message.
pub fn verify(message: &Message, zone: &Arc<Zone>) -> Outcome {
    let verification = verification(header_block(message));
    let body = hash(&verification, &message.body);
    runtime().block_on(outcome(verification, &body, zone))
}

/// Returns the runtime for everything that spawns tasks.
///
/// # Panics
/// If it can't be started.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let build = || Builder::new_current_thread().enable_time().build();
    RUNTIME.get_or_init(|| build().expect("a runtime"))
}
