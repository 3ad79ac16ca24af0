//! The URL at the end of a detailed reply: a template with percent-encoded placeholders,
//! so that no value can change the structure of the URL.

use super::MAX_DETAIL;
use crate::policy::Rule;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{fmt, net::IpAddr, str::FromStr};

/// A URL template with the placeholders `{rule}`, `{address}` and `{domain}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(String);

/// The values of the placeholders.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `{rule}`: the rule that refused.
    pub rule: Rule,
    /// `{address}`: the client's address in its RFC 5952 form.
    pub address: IpAddr,
    /// `{domain}`: the recipient's domain; empty if there is no single one.
    pub domain: &'a str,
}

/// The characters to encode: all but the unreserved ones of RFC 3986 section 2.3 and the
/// colon of addresses, which is not a delimiter after the host.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

impl Url {
    /// Fills in the placeholders. Omits a domain that would make the URL longer than a
    /// line, because a truncated URL is useless.
    pub fn render(&self, target: Target<'_>) -> String {
        let url = self
            .0
            .replace("{rule}", target.rule.name())
            .replace("{address}", &target.address.to_string());
        let domain = utf8_percent_encode(target.domain, ENCODED).to_string();
        match url.replace("{domain}", &domain) {
            whole if whole.len() <= MAX_DETAIL => whole,
            _too_long => url.replace("{domain}", ""),
        }
    }

    /// Returns the length with the longest rule and address, and without a domain.
    fn longest(&self) -> usize {
        let rules = Rule::ALL.map(|rule| rule.name().len());
        let rule = "r".repeat(rules.into_iter().max().unwrap_or_default());
        let address = "2001:0db8:0000:0000:0000:0000:0000:0001";
        let filled = self.0.replace("{rule}", &rule);
        let filled = filled.replace("{address}", address);
        filled.replace("{domain}", "").len()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a valid URL template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// The text does not begin with `https://` or `http://` and a host name.
    NoHost,
    /// A placeholder in the host name, which would let a peer choose the server.
    PlaceholderInHost,
    /// A character that RFC 3986 does not allow there.
    Character(char),
    /// An unknown placeholder.
    Placeholder(String),
    /// With its placeholders filled in, it does not fit in a line.
    TooLong,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost => f.write_str("it must begin with https:// or http:// and a host name"),
            Self::PlaceholderInHost => {
                f.write_str("the host name must not depend on a placeholder")
            }
            Self::Character(c) => write!(
                f,
                "a URL cannot contain {c:?}; write it percent-encoded (RFC 3986)"
            ),
            Self::Placeholder(name) => write!(
                f,
                "{{{name}}} is not a placeholder; use {{rule}}, {{address}} or {{domain}}"
            ),
            Self::TooLong => write!(
                f,
                "it must have at most {MAX_DETAIL} characters with {{rule}} and {{address}} \
                 filled in"
            ),
        }
    }
}

impl std::error::Error for UrlError {}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let schemes = ["https://", "http://"];
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
        match host {
            None | Some("") => return Err(UrlError::NoHost),
            Some(host) if host.contains(['{', '}']) => return Err(UrlError::PlaceholderInHost),
            Some(_) => {}
        }
        let mut literal = text.to_owned();
        for part in text.split('{').skip(1) {
            let name = part.split_once('}').map_or(part, |(name, _)| name);
            if !matches!(name, "rule" | "address" | "domain") || !part.contains('}') {
                return Err(UrlError::Placeholder(name.to_owned()));
            }
            literal = literal.replacen(&format!("{{{name}}}"), "", 1);
        }
        if let Some(wrong) = literal.chars().find(|&c| !is_url_character(c)) {
            return Err(UrlError::Character(wrong));
        }
        let url = Self(text.to_owned());
        match url.longest() <= MAX_DETAIL {
            true => Ok(url),
            false => Err(UrlError::TooLong),
        }
    }
}

/// Returns whether RFC 3986 appendix A allows a character: unreserved, reserved, or `%`.
fn is_url_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(domain: &str) -> Target<'_> {
        Target {
            rule: Rule::Unauthenticated,
            address: "2001:db8::1".parse().unwrap(),
            domain,
        }
    }

    #[test]
    fn placeholders_are_filled_in_and_encoded() {
        let table = [
            (
                "https://mx.contoso.com/ipv6#{rule}",
                "contoso.com",
                "https://mx.contoso.com/ipv6#unauthenticated",
            ),
            (
                "https://mx.example/a%20b?ip={address}&to={domain}#{rule}",
                "contoso.com",
                "https://mx.example/a%20b?ip=2001:db8::1&to=contoso.com#unauthenticated",
            ),
            (
                "https://mx.example/?to={domain}",
                "x&a=b#/../\r\n250 ok https://evil.example/{rule}\u{1b}[31m\u{fc}",
                "https://mx.example/?to=x%26a%3Db%23%2F..%2F%0D%0A250%20ok%20https:%2F%2Fevil.\
                 example%2F%7Brule%7D%1B%5B31m%C3%BC",
            ),
        ];
        for (template, domain, want) in table {
            let url: Url = template.parse().unwrap();
            assert_eq!(url.render(target(domain)), want);
        }
    }

    #[test]
    fn a_domain_that_does_not_fit_is_left_out_and_the_rest_is_whole() {
        let url: Url = "https://mx.example/?to={domain}#{rule}".parse().unwrap();
        let rendered = url.render(target(&"\u{fc}".repeat(250)));
        assert_eq!(rendered, "https://mx.example/?to=#unauthenticated");
    }

    #[test]
    fn invalid_urls_are_refused() {
        let long = format!("https://mx.example/{}", "x".repeat(MAX_DETAIL));
        let filled = format!("https://mx.example/{{address}}{}", "x".repeat(440));
        let table = [
            ("mx.example/ipv6", UrlError::NoHost),
            ("ftp://mx.example/", UrlError::NoHost),
            ("https:///ipv6", UrlError::NoHost),
            ("", UrlError::NoHost),
            ("https://{domain}/ipv6", UrlError::PlaceholderInHost),
            ("https://mx.example/a b", UrlError::Character(' ')),
            ("https://mx.example/\u{fc}", UrlError::Character('\u{fc}')),
            ("https://mx.example/a\r\nb", UrlError::Character('\r')),
            ("https://mx.example/}", UrlError::Character('}')),
            (
                "https://mx.example/{ip}",
                UrlError::Placeholder("ip".into()),
            ),
            (
                "https://mx.example/{rule",
                UrlError::Placeholder("rule".into()),
            ),
            (&long, UrlError::TooLong),
            (&filled, UrlError::TooLong),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<Url>(), Err(want), "{text}");
        }
    }
}
