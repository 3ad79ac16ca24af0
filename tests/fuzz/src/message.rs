//! A message as octets, its header fields, and what sixgate makes of its
//! signatures.

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
    /// Name and value of each field, the colon and the last CRLF left out.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// All after the empty line.
    pub body: Vec<u8>,
}

impl Message {
    /// Splits a message the way a mail server does; a line without a colon is
    /// no field and is left out.
    pub fn parse(octets: &[u8]) -> Self {
        let end = find(octets, b"\r\n\r\n").map_or(octets.len(), |n| n + 2);
        let body = octets.get(end + 2..).unwrap_or_default().to_vec();
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for line in lines(&octets[..end]) {
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

    /// The message as it is transmitted.
    pub fn to_octets(&self) -> Vec<u8> {
        let fields = self.fields.iter();
        let mut octets: Vec<u8> = fields
            .flat_map(|(name, value)| [name, b":".as_slice(), value, b"\r\n"].concat())
            .collect();
        octets.extend_from_slice(b"\r\n");
        octets.extend_from_slice(&self.body);
        octets
    }

    /// How often a field is there.
    pub fn count(&self, name: &str) -> usize {
        let named =
            |(n, _): &&(Vec<u8>, Vec<u8>)| n.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).count()
    }
}

fn find(octets: &[u8], what: &[u8]) -> Option<usize> {
    octets.windows(what.len()).position(|window| window == what)
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

/// The fields as sixgate keeps them.
pub fn header_block(message: &Message) -> HeaderBlock {
    let mut headers = HeaderBlock::new(1 << 20);
    for (name, value) in &message.fields {
        headers.push_transmitted(name, value);
    }
    headers
}

/// A verification with the default limits, but of up to 100 signatures.
pub fn verification(headers: HeaderBlock) -> Verification {
    let settings = Settings {
        max_signatures: 100,
        min_rsa_bits: 1024,
        now: now(),
    };
    Verification::new(headers, &settings, Some("example.com"))
}

/// [`NOW`] as the system has it.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// The hashes of a body that comes in one piece.
pub fn hash(verification: &Verification, body: &[u8]) -> BodyHashes {
    let mut hasher = verification.body_hasher();
    hasher.update(body);
    hasher.finish()
}

/// Fetches the keys from the zone and verifies.
pub async fn outcome(verification: Verification, body: &BodyHashes, zone: &Arc<Zone>) -> Outcome {
    let names = verification.key_names();
    let deadline = Instant::now() + Duration::from_secs(60);
    let keys = fetch_keys(zone, &KeyCache::default(), &names, deadline).await;
    verification.verify(body, &keys)
}

/// What sixgate says of a whole message.
pub fn verify(message: &Message, zone: &Arc<Zone>) -> Outcome {
    let verification = verification(header_block(message));
    let body = hash(&verification, &message.body);
    runtime().block_on(outcome(verification, &body, zone))
}

/// The runtime of everything that spawns tasks.
///
/// # Panics
/// If there is none to be had.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let build = || Builder::new_current_thread().enable_time().build();
    RUNTIME.get_or_init(|| build().expect("a runtime"))
}
