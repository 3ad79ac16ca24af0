//! The Authentication-Results field (RFC 8601): formats it from the results, and recognizes
//! forged ones with our authserv-id.

use crate::{
    dkim,
    dns::Name,
    forwarder::Proof,
    policy::{Confirmation, Ptr},
    spf,
};
use std::{
    borrow::Cow,
    fmt::{self, Write},
    net::IpAddr,
};

/// The name of the field.
pub const NAME: &str = "Authentication-Results";

/// The results to report. A method that is `None` is omitted.
#[derive(Clone, Copy, Debug)]
pub struct Results<'a> {
    /// Reverse DNS of the client.
    pub iprev: Iprev<'a>,
    /// SPF, and the sender or HELO name that it was evaluated for.
    pub spf: Option<(&'a spf::Outcome, &'a str)>,
    /// SPF of the HELO name besides that of the sender, and the name.
    pub helo_spf: Option<(&'a spf::Outcome, &'a str)>,
    /// The proof that the client is a known forwarder, if that let the message pass.
    pub forwarder: Option<&'a Proof>,
    /// The DKIM signatures. No signature is `dkim=none`.
    pub dkim: Option<&'a dkim::Outcome>,
    /// Which signatures are reported.
    pub signatures: Signatures,
}

/// The number of signatures to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// The best signatures that fit into one field.
    Fitting,
    /// Up to this number of the best signatures, in several fields if necessary.
    All(usize),
}

impl Signatures {
    fn max(self) -> usize {
        match self {
            Self::Fitting => dkim::MAX_REPORTED,
            Self::All(max) => max,
        }
    }
}

/// Reverse DNS of the client (RFC 8601 section 2.7.3).
#[derive(Clone, Copy, Debug)]
pub struct Iprev<'a> {
    /// The client's address.
    pub ip: IpAddr,
    /// Whether the address has names.
    pub ptr: Ptr,
    /// Whether a name resolves back to the address.
    pub confirmation: Confirmation,
    /// The first of the names.
    pub name: Option<&'a Name>,
}

/// Returns the identity that SPF was evaluated for. In a complete field it is only the domain
/// of MAIL FROM, as RFC 8601 section 2.7.2 allows: OpenDMARC 1.4.2 does not recognize an
/// address as aligned.
pub fn sender<'a>(
    outcome: &'a spf::Outcome,
    reverse_path: &'a str,
    helo: &'a str,
    is_complete: bool,
) -> &'a str {
    match (outcome.identity, &outcome.domain) {
        (spf::Identity::MailFrom, Some(domain)) if is_complete => domain,
        (spf::Identity::MailFrom, _) => reverse_path,
        (spf::Identity::Helo, _) => helo,
    }
}

/// The initial capacity in bytes, enough for an ordinary field.
const USUAL_LENGTH: usize = 512;

/// The maximum length of a field in bytes, with its name and unfolded. RFC 5322 section 2.1.1
/// limits lines to 998 bytes, not fields, but some mail programs damage a longer field when
/// they unfold it.
const MAX_FIELD: usize = 997;

/// Renders the value of the field, folded with LF and a tab as the milter protocol requires.
/// If it is too long, comments are omitted first, and then signatures, of which those that
/// pass come first. With [`Signatures::All`], further fields contain the omitted signatures
/// (RFC 8601 section 5 allows several fields).
pub fn render(authserv_id: &str, results: &Results<'_>) -> Vec<String> {
    let mut field = String::with_capacity(USUAL_LENGTH);
    let mut left_out = write(&mut field, authserv_id, results, Comments::Kept);
    if !left_out.is_empty() || !fits(&field) {
        field.clear();
        left_out = write(&mut field, authserv_id, results, Comments::Dropped);
    }
    let mut fields = vec![field];
    while results.signatures != Signatures::Fitting && !left_out.is_empty() {
        let mut field = authserv_id.to_owned();
        let before = left_out.len();
        left_out = signatures(&mut field, left_out.into_iter(), Comments::Dropped);
        if left_out.len() == before {
            // Not reached, because the longest signature fits into a field.
            break;
        }
        fields.push(field);
    }
    fields
}

/// Whether a rendering has comments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comments {
    Kept,
    Dropped,
}

/// Writes a field. Returns the signatures that do not fit.
fn write<'a>(
    field: &mut String,
    authserv_id: &str,
    results: &Results<'a>,
    comments: Comments,
) -> Vec<&'a dkim::SignatureResult> {
    field.push_str(authserv_id);
    iprev(field, &results.iprev, comments);
    // The result of the sender comes last, because readers that keep one keep the last.
    for (outcome, identity) in results.helo_spf.into_iter().chain(results.spf) {
        spf(field, outcome, identity, comments);
    }
    if let Some(proof) = results.forwarder {
        let end = field.len();
        forwarder(field, proof, comments);
        if comments == Comments::Dropped && !fits(field) {
            field.truncate(end);
        }
    }
    match results.dkim {
        None => Vec::new(),
        Some(outcome) if outcome.signatures.is_empty() => {
            field.push_str(";\n\tdkim=none");
            Vec::new()
        }
        Some(outcome) => {
            let best = outcome.best_of(results.signatures.max());
            signatures(field, best, comments)
        }
    }
}

/// Writes the signatures that fit. Returns the others.
fn signatures<'a>(
    field: &mut String,
    signatures: impl Iterator<Item = &'a dkim::SignatureResult>,
    comments: Comments,
) -> Vec<&'a dkim::SignatureResult> {
    let has_no_room = |signature: &&dkim::SignatureResult| {
        let end = field.len();
        dkim(field, signature, comments);
        let fits = fits(field);
        if !fits {
            field.truncate(end);
        }
        !fits
    };
    signatures.filter(has_no_room).collect()
}

fn fits(field: &str) -> bool {
    let line_breaks = memchr::memchr_iter(b'\n', field.as_bytes()).count();
    NAME.len() + ": ".len() + field.len() - line_breaks <= MAX_FIELD
}

fn iprev(field: &mut String, iprev: &Iprev<'_>, comments: Comments) {
    let result = match (iprev.ptr, iprev.confirmation) {
        (Ptr::None, _) => "permerror",
        (Ptr::Found, Confirmation::Confirmed) => "pass",
        (Ptr::Found, Confirmation::Unconfirmed) => "fail",
        (Ptr::Found, Confirmation::Temperror) | (Ptr::Temperror, _) => "temperror",
    };
    append(field, format_args!(";\n\tiprev={result} policy.iprev="));
    value(field, &iprev.ip.to_string());
    if let Some(name) = iprev.name
        && comments == Comments::Kept
    {
        comment(field, &name.to_string());
    }
}

fn spf(field: &mut String, outcome: &spf::Outcome, identity: &str, comments: Comments) {
    let property = match outcome.identity {
        spf::Identity::MailFrom => "mailfrom",
        spf::Identity::Helo => "helo",
    };
    append(field, format_args!(";\n\tspf={}", outcome.result));
    if comments == Comments::Kept {
        comment(field, &outcome.reason);
    }
    append(field, format_args!(" smtp.{property}="));
    value(field, &ascii_identity(outcome, identity));
}

/// Writes a method of our own (RFC 8601 section 2.7.6): none is registered for forwarders.
fn forwarder(field: &mut String, proof: &Proof, comments: Comments) {
    field.push_str(";\n\tx-forwarder=pass");
    let (reason, property, entry) = match proof {
        Proof::Spf { domain, term } => (
            term.as_ref().map(|term| format!("{term} of {domain}")),
            "spf-of",
            domain.to_string(),
        ),
        Proof::Name { pattern, name } => (Some(name.to_string()), "name", pattern.to_string()),
    };
    if let Some(reason) = reason
        && comments == Comments::Kept
    {
        comment(field, &reason);
    }
    append(field, format_args!(" policy.{property}="));
    value(field, &entry);
}

/// Returns the identity in ASCII, with the domain in A-labels, because not every message may
/// have UTF-8 in its header. A local part that is not ASCII is omitted, which RFC 8601
/// section 2.2 allows.
fn ascii_identity<'a>(outcome: &'a spf::Outcome, identity: &'a str) -> Cow<'a, str> {
    match outcome.domain.as_deref() {
        Some(domain) if !identity.is_ascii() => match identity.rsplit_once('@') {
            Some((local_part, _)) if local_part.is_ascii() => {
                format!("{local_part}@{domain}").into()
            }
            _ => domain.into(),
        },
        _ => identity.into(),
    }
}

fn dkim(field: &mut String, signature: &dkim::SignatureResult, comments: Comments) {
    append(field, format_args!(";\n\tdkim={}", signature.result));
    if comments == Comments::Kept {
        comment(field, &signature.reason);
    }
    let properties = [
        (" header.d=", &signature.domain),
        (" header.s=", &signature.selector),
        (" header.a=", &signature.algorithm),
        (" header.b=", &signature.header_b),
    ];
    for (property, known) in properties {
        if let Some(known) = known {
            field.push_str(property);
            value(field, known);
        }
    }
}

fn append(field: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = field.write_fmt(text);
}

/// The maximum length of a value or comment in bytes, so that a peer can't make a line too
/// long (RFC 5322 section 2.1.1).
const MAX_VALUE: usize = 200;

/// Writes `value` of RFC 8601 section 2.2: unchanged if it consists of token characters (RFC
/// 2045 section 5.1) and `@`, otherwise as a quoted string.
fn value(field: &mut String, text: &str) {
    // An apostrophe is allowed unquoted, but some programs take it for a quotation mark.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&*+-.^_`{|}~@".contains(&b);
    if !text.is_empty() && text.len() <= MAX_VALUE && text.bytes().all(plain) {
        field.push_str(text);
        return;
    }
    let escaped = text.bytes().filter(|b| matches!(b, b'"' | b'\\')).count();
    let is_long = text.len() + escaped > MAX_VALUE;
    let quoted = text.chars().take(MAX_VALUE).map(|c| match c {
        // With escapes it would be longer.
        '"' | '\\' if is_long => '?',
        c => printable(c),
    });
    field.push('"');
    field.extend(quoted.flat_map(escape));
    field.push('"');
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let backslash = matches!(c, '"' | '\\').then_some('\\');
    backslash.into_iter().chain([c])
}

/// Writes a space and a `comment` of RFC 5322 section 3.2.2, without nested parentheses and
/// backslashes.
fn comment(field: &mut String, text: &str) {
    let replace = |c| match c {
        '(' => '[',
        ')' => ']',
        '\\' => '/',
        c => c,
    };
    let text = text.chars().map(printable).map(replace);
    field.push_str(" (");
    field.extend(text.take(MAX_VALUE));
    field.push(')');
}

fn printable(c: char) -> char {
    if matches!(c, ' '..='~') { c } else { '?' }
}

/// Returns whether a field's value has our authserv-id: RFC 8601 section 5 requires removing
/// it, because readers trust it.
pub fn claims(value: &str, authserv_id: &str) -> bool {
    let id = leading_id(value);
    let id = id.strip_suffix('.').unwrap_or(&id);
    id.eq_ignore_ascii_case(authserv_id)
}

/// Returns the authserv-id at the start of a field's value, without the comments, folds and
/// quotation marks that may surround it (RFC 8601 section 2.2).
fn leading_id(value: &str) -> String {
    let mut rest = skip_cfws(value).chars();
    let mut id = String::new();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => id.extend(rest.next()),
            '"' => quoted = !quoted,
            _ if quoted => id.push(c),
            ';' | '(' => break,
            c if c.is_whitespace() => break,
            c => id.push(c),
        }
    }
    id
}

fn skip_cfws(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        match text.strip_prefix('(') {
            Some(comment) => text = after_comment(comment),
            None => return text,
        }
    }
}

/// Returns the text after the closing parenthesis of a comment, which may be nested.
fn after_comment(text: &str) -> &str {
    let mut depth = 1;
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[index + 1..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::{DkimResult, SignatureResult};

    #[test]
    fn fields_in_our_name_are_recognised_however_they_are_written() {
        let table = [
            (" mx.example.org; spf=pass", true),
            ("mx.example.org", true),
            (" MX.Example.ORG ; spf=pass", true),
            (" mx.example.org 1; spf=pass", true),
            (" mx.example.org. ; spf=pass", true),
            ("\n\t(a (nested) comment) \"mx.example.org\"; none", true),
            (" (a \\) comment) mx.example.org(x); none", true),
            (" mx\\.example.org; none", true),
            (" other.example.org; spf=pass", false),
            (" mx.example.org.evil.example; spf=pass", false),
            (" ; mx.example.org", false),
            ("", false),
            (" (never closed mx.example.org", false),
        ];
        for (value, want) in table {
            assert_eq!(claims(value, "mx.example.org"), want, "{value:?}");
        }
    }

    #[test]
    fn values_that_a_peer_chose_stay_inside_their_quotes() {
        let table = [
            ("a@example.org", "a@example.org"),
            ("", "\"\""),
            ("o'brien@example.org", "\"o'brien@example.org\""),
            ("ab/c+d=", "\"ab/c+d=\""),
            ("a b@example.org", "\"a b@example.org\""),
            ("x; dkim=pass", "\"x; dkim=pass\""),
            ("\"q\"@e", "\"\\\"q\\\"@e\""),
            ("a\r\nX: y", "\"a??X: y\""),
            ("2001:db8::1", "\"2001:db8::1\""),
        ];
        for (text, want) in table {
            let mut field = String::new();
            value(&mut field, text);
            assert_eq!(field, want, "{text:?}");
        }
        let mut field = String::new();
        comment(&mut field, "a) spf=pass (");
        assert_eq!(field, " (a] spf=pass [)");
    }

    #[test]
    fn an_internationalized_sender_is_shown_by_its_a_labels() {
        let a_label = Some("xn--bcher-kva.example");
        let table = [
            // identity, domain that SPF asked for, want
            ("a@bücher.example", a_label, "a@xn--bcher-kva.example"),
            ("jürgen@bücher.example", a_label, "xn--bcher-kva.example"),
            ("bücher.example", a_label, "xn--bcher-kva.example"),
            ("jürgen@example.org", Some("example.org"), "example.org"),
            ("a@EXAMPLE.org", Some("example.org"), "a@EXAMPLE.org"),
            ("a@bü cher.example", None, "\"a@b? cher.example\""),
        ];
        for (identity, domain, want) in table {
            let outcome = spf::Outcome {
                domain: domain.map(str::to_owned),
                ..spf_fail("x")
            };
            let mut field = String::new();
            spf(&mut field, &outcome, identity, Comments::Dropped);
            assert_eq!(field, format!(";\n\tspf=fail smtp.mailfrom={want}"));
        }
    }

    /// A signature of a signer whose names have this length.
    fn signature(result: DkimResult, number: usize, length: usize) -> SignatureResult {
        SignatureResult {
            result,
            domain: Some(format!("d{number}.{}", "x".repeat(length))),
            selector: Some(format!("s{number}")),
            algorithm: Some("rsa-sha256".to_owned()),
            header_b: Some("abcdefgh".to_owned()),
            reason: "the header signature does not match: a signed header field was changed"
                .to_owned(),
        }
    }

    fn spf_fail(reason: &str) -> spf::Outcome {
        spf::Outcome {
            result: spf::SpfResult::Fail,
            identity: spf::Identity::MailFrom,
            domain: None,
            term: None,
            reason: reason.to_owned(),
            explanation: None,
        }
    }

    fn rendered(signatures: Vec<SignatureResult>, spf_reason: &str) -> String {
        let mut fields = fields(signatures, spf_reason, Signatures::Fitting);
        assert_eq!(fields.len(), 1);
        fields.remove(0)
    }

    fn fields(
        signatures: Vec<SignatureResult>,
        spf_reason: &str,
        signatures_shown: Signatures,
    ) -> Vec<String> {
        let spf = spf_fail(spf_reason);
        let name = Name::parse("mail.example.net").unwrap();
        let results = Results {
            iprev: Iprev {
                ip: "2001:db8::1".parse().unwrap(),
                ptr: Ptr::Found,
                confirmation: Confirmation::Confirmed,
                name: Some(&name),
            },
            spf: Some((&spf, "a@example.net")),
            helo_spf: None,
            forwarder: None,
            dkim: Some(&dkim::Outcome { signatures }),
            signatures: signatures_shown,
        };
        render("mx.example.org", &results)
    }

    #[test]
    fn a_field_stays_under_998_bytes_whatever_the_signatures_are() {
        use DkimResult::{Fail, Pass, Policy};
        for length in [10, 40, 100, 250] {
            for results in [[Pass; 8], [Fail; 8], [Policy; 8]] {
                let signatures = (0..8).map(|n| signature(results[n], n, length));
                let field = rendered(signatures.collect(), &"x".repeat(300));
                let unfolded = format!("{NAME}: {}", field.replace('\n', ""));
                assert!(unfolded.len() < 998, "{length}: {}", unfolded.len());
                assert!(field.contains("dkim="), "{length}: {field}");
            }
        }
    }

    #[test]
    fn where_all_signatures_are_wanted_further_fields_have_those_without_room() {
        for (number, length) in [(1, 10), (8, 60), (8, 250), (100, 250)] {
            let signatures = (0..number).map(|n| signature(DkimResult::Pass, n, length));
            let fields = fields(signatures.collect(), "x", Signatures::All(100));
            assert!(fields.iter().all(|field| fits(field)), "{fields:?}");
            assert!(fields.iter().all(|f| f.starts_with("mx.example.org;")));
            let rendered: Vec<_> = (fields.iter())
                .flat_map(|field| field.split("header.s=").skip(1))
                .map(|rest| rest.split(' ').next().unwrap())
                .collect();
            let want: Vec<_> = (0..number).map(|n| format!("s{n}")).collect();
            assert_eq!(rendered, want);
        }
    }

    #[test]
    fn a_message_without_a_signature_has_dkim_none() {
        let field = rendered(Vec::new(), "x");
        assert!(field.ends_with(";\n\tdkim=none"), "{field}");
    }

    #[test]
    fn comments_are_left_out_first_and_then_signatures_that_do_not_pass() {
        use DkimResult::{Fail, Pass};
        let count = |field: &str, word: &str| field.matches(word).count();
        let few = rendered(vec![signature(Fail, 0, 10), signature(Pass, 1, 10)], "x");
        assert_eq!(count(&few, " ("), 4, "{few}");

        let some = (0..7).map(|n| signature(if n == 6 { Pass } else { Fail }, n, 20));
        let some = rendered(some.collect(), "x");
        assert_eq!(count(&some, " ("), 0, "{some}");
        assert_eq!(
            (count(&some, "dkim=fail"), count(&some, "dkim=pass")),
            (6, 1)
        );

        let many = (0..8).map(|n| signature(if n < 4 { Fail } else { Pass }, n, 90));
        let many = rendered(many.collect(), "x");
        assert_eq!(
            (count(&many, "dkim=fail"), count(&many, "dkim=pass")),
            (1, 4),
            "{many}"
        );
    }
}
