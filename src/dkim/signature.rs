//! One DKIM-Signature field, parsed into a value that is valid by RFC 6376 and that our
//! policy may accept, depending on the key.
//!
//! The input is the field's value as in the header. This module does no lookups and reads
//! no clock.

use super::{
    base64,
    outcome::{Claims, DkimResult, Refusal},
    tag_list::{TagList, is, items, trim, without_white_space},
};
use crate::{address::Domain, dns::Name};
use std::{
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The maximum number of names in `h=`. Signers use about 30; each costs time to find,
/// which a sender must not control without a limit.
const MAX_SIGNED_FIELDS: usize = 256;

/// The maximum length of a signature in bytes: that of an 8192-bit RSA key.
const MAX_SIGNATURE: usize = 1024;

/// The tolerated clock skew: how far in the future `t=` may be.
const CLOCK_SKEW: Duration = Duration::from_hours(24);

/// A signature that may pass, so that its key is worth fetching.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) algorithm: Algorithm,
    pub(super) header_canonicalization: Canonicalization,
    pub(super) body_canonicalization: Canonicalization,
    /// `d=`, with at least two labels.
    pub(super) domain: Domain,
    /// Whether the domain of `i=` is `d=` itself and not a subdomain.
    pub(super) identity_in_domain_itself: bool,
    /// The name of the key record: `s=`, `_domainkey`, `d=`.
    pub(super) key_name: Name,
    /// `h=` without white space.
    signed_fields: Vec<u8>,
    /// `bh=`, a SHA-256 hash.
    pub(super) body_hash: [u8; 32],
    /// `b=`.
    pub(super) bytes: Vec<u8>,
    /// The position of the value of `b=` in the field's value.
    pub(super) bytes_span: Range<usize>,
}

/// How the hash of the header was signed (RFC 6376 section 3.3, RFC 8463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256.
    RsaSha256,
    /// PureEdDSA over the SHA-256 hash.
    Ed25519Sha256,
}

/// A canonicalization algorithm, which determines the changes in transit that a signature
/// tolerates (RFC 6376 section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Canonicalization {
    /// Tolerates no changes.
    Simple,
    /// Tolerates changes of white space and line folding.
    Relaxed,
}

impl Signature {
    /// Parses the value of a DKIM-Signature field: always the `Claims`, and the whole
    /// signature if it is acceptable.
    pub(super) fn parse(value: &[u8], now: SystemTime) -> (Claims, Result<Self, Refusal>) {
        match TagList::parse(value) {
            Ok(tags) => (claims(&tags), signature(&tags, now)),
            Err(error) => (Claims::default(), Err(error.refusal(DkimResult::Neutral))),
        }
    }

    /// Returns the names of `h=`.
    pub(super) fn signed_fields(&self) -> impl Iterator<Item = &[u8]> {
        items(&self.signed_fields)
    }
}

fn claims(tags: &TagList<'_>) -> Claims {
    let text = |tag, parse: fn(&[u8]) -> Result<Domain, ()>| {
        let name = tags.get(tag).and_then(|text| parse(text).ok());
        name.map(|name| name.to_string())
    };
    Claims {
        domain: text("d", host_name),
        selector: text("s", selector_name),
        algorithm: tags.get("a").and_then(algorithm_name),
        header_b: tags.get("b").and_then(beginning),
    }
}

/// Returns the algorithm name if it is a hyphenated word that is safe in a header field.
fn algorithm_name(text: &[u8]) -> Option<String> {
    let hyphenated = |c: &u8| c.is_ascii_alphanumeric() || *c == b'-';
    let fits = (1..=32).contains(&text.len()) && text.iter().all(hyphenated);
    fits.then(|| String::from_utf8_lossy(text).into_owned())
}

/// Returns the first eight characters of `b=`, which are enough to identify it (RFC 6008
/// section 4).
fn beginning(text: &[u8]) -> Option<String> {
    let base64 = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=');
    let start: Vec<u8> = without_white_space(text).take(8).collect();
    let fits = !start.is_empty() && start.iter().all(base64);
    fits.then(|| String::from_utf8_lossy(&start).into_owned())
}

/// Validates the tags (RFC 6376 section 6.1.1) in the order of section 3.5.
fn signature(tags: &TagList<'_>, now: SystemTime) -> Result<Signature, Refusal> {
    version(tags)?;
    let algorithm = algorithm(required(tags, "a")?)?;
    let bytes = signature_bytes(required(tags, "b")?)?;
    let body_hash = body_hash(required(tags, "bh")?)?;
    let (header_canonicalization, body_canonicalization) = canonicalizations(tags)?;
    let domain = signing_domain(required(tags, "d")?)?;
    let signed_fields = signed_fields(required(tags, "h")?)?;
    let identity_in_domain_itself = identity(tags, &domain)?;
    body_length(tags)?;
    query_methods(tags)?;
    let key_name = key_name(required(tags, "s")?, &domain)?;
    times(tags, now)?;
    Ok(Signature {
        algorithm,
        header_canonicalization,
        body_canonicalization,
        domain,
        identity_in_domain_itself,
        key_name,
        signed_fields,
        body_hash,
        bytes,
        bytes_span: tags.span("b").unwrap_or_default(),
    })
}

fn required<'a>(tags: &TagList<'a>, name: &'static str) -> Result<&'a [u8], Refusal> {
    let missing = || {
        neutral(format!(
            "the signature has no {name}= tag, which is required"
        ))
    };
    tags.get(name).ok_or_else(missing)
}

fn version(tags: &TagList<'_>) -> Result<(), Refusal> {
    match required(tags, "v")? {
        b"1" => Ok(()),
        _ => Err(neutral("the signature has a version (v=) other than 1")),
    }
}

fn algorithm(text: &[u8]) -> Result<Algorithm, Refusal> {
    match text {
        name if is(name, "rsa-sha256") => Ok(Algorithm::RsaSha256),
        name if is(name, "ed25519-sha256") => Ok(Algorithm::Ed25519Sha256),
        // RFC 8301 section 3.1
        name if is(name, "rsa-sha1") => Err(policy(
            "the signature uses SHA-1, which RFC 8301 forbids; sign with rsa-sha256",
        )),
        _ => Err(neutral("the signature algorithm (a=) is unknown")),
    }
}

fn signature_bytes(text: &[u8]) -> Result<Vec<u8>, Refusal> {
    match base64::decode(text) {
        Some(bytes) if bytes.is_empty() => Err(neutral("the signature (b=) is empty")),
        Some(bytes) if bytes.len() > MAX_SIGNATURE => {
            Err(policy("the signature (b=) is longer than that of any key"))
        }
        Some(bytes) => Ok(bytes),
        None => Err(neutral("the signature (b=) is not Base64")),
    }
}

fn body_hash(text: &[u8]) -> Result<[u8; 32], Refusal> {
    let hash = base64::decode(text).and_then(|bytes| bytes.try_into().ok());
    hash.ok_or_else(|| neutral("the body hash (bh=) is not a SHA-256 hash in Base64"))
}

fn canonicalizations(tags: &TagList<'_>) -> Result<(Canonicalization, Canonicalization), Refusal> {
    let text = tags.get("c").unwrap_or(b"simple");
    let mut names = text.splitn(2, |&c| c == b'/');
    let header = canonicalization(names.next().unwrap_or_default())?;
    // RFC 6376 section 3.5: "If only one algorithm is named, that algorithm is
    // used for the header and "simple" is used for the body."
    let body = canonicalization(names.next().unwrap_or(b"simple"))?;
    Ok((header, body))
}

fn canonicalization(name: &[u8]) -> Result<Canonicalization, Refusal> {
    match name {
        name if is(name, "simple") => Ok(Canonicalization::Simple),
        name if is(name, "relaxed") => Ok(Canonicalization::Relaxed),
        _ => Err(neutral("the canonicalization (c=) is unknown")),
    }
}

fn signing_domain(text: &[u8]) -> Result<Domain, Refusal> {
    let domain = host_name(text)
        .map_err(|()| neutral("the signing domain (d=) is not a valid domain name"))?;
    match domain.parent() {
        Some(_) => Ok(domain),
        None => Err(policy("the signing domain (d=) is a top-level domain")),
    }
}

/// Parses `sub-domain *("." sub-domain)` in A-labels or U-labels (RFC 8616 section 5).
fn host_name(text: &[u8]) -> Result<Domain, ()> {
    let name = selector_name(text)?;
    match name.as_str().contains('_') {
        true => Err(()),
        false => Ok(name),
    }
}

/// Parses a selector, a host name that may also contain underscores. RFC 6376 section 3.1
/// does not allow them, but signers use them (`default_1807`, `_dkim`). A selector only
/// chooses among the names below `_domainkey` of the signing domain, so refusing them
/// would not add security.
fn selector_name(text: &[u8]) -> Result<Domain, ()> {
    let text = std::str::from_utf8(text).map_err(|_| ())?;
    let name = Domain::parse(text).map_err(|_| ())?;
    let is_label = |label: &str| {
        // Parsers would disagree about which domain a name like
        // a._domainkey.b._domainkey.example belongs to.
        !label.starts_with('-') && !label.ends_with('-') && label != "_domainkey"
    };
    let fits = !text.ends_with('.') && name.as_str().split('.').all(is_label);
    if fits { Ok(name) } else { Err(()) }
}

fn signed_fields(text: &[u8]) -> Result<Vec<u8>, Refusal> {
    let printable = |name: &[u8]| !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    if items(text).nth(MAX_SIGNED_FIELDS).is_some() {
        return Err(policy("the list of signed fields (h=) is too long"));
    }
    if !items(text).all(printable) {
        return Err(neutral(
            "the list of signed fields (h=) is not a list of field names",
        ));
    }
    if !items(text).any(|name| name.eq_ignore_ascii_case(b"from")) {
        // RFC 6376 section 5.4
        return Err(permerror("the From field is not signed (h= lacks it)"));
    }
    Ok(items(text).collect::<Vec<_>>().join(&b':'))
}

/// Returns whether `i=` is in the signing domain itself. A subdomain is allowed too,
/// unless the key forbids it. The default of `i=` is `@` and `d=`.
fn identity(tags: &TagList<'_>, domain: &Domain) -> Result<bool, Refusal> {
    let Some(text) = tags.get("i") else {
        return Ok(true);
    };
    let identity = identity_domain(text)
        .ok_or_else(|| neutral("the identity (i=) has no domain name after an \"@\""))?;
    if !is_within(&identity, domain) {
        let reason = "the identity (i=) is not in the signing domain (d=)";
        return Err(permerror(reason));
    }
    Ok(identity == *domain)
}

/// Parses the domain of `[ Local-part ] "@" domain-name` in quoted-printable.
fn identity_domain(text: &[u8]) -> Option<Domain> {
    let text = quoted_printable(text)?;
    let at = text.iter().rposition(|&c| c == b'@')?;
    host_name(&text[at + 1..]).ok()
}

/// Decodes quoted-printable: `=` and two hexadecimal digits stand for a byte (RFC 6376
/// section 2.11).
fn quoted_printable(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&c, after)) = rest.split_first() {
        match (c, after) {
            (b'=', [high, low, after @ ..]) => {
                bytes.push(hex(*high)? << 4 | hex(*low)?);
                rest = after;
            }
            (b'=', _) => return None,
            _ => {
                bytes.push(c);
                rest = after;
            }
        }
    }
    Some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Returns whether a domain is `ancestor` or a subdomain of it.
pub(super) fn is_within(domain: &Domain, ancestor: &Domain) -> bool {
    let above = domain.as_str().strip_suffix(ancestor.as_str());
    above.is_some_and(|labels| labels.is_empty() || labels.ends_with('.'))
}

/// Refuses `l=`: anyone can append to a body that is only partly signed (RFC 6376 section
/// 8.2).
fn body_length(tags: &TagList<'_>) -> Result<(), Refusal> {
    match tags.get("l") {
        None => Ok(()),
        Some(digits) if is_number(digits) => Err(policy(
            "the signature covers the body only in part (l=), which is not accepted; \
             sign without l=",
        )),
        Some(_) => Err(neutral("the body length (l=) is not a valid number")),
    }
}

/// Checks `q=`: DNS TXT records are the only method to fetch keys. The default is
/// `dns/txt`.
fn query_methods(tags: &TagList<'_>) -> Result<(), Refusal> {
    let methods = tags.get("q").unwrap_or(b"dns/txt");
    match items(methods).any(|method| method.eq_ignore_ascii_case(b"dns/txt")) {
        true => Ok(()),
        false => Err(neutral("the signature knows no way to its key but q=")),
    }
}

fn key_name(selector: &[u8], domain: &Domain) -> Result<Name, Refusal> {
    let selector =
        selector_name(selector).map_err(|()| neutral("the selector (s=) is not a domain name"))?;
    let name = format!("{selector}._domainkey.{domain}");
    Name::parse(name).map_err(|_| neutral("selector and domain make a name too long for DNS"))
}

/// Checks `t=` and `x=`, in seconds since 1970.
fn times(tags: &TagList<'_>, now: SystemTime) -> Result<(), Refusal> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let made = seconds(tags, "t")?;
    let expires = seconds(tags, "x")?;
    if made.is_some_and(|made| made > now.saturating_add(CLOCK_SKEW)) {
        return Err(policy("the signature was made in the future (t=)"));
    }
    if expires.is_some_and(|expires| made.is_some_and(|made| expires <= made)) {
        let reason = "the signature expires (x=) before it was made (t=)";
        return Err(neutral(reason));
    }
    if expires.is_some_and(|expires| expires <= now) {
        return Err(policy("the signature has expired (x=)"));
    }
    Ok(())
}

/// Parses a time in seconds. Values too large to represent count as infinite (RFC 6376
/// section 3.5).
fn seconds(tags: &TagList<'_>, name: &'static str) -> Result<Option<Duration>, Refusal> {
    let Some(digits) = tags.get(name) else {
        return Ok(None);
    };
    if !is_number(digits) {
        return Err(neutral(format!(
            "the time {name}= is not a valid number of seconds"
        )));
    }
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    let seconds = digits.parse().unwrap_or(u64::MAX);
    Ok(Some(Duration::from_secs(seconds)))
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn neutral(reason: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(DkimResult::Neutral, reason)
}

fn policy(reason: &'static str) -> Refusal {
    Refusal::new(DkimResult::Policy, reason)
}

fn permerror(reason: &'static str) -> Refusal {
    Refusal::new(DkimResult::Permerror, reason)
}

/// Returns the domain of a From field, the text after the last `@`. Use it for ranking
/// signatures only.
pub(super) fn author_domain(value: &[u8]) -> Option<Domain> {
    let at = value.iter().rposition(|&c| c == b'@')?;
    let rest = trim(&value[at + 1..]);
    let part = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | 0x80..);
    let end = rest.iter().position(|c| !part(c)).unwrap_or(rest.len());
    Domain::parse(std::str::from_utf8(&rest[..end]).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the tags of a good signature, one replaced; an empty replacement removes
    /// it, and one without a name is added.
    fn with(name: &str, replacement: &str) -> String {
        let good = [
            ("v", "v=1"),
            ("a", "a=rsa-sha256"),
            ("d", "d=example.org"),
            ("s", "s=s1"),
            ("h", "h=from"),
            ("bh", "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
            ("b", "b=AAAA"),
            ("", ""),
        ];
        let replace = |(tag, text)| if tag == name { replacement } else { text };
        let tags: Vec<&str> = good.map(replace).into_iter().collect();
        let tags: Vec<&str> = tags.into_iter().filter(|tag| !tag.is_empty()).collect();
        tags.join("; ")
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    fn parse(tags: &str) -> Result<Signature, Refusal> {
        Signature::parse(tags.as_bytes(), now()).1
    }

    #[test]
    fn what_rfc_6376_allows_is_accepted() {
        let table = [
            ("", ""),
            ("a", "a=ed25519-sha256"),
            ("a", "a=RSA-SHA256"),
            ("d", "d=EXAMPLE.Org"),
            ("d", "d=b\u{fc}cher.example"),
            ("s", "s=a-b.2024.S"),
            ("h", "h= to :\r\n\tFROM\t: subject"),
            ("", "c=relaxed"),
            ("", "c=simple/relaxed"),
            ("", "i=@example.org"),
            ("", "i=joe=40home@Mail.Example.ORG"),
            ("", "i==22a@b=22@example.org"),
            ("", "q=dns/txt"),
            ("", "q=foo : dns/txt"),
            ("", "t=999999"),
            ("", "t=1086400"),
            ("", "x=1000001"),
            ("", "t=5; x=18446744073709551616"),
            ("", "z=From:a|To:b"),
            ("s", "s=default_1807"),
            ("s", "s=_dkim"),
            ("s", "s=k1.mail_out"),
            ("", "unknown=1"),
            ("b", "b=AA\r\n AA"),
        ];
        for (name, tag) in table {
            let parsed = parse(&with(name, tag));
            assert!(parsed.is_ok(), "{tag}: {parsed:?}");
        }
    }

    #[test]
    fn what_rfc_6376_forbids_is_refused_with_the_reason() {
        use DkimResult::{Neutral, Permerror, Policy};
        let long_h = format!("h=from{}", ":a".repeat(MAX_SIGNED_FIELDS));
        let long_b = format!("b={}", "AAAA".repeat(400));
        let long_s = format!("s={}", ["abcdefg"; 30].join("."));
        let table = [
            ("v", "", Neutral, "no v= tag"),
            ("v", "v=1.0", Neutral, "version"),
            ("v", "v=2", Neutral, "version"),
            ("a", "", Neutral, "no a= tag"),
            ("a", "a=rsa-sha1", Policy, "SHA-1"),
            ("a", "a=rsa-sha512", Neutral, "unknown"),
            ("a", "a=rsa - sha256", Neutral, "unknown"),
            ("b", "", Neutral, "no b= tag"),
            ("b", "b=", Neutral, "empty"),
            ("b", "b=!", Neutral, "Base64"),
            ("b", &long_b, Policy, "longer"),
            ("bh", "", Neutral, "no bh= tag"),
            ("bh", "bh=AAAA", Neutral, "body hash"),
            ("", "c=nofws", Neutral, "canonicalization"),
            ("", "c=simple/", Neutral, "canonicalization"),
            ("", "c=simple/relaxed/simple", Neutral, "canonicalization"),
            ("d", "", Neutral, "no d= tag"),
            ("d", "d=", Neutral, "not a valid domain name"),
            ("d", "d=org", Policy, "top-level"),
            ("d", "d=example.org.", Neutral, "not a valid domain name"),
            ("d", "d=exa mple.org", Neutral, "not a valid domain name"),
            ("d", "d=a_b.example.org", Neutral, "not a valid domain name"),
            ("d", "d=-a.example.org", Neutral, "not a valid domain name"),
            ("h", "", Neutral, "no h= tag"),
            ("h", "h=", Neutral, "not a list"),
            ("h", "h=from::to", Neutral, "not a list"),
            ("h", "h=from:a b", Neutral, "not a list"),
            ("h", "h=to:subject", Permerror, "not signed"),
            ("h", &long_h, Policy, "too long"),
            ("", "i=example.org", Neutral, "identity"),
            ("", "i=@", Neutral, "identity"),
            ("", "i=a=4@example.org", Neutral, "identity"),
            ("", "i=@org", Permerror, "not in the signing domain"),
            (
                "",
                "i=@badexample.org",
                Permerror,
                "not in the signing domain",
            ),
            (
                "",
                "i=@example.org@x.example",
                Permerror,
                "not in the signing domain",
            ),
            ("", "l=0", Policy, "l="),
            ("", "l=-1", Neutral, "body length"),
            ("", "q=http", Neutral, "q="),
            ("s", "", Neutral, "no s= tag"),
            ("s", "s=", Neutral, "selector"),
            ("s", "s=a._domainkey.b", Neutral, "selector"),
            ("s", "s=_domainkey", Neutral, "selector"),
            ("s", "s=a b", Neutral, "selector"),
            (
                "d",
                "d=_dmarc.example.org",
                Neutral,
                "not a valid domain name",
            ),
            ("s", &long_s, Neutral, "too long"),
            ("", "t=", Neutral, "t= is not a valid number"),
            ("", "t=-1", Neutral, "t= is not a valid number"),
            ("", "t=1086401", Policy, "future"),
            ("", "t=99999999999999999999", Policy, "future"),
            ("", "x=1e9", Neutral, "x= is not a valid number"),
            ("", "x=0", Policy, "expired"),
            ("", "x=1000000", Policy, "expired"),
            ("", "t=1000005; x=1000005", Neutral, "before it was made"),
            ("", "v=1", Neutral, "twice"),
            ("", ";", Neutral, "empty tag"),
        ];
        for (name, tag, result, reason) in table {
            let refusal = parse(&with(name, tag)).unwrap_err();
            assert_eq!(refusal.result, result, "{tag}: {}", refusal.reason);
            assert!(refusal.reason.contains(reason), "{tag}: {}", refusal.reason);
        }
    }

    #[test]
    fn the_default_canonicalization_is_simple_and_the_body_has_its_own() {
        use Canonicalization::{Relaxed, Simple};
        let table = [
            ("", Simple, Simple),
            ("c=relaxed", Relaxed, Simple),
            ("c=relaxed/relaxed", Relaxed, Relaxed),
            ("c=simple/relaxed", Simple, Relaxed),
        ];
        for (tag, header, body) in table {
            let signature = parse(&with("", tag)).unwrap();
            assert_eq!(signature.header_canonicalization, header, "{tag}");
            assert_eq!(signature.body_canonicalization, body, "{tag}");
        }
    }

    #[test]
    fn the_key_is_looked_up_below_the_signing_domain() {
        let tags = with("d", "d=B\u{fc}cher.Example");
        let signature = parse(&tags.replace("s=s1", "s=A.b")).unwrap();
        let want = "a.b._domainkey.xn--bcher-kva.example";
        assert_eq!(signature.key_name.to_string(), want);
    }

    #[test]
    fn refused_signatures_have_claims_that_never_forge_a_field() {
        let claims = |tags: &str| Signature::parse(tags.as_bytes(), now()).0;
        let refused = claims("v=2; d=Example.org; s=S; a=rsa-sha1; b=AB\r\n CDEFGHIJ");
        assert_eq!(refused.domain.as_deref(), Some("example.org"));
        assert_eq!(refused.selector.as_deref(), Some("s"));
        assert_eq!(refused.algorithm.as_deref(), Some("rsa-sha1"));
        assert_eq!(refused.header_b.as_deref(), Some("ABCDEFGH"));
        for hostile in [
            "d=a b; s=x\r\n y; a=r;c=d e; b=\"",
            "d=example.org;;",
            "a=x y",
        ] {
            let told = claims(hostile);
            let safe = |text: &Option<String>| text.as_deref().is_none_or(|t| t == "r");
            let all = [
                &told.domain,
                &told.selector,
                &told.algorithm,
                &told.header_b,
            ];
            assert!(all.into_iter().all(safe), "{told:?}");
        }
    }

    #[test]
    fn the_author_is_found_well_enough_to_rank() {
        let table = [
            (" a@example.org", Some("example.org")),
            (" \"x@y\" <a@Example.org>\r\n", Some("example.org")),
            (" undisclosed", None),
            (" a@", None),
        ];
        for (value, want) in table {
            let domain = author_domain(value.as_bytes());
            assert_eq!(domain.as_ref().map(Domain::as_str), want, "{value}");
        }
    }
}
