//! DKIM verification (RFC 6376, 8301 and 8463) of a message as it streams by.
//!
//! The header block is kept, the body is hashed chunk by chunk and forgotten.
//! In the order of a message:
//!
//! 1. [`HeaderBlock`] takes the fields.
//! 2. [`Verification::new`] parses the signatures at the end of the headers and
//!    chooses those worth verifying.
//! 3. [`fetch_keys`] asks for their keys while [`BodyHasher`] takes the body.
//! 4. [`Verification::verify`] puts it together at the end of the message.
//!
//! In doubt a signature does not pass: whatever different programs could read
//! differently is refused before anything is computed.

mod base64;
mod body_hash;
mod header_block;
mod key;
mod key_lookup;
mod outcome;
mod signature;
mod signed_header;
mod tag_list;

pub use body_hash::{BodyHasher, BodyHashes};
pub use header_block::HeaderBlock;
pub use key_lookup::{KeyCache, Keys, fetch_keys};
pub use outcome::{DkimResult, MAX_TOLD, Outcome, SignatureResult};

use crate::{address::Domain, dns::Name};
use header_block::Index;
use outcome::{Claims, Refusal};
use signature::{Signature, is_within};
use std::time::SystemTime;

/// What a verification depends on besides the message.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many signatures of a message are verified at most. The default is 8.
    pub max_signatures: usize,
    /// The shortest RSA key that counts, in bits. The default is 1024.
    pub min_rsa_bits: usize,
    /// The time by which signatures expire.
    pub now: SystemTime,
}

/// The signatures of one message, once its header is complete.
#[derive(Debug)]
pub struct Verification {
    headers: HeaderBlock,
    /// From top to bottom.
    signatures: Vec<SignatureField>,
    /// Places in `signatures`, best first.
    candidates: Vec<usize>,
    min_rsa_bits: usize,
}

/// A DKIM-Signature field.
#[derive(Debug)]
struct SignatureField {
    /// Its place in the header.
    place: usize,
    claims: Claims,
    parsed: Result<Signature, Refusal>,
}

impl Verification {
    /// Parses the signatures and chooses which to verify: first those of the
    /// author's domain (From), then those of the sender's (`mail_from`, the
    /// domain of the reverse-path), then the others, each from top to bottom,
    /// until there are [`Settings::max_signatures`].
    pub fn new(headers: HeaderBlock, settings: &Settings, mail_from: Option<&str>) -> Self {
        let mut signatures = signature_fields(&headers, settings.now);
        if let Some(defect) = headers.defect() {
            refuse_all(&mut signatures, &defect);
        }
        let preferred = [author_domain(&headers), mail_from.and_then(parse_domain)];
        let candidates = choose(&mut signatures, &preferred, settings.max_signatures);
        Self {
            headers,
            signatures,
            candidates,
            min_rsa_bits: settings.min_rsa_bits,
        }
    }

    /// The names of the key records to fetch, each once; no more than
    /// [`Settings::max_signatures`].
    pub fn key_names(&self) -> Vec<Name> {
        let mut names = Vec::new();
        for signature in self.chosen() {
            if !names.contains(&signature.key_name) {
                names.push(signature.key_name.clone());
            }
        }
        names
    }

    /// A hasher for the body of this message.
    pub fn body_hasher(&self) -> BodyHasher {
        BodyHasher::new(
            self.chosen()
                .map(|signature| signature.body_canonicalization),
        )
    }

    /// Verifies the signatures. A pure computation; what `keys` lacks is a
    /// temperror.
    pub fn verify(&self, body: &BodyHashes, keys: &Keys) -> Outcome {
        let names = self.chosen().flat_map(Signature::signed_fields);
        let evaluation = Evaluation {
            header: self.headers.index(names),
            body,
            keys,
            min_rsa_bits: self.min_rsa_bits,
        };
        let results = self.signatures.iter().map(|field| evaluation.result(field));
        Outcome {
            signatures: results.collect(),
        }
    }

    fn chosen(&self) -> impl Iterator<Item = &Signature> {
        let chosen = self.candidates.iter().map(|&n| &self.signatures[n]);
        chosen.filter_map(|field| field.parsed.as_ref().ok())
    }
}

fn signature_fields(headers: &HeaderBlock, now: SystemTime) -> Vec<SignatureField> {
    let fields = headers.fields().enumerate();
    let signatures = fields.filter(|(_, field)| field.is_named(b"DKIM-Signature"));
    let parse = |(place, field): (usize, header_block::Field<'_>)| {
        let (claims, parsed) = Signature::parse(field.value, now);
        SignatureField {
            place,
            claims,
            parsed,
        }
    };
    signatures.map(parse).collect()
}

fn refuse_all(signatures: &mut [SignatureField], refusal: &Refusal) {
    for field in signatures {
        field.parsed = Err(refusal.clone());
    }
}

fn author_domain(headers: &HeaderBlock) -> Option<Domain> {
    let from = headers.fields().find(|field| field.is_named(b"From"))?;
    signature::author_domain(from.value)
}

fn parse_domain(text: &str) -> Option<Domain> {
    Domain::parse(text).ok()
}

/// The places of the best signatures. Those left out are refused.
fn choose(
    signatures: &mut [SignatureField],
    preferred: &[Option<Domain>],
    limit: usize,
) -> Vec<usize> {
    let viable = |&place: &usize| signatures[place].parsed.is_ok();
    let mut places: Vec<usize> = (0..signatures.len()).filter(viable).collect();
    places.sort_by_cached_key(|&place| rank(&signatures[place], preferred));
    for place in places.split_off(limit.min(places.len())) {
        let reason = "not verified: the message has more signatures than dkim.max_signatures";
        signatures[place].parsed = Err(Refusal::new(DkimResult::Policy, reason));
    }
    places
}

/// The place of the first preferred domain that the signature is for: the
/// domain itself, one above or one below.
fn rank(field: &SignatureField, preferred: &[Option<Domain>]) -> usize {
    let Ok(signature) = &field.parsed else {
        return usize::MAX;
    };
    let related = |domain: &Domain| {
        is_within(domain, &signature.domain) || is_within(&signature.domain, domain)
    };
    let first = preferred
        .iter()
        .position(|d| d.as_ref().is_some_and(related));
    first.unwrap_or(preferred.len())
}

/// All that a message's signatures are verified with.
struct Evaluation<'a> {
    header: Index<'a>,
    body: &'a BodyHashes,
    keys: &'a Keys,
    min_rsa_bits: usize,
}

impl Evaluation<'_> {
    fn result(&self, field: &SignatureField) -> SignatureResult {
        let verified = match &field.parsed {
            Ok(signature) => self.verify(signature, field.place),
            Err(refusal) => Err(refusal.clone()),
        };
        match verified {
            Ok(key) => field.claims.with(DkimResult::Pass, &key),
            Err(refusal) => field.claims.with(refusal.result, &refusal.reason),
        }
    }

    /// What can never pass is found first, so that a key that can't be fetched
    /// does not make it a temperror. Tells which key it was.
    fn verify(&self, signature: &Signature, place: usize) -> Result<String, Refusal> {
        if self.body.get(signature.body_canonicalization) != Some(signature.body_hash) {
            return Err(Refusal::new(
                DkimResult::Fail,
                "the body hash does not match: the body was changed after signing",
            ));
        }
        let key = self.keys.get(&signature.key_name)?;
        key.permits(signature, self.min_rsa_bits)?;
        let signed = signed_header::signed_octets(&self.header, signature, place);
        match key.verify(&signed, &signature.octets) {
            true => Ok(format!("verified with an {key}")),
            false => Err(Refusal::new(
                DkimResult::Fail,
                "the header signature does not match: a signed header field was changed after \
                 signing, or the key record has another key than the signer",
            )),
        }
    }
}
