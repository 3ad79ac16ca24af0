//! The Authentication-Results field (RFC 8601): made from what was found, and
//! recognised when somebody else made one in our name.

use crate::{
    dkim,
    dns::Name,
    policy::{Confirmation, Ptr},
    spf,
};
use std::{
    fmt::{self, Write},
    net::IpAddr,
};

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

/// Room for an ordinary field, so that it is allocated once.
const USUAL_LENGTH: usize = 512;

/// Renders the field's value, folded with LF and a tab as a milter hands it to
/// the MTA.
pub fn render(authserv_id: &str, results: &Results<'_>) -> String {
    let mut field = String::with_capacity(USUAL_LENGTH);
    field.push_str(authserv_id);
    iprev(&mut field, &results.iprev);
    if let Some((outcome, identity)) = results.spf {
        spf(&mut field, outcome, identity);
    }
    let signatures = results.dkim.into_iter().flat_map(|dkim| dkim.best());
    signatures.for_each(|signature| dkim(&mut field, signature));
    field
}

fn iprev(field: &mut String, iprev: &Iprev<'_>) {
    let result = match (iprev.ptr, iprev.confirmation) {
        (Ptr::None, _) => "permerror",
        (Ptr::Found, Confirmation::Confirmed) => "pass",
        (Ptr::Found, Confirmation::Unconfirmed) => "fail",
        (Ptr::Found, Confirmation::Temperror) | (Ptr::Temperror, _) => "temperror",
    };
    append(field, format_args!(";\n\tiprev={result} policy.iprev="));
    value(field, &iprev.ip.to_string());
    if let Some(name) = iprev.name {
        field.push(' ');
        comment(field, &name.to_string());
    }
}

fn spf(field: &mut String, outcome: &spf::Outcome, identity: &str) {
    let property = match outcome.identity {
        spf::Identity::MailFrom => "mailfrom",
        spf::Identity::Helo => "helo",
    };
    append(field, format_args!(";\n\tspf={} ", outcome.result));
    comment(field, &outcome.reason);
    append(field, format_args!(" smtp.{property}="));
    value(field, identity);
}

fn dkim(field: &mut String, signature: &dkim::SignatureResult) {
    append(field, format_args!(";\n\tdkim={} ", signature.result));
    comment(field, &signature.reason);
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

/// The longest value or comment, so that no peer can make a line too long (RFC
/// 5322 section 2.1.1).
const MAX_VALUE: usize = 200;

/// `value` of RFC 8601 section 2.2: as it is where it is made of token
/// characters (RFC 2045 section 5.1) and `@`, else as a quoted string.
fn value(field: &mut String, text: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~@".contains(&b);
    if !text.is_empty() && text.len() <= MAX_VALUE && text.bytes().all(plain) {
        field.push_str(text);
        return;
    }
    let quoted = text.chars().take(MAX_VALUE).map(|c| match c {
        // Escaped, a value of nothing else would be twice as long.
        '"' | '\\' if text.len() > MAX_VALUE => '?',
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

/// `comment` of RFC 5322 section 3.2.2: between its parentheses there are neither
/// others nor backslashes.
fn comment(field: &mut String, text: &str) {
    let replace = |c| match c {
        '(' => '[',
        ')' => ']',
        '\\' => '/',
        c => c,
    };
    let text = text.chars().map(printable).map(replace);
    field.push('(');
    field.extend(text.take(MAX_VALUE));
    field.push(')');
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
        assert_eq!(field, "(a] spf=pass [)");
    }
}
