//! Parses frames into commands, as slices of the frame.
//!
//! Validates addresses, and the length of strings that are stored. The order of commands
//! is not checked here.

use super::{error::ConnectionError, frame::Frame};
use crate::address::ClientAddr;
use indymilter::message::{
    Message,
    command::{Command as Parsed, CommandKind, OptNegPayload},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The maximum length of a string that is stored, in bytes. Postfix and Sendmail read
/// command lines of up to 2048 bytes.
const MAX_STRING: usize = 4096;

/// A command of an MTA.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// The protocol version, actions and options that the MTA offers.
    Negotiate(OptNegPayload),
    /// Macros for a later command: its letter, and pairs of strings.
    Macros(&'a [u8]),
    /// A client connected.
    Connect {
        /// The host name that the MTA determined.
        name: &'a [u8],
        /// The client's address.
        addr: ClientAddr,
    },
    /// HELO or EHLO, with the client's name.
    Helo(&'a [u8]),
    /// MAIL with the reverse-path, and the parameters after it, each terminated by NUL.
    Mail(&'a [u8], &'a [u8]),
    /// RCPT with the forward-path.
    Rcpt(&'a [u8]),
    /// A header field: its name, and the text after the colon.
    Header(&'a [u8], &'a [u8]),
    /// The end of the header fields.
    EndOfHeaders,
    /// A part of a body chunk, but not the last one.
    BodyPart(&'a [u8]),
    /// A body chunk, or its last part.
    Body(&'a [u8]),
    /// The end of the message, with the last body chunk, which may be empty.
    EndOfMessage(&'a [u8]),
    /// The mail transaction ended without a message.
    Abort,
    /// The connection ends.
    Quit,
    /// The connection ends, and another one starts on the same stream.
    QuitForNext,
    /// DATA, from an MTA that does not support `SMFIP_NODATA`.
    Data,
    /// An SMTP command that the MTA does not know, from an MTA that does not support
    /// `SMFIP_NOUNKNOWN`.
    Unknown,
}

impl<'a> Command<'a> {
    /// Parses a frame.
    ///
    /// # Errors
    /// If the protocol has no such command, or its data is malformed.
    pub(super) fn parse(frame: Frame<'a>) -> Result<Self, ConnectionError> {
        let Frame { letter, data, rest } = frame;
        let kind =
            CommandKind::try_from(letter).map_err(|_| ConnectionError::UnknownCommand(letter))?;
        let malformed = |what| move || ConnectionError::Malformed(what);
        Ok(match kind {
            CommandKind::OptNeg => Self::Negotiate(offer(data)?),
            CommandKind::DefMacros => Self::Macros(data),
            CommandKind::ConnInfo => connect(data).ok_or_else(malformed("CONNECT"))?,
            CommandKind::Helo => Self::Helo(first_string(data).ok_or_else(malformed("HELO"))?),
            CommandKind::Mail => {
                let path = first_string(data).ok_or_else(malformed("MAIL"))?;
                Self::Mail(path, &data[path.len() + 1..])
            }
            CommandKind::Rcpt => Self::Rcpt(first_string(data).ok_or_else(malformed("RCPT"))?),
            CommandKind::Header => header(data).ok_or_else(malformed("header field"))?,
            CommandKind::Eoh => Self::EndOfHeaders,
            CommandKind::BodyChunk if rest > 0 => Self::BodyPart(data),
            CommandKind::BodyChunk => Self::Body(data),
            CommandKind::BodyEnd => Self::EndOfMessage(data),
            CommandKind::Abort => Self::Abort,
            CommandKind::Quit => Self::Quit,
            CommandKind::QuitNc => Self::QuitForNext,
            CommandKind::Data => Self::Data,
            CommandKind::Unknown => Self::Unknown,
        })
    }
}

/// Returns the first NUL-terminated string, and the data after it.
pub(super) fn string(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, data)?;
    Some((&data[..end], &data[end + 1..]))
}

/// Returns the value of the parameter SIZE of MAIL (RFC 1870).
pub(super) fn declared_size(parameters: &[u8]) -> Option<u64> {
    let mut parameters = parameters.split(|byte| *byte == 0);
    let size = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"SIZE=".len())?;
        name.eq_ignore_ascii_case(b"SIZE=").then_some(value)
    })?;
    std::str::from_utf8(size).ok()?.parse().ok()
}

/// Returns the first string; `None` if it is too long to store.
fn first_string(data: &[u8]) -> Option<&[u8]> {
    let (first, _) = string(data)?;
    (first.len() <= MAX_STRING).then_some(first)
}

fn offer(data: &[u8]) -> Result<OptNegPayload, ConnectionError> {
    match Parsed::parse_command(Message::new(CommandKind::OptNeg, data.to_vec())) {
        Ok(Parsed::OptNeg(offer)) => Ok(offer),
        Ok(_) | Err(_) => Err(ConnectionError::Malformed("negotiation")),
    }
}

/// Parses CONNECT: host name, NUL, family, port, address, NUL.
fn connect(data: &[u8]) -> Option<Command<'_>> {
    let name = first_string(data)?;
    let (family, rest) = data[name.len() + 1..].split_first()?;
    let addr = match family {
        b'4' => IpAddr::from(address(rest)?.parse::<Ipv4Addr>().ok()?).into(),
        b'6' => IpAddr::from(without_prefix(address(rest)?).parse::<Ipv6Addr>().ok()?).into(),
        b'L' | b'U' => ClientAddr::Local,
        _ => return None,
    };
    Some(Command::Connect { name, addr })
}

fn address(rest: &[u8]) -> Option<&str> {
    let (_port, address) = rest.split_first_chunk::<2>()?;
    std::str::from_utf8(string(address)?.0).ok()
}

/// Removes the prefix that Sendmail writes: `IPv6:2001:db8:0:0:0:0:0:10`.
fn without_prefix(address: &str) -> &str {
    match address.split_at_checked("IPv6:".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("IPv6:") => rest,
        _ => address,
    }
}

fn header(data: &[u8]) -> Option<Command<'_>> {
    let (name, rest) = string(data)?;
    let (value, _) = string(rest)?;
    (!name.is_empty()).then_some(Command::Header(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(letter: u8, data: &[u8]) -> Result<Command<'_>, ConnectionError> {
        let rest = 0;
        Command::parse(Frame { letter, data, rest })
    }

    #[test]
    fn a_client_address_is_parsed_as_either_mta_writes_it() {
        let table: [(&[u8], Option<&str>); 15] = [
            // data, want
            (b"x\x006\0\x192001:db8:1::10\0", Some("2001:db8:1::10")),
            (
                b"x\x006\0\x19IPv6:2001:db8:1:0:0:0:0:10\0",
                Some("2001:db8:1::10"),
            ),
            (b"x\x006\0\x19ipv6:::1\0", Some("::1")),
            (b"x\x006\0\x19::ffff:192.0.2.1\0", Some("192.0.2.1")),
            (b"\x004\0\x19192.0.2.1\0", Some("192.0.2.1")),
            (b"x\0L\0\0/run/socket\0", Some("local")),
            (b"x\0U", Some("local")),
            (b"", None),
            (b"x\0", None),
            (b"x\x007\0\x192001:db8::1\0", None),
            (b"x\x006\0\x192001:db8::1", None),
            (b"x\x006\0\x19IPv6:IPv6:2001:db8::1\0", None),
            (b"x\x006\0\x192001:db8::1%eth0\0", None),
            (b"x\x006\0\x19192.0.2.1\0", None),
            (b"x\x004\0\x192001:db8::1\0", None),
        ];
        for (data, want) in table {
            let addr = match parse(b'C', data) {
                Ok(Command::Connect { addr, .. }) => Some(addr.to_string()),
                _ => None,
            };
            assert_eq!(addr.as_deref(), want, "{}", data.escape_ascii());
        }
    }

    #[test]
    fn strings_end_with_nul_and_stored_ones_are_limited_in_length() {
        let long = [[b'a'; MAX_STRING + 1].as_slice(), b"\0"].concat();
        let table: [(u8, &[u8], Option<Command<'_>>); 9] = [
            (
                b'H',
                b"mail.example\0",
                Some(Command::Helo(b"mail.example")),
            ),
            (b'H', b"mail.example", None),
            (
                b'M',
                b"<a@b>\0SIZE=1\0",
                Some(Command::Mail(b"<a@b>", b"SIZE=1\0")),
            ),
            (b'R', b"", None),
            (b'R', &long, None),
            (b'L', b"A\0 b\n c\0", Some(Command::Header(b"A", b" b\n c"))),
            (b'L', b"\0 b\0", None),
            (b'L', b"A\0 b", None),
            (b'E', b"last", Some(Command::EndOfMessage(b"last"))),
        ];
        for (letter, data, want) in table {
            let parsed = parse(letter, data).ok();
            assert_eq!(parsed, want, "{}", char::from(letter));
        }
    }
}
