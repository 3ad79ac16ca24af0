//! One key record (RFC 6376 section 3.6.1), parsed into a key and the restrictions on its
//! use.
//!
//! The input is the text of a TXT record. mail-auth reads the keys and verifies Ed25519
//! signatures. RSA signatures are verified by the library below mail-auth, so that the
//! key is read only once.

use super::{
    base64,
    outcome::{DkimResult, Refusal},
    signature::{Algorithm, Signature},
    tag_list::{TagList, is, items, without_white_space},
};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY};
use mail_auth::common::{
    crypto::{self, VerifyingKey},
    parse::TxtRecordParser,
    verify::DomainKey,
};
use std::fmt;

/// The maximum length of an RSA key in bits. The time to verify grows with the square of
/// the length; RFC 8301 section 3.2 requires support up to 4096.
const MAX_RSA_BITS: usize = 8192;

/// A public key.
pub(super) struct Key {
    kind: Kind,
    verifier: Verifier,
    /// `t=y`: the domain tests DKIM.
    testing: bool,
    /// `t=s`: the identity (`i=`) must not be in a subdomain of the signing domain.
    strict: bool,
}

enum Verifier {
    /// Kept here because mail-auth would parse the key again for each signature.
    Rsa(ParsedPublicKey),
    Other(Box<dyn VerifyingKey + Send + Sync>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa { bits: usize },
    Ed25519,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kind", &self.kind).finish()
    }
}

/// Returns whether a TXT record is a key record, valid or not: a tag list with a key
/// (`p=`) and no other version than DKIM1. SPF records and domain verification tokens are
/// not.
pub(super) fn is_key_record(record: &[u8]) -> bool {
    TagList::parse(record).is_ok_and(|tags| {
        tags.get("p").is_some() && tags.get("v").is_none_or(|version| version == b"DKIM1")
    })
}

impl Key {
    /// Parses a record independently of the signature it is for.
    pub(super) fn parse(record: &[u8]) -> Result<Self, Refusal> {
        let tags = TagList::parse(record).map_err(|error| error.refusal(DkimResult::Permerror))?;
        version(&tags)?;
        hash_algorithms(&tags)?;
        service_types(&tags)?;
        let (kind, verifier) = public_key(&tags)?;
        let flags = list(&tags, "t")?.unwrap_or_default();
        let flag = |flag| flags.iter().any(|f| is(f, flag));
        Ok(Self {
            kind,
            verifier,
            testing: flag("y"),
            strict: flag("s"),
        })
    }

    /// Checks whether this key may be used for this signature.
    pub(super) fn permits(
        &self,
        signature: &Signature,
        min_rsa_bits: usize,
    ) -> Result<(), Refusal> {
        self.fits(signature.algorithm)?;
        if self.testing {
            // RFC 6376 section 3.6.1: "Verifiers MUST NOT treat messages from
            // Signers in testing mode differently from unsigned email"
            return Err(Refusal::new(
                DkimResult::Neutral,
                "the key record says that the domain only tests DKIM; remove t=y from it",
            ));
        }
        if self.strict && !signature.identity_in_domain_itself {
            return Err(permerror(
                "the key record has t=s, and the identity (i=) is in a subdomain",
            ));
        }
        self.check_length(min_rsa_bits)
    }

    /// Checks that the algorithm of the signature fits this type of key (RFC 6376 section
    /// 6.1.2 step 7).
    fn fits(&self, algorithm: Algorithm) -> Result<(), Refusal> {
        match (algorithm, self.kind) {
            (Algorithm::RsaSha256, Kind::Rsa { .. })
            | (Algorithm::Ed25519Sha256, Kind::Ed25519) => Ok(()),
            (Algorithm::RsaSha256, Kind::Ed25519)
            | (Algorithm::Ed25519Sha256, Kind::Rsa { .. }) => Err(permerror(
                "the key is not of the type (k=) that the signature's algorithm (a=) needs",
            )),
        }
    }

    fn check_length(&self, min_rsa_bits: usize) -> Result<(), Refusal> {
        match self.kind {
            Kind::Rsa { bits } if bits < min_rsa_bits => Err(Refusal::new(
                DkimResult::Policy,
                format!("the RSA key has {bits} bits, and {min_rsa_bits} are the least accepted"),
            )),
            Kind::Rsa { bits } if bits > MAX_RSA_BITS => Err(Refusal::new(
                DkimResult::Policy,
                format!("the RSA key has {bits} bits, and {MAX_RSA_BITS} are the most accepted"),
            )),
            Kind::Rsa { .. } | Kind::Ed25519 => Ok(()),
        }
    }

    /// Returns whether `signature` is a valid signature of `signed`.
    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        let algorithm = match self.kind {
            Kind::Rsa { .. } => crypto::Algorithm::RsaSha256,
            Kind::Ed25519 => crypto::Algorithm::Ed25519Sha256,
        };
        match &self.verifier {
            Verifier::Rsa(key) => key.verify_sig(signed, signature).is_ok(),
            Verifier::Other(key) => key.verify_bytes(signed, signature, algorithm).is_ok(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Rsa { bits } => write!(f, "RSA key of {bits} bits"),
            Kind::Ed25519 => f.write_str("Ed25519 key"),
        }
    }
}

/// Checks `v=`, which has to be the first tag if it is present.
fn version(tags: &TagList<'_>) -> Result<(), Refusal> {
    match tags.get("v") {
        None => Ok(()),
        Some(b"DKIM1") if tags.first() == Some(b"v") => Ok(()),
        Some(b"DKIM1") => Err(permerror("the key record has v= not as its first tag")),
        Some(_) => Err(permerror(
            "the key record has a version (v=) other than DKIM1",
        )),
    }
}

/// Checks `h=`. The default is all algorithms.
fn hash_algorithms(tags: &TagList<'_>) -> Result<(), Refusal> {
    match list(tags, "h")? {
        Some(hashes) if !hashes.iter().any(|hash| is(hash, "sha256")) => {
            Err(permerror("the key record does not allow SHA-256 (h=)"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks `s=`. The default is all services.
fn service_types(tags: &TagList<'_>) -> Result<(), Refusal> {
    let for_mail = |service: &[u8]| service == b"*" || is(service, "email");
    match list(tags, "s")? {
        Some(services) if !services.iter().any(|service| for_mail(service)) => {
            Err(permerror("the key record is not for mail (s=)"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns the items of a colon-separated list, if the tag is present. RFC 6376 section
/// 3.6.1 does not allow empty items, and section 6.1.2 step 4 rejects a record that has
/// them. An empty value counts as an empty list: real domains publish `t=;`.
fn list<'a>(tags: &TagList<'a>, name: &str) -> Result<Option<Vec<&'a [u8]>>, Refusal> {
    let list = match tags.get(name) {
        None => return Ok(None),
        Some(b"") => Vec::new(),
        Some(value) => items(value).collect(),
    };
    match list.iter().any(|item| item.is_empty()) {
        true => Err(permerror(
            "the key record has a list (h=, s= or t=) with an empty item",
        )),
        false => Ok(Some(list)),
    }
}

/// Parses the key from `k=` and `p=`.
fn public_key(tags: &TagList<'_>) -> Result<(Kind, Verifier), Refusal> {
    let text = tags
        .get("p")
        .ok_or_else(|| permerror("the key record has no p="))?;
    let bytes = base64::decode(text)
        .ok_or_else(|| permerror("the key (p=) in the key record is not Base64"))?;
    if bytes.is_empty() {
        return Err(permerror("the key record is revoked (empty p=)"));
    }
    match tags.get("k").unwrap_or(b"rsa") {
        kind if is(kind, "rsa") => rsa(text, &bytes),
        kind if is(kind, "ed25519") => ed25519(text, bytes.len()),
        _ => Err(permerror(
            "the key record is for an unknown type of key (k=)",
        )),
    }
}

fn rsa(text: &[u8], bytes: &[u8]) -> Result<(Kind, Verifier), Refusal> {
    let verifier = verifier("rsa", text)?;
    let kind = match verifier.public_key_bits() {
        0 => {
            return Err(permerror(
                "the key (p=) in the key record is not a valid RSA key",
            ));
        }
        bits => Kind::Rsa { bits },
    };
    // The same algorithm that mail-auth uses.
    let algorithm = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
    Ok(match ParsedPublicKey::new(algorithm, bytes) {
        Ok(key) => (kind, Verifier::Rsa(key)),
        Err(_rejected) => (kind, Verifier::Other(verifier)),
    })
}

/// Parses an Ed25519 key: 32 bytes without the ASN.1 structure of RSA keys (RFC 8463
/// section 4.2).
fn ed25519(text: &[u8], length: usize) -> Result<(Kind, Verifier), Refusal> {
    match length {
        32 => Ok((Kind::Ed25519, Verifier::Other(verifier("ed25519", text)?))),
        _ => Err(permerror(
            "the key (p=) in the key record is not an Ed25519 key of 32 bytes",
        )),
    }
}

/// Passes mail-auth a minimal record, so that it has nothing else to interpret.
fn verifier(kind: &str, text: &[u8]) -> Result<Box<dyn VerifyingKey + Send + Sync>, Refusal> {
    let mut record = format!("k={kind}; p=").into_bytes();
    record.extend(without_white_space(text));
    let key = DomainKey::parse(&record);
    let key = key.map_err(|_| permerror("the key (p=) in the key record is broken"))?;
    Ok(key.p)
}

fn permerror(reason: &'static str) -> Refusal {
    Refusal::new(DkimResult::Permerror, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;
    use std::time::SystemTime;

    /// The key of RFC 8463 appendix A.2.
    const ED25519: &str = "k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    /// Returns a record with an invented modulus of `bits` bits, at least 512.
    fn rsa(bits: usize) -> String {
        let mut modulus = vec![0, 0x80];
        modulus.resize(bits / 8 + 1, 1);
        let key = [der(0x02, &modulus), der(0x02, &[1, 0, 1])].concat();
        format!("k=rsa; p={}", BASE64.encode(&der(0x30, &key)))
    }

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let [.., high, low] = content.len().to_be_bytes();
        match content.len() {
            0..128 => [&[tag, low], content].concat(),
            _ => [&[tag, 0x82, high, low], content].concat(),
        }
    }

    fn signature(tags: &str) -> Signature {
        let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let value = format!("v=1; d=example.org; s=s; h=from; b=AAAA; bh={hash}; {tags}");
        let (_, parsed) = Signature::parse(value.as_bytes(), SystemTime::now());
        parsed.unwrap()
    }

    fn refusal(record: &str, tags: &str) -> Option<Refusal> {
        let key = Key::parse(record.as_bytes());
        let permitted = key.and_then(|key| key.permits(&signature(tags), 1024));
        permitted.err()
    }

    #[test]
    fn keys_for_this_signature_are_permitted() {
        let ed = "a=ed25519-sha256";
        let itself = "a=ed25519-sha256; i=@example.org";
        let below = "a=rsa-sha256; i=@sub.example.org";
        let table = [
            (ED25519.to_owned(), ed),
            (format!("v=DKIM1; {ED25519};"), ed),
            (format!(" v = DKIM1 ; {ED25519} ; "), ed),
            (format!("{ED25519}; h=sha1 : SHA256"), ed),
            (format!("{ED25519}; s=*"), ed),
            (format!("{ED25519}; s=tlsrpt : email"), ed),
            (format!("{ED25519}; t="), ed),
            (format!("{ED25519}; t=x"), ed),
            (format!("{ED25519}; t=s"), itself),
            (format!("{ED25519}; n=a=20note; g=; zz=1"), ed),
            (rsa(1024), below),
            (rsa(1024).replace("k=rsa; ", ""), below),
            (rsa(8192), below),
        ];
        for (record, tags) in table {
            assert_eq!(refusal(&record, tags), None, "{record} {tags}");
        }
    }

    #[test]
    fn keys_that_are_not_for_it_are_refused_with_the_reason() {
        use DkimResult::{Neutral, Permerror, Policy};
        let ed = "a=ed25519-sha256";
        let below = "a=ed25519-sha256; i=@sub.example.org";
        let rsa_sha256 = "a=rsa-sha256";
        let table = [
            (String::new(), ed, Permerror, "no p="),
            ("hello world".into(), ed, Permerror, "without \"=\""),
            ("V=DKIM1; P=AAAA".into(), ed, Permerror, "no p="),
            ("v=DKIM1; k=rsa".into(), rsa_sha256, Permerror, "no p="),
            ("v=DKIM1; p=".into(), rsa_sha256, Permerror, "revoked"),
            ("v=DKIM1; p= ;".into(), rsa_sha256, Permerror, "revoked"),
            ("p=!!!!".into(), rsa_sha256, Permerror, "Base64"),
            (
                "p=AAAA".into(),
                rsa_sha256,
                Permerror,
                "not a valid RSA key",
            ),
            (format!("{ED25519}; p="), ed, Permerror, "twice"),
            (format!("{ED25519};;"), ed, Permerror, "empty tag"),
            (format!("{ED25519}; v=DKIM1"), ed, Permerror, "first tag"),
            (format!("v=DKIM2; {ED25519}"), ed, Permerror, "version"),
            (format!("v=dkim1; {ED25519}"), ed, Permerror, "version"),
            (format!("{ED25519}; h=sha1"), ed, Permerror, "h="),
            (format!("{ED25519}; s=tlsrpt"), ed, Permerror, "s="),
            (format!("{ED25519}; t=y"), ed, Neutral, "tests DKIM"),
            (format!("{ED25519}; t=s : Y"), ed, Neutral, "tests DKIM"),
            (format!("{ED25519}; t=s"), below, Permerror, "t=s"),
            (ED25519.to_owned(), rsa_sha256, Permerror, "type (k=)"),
            (rsa(2048), ed, Permerror, "type (k=)"),
            (
                ED25519.replace("25519;", "448;"),
                ed,
                Permerror,
                "unknown type",
            ),
            (ED25519.replace("URo=", "UQ=="), ed, Permerror, "32 bytes"),
            (rsa(512), rsa_sha256, Policy, "512 bits"),
            (rsa(1016), rsa_sha256, Policy, "1016 bits"),
            (rsa(8200), rsa_sha256, Policy, "8200 bits"),
        ];
        for (record, tags, result, reason) in table {
            let refusal = refusal(&record, tags).unwrap();
            assert_eq!(refusal.result, result, "{record}: {}", refusal.reason);
            assert!(
                refusal.reason.contains(reason),
                "{record}: {}",
                refusal.reason
            );
        }
    }

    #[test]
    fn key_records_with_an_empty_item_in_a_list_are_none() {
        let key = "k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        for tag in ["t=:s", "h=sha256:", "s=email::*"] {
            let record = format!("v=DKIM1; {tag}; {key}");
            let refusal = Key::parse(record.as_bytes()).unwrap_err();
            assert_eq!(refusal.result, DkimResult::Permerror, "{tag}");
        }
        for tag in ["t=s", "h=sha1 : sha256", "s=other:email"] {
            let record = format!("v=DKIM1; {tag}; {key}");
            assert!(Key::parse(record.as_bytes()).is_ok(), "{tag}");
        }
    }
}
