//! SMTP replies: a consistent value of code, enhanced status code and text, and the
//! templates for them.
//!
//! Texts are short ASCII for the sender, without internal details.

mod replies;
mod url;

pub use replies::{Preset, Replies};
pub use url::{Target, Url};

use std::{fmt, net::IpAddr, str::FromStr};

/// An SMTP reply to a refused command (RFC 5321 section 4.2, RFC 3463).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: Status,
    text: String,
    details: Vec<String>,
}

impl Reply {
    /// Returns the reply of a server that is shutting down (RFC 5321 section 3.8): the
    /// MTA sends it and closes the SMTP connection, and the client opens another one.
    pub fn shutting_down() -> Self {
        Self {
            status: Status {
                class: Class::Transient,
                code: "421".to_owned(),
                enhanced: "4.3.2".to_owned(),
            },
            text: "Service not available, closing transmission channel".to_owned(),
            details: Vec::new(),
        }
    }

    /// Returns the three digits, e.g. `450`.
    pub fn code(&self) -> &str {
        &self.status.code
    }

    /// Returns the enhanced status code, e.g. `4.7.25`.
    pub fn enhanced(&self) -> &str {
        &self.status.enhanced
    }

    /// Returns the text after the codes: one line of printable ASCII.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the reply is temporary or permanent.
    pub fn class(&self) -> Class {
        self.status.class
    }

    /// Returns the permanent form of the reply: `450 4.7.25` becomes `550 5.7.25`.
    pub fn given_up(mut self) -> Self {
        if self.status.class == Class::Transient {
            self.status = Status {
                class: Class::Permanent,
                code: "550".to_owned(),
                enhanced: format!("5{}", &self.status.enhanced[1..]),
            };
        }
        self
    }

    /// Adds lines after the first one. Each is reduced to printable ASCII of at most
    /// [`MAX_DETAIL`] bytes.
    pub fn with_details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        let printable = |c| if matches!(c, ' '..='~') { c } else { '?' };
        let details = details.into_iter();
        self.details
            .extend(details.map(|line| line.chars().map(printable).take(MAX_DETAIL).collect()));
        self
    }

    /// Returns the texts of the lines after the first one.
    pub fn details(&self) -> &[String] {
        &self.details
    }

    /// Returns all lines as the client sees them (RFC 5321 section 4.2.1), without line
    /// breaks.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let Status { code, enhanced, .. } = &self.status;
        let texts = [&self.text].into_iter().chain(&self.details);
        texts.enumerate().map(move |(index, text)| {
            let separator = if index < self.details.len() { '-' } else { ' ' };
            format!("{code}{separator}{enhanced} {text}")
        })
    }
}

impl fmt::Display for Reply {
    /// Writes the first line only, as in the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code(), self.enhanced(), self.text)
    }
}

/// The class of a reply, which its code and its enhanced status code share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 4xx: the sender retries, over IPv4 if it can.
    Transient,
    /// 5xx: the sender bounces the message.
    Permanent,
}

/// A reply template with the placeholders `{address}` and `{domain}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    status: Status,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Status {
    class: Class,
    code: String,
    enhanced: String,
}

/// The values of the placeholders.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `{address}`: the client's address in its RFC 5952 form.
    pub address: IpAddr,
    /// `{domain}`: the recipient's domain; empty if there is none.
    pub domain: &'a str,
}

impl Template {
    /// Returns whether the reply is temporary or permanent.
    pub fn class(&self) -> Class {
        self.status.class
    }

    /// Fills in the placeholders.
    ///
    /// A peer may have chosen the values: characters that no address or domain has become
    /// `?`. A domain that would make the text longer than [`MAX_TEXT`] is truncated, but
    /// not the text after it, which may be a URL.
    pub fn render(&self, values: Values<'_>) -> Reply {
        let text = self.text.replace("{address}", &values.address.to_string());
        let room = MAX_TEXT.saturating_sub(text.replace("{domain}", "").len());
        let each = room / text.matches("{domain}").count().max(1);
        let domain: String = values.domain.chars().map(harmless).take(each).collect();
        let mut text = text.replace("{domain}", &domain);
        text.truncate(MAX_TEXT);
        Reply {
            status: self.status.clone(),
            text,
            details: Vec::new(),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { code, enhanced, .. } = &self.status;
        write!(f, "{code} {enhanced} {}", self.text)
    }
}

/// The maximum length of a reply text in bytes. RFC 5321 section 4.5.3.1.5 allows 512 for
/// the whole line; MTAs insert the recipient's address before it.
pub const MAX_TEXT: usize = 400;

/// The maximum length of a further line's text in bytes. With the longest codes
/// (`450-4.123.123 `) and CRLF, the line has the 512 bytes that RFC 5321 section
/// 4.5.3.1.5 allows.
pub const MAX_DETAIL: usize = 496;

/// Replaces characters that could end the brackets of a reply or the reply field of a log
/// line.
fn harmless(c: char) -> char {
    match c {
        '[' | ']' | '<' | '>' | ';' | '\\' => '?',
        '!'..='~' => c,
        _ => '?',
    }
}

/// Why a text is not a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The text does not begin with a code and an enhanced status code.
    Form,
    /// The code is not a valid 4xx or 5xx code (RFC 5321 section 4.2).
    Code(String),
    /// The enhanced status code is not valid (RFC 3463 section 2).
    Enhanced(String),
    /// The first digits of code and enhanced status code differ: milter
    /// libraries and MTAs drop the text of such a reply.
    Class {
        /// The code.
        code: String,
        /// The enhanced status code.
        enhanced: String,
    },
    /// The text is not printable ASCII, or too long.
    Text,
    /// An unknown placeholder.
    Placeholder(String),
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str(
                "it must be a code, an enhanced status code and a text, \
                 such as \"450 4.7.25 Service unavailable\"",
            ),
            Self::Code(code) => write!(f, "{code:?} is not a valid reply code; use 4xx or 5xx"),
            Self::Enhanced(code) => write!(
                f,
                "{code:?} is not a valid enhanced status code; use a form such as 4.7.25"
            ),
            Self::Class { code, enhanced } => write!(
                f,
                "the code {code} and the enhanced status code {enhanced} disagree; \
                 both must begin with the same digit"
            ),
            Self::Text => write!(
                f,
                "the text must be one line of 1 to {MAX_TEXT} printable ASCII characters"
            ),
            Self::Placeholder(name) => write!(
                f,
                "{{{name}}} is not a valid placeholder; use {{address}} or {{domain}}"
            ),
        }
    }
}

impl std::error::Error for ReplyError {}

impl FromStr for Template {
    type Err = ReplyError;

    fn from_str(line: &str) -> Result<Self, ReplyError> {
        let (code, rest) = line.split_once(' ').ok_or(ReplyError::Form)?;
        let (enhanced, text) = rest.split_once(' ').ok_or(ReplyError::Form)?;
        Ok(Self {
            status: parse_status(code, enhanced)?,
            text: parse_text(text)?,
        })
    }
}

fn parse_status(code: &str, enhanced: &str) -> Result<Status, ReplyError> {
    let class = code_class(code).ok_or_else(|| ReplyError::Code(code.to_owned()))?;
    let enhanced_class =
        enhanced_class(enhanced).ok_or_else(|| ReplyError::Enhanced(enhanced.to_owned()))?;
    let (code, enhanced) = (code.to_owned(), enhanced.to_owned());
    if class != enhanced_class {
        return Err(ReplyError::Class { code, enhanced });
    }
    Ok(Status {
        class,
        code,
        enhanced,
    })
}

/// Parses a refusing reply code, `%x34-35 %x30-35 %x30-39` (RFC 5321 section 4.2).
/// Excludes 421, on which MTAs close the connection, which would affect other recipients.
fn code_class(code: &str) -> Option<Class> {
    match code.as_bytes() {
        b"421" => None,
        [b'4', b'0'..=b'5', b'0'..=b'9'] => Some(Class::Transient),
        [b'5', b'0'..=b'5', b'0'..=b'9'] => Some(Class::Permanent),
        _ => None,
    }
}

/// Parses an enhanced status code, `class "." 1*3digit "." 1*3digit` without leading
/// zeros (RFC 3463 section 2).
fn enhanced_class(enhanced: &str) -> Option<Class> {
    let mut parts = enhanced.split('.');
    let class = match parts.next()? {
        "4" => Class::Transient,
        "5" => Class::Permanent,
        _ => return None,
    };
    let (subject, detail) = (parts.next()?, parts.next()?);
    let well_formed = is_number(subject) && is_number(detail) && parts.next().is_none();
    well_formed.then_some(class)
}

fn is_number(digits: &str) -> bool {
    let canonical = digits == "0" || !digits.starts_with('0');
    matches!(digits.len(), 1..=3) && digits.bytes().all(|b| b.is_ascii_digit()) && canonical
}

fn parse_text(text: &str) -> Result<String, ReplyError> {
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    if text.trim().is_empty() || longest(text) > MAX_TEXT || !printable {
        return Err(ReplyError::Text);
    }
    match unknown_placeholder(text) {
        Some(name) => Err(ReplyError::Placeholder(name.to_owned())),
        None => Ok(text.to_owned()),
    }
}

/// Returns the length with the longest address and without a domain, which is truncated
/// if there is no room.
fn longest(text: &str) -> usize {
    let address = "2001:0db8:0000:0000:0000:0000:0000:0001";
    let filled = text.replace("{address}", address).replace("{domain}", "");
    filled.len()
}

fn unknown_placeholder(text: &str) -> Option<&str> {
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
        .find(|name| !matches!(*name, "address" | "domain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_replies_are_rendered_byte_for_byte() {
        let values = Values {
            address: "2a01:111:f200:2004::240".parse().unwrap(),
            domain: "contoso.com",
        };
        let Replies {
            not_opted_in,
            no_ptr,
            unauthenticated,
            temporary,
            ..
        } = Replies::default();
        let table = [
            (
                not_opted_in,
                "550 5.2.1 Service unavailable, [contoso.com] does not accept email over IPv6.",
            ),
            (
                no_ptr,
                "450 4.7.25 Service unavailable, sending IPv6 address \
                 [2a01:111:f200:2004::240] must have reverse DNS record.",
            ),
            (
                unauthenticated,
                "450 4.7.26 Service unavailable, message sent over IPv6 \
                 [2a01:111:f200:2004::240] must pass either SPF or DKIM validation.",
            ),
            (
                temporary,
                "451 4.4.3 Service unavailable, temporary failure, please try again later.",
            ),
        ];
        for (template, want) in table {
            assert_eq!(template.render(values).to_string(), want);
        }
    }

    #[test]
    fn details_are_further_lines_of_the_same_status_within_the_limit_of_smtp() {
        let template: Template = "450 4.123.123 Text".parse().unwrap();
        let values = Values {
            address: "2001:db8::1".parse().unwrap(),
            domain: "",
        };
        let reply = template.render(values);
        assert_eq!(
            reply.lines().collect::<Vec<_>>(),
            ["450 4.123.123 Text"],
            "without details"
        );
        let details = [
            "a\r\n250 2.0.0 ok\x1b[2J\u{2028}".to_owned(),
            "x".repeat(9000),
        ];
        let reply = reply.with_details(details);
        let lines: Vec<String> = reply.lines().collect();
        assert_eq!(lines[0], "450-4.123.123 Text");
        assert_eq!(lines[1], "450-4.123.123 a??250 2.0.0 ok?[2J?");
        assert!(lines[2].starts_with("450 4.123.123 xx") && lines[2].len() == 510);
        assert_eq!(reply.to_string(), "450 4.123.123 Text");
    }

    #[test]
    fn replies_that_an_mta_would_mangle_are_refused() {
        let long = format!("450 4.7.25 {}", "x".repeat(MAX_TEXT + 1));
        let table = [
            ("450", ReplyError::Form),
            ("450 4.7.25", ReplyError::Form),
            ("250 2.0.0 fine", ReplyError::Code("250".into())),
            ("421 4.7.0 bye", ReplyError::Code("421".into())),
            ("460 4.7.0 x", ReplyError::Code("460".into())),
            ("450 4.7 x", ReplyError::Enhanced("4.7".into())),
            ("450 4.07.1 x", ReplyError::Enhanced("4.07.1".into())),
            (
                "550 4.7.25 x",
                ReplyError::Class {
                    code: "550".into(),
                    enhanced: "4.7.25".into(),
                },
            ),
            ("450 4.7.25 a\nb", ReplyError::Text),
            ("450 4.7.25 grün", ReplyError::Text),
            ("450 4.7.25  ", ReplyError::Text),
            (&long, ReplyError::Text),
            ("450 4.7.25 {ip}", ReplyError::Placeholder("ip".into())),
        ];
        for (line, want) in table {
            assert_eq!(line.parse::<Template>(), Err(want), "{line}");
        }
    }

    #[test]
    fn a_url_behind_a_long_domain_is_whole() {
        let url = "https://mx.example.net/replies%20by%2Fcode.html?a=1&b=~%7E#550-521";
        let line = format!("550 5.2.1 [{{domain}}] takes no mail over IPv6, {{domain}}. See {url}");
        let template: Template = line.parse().unwrap();
        let domain = "a.".repeat(125) + "example";
        let address = "2001:db8::1".parse().unwrap();
        for domain in [domain.as_str(), "contoso.com"] {
            let reply = template.render(Values { address, domain }).to_string();
            assert!(reply.ends_with(&format!(". See {url}")), "{reply}");
            // RFC 5321 section 4.5.3.1.5, including CR LF and a path before it.
            assert!(reply.len() <= 411, "{reply}");
        }
    }

    #[test]
    fn a_text_that_an_address_makes_too_long_is_refused() {
        let text = |length: usize| format!("450 4.7.25 [{{address}}]{}", "x".repeat(length));
        let room = MAX_TEXT - "[2001:0db8:0000:0000:0000:0000:0000:0001]".len();
        assert!(text(room).parse::<Template>().is_ok());
        assert_eq!(text(room + 1).parse::<Template>(), Err(ReplyError::Text));
    }

    #[test]
    fn client_chosen_text_cannot_break_a_reply() {
        let values = Values {
            address: "2001:db8::1".parse().unwrap(),
            domain: "a\r\n250 ok\u{2028}{address}] x; rule=spf-pass",
        };
        let reply = Replies::default().not_opted_in.render(values);
        assert_eq!(
            reply.text(),
            "Service unavailable, [a??250?ok?{address}??x??rule=spf-pass] does not accept email over IPv6."
        );
    }
}
