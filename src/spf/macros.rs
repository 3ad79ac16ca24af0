//! Macros (RFC 7208 section 7): `%{d}` and the like in SPF records, which stand for facts
//! about the message.
//!
//! [`DomainSpec`] and [`ExplainString`] are created by parsing only, so a value is always
//! well-formed. Expansion takes every fact from [`Values`], does no lookups and yields
//! raw bytes, never more than a name or an explanation can use.

use std::{borrow::Cow, fmt, net::IpAddr, num::NonZeroU8};

/// The longest name in its dotted form (RFC 7208 section 7.3).
const MAX_NAME: usize = 253;
/// The maximum length of an explanation in bytes. The RFC sets no limit.
const MAX_EXPLANATION: usize = 4096;

/// A `domain-spec`: the name that a mechanism or modifier is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSpec(Vec<Part>);

/// An `explain-string`: the text that `exp=` leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainString(Vec<Part>);

/// Why a text is not a valid `macro-string`, `domain-spec` or `explain-string`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacroError {
    /// A byte that is not visible ASCII (nor a space, in an explanation).
    Octet,
    /// A `%` that is not followed by `{`, `%`, `-` or `_`.
    Percent,
    /// `%{` without `}`, or with unknown content in between.
    Syntax,
    /// A macro letter that does not exist.
    Letter,
    /// `c`, `r` or `t`, which only explanations may use (section 7.2).
    ExplanationOnly,
    /// A digit transformer of zero (section 7.3).
    Zero,
    /// An empty `domain-spec`.
    Empty,
    /// A `domain-spec` that ends in neither a macro nor a dot and a top label.
    DomainEnd,
}

impl fmt::Display for MacroError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Octet => "a byte that is not visible ASCII",
            Self::Percent => "a '%' that starts no macro",
            Self::Syntax => "a macro that is not well-formed",
            Self::Letter => "an unknown macro letter",
            Self::ExplanationOnly => "a macro that is for explanations alone",
            Self::Zero => "a macro that keeps zero parts",
            Self::Empty => "an empty domain",
            Self::DomainEnd => "a domain that ends in neither a macro nor a top-level domain",
        })
    }
}

impl std::error::Error for MacroError {}

/// The values of the macro letters (RFC 7208 section 7.2).
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `%{i}`, `%{v}` and `%{c}`: the client, never as an IPv4-mapped address.
    pub client: IpAddr,
    /// `%{l}`, and with the sender's domain `%{s}`.
    pub local_part: &'a [u8],
    /// `%{o}`: the domain of the sender.
    pub sender_domain: &'a [u8],
    /// `%{d}`: the domain whose record is evaluated.
    pub domain: &'a [u8],
    /// `%{h}`: the HELO name.
    pub helo: &'a [u8],
    /// `%{p}`: the validated name of the client.
    pub validated: &'a [u8],
    /// `%{r}`: the host that performs the check.
    pub receiver: &'a [u8],
    /// `%{t}`: seconds since 1970.
    pub now: u64,
}

impl DomainSpec {
    /// Parses what follows the colon or equals sign of a term.
    ///
    /// # Errors
    /// Fails with a [`MacroError`] if the text is not well-formed.
    pub fn parse(text: &[u8]) -> Result<Self, MacroError> {
        let parts = parse_parts(text, Letters::NotForExplanations)?;
        match parts.last() {
            None => Err(MacroError::Empty),
            Some(Part::Literal(end)) if !ends_in_top_label(end) => Err(MacroError::DomainEnd),
            Some(_) => Ok(Self(parts)),
        }
    }

    /// Returns the name in its dotted form as raw bytes, which may not be a valid domain
    /// name.
    ///
    /// A name of more than 253 bytes loses labels on its left until it fits (section
    /// 7.3). It is built from its right end, so that a record cannot make us use more
    /// memory than that.
    pub fn expand(&self, values: &Values<'_>) -> Vec<u8> {
        let mut pieces = Vec::new();
        let mut length = 0;
        for part in self.0.iter().rev() {
            let piece = part.expand(values);
            length += piece.len();
            pieces.push(piece);
            // One byte more for the final dot, and one to detect that a label is cut.
            if length > MAX_NAME + 1 {
                break;
            }
        }
        pieces.reverse();
        truncate_left(&pieces.concat()).to_vec()
    }

    /// Returns whether there is a macro, so that the name differs from the text.
    pub fn has_macros(&self) -> bool {
        let literal = |part: &Part| matches!(part, Part::Literal(_));
        !self.0.iter().all(literal)
    }

    /// Returns whether the expansion needs the validated name of the client (`%{p}`),
    /// which costs lookups.
    pub fn needs_validated_name(&self) -> bool {
        uses(&self.0, &[Letter::ValidatedName])
    }

    /// Returns whether the local part of the sender is in the expansion.
    pub fn uses_local_part(&self) -> bool {
        uses(&self.0, &[Letter::Sender, Letter::LocalPart])
    }
}

impl ExplainString {
    /// Parses the text of a TXT record that `exp=` names.
    ///
    /// # Errors
    /// Fails with a [`MacroError`] if the text is not well-formed.
    pub fn parse(text: &[u8]) -> Result<Self, MacroError> {
        parse_parts(text, Letters::AllAndSpaces).map(Self)
    }

    /// Returns the text for the sender, or `None` if it is not a single line of printable
    /// ASCII of limited length: macros may insert text that the peer chose.
    pub fn expand(&self, values: &Values<'_>) -> Option<String> {
        let mut text = Vec::new();
        for part in &self.0 {
            text.extend_from_slice(&part.expand(values));
            if text.len() > MAX_EXPLANATION {
                return None;
            }
        }
        let text = String::from_utf8(text).ok()?;
        let printable = |b: u8| matches!(b, b' '..=b'~');
        text.bytes().all(printable).then_some(text)
    }

    /// Returns whether the expansion needs the validated name of the client (`%{p}`),
    /// which costs lookups.
    pub fn needs_validated_name(&self) -> bool {
        uses(&self.0, &[Letter::ValidatedName])
    }
}

/// Checks the value of an unknown modifier, which is ignored but has to be a
/// `macro-string` (RFC 7208 section 6).
///
/// # Errors
/// Fails with a [`MacroError`] if the text is not well-formed.
pub(super) fn check_macro_string(text: &[u8]) -> Result<(), MacroError> {
    // The grammar allows every letter here; terms cannot contain spaces.
    parse_parts(text, Letters::AllAndSpaces).map(|_| ())
}

fn uses(parts: &[Part], letters: &[Letter]) -> bool {
    parts.iter().any(|part| match part {
        Part::Macro(found) => letters.contains(&found.letter),
        Part::Literal(_) | Part::Percent | Part::Space | Part::UrlSpace => false,
    })
}

/// Removes the final dot, and labels from the left of a name that is too long.
fn truncate_left(name: &[u8]) -> &[u8] {
    let mut name = name.strip_suffix(b".").unwrap_or(name);
    while name.len() > MAX_NAME {
        let dot = name.iter().position(|&b| b == b'.');
        name = dot.map_or(&[], |dot| &name[dot + 1..]);
    }
    name
}

/// A piece of a `macro-string`, one variant for each alternative of the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Visible ASCII without `%`; spaces too in an `explain-string`.
    Literal(Box<str>),
    /// `%%`
    Percent,
    /// `%_`
    Space,
    /// `%-`
    UrlSpace,
    Macro(Macro),
}

/// `"%{" macro-letter transformers *delimiter "}"`
#[derive(Clone, Debug, PartialEq, Eq)]
struct Macro {
    letter: Letter,
    /// The letter was written in upper case: the value gets URL-escaped.
    escape: bool,
    /// How many parts to keep, from the right; `None` keeps all. A name has at most 127
    /// labels, so larger numbers are stored as 255.
    keep: Option<NonZeroU8>,
    reverse: bool,
    delimiters: Delimiters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letter {
    Sender,
    LocalPart,
    SenderDomain,
    Domain,
    Client,
    ValidatedName,
    Helo,
    ReadableClient,
    Receiver,
    Timestamp,
    Version,
}

/// The macro letters and bytes that a text may contain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letters {
    NotForExplanations,
    AllAndSpaces,
}

/// A set of the seven delimiters, one bit each; empty means a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Delimiters(u8);

const DELIMITERS: &[u8; 7] = b".-+,/_=";

fn parse_parts(text: &[u8], letters: Letters) -> Result<Vec<Part>, MacroError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = match rest.strip_prefix(b"%") {
            Some(after) => parse_macro_expand(after, letters)?,
            None => parse_literal(rest, letters)?,
        };
        parts.push(part);
        rest = after;
    }
    Ok(parts)
}

fn parse_literal(text: &[u8], letters: Letters) -> Result<(Part, &[u8]), MacroError> {
    let end = text.iter().position(|&b| b == b'%').unwrap_or(text.len());
    let (literal, rest) = text.split_at(end);
    let allowed = |&b: &u8| b.is_ascii_graphic() || b == b' ' && letters == Letters::AllAndSpaces;
    if !literal.iter().all(allowed) {
        return Err(MacroError::Octet);
    }
    let literal = std::str::from_utf8(literal).map_err(|_| MacroError::Octet)?;
    Ok((Part::Literal(literal.into()), rest))
}

/// Parses what follows a `%`.
fn parse_macro_expand(text: &[u8], letters: Letters) -> Result<(Part, &[u8]), MacroError> {
    let (first, rest) = text.split_first().ok_or(MacroError::Percent)?;
    match first {
        b'%' => Ok((Part::Percent, rest)),
        b'_' => Ok((Part::Space, rest)),
        b'-' => Ok((Part::UrlSpace, rest)),
        b'{' => {
            let end = rest.iter().position(|&b| b == b'}');
            let end = end.ok_or(MacroError::Syntax)?;
            let part = Part::Macro(Macro::parse(&rest[..end], letters)?);
            Ok((part, &rest[end + 1..]))
        }
        _ => Err(MacroError::Percent),
    }
}

impl Macro {
    /// Parses the text between the braces.
    fn parse(text: &[u8], letters: Letters) -> Result<Self, MacroError> {
        let (&letter, rest) = text.split_first().ok_or(MacroError::Syntax)?;
        let (keep, rest) = parse_keep(rest)?;
        // Strings of an ABNF are case-insensitive: `R` reverses too.
        let after_r = rest.strip_prefix(b"r").or(rest.strip_prefix(b"R"));
        Ok(Self {
            letter: Letter::parse(letter, letters)?,
            escape: letter.is_ascii_uppercase(),
            keep,
            reverse: after_r.is_some(),
            delimiters: Delimiters::parse(after_r.unwrap_or(rest))?,
        })
    }
}

fn parse_keep(text: &[u8]) -> Result<(Option<NonZeroU8>, &[u8]), MacroError> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    let value = digits.iter().fold(0_u8, |value, digit| {
        value.saturating_mul(10).saturating_add(digit - b'0')
    });
    // "If a DIGIT is specified, the value MUST be nonzero."
    let keep = NonZeroU8::new(value).ok_or(MacroError::Zero)?;
    Ok((Some(keep), rest))
}

impl Letter {
    fn parse(letter: u8, letters: Letters) -> Result<Self, MacroError> {
        let parsed = match letter.to_ascii_lowercase() {
            b's' => Self::Sender,
            b'l' => Self::LocalPart,
            b'o' => Self::SenderDomain,
            b'd' => Self::Domain,
            b'i' => Self::Client,
            b'p' => Self::ValidatedName,
            b'h' => Self::Helo,
            b'c' => Self::ReadableClient,
            b'r' => Self::Receiver,
            b't' => Self::Timestamp,
            b'v' => Self::Version,
            _ => return Err(MacroError::Letter),
        };
        // "The following macro letters are allowed only in 'exp' text: c, r, t."
        let for_explanations = matches!(
            parsed,
            Self::ReadableClient | Self::Receiver | Self::Timestamp
        );
        if for_explanations && letters == Letters::NotForExplanations {
            return Err(MacroError::ExplanationOnly);
        }
        Ok(parsed)
    }

    fn as_char(self) -> char {
        match self {
            Self::Sender => 's',
            Self::LocalPart => 'l',
            Self::SenderDomain => 'o',
            Self::Domain => 'd',
            Self::Client => 'i',
            Self::ValidatedName => 'p',
            Self::Helo => 'h',
            Self::ReadableClient => 'c',
            Self::Receiver => 'r',
            Self::Timestamp => 't',
            Self::Version => 'v',
        }
    }
}

impl Delimiters {
    fn parse(text: &[u8]) -> Result<Self, MacroError> {
        text.iter().try_fold(Self(0), |set, byte| {
            let index = DELIMITERS.iter().position(|delimiter| delimiter == byte);
            index
                .map(|index| Self(set.0 | 1 << index))
                .ok_or(MacroError::Syntax)
        })
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        let bits = DELIMITERS.iter().enumerate();
        bits.filter(move |&(index, _)| self.0 & 1 << index != 0)
            .map(|(_, &byte)| byte)
    }

    fn contains(self, byte: u8) -> bool {
        match self.0 {
            0 => byte == b'.',
            _ => self.iter().any(|delimiter| delimiter == byte),
        }
    }
}

/// Returns whether the last literal ends in `domain-end = ( "." toplabel [ "." ] )`.
fn ends_in_top_label(literal: &str) -> bool {
    let literal = literal.strip_suffix('.').unwrap_or(literal);
    let label = literal.rsplit_once('.').map(|(_, label)| label);
    label.is_some_and(is_top_label)
}

/// Returns whether a label is a `toplabel`: letters, digits and inner hyphens, and not a
/// number.
fn is_top_label(label: &str) -> bool {
    let label = label.as_bytes();
    let ldh = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
    let at_the_ends = [label.first(), label.last()];
    at_the_ends
        .iter()
        .all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && label.iter().all(ldh)
        && !label.iter().all(u8::is_ascii_digit)
}

impl Part {
    fn expand<'a>(&'a self, values: &Values<'a>) -> Cow<'a, [u8]> {
        match self {
            Self::Literal(text) => text.as_bytes().into(),
            Self::Percent => b"%".into(),
            Self::Space => b" ".into(),
            Self::UrlSpace => b"%20".into(),
            Self::Macro(found) => found.expand(values),
        }
    }
}

impl Macro {
    fn expand<'a>(&self, values: &Values<'a>) -> Cow<'a, [u8]> {
        let value = self.transform(self.letter.value(values));
        if self.escape {
            return url_escape(&value).into();
        }
        value
    }

    /// Applies the transformers (section 7.3): splits, reverses, keeps parts on the
    /// right, joins with dots. Reads no more of the value than it keeps: a record can
    /// have a thousand macros that each keep nothing of a long local part.
    fn transform<'a>(&self, value: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        if self.keep.is_none() && !self.reverse && self.delimiters.0 == 0 {
            return value;
        }
        let keep = self.keep.map_or(usize::MAX, |keep| keep.get().into());
        let is_delimiter = |&b: &u8| self.delimiters.contains(b);
        // "The list of parts might contain empty strings."
        let mut parts: Vec<&[u8]> = match self.reverse {
            true => value.split(is_delimiter).take(keep).collect(),
            false => value.rsplit(is_delimiter).take(keep).collect(),
        };
        parts.reverse();
        parts.join(&b'.').into()
    }
}

impl Letter {
    fn value<'a>(self, values: &Values<'a>) -> Cow<'a, [u8]> {
        match self {
            Self::Sender => [values.local_part, values.sender_domain].join(&b'@').into(),
            Self::LocalPart => values.local_part.into(),
            Self::SenderDomain => values.sender_domain.into(),
            Self::Domain => values.domain.into(),
            Self::Client => dotted(values.client).into_bytes().into(),
            Self::ValidatedName => values.validated.into(),
            Self::Helo => values.helo.into(),
            Self::ReadableClient => values.client.to_string().into_bytes().into(),
            Self::Receiver => values.receiver.into(),
            Self::Timestamp => values.now.to_string().into_bytes().into(),
            Self::Version => match values.client {
                IpAddr::V4(_) => b"in-addr".into(),
                IpAddr::V6(_) => b"ip6".into(),
            },
        }
    }
}

/// Formats `%{i}`: for IPv6 the 32 nibbles, separated by dots. DNS ignores their case;
/// they are in upper case because the RFC 7208 test suite shows them so in an
/// explanation.
fn dotted(client: IpAddr) -> String {
    match client {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let nibbles = format!("{:032X}", ip.to_bits());
            let mut dotted = String::with_capacity(63);
            for nibble in nibbles.chars() {
                if !dotted.is_empty() {
                    dotted.push('.');
                }
                dotted.push(nibble);
            }
            dotted
        }
    }
}

/// Escapes everything but the `unreserved` set of RFC 3986 section 2.3.
fn url_escape(value: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value {
        match byte {
            b'-' | b'.' | b'_' | b'~' => escaped.push(byte),
            _ if byte.is_ascii_alphanumeric() => escaped.push(byte),
            _ => escaped.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    escaped
}

impl fmt::Display for DomainSpec {
    /// Writes the text as in a record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| part.fmt(f))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Percent => f.write_str("%%"),
            Self::Space => f.write_str("%_"),
            Self::UrlSpace => f.write_str("%-"),
            Self::Macro(found) => found.fmt(f),
        }
    }
}

impl fmt::Display for Macro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = self.letter.as_char();
        f.write_str("%{")?;
        match self.escape {
            true => write!(f, "{}", letter.to_ascii_uppercase())?,
            false => write!(f, "{letter}")?,
        }
        if let Some(keep) = self.keep {
            write!(f, "{keep}")?;
        }
        if self.reverse {
            f.write_str("r")?;
        }
        for delimiter in self.delimiters.iter() {
            write!(f, "{}", char::from(delimiter))?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Name;

    fn values(client: &str) -> Values<'static> {
        Values {
            client: client.parse().unwrap(),
            local_part: b"strong-bad",
            sender_domain: b"email.example.com",
            domain: b"email.example.com",
            helo: b"mail.example.com",
            validated: b"mx.example.org",
            receiver: b"mx.receiver.example",
            now: 1_700_000_000,
        }
    }

    fn expand(text: &str, client: &str) -> String {
        let bytes = DomainSpec::parse(text.as_bytes())
            .unwrap()
            .expand(&values(client));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn macros_expand_as_the_examples_of_section_7_4_say() {
        let table = [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            (
                "%{ir}.%{v}._spf.%{d2}",
                "3.2.0.192.in-addr._spf.example.com",
            ),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            (
                "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
                "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
            ),
            (
                "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}",
                "3.2.0.192.in-addr.strong.lp._spf.example.com",
            ),
            (
                "%{d2}.trusted-domains.example.net",
                "example.com.trusted-domains.example.net",
            ),
        ];
        for (text, want) in table {
            assert_eq!(expand(text, "192.0.2.3"), want, "{text}");
        }
    }

    #[test]
    fn an_ipv6_client_is_thirty_two_nibbles() {
        let got = expand("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01");
        let want =
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com";
        // Names are compared without regard to case.
        assert_eq!(Name::parse(got), Name::parse(want));
    }

    #[test]
    fn transformers_split_reverse_and_keep() {
        let table = [
            // More parts than there are: all of them (section 7.3).
            ("%{d127}", "email.example.com"),
            ("%{d99999999999999999999}", "email.example.com"),
            ("%{d02}", "example.com"),
            ("%{d2R}", "example.email"),
            // Any of several delimiters splits; dots join.
            ("%{s-.}", "strong.bad@email.example.com"),
            ("%{l2r-+}", "bad.strong"),
            ("%{p1}", "org"),
            ("x%%y%_z%-.example", "x%y z%20.example"),
            ("%{S}", "strong-bad%40email.example.com"),
        ];
        for (text, want) in table {
            assert_eq!(expand(text, "192.0.2.3"), want, "{text}");
        }
    }

    #[test]
    fn empty_parts_between_delimiters_are_kept() {
        let spec = DomainSpec::parse(b"%{lr-}.example").unwrap();
        let values = Values {
            local_part: b"-a--b",
            ..values("192.0.2.3")
        };
        assert_eq!(spec.expand(&values), b"b..a..example");
    }

    #[test]
    fn domain_specs_end_in_a_macro_or_a_top_label() {
        let table = [
            ("example.com", Ok(())),
            ("example.com.", Ok(())),
            (".com", Ok(())),
            ("%{d}.com", Ok(())),
            ("foo.%{d}", Ok(())),
            ("foo%%", Ok(())),
            ("foo%_", Ok(())),
            ("foo%-", Ok(())),
            ("foo:bar/baz.example.com", Ok(())),
            ("example.xn--zckzah", Ok(())),
            ("example.1-2", Ok(())),
            ("example.4u", Ok(())),
            ("", Err(MacroError::Empty)),
            ("museum", Err(MacroError::DomainEnd)),
            ("museum.", Err(MacroError::DomainEnd)),
            ("example.com..", Err(MacroError::DomainEnd)),
            ("%{d}com", Err(MacroError::DomainEnd)),
            ("192.0.2.1", Err(MacroError::DomainEnd)),
            ("example.-com", Err(MacroError::DomainEnd)),
            ("example.com-", Err(MacroError::DomainEnd)),
            ("example.c_m", Err(MacroError::DomainEnd)),
            ("example.com:8080", Err(MacroError::DomainEnd)),
            ("exa mple.com", Err(MacroError::Octet)),
            ("exa\u{e4}mple.com", Err(MacroError::Octet)),
            ("foo.example.com\0", Err(MacroError::Octet)),
        ];
        for (text, want) in table {
            let got = DomainSpec::parse(text.as_bytes()).map(|_| ());
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn broken_macros_are_refused() {
        let table = [
            ("%", MacroError::Percent),
            ("%abc", MacroError::Percent),
            ("%(d)", MacroError::Percent),
            ("%{", MacroError::Syntax),
            ("%{}", MacroError::Syntax),
            ("%{d", MacroError::Syntax),
            ("%{x}", MacroError::Letter),
            ("%{d 2}", MacroError::Syntax),
            ("%{d-2}", MacroError::Syntax),
            ("%{drr}", MacroError::Syntax),
            ("%{d2:}", MacroError::Syntax),
            ("%{d0}", MacroError::Zero),
            ("%{d00}", MacroError::Zero),
            ("%{c}", MacroError::ExplanationOnly),
            ("%{R}", MacroError::ExplanationOnly),
            ("%{t}", MacroError::ExplanationOnly),
        ];
        for (text, want) in table {
            assert_eq!(DomainSpec::parse(text.as_bytes()), Err(want), "{text}");
        }
    }

    #[test]
    fn names_of_more_than_253_bytes_lose_labels_on_the_left() {
        let label = "a".repeat(63);
        let long = format!("{label}.{label}.{label}.{label}.example.com");
        let want = format!("{label}.{label}.{label}.example.com");
        assert_eq!(expand(&long, "192.0.2.3"), want);
        // Exactly 253 bytes fit, with or without the final dot.
        let fits = format!("{}.{label}.{label}.{label}", "b".repeat(61));
        assert_eq!(expand(&format!("{fits}."), "192.0.2.3"), fits);
        assert_eq!(expand(&format!("x{fits}"), "192.0.2.3"), fits[62..]);
        // If the last label is too long, nothing is left.
        let endless = format!("a.{}", "b".repeat(254));
        assert_eq!(expand(&endless, "192.0.2.3"), "");
    }

    #[test]
    fn an_expansion_takes_no_more_memory_than_a_name() {
        let text = "%{s}.".repeat(10_000) + "%{d}";
        let spec = DomainSpec::parse(text.as_bytes()).unwrap();
        let name = spec.expand(&values("192.0.2.3"));
        assert!(name.len() <= 253 && name.ends_with(b"email.example.com"));
    }

    #[test]
    fn explanations_may_hold_spaces_and_every_letter() {
        let text = b"%{c} is no host of %{o}, says %{r} at %{t}.";
        let string = ExplainString::parse(text).unwrap();
        assert_eq!(
            string.expand(&values("2001:db8::1")).unwrap(),
            "2001:db8::1 is no host of email.example.com, says mx.receiver.example at 1700000000."
        );
        assert_eq!(ExplainString::parse(b"a\tb"), Err(MacroError::Octet));
    }

    #[test]
    fn explanations_never_contain_text_that_breaks_a_reply() {
        let string = ExplainString::parse(b"%{l}").unwrap();
        for local_part in ["a\r\n250 b", "m\u{fc}ller", &"x".repeat(5000)] {
            let values = Values {
                local_part: local_part.as_bytes(),
                ..values("192.0.2.3")
            };
            assert_eq!(string.expand(&values), None);
        }
    }

    #[test]
    fn shown_text_parses_to_the_same_value() {
        for text in [
            "%{ir}.%{v}.%{L2r-+/}._spf.%{d2}",
            "a%%b%_c%-",
            "foo:bar/baz.example.com.",
        ] {
            let spec = DomainSpec::parse(text.as_bytes()).unwrap();
            let again = DomainSpec::parse(spec.to_string().as_bytes());
            assert_eq!(again, Ok(spec), "{text}");
        }
    }
}
