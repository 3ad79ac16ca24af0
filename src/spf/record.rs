//! SPF records: a strict parser for the grammar of RFC 7208 section 12.
//!
//! The input is the text of one TXT record. A [`Record`] is created by parsing only and
//! every part of it is valid: a syntax error anywhere in a record is found before any of
//! its mechanisms is evaluated (section 4.6). This module does no lookups.

use super::macros::{self, DomainSpec, MacroError};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

const VERSION: &[u8] = b"v=spf1";

/// A whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    directives: Vec<Directive>,
    redirect: Option<DomainSpec>,
    explanation: Option<DomainSpec>,
}

/// A mechanism and the result it gives when it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The result of a match.
    pub qualifier: Qualifier,
    /// The condition.
    pub mechanism: Mechanism,
}

/// The result that a matching mechanism gives (section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qualifier {
    /// `+`, which may be left out.
    Pass,
    /// `-`
    Fail,
    /// `~`
    SoftFail,
    /// `?`
    Neutral,
}

/// The condition that a client has to meet (section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `all`: every client.
    All,
    /// `include`: the record of another domain gives pass.
    Include(DomainSpec),
    /// `a`: one of the name's addresses.
    A(Hosts),
    /// `mx`: one of the addresses of the name's mail exchangers.
    Mx(Hosts),
    /// `ptr`: the client's validated name is within the domain.
    Ptr(Option<DomainSpec>),
    /// `ip4`: an IPv4 network.
    Ip4(Ipv4Addr, Prefix<32>),
    /// `ip6`: an IPv6 network.
    Ip6(Ipv6Addr, Prefix<128>),
    /// `exists`: the name has an A record.
    Exists(DomainSpec),
}

/// The argument of `a` and `mx`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// The name; `None` stands for the domain whose record this is.
    pub domain: Option<DomainSpec>,
    /// The prefix length for A records. The default is 32 bits.
    pub prefix4: Prefix<32>,
    /// The prefix length for AAAA records. The default is 128 bits.
    pub prefix6: Prefix<128>,
}

/// The number of leading bits that two addresses must share, at most `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<const MAX: u8>(u8);

/// What is wrong with a record, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The invalid term, in printable ASCII and shortened.
    pub term: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A byte that is not visible ASCII; only spaces separate terms.
    Octet,
    /// Neither a mechanism of section 5 nor `name=value`.
    Unknown,
    /// The mechanism needs a colon and an argument.
    MissingArgument,
    /// The mechanism does not take what follows its name.
    UnexpectedArgument,
    /// A prefix length that is out of range or has a leading zero.
    Prefix,
    /// Not an IPv4 address.
    Ip4Network,
    /// Not an IPv6 address.
    Ip6Network,
    /// A second `redirect=` or `exp=` (section 6).
    Twice,
    /// An address in place of a domain, often written by mistake for `ip4` or `ip6`.
    Address,
    /// A domain or macro that is not well-formed.
    Macro(MacroError),
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "syntax error in {}: {}", self.term, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Octet => "a byte that is not visible ASCII",
            Self::Unknown => "unknown mechanism",
            Self::MissingArgument => "it needs an argument",
            Self::UnexpectedArgument => "it does not take this argument",
            Self::Prefix => "bad prefix length",
            Self::Ip4Network => "not an IPv4 address",
            Self::Ip6Network => "not an IPv6 address",
            Self::Twice => "it appears twice",
            Self::Address => "an address where a domain belongs (ip4: and ip6: take addresses)",
            Self::Macro(error) => return error.fmt(f),
        })
    }
}

impl std::error::Error for SyntaxError {}

impl From<MacroError> for Problem {
    fn from(error: MacroError) -> Self {
        Self::Macro(error)
    }
}

/// Returns whether a TXT record is an SPF record, well-formed or not: it begins with
/// `v=spf1`, and a space or nothing follows (section 4.5).
pub fn is_spf(text: &[u8]) -> bool {
    terms_of(text).is_some()
}

fn terms_of(text: &[u8]) -> Option<&[u8]> {
    let (version, rest) = text.split_at_checked(VERSION.len())?;
    let ends = matches!(rest.first(), None | Some(b' '));
    (ends && version.eq_ignore_ascii_case(VERSION)).then_some(rest)
}

impl Record {
    /// Parses a text for which [`is_spf`] holds.
    ///
    /// # Errors
    /// Fails with the first invalid term.
    pub fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        let terms = terms_of(text).ok_or_else(|| SyntaxError::new(text, Problem::Unknown))?;
        let mut record = Self {
            directives: Vec::new(),
            redirect: None,
            explanation: None,
        };
        for term in terms.split(|&b| b == b' ').filter(|term| !term.is_empty()) {
            record
                .add(term)
                .map_err(|problem| SyntaxError::new(term, problem))?;
        }
        Ok(record)
    }

    /// Returns the mechanisms with their qualifiers, from left to right.
    pub fn directives(&self) -> &[Directive] {
        &self.directives
    }

    /// Returns the domain whose record applies when no mechanism matches (section 6.1).
    pub fn redirect(&self) -> Option<&DomainSpec> {
        self.redirect.as_ref()
    }

    /// Returns the name of the TXT record that explains a fail (section 6.2).
    pub fn explanation(&self) -> Option<&DomainSpec> {
        self.explanation.as_ref()
    }

    fn add(&mut self, term: &[u8]) -> Result<(), Problem> {
        if !term.iter().all(u8::is_ascii_graphic) {
            return Err(Problem::Octet);
        }
        match split_modifier(term) {
            Some((name, value)) => self.add_modifier(name, value),
            None => {
                self.directives.push(Directive::parse(term)?);
                Ok(())
            }
        }
    }

    fn add_modifier(&mut self, name: &[u8], value: &[u8]) -> Result<(), Problem> {
        let known = match name.to_ascii_lowercase().as_slice() {
            b"redirect" => &mut self.redirect,
            b"exp" => &mut self.explanation,
            // "Unrecognized modifiers MUST be ignored", but must be well-formed.
            _ => return Ok(macros::check_macro_string(value)?),
        };
        match known.replace(DomainSpec::parse(value)?) {
            None => Ok(()),
            Some(_) => Err(Problem::Twice),
        }
    }
}

/// Splits a modifier, `name "="`, from its value. A modifier differs from a mechanism by
/// an equals sign right after the name, before any colon or slash (section 4.6.1).
fn split_modifier(term: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = term.iter().position(|&b| b == b'=')?;
    let (name, value) = (&term[..end], &term[end + 1..]);
    let in_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let starts = name.first().is_some_and(u8::is_ascii_alphabetic);
    (starts && name.iter().all(in_name)).then_some((name, value))
}

impl Directive {
    fn parse(term: &[u8]) -> Result<Self, Problem> {
        let (qualifier, mechanism) = match term.split_first() {
            Some((b'+', rest)) => (Qualifier::Pass, rest),
            Some((b'-', rest)) => (Qualifier::Fail, rest),
            Some((b'~', rest)) => (Qualifier::SoftFail, rest),
            Some((b'?', rest)) => (Qualifier::Neutral, rest),
            _ => (Qualifier::Pass, term),
        };
        Ok(Self {
            qualifier,
            mechanism: Mechanism::parse(mechanism)?,
        })
    }
}

impl Mechanism {
    fn parse(text: &[u8]) -> Result<Self, Problem> {
        let end = text.iter().position(|b| matches!(b, b':' | b'/'));
        let (name, argument) = text.split_at(end.unwrap_or(text.len()));
        match name.to_ascii_lowercase().as_slice() {
            b"all" if argument.is_empty() => Ok(Self::All),
            b"all" => Err(Problem::UnexpectedArgument),
            b"include" => Ok(Self::Include(parse_domain(argument)?)),
            b"a" => Ok(Self::A(Hosts::parse(argument)?)),
            b"mx" => Ok(Self::Mx(Hosts::parse(argument)?)),
            b"ptr" => Ok(Self::Ptr(parse_optional_domain(argument)?)),
            b"ip4" => parse_ip4(argument),
            b"ip6" => parse_ip6(argument),
            b"exists" => Ok(Self::Exists(parse_domain(argument)?)),
            _ => Err(Problem::Unknown),
        }
    }
}

impl Mechanism {
    /// Returns whether it counts as one of the terms that cause lookups (section 4.6.4).
    pub fn asks_dns(&self) -> bool {
        match self {
            Self::Include(_) | Self::A(_) | Self::Mx(_) | Self::Ptr(_) | Self::Exists(_) => true,
            Self::All | Self::Ip4(..) | Self::Ip6(..) => false,
        }
    }
}

/// Parses `":" domain-spec`.
fn parse_domain(argument: &[u8]) -> Result<DomainSpec, Problem> {
    let value = after_colon(argument)?;
    DomainSpec::parse(value).map_err(|error| match parse_ascii::<IpAddr>(value) {
        Some(_) => Problem::Address,
        None => error.into(),
    })
}

/// Parses `[ ":" domain-spec ]`.
fn parse_optional_domain(argument: &[u8]) -> Result<Option<DomainSpec>, Problem> {
    match argument {
        b"" => Ok(None),
        _ => parse_domain(argument).map(Some),
    }
}

fn after_colon(argument: &[u8]) -> Result<&[u8], Problem> {
    match argument.split_first() {
        Some((b':', value)) => Ok(value),
        Some(_) => Err(Problem::UnexpectedArgument),
        None => Err(Problem::MissingArgument),
    }
}

impl Hosts {
    /// Parses `[ ":" domain-spec ] [ dual-cidr-length ]`.
    ///
    /// The domain may contain slashes too, but cannot end in a slash and digits, so these
    /// are always a prefix length.
    fn parse(argument: &[u8]) -> Result<Self, Problem> {
        let (rest, prefix6) = split_prefix(argument, b"//")?;
        let (rest, prefix4) = split_prefix(rest, b"/")?;
        Ok(Self {
            domain: parse_optional_domain(rest)?,
            prefix4,
            prefix6,
        })
    }
}

impl Hosts {
    /// Returns whether `client` is in the network that an address record of such a host
    /// stands for. Addresses of different families never match.
    pub fn cover(&self, host: IpAddr, client: IpAddr) -> bool {
        match (host, client) {
            (IpAddr::V4(host), IpAddr::V4(client)) => self.prefix4.covers(host, client),
            (IpAddr::V6(host), IpAddr::V6(client)) => self.prefix6.covers(host, client),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn split_prefix<'a, const MAX: u8>(
    text: &'a [u8],
    slashes: &[u8],
) -> Result<(&'a [u8], Prefix<MAX>), Problem> {
    let digits = text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (rest, digits) = text.split_at(text.len() - digits);
    match rest.strip_suffix(slashes) {
        Some(rest) if !digits.is_empty() => Ok((rest, Prefix::parse(digits)?)),
        _ => Ok((text, Prefix::ALL)),
    }
}

fn parse_ip4(argument: &[u8]) -> Result<Mechanism, Problem> {
    let (network, prefix) = split_network(argument)?;
    let network = parse_ascii(network).ok_or(Problem::Ip4Network)?;
    Ok(Mechanism::Ip4(network, prefix))
}

fn parse_ip6(argument: &[u8]) -> Result<Mechanism, Problem> {
    let (network, prefix) = split_network(argument)?;
    let network = parse_ascii(network).ok_or(Problem::Ip6Network)?;
    Ok(Mechanism::Ip6(network, prefix))
}

/// Splits `":" network [ "/" prefix ]`.
fn split_network<const MAX: u8>(argument: &[u8]) -> Result<(&[u8], Prefix<MAX>), Problem> {
    let value = after_colon(argument)?;
    match value.iter().position(|&b| b == b'/') {
        Some(slash) => Ok((&value[..slash], Prefix::parse(&value[slash + 1..])?)),
        None => Ok((value, Prefix::ALL)),
    }
}

fn parse_ascii<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl<const MAX: u8> Prefix<MAX> {
    /// All bits, the default for a term without a prefix length.
    const ALL: Self = Self(MAX);

    /// Parses `"0" / %x31-39 *DIGIT`: no leading zeros, at most `MAX`.
    fn parse(digits: &[u8]) -> Result<Self, Problem> {
        let decimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let leading_zero = digits.len() > 1 && digits.starts_with(b"0");
        if !decimal || leading_zero {
            return Err(Problem::Prefix);
        }
        let bits = parse_ascii(digits).filter(|&bits: &u8| bits <= MAX);
        bits.map(Self).ok_or(Problem::Prefix)
    }
}

impl Prefix<32> {
    /// Returns whether the addresses have the same prefix.
    pub fn covers(self, a: Ipv4Addr, b: Ipv4Addr) -> bool {
        let differing = a.to_bits() ^ b.to_bits();
        // `/0` shifts by the full width, which leaves no bits that differ.
        differing.checked_shr(32 - u32::from(self.0)).unwrap_or(0) == 0
    }
}

impl Prefix<128> {
    /// Returns whether the addresses have the same prefix.
    pub fn covers(self, a: Ipv6Addr, b: Ipv6Addr) -> bool {
        let differing = a.to_bits() ^ b.to_bits();
        differing.checked_shr(128 - u32::from(self.0)).unwrap_or(0) == 0
    }
}

impl SyntaxError {
    fn new(term: &[u8], problem: Problem) -> Self {
        const SHOWN: usize = 60;
        let shown = &term[..term.len().min(SHOWN)];
        let cut = if term.len() > SHOWN { "..." } else { "" };
        Self {
            term: format!("\"{}{cut}\"", shown.escape_ascii()),
            problem,
        }
    }
}

impl fmt::Display for Directive {
    /// Writes the term as in a record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.qualifier {
            Qualifier::Pass => "",
            Qualifier::Fail => "-",
            Qualifier::SoftFail => "~",
            Qualifier::Neutral => "?",
        })?;
        self.mechanism.fmt(f)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Include(domain) => write!(f, "include:{domain}"),
            Self::A(hosts) => write!(f, "a{hosts}"),
            Self::Mx(hosts) => write!(f, "mx{hosts}"),
            Self::Ptr(None) => f.write_str("ptr"),
            Self::Ptr(Some(domain)) => write!(f, "ptr:{domain}"),
            Self::Ip4(network, prefix) => write!(f, "ip4:{network}{}", prefix.after("/")),
            Self::Ip6(network, prefix) => write!(f, "ip6:{network}{}", prefix.after("/")),
            Self::Exists(domain) => write!(f, "exists:{domain}"),
        }
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(domain) = &self.domain {
            write!(f, ":{domain}")?;
        }
        f.write_str(&self.prefix4.after("/"))?;
        f.write_str(&self.prefix6.after("//"))
    }
}

impl<const MAX: u8> Prefix<MAX> {
    /// Returns the prefix length with its slashes, or nothing if it is the default.
    fn after(self, slashes: &str) -> String {
        match self.0 {
            bits if bits == MAX => String::new(),
            bits => format!("{slashes}{bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(terms: &str) -> Option<Problem> {
        let record = Record::parse(format!("v=spf1 {terms}").as_bytes());
        record.err().map(|error| error.problem)
    }

    #[test]
    fn only_v_spf1_and_a_space_or_the_end_make_an_spf_record() {
        for text in ["v=spf1", "V=SpF1 -all", "v=spf1 ", "v=spf1 moo"] {
            assert!(is_spf(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "v=spf",
            "v=spf10",
            "v=spf1\t-all",
            " v=spf1 -all",
            "v=spf2.0/mfrom",
            "v=spf1-all",
            "\"v=spf1 -all\"",
            "v=spf1\u{a0}-all",
        ] {
            assert!(!is_spf(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn well_formed_terms_are_read_as_written() {
        for terms in [
            "all",
            "-all",
            "~include:_spf.%{d2}",
            "?a",
            "a/0",
            "a//0",
            "a/24//64",
            "a:foo:bar/baz.example.com/24",
            "a:a/1.example.com",
            "a:%{d}/24",
            "a:%{l/}//64",
            "mx:example.com",
            "ptr",
            "ptr:example.com",
            "ip4:192.0.2.1",
            "ip4:192.0.2.1/0",
            "ip6:2001:db8::/32",
            "ip6:::/0",
            "exists:%{ir}.sbl.example.com",
        ] {
            let record = Record::parse(format!("v=spf1 {terms}").as_bytes()).unwrap();
            assert_eq!(record.directives().len(), 1, "{terms}");
            assert_eq!(record.directives()[0].to_string(), terms);
        }
    }

    #[test]
    fn names_of_mechanisms_and_modifiers_have_no_case() {
        let record =
            Record::parse(b"V=SPF1 +A MX/24 Ip4:192.0.2.1 INCLUDE:x.example -ALL").unwrap();
        let terms: Vec<String> = record
            .directives()
            .iter()
            .map(ToString::to_string)
            .collect();
        let want = ["a", "mx/24", "ip4:192.0.2.1", "include:x.example", "-all"];
        assert_eq!(terms, want);
        let record = Record::parse(b"v=spf1 REDIRECT=x.example Exp=y.example").unwrap();
        assert!(record.redirect().is_some() && record.explanation().is_some());
    }

    #[test]
    fn terms_are_separated_by_any_number_of_spaces() {
        let record = Record::parse(b"v=spf1   a    -all   ").unwrap();
        assert_eq!(record.directives().len(), 2);
    }

    #[test]
    fn unknown_modifiers_are_ignored_but_must_be_well_formed() {
        for terms in [
            "moo.cow-far_out=man:dog/cat",
            "a=b",
            "x=",
            "x=%{c}=y",
            "x=1 x=2",
        ] {
            assert_eq!(problem(terms), None, "{terms}");
        }
        let table = [
            ("foo=%abc", Problem::Macro(MacroError::Percent)),
            ("1up=foo", Problem::Unknown),
            ("=all", Problem::Unknown),
            ("-foo=bar", Problem::Unknown),
            ("moo/cow=x", Problem::Unknown),
            ("moo:cow=x", Problem::Unknown),
        ];
        for (terms, want) in table {
            assert_eq!(problem(terms), Some(want), "{terms}");
        }
    }

    #[test]
    fn anything_outside_the_grammar_is_a_syntax_error() {
        let table = [
            // Terms (sections 4.6.1 and 5)
            ("moo", Problem::Unknown),
            ("--all", Problem::Unknown),
            ("+-all", Problem::Unknown),
            ("-", Problem::Unknown),
            ("-all.", Problem::Unknown),
            ("redirect:example.com", Problem::Unknown),
            ("ipv6:::1", Problem::Unknown),
            ("a\t-all", Problem::Octet),
            ("a\r\n", Problem::Octet),
            ("\u{ef}", Problem::Octet),
            ("all:x", Problem::UnexpectedArgument),
            ("all/8", Problem::UnexpectedArgument),
            ("include", Problem::MissingArgument),
            ("include/24", Problem::UnexpectedArgument),
            ("exists", Problem::MissingArgument),
            ("ip4", Problem::MissingArgument),
            ("ip6/64", Problem::UnexpectedArgument),
            ("ptr/0", Problem::UnexpectedArgument),
            // Domains (section 7.1)
            ("a:", Problem::Macro(MacroError::Empty)),
            ("include:", Problem::Macro(MacroError::Empty)),
            (
                "include:x.example/24",
                Problem::Macro(MacroError::DomainEnd),
            ),
            ("a:192.0.2.1", Problem::Address),
            ("mx:2001:db8::1", Problem::Address),
            ("exp=", Problem::Macro(MacroError::Empty)),
            (
                "exp=%{r}.example",
                Problem::Macro(MacroError::ExplanationOnly),
            ),
            ("redirect=-all", Problem::Macro(MacroError::DomainEnd)),
            // Prefix lengths (sections 5.3 and 5.6)
            ("a/33", Problem::Prefix),
            ("a//129", Problem::Prefix),
            ("a/032", Problem::Prefix),
            ("a/99999999999", Problem::Prefix),
            ("a/00", Problem::Prefix),
            ("a/", Problem::UnexpectedArgument),
            ("a//", Problem::UnexpectedArgument),
            ("a/24/64", Problem::Prefix),
            ("a/24/24", Problem::UnexpectedArgument),
            ("a//64/24", Problem::UnexpectedArgument),
            ("a:x.example///64", Problem::Macro(MacroError::DomainEnd)),
            ("ip4:192.0.2.1/33", Problem::Prefix),
            ("ip4:192.0.2.1/", Problem::Prefix),
            ("ip4:192.0.2.1//32", Problem::Prefix),
            ("ip4:192.0.2.1/+8", Problem::Prefix),
            ("ip6:2001:db8::/129", Problem::Prefix),
            ("ip6:2001:db8::/064", Problem::Prefix),
            // Networks (section 5.6)
            ("ip4:", Problem::Ip4Network),
            ("ip4:192.0.2", Problem::Ip4Network),
            ("ip4:192.0.2.256", Problem::Ip4Network),
            ("ip4:192.0.2.01", Problem::Ip4Network),
            ("ip4:192.0.2.1:25", Problem::Ip4Network),
            ("ip4:2001:db8::1", Problem::Ip4Network),
            ("ip6:192.0.2.1", Problem::Ip6Network),
            ("ip6::cafe::babe", Problem::Ip6Network),
            ("ip6:[2001:db8::1]", Problem::Ip6Network),
            ("ip6:2001:db8::1%eth0", Problem::Ip6Network),
            ("ip6:1:2:3:4:5:6:7:8:9", Problem::Ip6Network),
            ("ip6:2001:db8::12345", Problem::Ip6Network),
            // Modifiers (section 6)
            ("exp=a.example exp=b.example", Problem::Twice),
            ("redirect=a.example redirect=a.example", Problem::Twice),
        ];
        for (terms, want) in table {
            assert_eq!(problem(terms), Some(want), "{terms}");
        }
    }

    #[test]
    fn an_error_after_a_match_is_an_error_all_the_same() {
        assert_eq!(problem("+all moo"), Some(Problem::Unknown));
    }

    #[test]
    fn prefixes_cover_from_no_bit_to_all() {
        let v4 = |bits, a: &str, b: &str| {
            Prefix::<32>(bits).covers(a.parse().unwrap(), b.parse().unwrap())
        };
        assert!(v4(0, "192.0.2.1", "10.0.0.1"));
        assert!(v4(24, "192.0.2.1", "192.0.2.255"));
        assert!(!v4(24, "192.0.2.1", "192.0.3.1"));
        assert!(!v4(32, "192.0.2.1", "192.0.2.0"));
        let v6 = |bits, a: &str, b: &str| {
            Prefix::<128>(bits).covers(a.parse().unwrap(), b.parse().unwrap())
        };
        assert!(v6(0, "2001:db8::1", "::"));
        assert!(v6(33, "cafe:babe:8000::", "cafe:babe:ffff::"));
        assert!(!v6(33, "cafe:babe:8000::", "cafe:babe::"));
        assert!(!v6(128, "2001:db8::1", "2001:db8::"));
    }

    #[test]
    fn errors_show_the_term_printably_and_shortened() {
        let error = Record::parse(b"v=spf1 a:\xef\"").unwrap_err();
        let want = r#"syntax error in "a:\xef\"": a byte that is not visible ASCII"#;
        assert_eq!(error.to_string(), want);
        let long = Record::parse(&[b"v=spf1 ", [b'x'; 60_000].as_slice()].concat()).unwrap_err();
        assert!(long.to_string().len() < 120);
    }
}
