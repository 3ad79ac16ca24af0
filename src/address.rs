//! Who sends and who receives: client addresses, domains, reverse-paths and recipients,
//! parsed once into types that are always valid.
//!
//! The input is what an MTA passes to a milter: socket addresses and the raw arguments of
//! MAIL and RCPT. This module does no lookups and is independent of the policy.

use ipnet::{IpNet, Ipv4Net};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The SMTP client as the MTA reported it at connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddr {
    /// Not an Internet client: a unix socket, or an address family that the MTA did not
    /// specify.
    Local,
    /// An IPv4 client, or an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`, RFC
    /// 4291 section 2.5.5.2), which is IPv4 on the wire.
    V4(Ipv4Addr),
    /// An IPv6 client.
    V6(Ipv6Addr),
}

impl From<IpAddr> for ClientAddr {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(ip),
        }
    }
}

/// Converts an IPv4-mapped network (`::ffff:10.0.0.0/104`) to the IPv4 network; returns
/// any other unchanged.
pub fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let length = mapped.prefix_len().checked_sub(96);
    match (mapped.addr().to_ipv4_mapped(), length) {
        (Some(address), Some(length)) => Ipv4Net::new(address, length).map_or(network, IpNet::V4),
        _ => network,
    }
}

impl ClientAddr {
    /// Returns the address, or `None` for a local client.
    pub fn ip(&self) -> Option<IpAddr> {
        match *self {
            Self::Local => None,
            Self::V4(ip) => Some(IpAddr::V4(ip)),
            Self::V6(ip) => Some(IpAddr::V6(ip)),
        }
    }
}

impl fmt::Display for ClientAddr {
    /// Writes the RFC 5952 form without scope or prefix; `local` for a local client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(ip) => ip.fmt(f),
            None => f.write_str("local"),
        }
    }
}

/// The client that connected to the MTA, as reported by the MTA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address.
    pub addr: ClientAddr,
    /// The host name that the MTA determined; `unknown` if there is none.
    pub name: String,
    /// The MTA's own name (`{j}`), if it sent one.
    pub mta: Option<String>,
}

/// A mail domain as an A-label in lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

/// Why a text is not a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainError {
    /// Empty, or only a dot.
    Empty,
    /// Two dots in a row, or one in front.
    EmptyLabel,
    /// A label of more than 63 bytes (RFC 1035 section 2.3.4).
    LabelTooLong,
    /// More than 253 bytes.
    TooLong,
    /// A character that is not valid in a host name: not a letter, digit, hyphen or
    /// underscore once U-labels are converted (RFC 5890 section 2.3.1).
    Character,
}

impl fmt::Display for DomainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::EmptyLabel => "it has an empty label (two dots in a row or a leading dot)",
            Self::LabelTooLong => "it has a label of more than 63 bytes",
            Self::TooLong => "it has more than 253 bytes",
            Self::Character => "it has a character that no domain name has",
        })
    }
}

impl std::error::Error for DomainError {}

impl Domain {
    /// Parses a domain written in any case, with or without a trailing dot,
    /// in A-labels or U-labels.
    ///
    /// # Errors
    /// Fails with a [`DomainError`] if the text is not a valid domain.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let ascii = to_a_labels(text)?;
        check_labels(&ascii)?;
        Ok(Self(ascii.into()))
    }

    /// Returns the A-label form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the parent domain, or `None` for a top-level domain.
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, parent)| parent)
    }

    /// Returns the parent domains, from the nearest to the top-level domain.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        let parent = |domain: &Self| domain.parent().map(|parent| Self(parent.into()));
        std::iter::successors(parent(self), parent)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn to_a_labels(text: &str) -> Result<String, DomainError> {
    if text.is_ascii() {
        return Ok(text.to_ascii_lowercase());
    }
    // UTS 46 maps three other dots to '.', which must not make an empty label disappear:
    // idna keeps empty labels, and check_labels detects them.
    idna::domain_to_ascii(text).map_err(|_| DomainError::Character)
}

fn check_labels(ascii: &str) -> Result<(), DomainError> {
    if ascii.is_empty() {
        return Err(DomainError::Empty);
    }
    if ascii.len() > 253 {
        return Err(DomainError::TooLong);
    }
    let mut labels = ascii.as_bytes().split(|&byte| byte == b'.');
    labels.try_for_each(check_label)
}

fn check_label(label: &[u8]) -> Result<(), DomainError> {
    // Underscores are not valid in host names, but mail domains with them exist and
    // resolve; rejecting one would make its mail bounce.
    let allowed = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    match label.len() {
        0 => Err(DomainError::EmptyLabel),
        64.. => Err(DomainError::LabelTooLong),
        _ if label.iter().all(allowed) => Ok(()),
        _ => Err(DomainError::Character),
    }
}

/// The reverse-path of a mail transaction (RFC 5321 section 4.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`: notifications, which must not be answered.
    Null,
    /// A sender's mailbox.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Parses the first argument of MAIL as an MTA passes it on: with or without angle
    /// brackets, and optionally with a source route.
    pub fn parse(argument: &str) -> Self {
        match strip_path(argument).as_str() {
            "" => Self::Null,
            path => Self::Mailbox(Mailbox::parse(path)),
        }
    }

    /// Returns the sender's domain as written, if there is one.
    pub fn domain(&self) -> Option<&str> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => mailbox.domain.as_deref(),
        }
    }
}

impl fmt::Display for ReversePath {
    /// Writes the address without angle brackets; empty for the null reverse-path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// A mailbox, split at the last `@` outside a quoted string but not validated: the domain
/// may be any text that a peer wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The local part as written, quotes and backslashes included.
    pub local_part: String,
    /// The text after the `@`, as written; `None` for a bare local part.
    pub domain: Option<String>,
}

impl Mailbox {
    /// Splits an address that has neither brackets nor a source route.
    pub fn parse(address: &str) -> Self {
        match split_at_domain(address) {
            Some((local_part, domain)) => Self {
                local_part: local_part.to_owned(),
                domain: Some(domain.to_owned()),
            },
            None => Self {
                local_part: address.to_owned(),
                domain: None,
            },
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.domain {
            Some(domain) => write!(f, "{}@{}", self.local_part, domain),
            None => f.write_str(&self.local_part),
        }
    }
}

/// A recipient of a mail transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address as the client wrote it, without brackets and source route.
    pub address: String,
    /// Its domain.
    pub domain: RecipientDomain,
}

/// The text in place of a recipient's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientDomain {
    /// A domain, which may have opted in.
    Name(Domain),
    /// Something that can't opt in: an address literal without its brackets, a bare local
    /// part, or a text that is not a valid domain.
    Other(String),
}

impl RecipientDomain {
    /// Returns the domain, if it is valid.
    pub fn name(&self) -> Option<&Domain> {
        match self {
            Self::Name(domain) => Some(domain),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for RecipientDomain {
    /// Writes the text that the reply shows in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(domain) => domain.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Recipient {
    /// Parses the first argument of RCPT as an MTA passes it on.
    ///
    /// `resolved` is the address as resolved by the MTA (`{rcpt_addr}`). It is used if
    /// the argument has no domain: for a bare local part, which the MTA completes, and
    /// for syntax that only the MTA understands. Otherwise the argument takes precedence,
    /// because the MTA may have resolved an alias.
    pub fn parse(argument: &str, resolved: Option<&str>) -> Self {
        let address = strip_path(argument);
        Self {
            domain: recipient_domain(&address, resolved),
            address,
        }
    }
}

fn recipient_domain(address: &str, resolved: Option<&str>) -> RecipientDomain {
    let written = split_at_domain(address).map(|(_, domain)| parse_recipient_domain(domain));
    match written {
        Some(name @ RecipientDomain::Name(_)) => name,
        Some(literal @ RecipientDomain::Other(_)) if is_literal(address) => literal,
        None | Some(RecipientDomain::Other(_)) => resolved
            .and_then(resolved_domain)
            .or(written)
            .unwrap_or_else(|| RecipientDomain::Other(address.to_owned())),
    }
}

fn is_literal(address: &str) -> bool {
    split_at_domain(address).is_some_and(|(_, domain)| domain.starts_with('['))
}

fn resolved_domain(resolved: &str) -> Option<RecipientDomain> {
    let address = strip_path(resolved);
    split_at_domain(&address).map(|(_, domain)| parse_recipient_domain(domain))
}

fn parse_recipient_domain(text: &str) -> RecipientDomain {
    if let Some(literal) = text.strip_prefix('[') {
        return RecipientDomain::Other(literal.strip_suffix(']').unwrap_or(literal).to_owned());
    }
    match Domain::parse(text) {
        Ok(domain) => RecipientDomain::Name(domain),
        Err(_) => RecipientDomain::Other(text.to_owned()),
    }
}

/// Returns the address in an argument, parsed as MTAs do (RFC 822 section 6, which
/// Postfix allows unless `strict_rfc821_envelopes` is set): without comments, angle
/// brackets and what is around them, a source route (RFC 5321 appendix C) or the name of
/// a group, and without white space in the domain.
fn strip_path(argument: &str) -> String {
    match usual_path(argument) {
        Some(address) => address.to_owned(),
        None => strip_unusual_path(argument),
    }
}

/// Returns the address in an argument with nothing to strip but angle brackets, which is
/// the usual case.
fn usual_path(argument: &str) -> Option<&str> {
    let inner = argument.strip_prefix('<').and_then(|a| a.strip_suffix('>'));
    let address = inner.unwrap_or(argument);
    let is_usual =
        |c: u8| c.is_ascii_graphic() && !matches!(c, b'"' | b'(' | b':' | b'<' | b'>' | b'\\');
    address.bytes().all(is_usual).then_some(address)
}

fn strip_unusual_path(argument: &str) -> String {
    let plain = without_comments(argument);
    let address = in_brackets(&plain).trim();
    let end_of_route = match address.starts_with('@') {
        true => address.find(':'),
        // A colon after the local part belongs to an address literal.
        false => address
            .find([':', '@', '"'])
            .filter(|&at| address[at..].starts_with(':')),
    };
    let address = match end_of_route {
        Some(colon) => address[colon + 1..].trim_end_matches(';').trim(),
        None => address,
    };
    match split_at_domain(address) {
        Some((local_part, domain)) => {
            let domain: String = domain.split_whitespace().collect();
            format!("{}@{domain}", local_part.trim_end())
        }
        None => address.to_owned(),
    }
}

/// Removes comments. An unclosed comment ends with the text.
fn without_comments(argument: &str) -> String {
    let mut plain = String::with_capacity(argument.len());
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut chars = argument.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if depth > 0 => drop(chars.next()),
            '\\' => plain.extend([c].into_iter().chain(chars.next())),
            '(' if !quoted => depth += 1,
            ')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            c => {
                quoted ^= c == '"';
                plain.push(c);
            }
        }
    }
    plain
}

fn in_brackets(plain: &str) -> &str {
    match find_unquoted(plain, '<') {
        None => plain,
        Some(open) => {
            let rest = &plain[open + 1..];
            find_unquoted(rest, '>').map_or(rest, |close| &rest[..close])
        }
    }
}

/// Splits at the last `@` outside quoted strings.
fn split_at_domain(address: &str) -> Option<(&str, &str)> {
    // Almost no address contains quotes or backslashes.
    if memchr::memchr2(b'"', b'\\', address.as_bytes()).is_none() {
        return address.rsplit_once('@');
    }
    let at = unquoted(address).filter(|&(_, c)| c == '@').last();
    at.map(|(index, _)| (&address[..index], &address[index + 1..]))
}

fn find_unquoted(text: &str, wanted: char) -> Option<usize> {
    let found = unquoted(text).find(|&(_, c)| c == wanted);
    found.map(|(index, _)| index)
}

/// Returns the unescaped characters outside of quoted strings.
fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quoted = false;
    let mut escaped = false;
    text.char_indices().filter(move |&(_, c)| {
        let hidden = escaped;
        escaped = !hidden && c == '\\';
        quoted ^= !hidden && c == '"';
        !hidden && !quoted && c != '"' && c != '\\'
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_understood_in_every_spelling_an_mta_passes_on() {
        let table = [
            // argument, {rcpt_addr}, expected
            ("<b@contoso.com>", None, "contoso.com"),
            ("b@contoso.com", None, "contoso.com"),
            ("<B.User@CONTOSO.Com>", None, "contoso.com"),
            ("<b@contoso.com.>", None, "contoso.com"),
            ("<@relay.example:b@contoso.com>", None, "contoso.com"),
            ("<@a.example,@b.example:b@contoso.com>", None, "contoso.com"),
            ("<\"quoted local\"@contoso.com>", None, "contoso.com"),
            ("<\"a@b\"@contoso.com>", None, "contoso.com"),
            ("<\"a\\\"@b\"@contoso.com>", None, "contoso.com"),
            ("<b(comment)@contoso.com>", None, "contoso.com"),
            ("<b@bücher.example>", None, "xn--bcher-kva.example"),
            ("<b@xn--BCHER-kva.example>", None, "xn--bcher-kva.example"),
            ("<b@under_score.example>", None, "under_score.example"),
            ("<b>", Some("b@contoso.com"), "contoso.com"),
            // As Postfix reads them by default; each with the domain it
            // delivers to.
            ("<b@contoso.com(@other.example>", None, "contoso.com"),
            ("<b@contoso.com>(@other.example", None, "contoso.com"),
            ("<b@contoso.com(\\)@other.example>", None, "contoso.com"),
            ("<b@contoso.com >", None, "contoso.com"),
            ("<b@contoso.com (x)>", None, "contoso.com"),
            ("<b@contoso . com>", None, "contoso.com"),
            ("Foo<b@contoso.com>", None, "contoso.com"),
            ("\"<\" <b@contoso.com>", None, "contoso.com"),
            ("<x:b@contoso.com;>", None, "contoso.com"),
            ("<b@con!toso>", Some("b@contoso.com"), "contoso.com"),
        ];
        for (argument, resolved, want) in table {
            let recipient = Recipient::parse(argument, resolved);
            assert_eq!(
                recipient.domain.name().map(Domain::as_str),
                Some(want),
                "{argument}"
            );
        }
    }

    #[test]
    fn invalid_domains_cannot_opt_in_and_are_shown_as_written() {
        let table = [
            ("<b@[192.0.2.1]>", None, "192.0.2.1"),
            ("<b@[IPv6:2001:db8::1]>", None, "IPv6:2001:db8::1"),
            ("<postmaster>", None, "postmaster"),
            ("<postmaster>", Some("postmaster"), "postmaster"),
            ("<b@a..example>", None, "a..example"),
            ("<b@>", None, ""),
            ("<b@exa;mple>", None, "exa;mple"),
        ];
        for (argument, resolved, want) in table {
            let recipient = Recipient::parse(argument, resolved);
            assert_eq!(recipient.domain.name(), None, "{argument}");
            assert_eq!(recipient.domain.to_string(), want, "{argument}");
        }
    }

    #[test]
    fn the_fast_path_parses_like_the_general_one() {
        const PARTS: [&str; 15] = [
            "", "a", "@", "<", ">", ".", " ", "\t", "\u{a0}", "\"", "\\", ":", ";", "(", ")",
        ];
        for number in 0..PARTS.len().pow(5) {
            let part = |place| PARTS[number / PARTS.len().pow(place) % PARTS.len()];
            let text: String = (0..5).map(part).collect();
            if let Some(address) = usual_path(&text) {
                assert_eq!(address, strip_unusual_path(&text), "{text}");
            }
            let at = unquoted(&text).filter(|&(_, c)| c == '@').last();
            let split = at.map(|(at, _)| (&text[..at], &text[at + 1..]));
            assert_eq!(split_at_domain(&text), split, "{text}");
        }
    }

    #[test]
    fn a_comment_can_not_change_the_sender() {
        for argument in ["<a@b.example(x@c.example>", "<a@b.example>(@c.example"] {
            let reverse_path = ReversePath::parse(argument);
            assert_eq!(reverse_path.domain(), Some("b.example"), "{argument}");
        }
        assert_eq!(ReversePath::parse("<(a@b.example)>"), ReversePath::Null);
    }

    #[test]
    fn an_address_with_a_domain_is_not_overruled_by_an_alias() {
        let recipient = Recipient::parse("<b@contoso.com>", Some("b@other.example"));
        assert_eq!(recipient.domain.to_string(), "contoso.com");
    }

    #[test]
    fn domains_are_refused_with_the_reason() {
        let long_label = "a".repeat(64) + ".example";
        let long_name = ["abcdefg"; 32].join(".");
        let table = [
            ("", DomainError::Empty),
            (".", DomainError::Empty),
            ("a..b", DomainError::EmptyLabel),
            (".a", DomainError::EmptyLabel),
            ("a b", DomainError::Character),
            ("a@b", DomainError::Character),
            (&long_label, DomainError::LabelTooLong),
            (&long_name, DomainError::TooLong),
        ];
        for (text, want) in table {
            assert_eq!(Domain::parse(text), Err(want), "{text}");
        }
    }

    #[test]
    fn the_null_reverse_path_differs_from_a_mailbox() {
        assert_eq!(ReversePath::parse("<>"), ReversePath::Null);
        assert_eq!(ReversePath::parse(""), ReversePath::Null);
        let ReversePath::Mailbox(mailbox) = ReversePath::parse("<\"a@b\"@c.example>") else {
            panic!("not a mailbox");
        };
        assert_eq!(mailbox.local_part, "\"a@b\"");
        assert_eq!(mailbox.domain.as_deref(), Some("c.example"));
    }

    #[test]
    fn ipv4_mapped_networks_are_ipv4() {
        let table = [
            ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:192.0.2.1/128", "192.0.2.1/32"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
        ];
        for (network, want) in table {
            let canonical = canonical(network.parse().unwrap());
            assert_eq!(canonical.to_string(), want, "{network}");
        }
    }

    #[test]
    fn ipv4_mapped_addresses_are_ipv4() {
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(
            ClientAddr::from(mapped),
            ClientAddr::V4(Ipv4Addr::new(192, 0, 2, 1))
        );
    }
}
