//! One entry of a list of exempt networks, as a postmaster writes it.

use crate::{address::canonical, list_file};
use ipnet::{IpNet, Ipv6Net};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// An exempt network with an optional end: `2001:db8::/32` or `2001:db8::/32
/// until=2026-12-12T00:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The network; a single address is a /128.
    pub network: Ipv6Net,
    /// The end of the exemption; `None` for no end.
    pub until: Option<Timestamp>,
}

/// The comment of an entry, the text after the `#`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comment<'a> {
    /// The date when the entry was added, if the comment begins with one.
    pub added: Option<Date>,
    /// The rest of the comment.
    pub text: &'a str,
}

impl Entry {
    /// Returns whether the clients of the network are exempt at `now`.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl FromStr for Entry {
    type Err = String;

    /// Parses an entry. The error is a part of a line for people.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let network = words.next().unwrap_or_default();
        let mut entry = Self {
            network: parse_network(network).map_err(|error| error.to_string())?,
            until: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("until", _)) if entry.until.is_some() => {
                    return Err("until= is given twice; remove one".to_owned());
                }
                Some(("until", time)) => entry.until = Some(parse_until(time)?),
                Some(_) | None => {
                    return Err(format!(
                        "{word:?} is not allowed here; write {network} or {network} \
                         until={EXAMPLE_TIME}, and comments behind a #"
                    ));
                }
            }
        }
        Ok(entry)
    }
}

const EXAMPLE_TIME: &str = "2026-12-12T00:00:00Z";

/// Parses the end. A date without a time includes that day, in UTC.
fn parse_until(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is not a time; write until={EXAMPLE_TIME}, or a date");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date = parse_date(text).ok_or_else(wrong)?;
    let next = date.checked_add(1.day()).map_err(|_| wrong())?;
    let midnight = next.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    Ok(midnight.timestamp())
}

/// Parses a date without a time. The library would also accept a time and drop it.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    match text.len() == "2026-12-12".len() {
        true => text.parse().ok(),
        false => None,
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.network).fmt(f)?;
        match self.until {
            Some(until) => write!(f, "  until={until:.0}"),
            None => Ok(()),
        }
    }
}

/// Parses a line into its entry and comment; the entry may be missing.
///
/// # Errors
/// Fails with a part of a line for people if the entry is invalid.
pub fn parse_line(line: &str) -> Result<(Option<Entry>, Comment<'_>), String> {
    let (text, comment) = list_file::split(line);
    let entry = match text {
        "" => None,
        text => Some(text.parse()?),
    };
    Ok((entry, Comment::parse(comment)))
}

impl<'a> Comment<'a> {
    /// Splits a leading date from the text.
    pub fn parse(comment: &'a str) -> Self {
        let (first, rest) = comment.split_once(' ').unwrap_or((comment, ""));
        match parse_date(first) {
            Some(date) => Self {
                added: Some(date),
                text: rest.trim(),
            },
            None => Self {
                added: None,
                text: comment,
            },
        }
    }
}

/// Formats a network; a /128 is shown as an address.
pub fn show(network: &Ipv6Net) -> String {
    match network.prefix_len() {
        128 => network.addr().to_string(),
        _ => network.to_string(),
    }
}

/// Why a text is not a network that can be exempt. `Display` writes a part of a line that
/// says what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// Anything else, and the network that was probably meant.
    NotANetwork(String, Option<Ipv6Net>),
    /// An IPv4 network or address.
    Ipv4(String),
    /// There are host bits set; the value is the network without them.
    HostBits(Ipv6Net),
    /// No client can have an address of this network.
    NoClients(Ipv6Net),
}

/// Parses an IPv6 network; an address is a /128.
///
/// # Errors
/// Fails with a [`NetworkError`] if the network can't be exempt.
pub fn parse_network(text: &str) -> Result<Ipv6Net, NetworkError> {
    let parsed = text
        .parse::<IpAddr>()
        .map(IpNet::from)
        .or_else(|_| text.parse::<IpNet>());
    let network = match parsed.map(canonical) {
        Ok(IpNet::V6(network)) => network,
        Ok(IpNet::V4(_)) => return Err(NetworkError::Ipv4(text.to_owned())),
        Err(_) => return Err(NetworkError::NotANetwork(text.to_owned(), suggestion(text))),
    };
    if network.trunc() != network {
        return Err(NetworkError::HostBits(network));
    }
    let multicast = Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0);
    let is_unspecified = network.prefix_len() == 128 && network.addr().is_unspecified();
    match is_unspecified || network.addr().to_bits() >= multicast.to_bits() {
        true => Err(NetworkError::NoClients(network)),
        false => Ok(network),
    }
}

/// Returns the network that was probably meant. Postfix writes `[2001:db8::]/32`.
fn suggestion(text: &str) -> Option<Ipv6Net> {
    match text.contains(['[', ']']) {
        true => parse_network(&text.replace(['[', ']'], "")).ok(),
        false => None,
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANetwork(text, Some(meant)) => {
                write!(f, "{text:?} is not an IPv6 network; write {}", show(meant))
            }
            Self::NotANetwork(text, None) => write!(
                f,
                "{text:?} is not an IPv6 network; write one such as 2001:db8::/32, or an address \
                 such as 2001:db8::1"
            ),
            Self::Ipv4(text) => write!(
                f,
                "{text} is IPv4: mail over IPv4 is never checked, so there is nothing to exempt"
            ),
            Self::HostBits(network) => write!(
                f,
                "{network} has host bits set; write {} for the network, or {} for the address",
                network.trunc(),
                network.addr()
            ),
            Self::NoClients(network) => {
                write!(f, "{network} is not an address that a client can have")
            }
        }
    }
}

impl std::error::Error for NetworkError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_entry_is_one_entry() {
        let table = [
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("::/0", "::/0"),
            (
                "2001:db8::/32 \t until=2026-12-12T00:00:00Z",
                "2001:db8::/32  until=2026-12-12T00:00:00Z",
            ),
            (
                "2001:db8::/32 until=2026-12-12T01:00:00+01:00",
                "2001:db8::/32  until=2026-12-12T00:00:00Z",
            ),
            (
                "2001:db8::/32 until=2026-12-12",
                "2001:db8::/32  until=2026-12-13T00:00:00Z",
            ),
        ];
        for (text, want) in table {
            let entry: Entry = text.parse().unwrap();
            assert_eq!(entry.to_string(), want, "{text}");
            assert_eq!(want.parse(), Ok(entry), "{text}");
        }
    }

    #[test]
    fn invalid_entries_are_refused_with_a_suggestion() {
        let table = [
            (
                "2001:db8::1/32",
                "write 2001:db8::/32 for the network, or 2001:db8::1 for",
            ),
            ("[2001:db8::]/32", "write 2001:db8::/32"),
            ("[2001:db8::1]", "write 2001:db8::1"),
            ("192.0.2.1", "IPv4 is never checked"),
            ("192.0.2.0/24", "IPv4 is never checked"),
            ("::ffff:192.0.2.1", "IPv4 is never checked"),
            ("::ffff:10.0.0.0/104", "IPv4 is never checked"),
            ("2001:db8::/129", "is not an IPv6 network"),
            ("mail.example.org", "is not an IPv6 network"),
            ("fe80::1%eth0", "is not an IPv6 network"),
            ("::", "not an address that a client can have"),
            ("ff02::1", "not an address that a client can have"),
            ("2001:db8::/32 forever", "\"forever\" is not allowed here"),
            ("2001:db8::/32 until=soon", "\"soon\" is not a time"),
            ("2001:db8::/32 until=2026-02-30", "is not a time"),
            ("2001:db8::/32 until=2026-12-12T10:00", "is not a time"),
            (
                "2001:db8::/32 until=2026-12-12 until=2026-12-13",
                "given twice",
            ),
        ];
        for (text, want) in table {
            let error = text.parse::<Entry>().unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_comment_may_begin_with_the_date_of_the_entry() {
        let date = Some("2026-11-28".parse().unwrap());
        let table = [
            ("2026-11-28 ticket 4711", date, "ticket 4711"),
            ("2026-11-28", date, ""),
            ("ticket 4711", None, "ticket 4711"),
            ("20261128 is a ticket", None, "20261128 is a ticket"),
            ("", None, ""),
        ];
        for (comment, added, text) in table {
            assert_eq!(
                Comment::parse(comment),
                Comment { added, text },
                "{comment}"
            );
        }
    }
}
