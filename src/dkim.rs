//! DKIM verification (RFC 6376, 8301 and 8463) of a message as it streams by.
//!
//! The header block is kept, the body is hashed chunk by chunk and forgotten.
//! In the order of a message:
//!
//! 1. [`HeaderBlock`] takes the fields.
//! 2. [`Verification::new`] parses the signatures at the end of the headers and
//!    chooses those worth verifying.
//! 3. [`fetch_keys`] asks for their keys while [`BodyHasher`] takes the body.
//! 4. [`Verification::verify_header`] does what the body has no part in, at any time
//!    after there are keys.
//! 5. [`Verification::verify`] puts it together at the end of the message.
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
use key_lookup::Record;
use outcome::{Claims, Refusal};
use signature::{Canonicalization, Signature, is_within};
use std::{collections::BTreeMap, time::SystemTime};

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
    damage: Damage,
    /// Those of the candidates, by place in `signatures`, once there were keys.
    header_results: Option<BTreeMap<usize, HeaderResult>>,
}

/// What an MTA changed of a message when it handed it over. A signature that does not
/// verify then may be valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The space after the colon of header fields.
    pub leading_space_lost: bool,
    /// The body begins with the header.
    pub header_in_body: bool,
}

/// A DKIM-Signature field.
#[derive(Debug)]
struct SignatureField {
    /// Its place in the header.
    place: usize,
    claims: Claims,
    /// Boxed, because of those by the thousand few can be read.
    parsed: Result<Box<Signature>, Refusal>,
}

/// What became of a signature but for the hash of the body: with which key it
/// verified, or why not.
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

    /// Takes into account what the MTA did to the message.
    pub fn set_damage(&mut self, damage: Damage) {
        self.damage = damage;
    }

    /// Whether a body that begins like this has the header in it: its first line is
    /// the first header field, or any field if no header came.
    pub fn is_in_body(&self, start: &[u8]) -> bool {
        self.headers.is_at(start)
    }

    /// The names of the key records to fetch, each once; no more than
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

    /// A hasher for the body of this message.
    pub fn body_hasher(&self) -> BodyHasher {
        BodyHasher::new(
            self.chosen()
                .map(|(_, signature)| signature.body_canonicalization),
        )
    }

    /// Verifies what is signed of the header: all but the hash of the body. A pure
    /// computation; what `keys` lacks is a temperror. The first call counts.
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

    /// Verifies the signatures. Unless [`Self::verify_header`] was called before, it is
    /// now, with these keys.
    pub fn verify(mut self, body: &BodyHashes, keys: &Keys) -> Outcome {
        self.verify_header(keys);
        let mut header_results = self.header_results.unwrap_or_default();
        let damage = self.damage;
        let fields = self.signatures.into_iter().enumerate();
        let results =
            fields.map(|(n, field)| field.result(header_results.remove(&n), body, damage));
        let mut signatures: Vec<SignatureResult> = results.collect();
        if damage.header_in_body && self.headers.is_empty() {
            // Whether it is signed is not known either.
            signatures.push(Claims::default().with(DkimResult::Unverifiable, HEADER_IN_BODY));
        }
        Outcome { signatures }
    }

    /// The candidates, with their places in `signatures`.
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

/// A body that was changed is told first: it can never pass, whatever became of the
/// key.
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
        // The key says for sure that the signature does not count. That it can't be
        // fetched says nothing of a body that is not the one that was signed.
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

/// What signed header fields are verified with.
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
        Err(most_telling(refusals))
    }

    /// `signed` is made at most once.
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
            .get_or_insert_with(|| signed_header::signed_octets(&self.header, signature, place));
        match key.verify(signed, &signature.octets) {
            true => Ok(format!("verified with an {key}")),
            false => Err(Refusal::new(
                DkimResult::Fail,
                "the header signature does not match: a signed header field was changed after \
                 signing, or the key record has another key than the signer",
            )),
        }
    }
}

/// The refusal of the key record that came closest to verifying the signature.
fn most_telling(mut refusals: Vec<Refusal>) -> Refusal {
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
