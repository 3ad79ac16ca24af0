//! The Authentication-Results field (RFC 8601): made from what was found, and
//! recognised when somebody else made one in our name.

use crate::{
    dkim,
    dns::Name,
    policy::{Confirmation, Ptr},
    spf,
};
use std::net::IpAddr;

/// The field's name.
pub const NAME: &str = "Authentication-Results";

/// What the field tells. A method that was not needed is left out.
#[derive(Clone, Copy, Debug)]
pub struct Results<'a> {
    /// Reverse DNS of the client.
    pub iprev: Iprev<'a>,
    /// SPF, and the sender or HELO name that it was evaluated for.
    pub spf: Option<(&'a spf::Outcome, &'a str)>,
    /// The DKIM signatures.
    pub dkim: Option<&'a dkim::Outcome>,
}

/// Reverse DNS of the client (RFC 8601 section 2.7.3).
#[derive(Clone, Copy, Debug)]
pub struct Iprev<'a> {
    /// The client.
    pub ip: IpAddr,
    /// Whether it has names.
    pub ptr: Ptr,
    /// Whether one leads back.
    pub confirmation: Confirmation,
    /// The first of the names.
    pub name: Option<&'a Name>,
}

/// Renders the field's value, folded with LF and a tab as a milter hands it to
/// the MTA.
pub fn render(authserv_id: &str, results: &Results<'_>) -> String {
    let mut parts = vec![authserv_id.to_owned(), iprev(&results.iprev)];
    parts.extend(
        results
            .spf
            .map(|(outcome, identity)| spf(outcome, identity)),
    );
    let signatures = results.dkim.into_iter().flat_map(|dkim| dkim.best());
    parts.extend(signatures.map(dkim));
    parts.join(";\n\t")
}

fn iprev(iprev: &Iprev<'_>) -> String {
    let result = match (iprev.ptr, iprev.confirmation) {
        (Ptr::None, _) => "permerror",
        (Ptr::Found, Confirmation::Confirmed) => "pass",
        (Ptr::Found, Confirmation::Unconfirmed) => "fail",
        (Ptr::Found, Confirmation::Temperror) | (Ptr::Temperror, _) => "temperror",
    };
    let name = iprev
        .name
        .map(|name| format!(" ({})", comment(&name.to_string())));
    format!(
        "iprev={result} policy.iprev={}{}",
        value(&iprev.ip.to_string()),
        name.unwrap_or_default()
    )
}

fn spf(outcome: &spf::Outcome, identity: &str) -> String {
    let property = match outcome.identity {
        spf::Identity::MailFrom => "mailfrom",
        spf::Identity::Helo => "helo",
    };
    format!(
        "spf={} ({}) smtp.{property}={}",
        outcome.result,
        comment(&outcome.reason),
        value(identity)
    )
}

fn dkim(signature: &dkim::SignatureResult) -> String {
    let mut text = format!("dkim={} ({})", signature.result, comment(&signature.reason));
    let properties = [
        ("header.d", &signature.domain),
        ("header.s", &signature.selector),
        ("header.a", &signature.algorithm),
        ("header.b", &signature.header_b),
    ];
    for (property, known) in properties {
        if let Some(known) = known {
            text.push_str(&format!(" {property}={}", value(known)));
        }
    }
    text
}

/// The longest value or comment, so that no peer can make a line too long (RFC
/// 5322 section 2.1.1).
const MAX_VALUE: usize = 400;

/// `value` of RFC 8601 section 2.2: as it is where it is made of token
/// characters, `@` and `:`, else as a quoted string.
fn value(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-./^_`{|}~@".contains(&b);
    if !text.is_empty() && text.len() <= MAX_VALUE && text.bytes().all(plain) {
        return text.to_owned();
    }
    let quoted: String = text
        .chars()
        .map(printable)
        .take(MAX_VALUE)
        .flat_map(escape)
        .collect();
    format!("\"{quoted}\"")
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let backslash = matches!(c, '"' | '\\').then_some('\\');
    backslash.into_iter().chain([c])
}

/// `ctext` of RFC 5322 section 3.2.2: without parentheses and backslashes.
fn comment(text: &str) -> String {
    let replace = |c| match c {
        '(' => '[',
        ')' => ']',
        '\\' => '/',
        c => c,
    };
    text.chars()
        .map(printable)
        .map(replace)
        .take(MAX_VALUE)
        .collect()
}

fn printable(c: char) -> char {
    if matches!(c, ' '..='~') { c } else { '?' }
}

/// Whether a field's value claims to be ours: RFC 8601 section 5 wants it
/// removed, since readers trust it by its authserv-id.
pub fn claims(value: &str, authserv_id: &str) -> bool {
    let id = leading_id(value);
    let id = id.strip_suffix('.').unwrap_or(&id);
    id.eq_ignore_ascii_case(authserv_id)
}

/// The authserv-id in front of a field's value, without the comments, folds and
/// quotes that may surround it (RFC 8601 section 2.2).
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

/// What follows the closing parenthesis of a comment, which may be nested.
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
            ("a b@example.org", "\"a b@example.org\""),
            ("x; dkim=pass", "\"x; dkim=pass\""),
            ("\"q\"@e", "\"\\\"q\\\"@e\""),
            ("a\r\nX: y", "\"a??X: y\""),
            ("2001:db8::1", "\"2001:db8::1\""),
        ];
        for (text, want) in table {
            assert_eq!(value(text), want, "{text:?}");
        }
        assert_eq!(comment("a) spf=pass ("), "a] spf=pass [");
    }
}
