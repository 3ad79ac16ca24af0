//! DKIM verification (RFC 6376, 8301 and 8463) of a message as it streams by.
//!
//! The header block is stored, the body is hashed chunk by chunk and not stored. In the
//! order of a message:
//!
//! 1. [`HeaderBlock`] takes the fields.
//! 2. [`Verification::new`] parses the signatures at the end of the headers and
//!    chooses those worth verifying.
//! 3. [`fetch_keys`] looks up their keys while [`BodyHasher`] hashes the body.
//! 4. [`Verification::verify_header`] verifies everything but the body hash, at any time
//!    once the keys are known.
//! 5. [`Verification::verify`] combines the results at the end of the message.
//!
//! In case of doubt a signature does not pass: anything that programs may interpret
//! differently is refused before verification.

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
pub use outcome::{DkimResult, MAX_REPORTED, Outcome, SignatureResult};

use crate::{address::Domain, dns::Name};
use header_block::Index;
use key_lookup::Record;
use outcome::{Claims, Refusal};
use signature::{Canonicalization, Signature, is_within};
use std::{collections::BTreeMap, time::SystemTime};

/// The settings of a verification.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The maximum number of signatures verified per message. The default is 8.
    pub max_signatures: usize,
    /// The minimum length of an RSA key in bits. The default is 1024.
    pub min_rsa_bits: usize,
    /// The current time, to check `t=` and `x=`.
    pub now: SystemTime,
}

/// The signatures of one message, once its header is complete.
#[derive(Debug)]
pub struct Verification {
    headers: HeaderBlock,
    /// From top to bottom.
    signatures: Vec<SignatureField>,
    /// Indices into `signatures`, best first.
    candidates: Vec<usize>,
    min_rsa_bits: usize,
    damage: Damage,
    /// The results of the candidates, by index into `signatures`, once the keys were
    /// known.
    header_results: Option<BTreeMap<usize, HeaderResult>>,
}

/// The changes that the MTA made to a message before passing it on. A signature that does
/// not verify because of them may still be valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The MTA does not preserve the space after the colon of header fields.
    pub leading_space_lost: bool,
    /// The body begins with the header fields.
    pub header_in_body: bool,
}

/// A DKIM-Signature field.
#[derive(Debug)]
struct SignatureField {
    /// Its index in the header.
    place: usize,
    claims: Claims,
    /// Boxed, because a message may have thousands of fields of which few can be parsed.
    parsed: Result<Box<Signature>, Refusal>,
}

/// The result of a signature apart from the body hash: a description of the key that
/// verified it, or the refusal.
type HeaderResult = Result<String, Refusal>;

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
            damage: Damage::default(),
            header_results: None,
        }
    }

    /// Sets the changes that the MTA made to the message.
    pub fn set_damage(&mut self, damage: Damage) {
        self.damage = damage;
    }

    /// Returns whether a body that begins like this contains the header: its first line
    /// is the first header field, or any field if there was no header.
    pub fn is_in_body(&self, start: &[u8]) -> bool {
        self.headers.is_at(start)
    }

    /// Returns the names of the key records to fetch, each once, at most
    /// [`Settings::max_signatures`].
    pub fn key_names(&self) -> Vec<Name> {
        let mut names = Vec::new();
        for (_, signature) in self.chosen() {
            if !names.contains(&signature.key_name) {
                names.push(signature.key_name.clone());
            }
        }
        names
    }

    /// Creates a hasher for the body of this message.
    pub fn body_hasher(&self) -> BodyHasher {
        BodyHasher::new(
            self.chosen()
                .map(|(_, signature)| signature.body_canonicalization),
        )
    }

    /// Verifies everything but the body hash, a pure computation. A key missing in `keys`
    /// is a temperror. Only the first call has an effect.
    pub fn verify_header(&mut self, keys: &Keys) {
        if self.header_results.is_none() {
            self.header_results = Some(self.header_results(keys));
        }
    }

    fn header_results(&self, keys: &Keys) -> BTreeMap<usize, HeaderResult> {
        let names = self
            .chosen()
            .flat_map(|(_, signature)| signature.signed_fields());
        let evaluation = Evaluation {
            header: self.headers.index(names),
            keys,
            min_rsa_bits: self.min_rsa_bits,
        };
        let verified = |(n, signature): (usize, &Signature)| {
            let place = self.signatures[n].place;
            (n, evaluation.verify(signature, place))
        };
        self.chosen().map(verified).collect()
    }

    /// Verifies the signatures. Calls [`Self::verify_header`] with these keys unless it
    /// was called before.
    pub fn verify(mut self, body: &BodyHashes, keys: &Keys) -> Outcome {
        self.verify_header(keys);
        let mut header_results = self.header_results.unwrap_or_default();
        let damage = self.damage;
        let fields = self.signatures.into_iter().enumerate();
        let results =
            fields.map(|(n, field)| field.result(header_results.remove(&n), body, damage));
        let mut signatures: Vec<SignatureResult> = results.collect();
        if damage.header_in_body && self.headers.is_empty() {
            // Then it is also unknown whether the message is signed.
            signatures.push(Claims::default().with(DkimResult::Unverifiable, HEADER_IN_BODY));
        }
        Outcome { signatures }
    }

    /// Returns the candidates with their indices into `signatures`.
    fn chosen(&self) -> impl Iterator<Item = (usize, &Signature)> {
        let candidates = self.candidates.iter();
        candidates.filter_map(|&n| Some((n, self.signatures[n].parsed.as_deref().ok()?)))
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
            parsed: parsed.map(Box::new),
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

/// Returns the indices of the best signatures, and refuses the others.
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

/// Returns the index of the first preferred domain that matches the signing domain: the
/// same, a parent or a subdomain.
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

const HEADER_IN_BODY: &str =
    "DKIM can't be verified here: the MTA hands over the whole message as the body";

const LEADING_SPACE_LOST: &str = "a signature with simple header canonicalization can't be verified \
                                  here: the MTA leaves out the leading space of header fields";

impl SignatureField {
    fn result(
        self,
        header: Option<HeaderResult>,
        body: &BodyHashes,
        damage: Damage,
    ) -> SignatureResult {
        match self
            .parsed
            .and_then(|signature| verified(&signature, header, body, damage))
        {
            Ok(key) => self.claims.with(DkimResult::Pass, key),
            Err(refusal) => self.claims.with(refusal.result, refusal.reason),
        }
    }
}

/// Combines the results of header and body. A changed body is reported first: such a
/// signature can never pass, whatever the key.
fn verified(
    signature: &Signature,
    header: Option<HeaderResult>,
    body: &BodyHashes,
    damage: Damage,
) -> HeaderResult {
    let unverified = || Err(Refusal::new(DkimResult::Temperror, "not verified"));
    let header = header.unwrap_or_else(unverified);
    let body = check_body(signature, body);
    let excuse = match signature.header_canonicalization {
        _ if damage.header_in_body => HEADER_IN_BODY,
        Canonicalization::Simple if damage.leading_space_lost => LEADING_SPACE_LOST,
        Canonicalization::Simple | Canonicalization::Relaxed => return body.and(header),
    };
    match (body, header) {
        (Ok(()), Ok(key)) => Ok(key),
        (Ok(()), Err(refusal)) if refusal.result != DkimResult::Fail => Err(refusal),
        // A permanent error of the key is definite. A temporary failure is not reported
        // if the body is not the signed one.
        (Err(_), Err(refusal))
            if !matches!(refusal.result, DkimResult::Fail | DkimResult::Temperror) =>
        {
            Err(refusal)
        }
        _ => Err(Refusal::new(DkimResult::Unverifiable, excuse)),
    }
}

fn check_body(signature: &Signature, body: &BodyHashes) -> Result<(), Refusal> {
    match body.get(signature.body_canonicalization) == Some(signature.body_hash) {
        true => Ok(()),
        false => Err(Refusal::new(
            DkimResult::Fail,
            "the body hash does not match: the body was changed after signing",
        )),
    }
}

/// The inputs for verifying signed header fields.
struct Evaluation<'a> {
    header: Index<'a>,
    keys: &'a Keys,
    min_rsa_bits: usize,
}

impl Evaluation<'_> {
    /// Tries the key records one after the other until one verifies the
    /// signature.
    fn verify(&self, signature: &Signature, place: usize) -> HeaderResult {
        let records = self.keys.get(&signature.key_name)?;
        let mut signed = None;
        let mut refusals = Vec::new();
        for record in records.iter() {
            match self.verify_with(record, signature, place, &mut signed) {
                Ok(verified) => return Ok(verified),
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(most_informative(refusals))
    }

    /// Verifies with one key; `signed` is computed at most once.
    fn verify_with(
        &self,
        record: &Record,
        signature: &Signature,
        place: usize,
        signed: &mut Option<Vec<u8>>,
    ) -> HeaderResult {
        let key = record.as_ref().map_err(Refusal::clone)?;
        key.permits(signature, self.min_rsa_bits)?;
        let signed = signed
            .get_or_insert_with(|| signed_header::signed_bytes(&self.header, signature, place));
        match key.verify(signed, &signature.bytes) {
            true => Ok(format!("verified with an {key}")),
            false => Err(Refusal::new(
                DkimResult::Fail,
                "the header signature does not match: a signed header field was changed after \
                 signing, or the key record has another key than the signer",
            )),
        }
    }
}

/// Returns the refusal of the key record that came closest to verifying the signature.
fn most_informative(mut refusals: Vec<Refusal>) -> Refusal {
    let tried = refusals.len();
    refusals.sort_by_key(|refusal| match refusal.result {
        DkimResult::Fail => 0,
        DkimResult::Policy => 1,
        DkimResult::Neutral => 2,
        DkimResult::Pass
        | DkimResult::Temperror
        | DkimResult::Unverifiable
        | DkimResult::Permerror => 3,
    });
    match refusals.into_iter().next() {
        Some(refusal) if tried > 1 => {
            let reason = format!("{} ({tried} key records tried)", refusal.reason);
            Refusal::new(refusal.result, reason)
        }
        Some(refusal) => refusal,
        None => Refusal::new(DkimResult::Permerror, "there is no key record"),
    }
}
