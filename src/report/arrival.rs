//! What Postfix and Sendmail say of a mail: where it came from, who sent it and
//! who gets it.
//!
//! Input is the text after the syslog tag. Only what tells of a mail's way in
//! over IPv4 matters here, and only to mark a sender as having come back;
//! addresses in these lines are what peers sent.

use std::net::Ipv4Addr;

/// A step of a mail's way in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival<'a> {
    /// Postfix: a client over IPv4 has begun a mail.
    Client { queue_id: &'a [u8] },
    /// Postfix: who sent it.
    Sender { queue_id: &'a [u8], from: &'a [u8] },
    /// Sendmail: who sent it, over IPv4.
    ClientAndSender { queue_id: &'a [u8], from: &'a [u8] },
    /// Both: who gets it, each address in angle brackets.
    Recipients { queue_id: &'a [u8], to: &'a [u8] },
    /// Postfix: refused over IPv4 by another rule than ours.
    Refused { from: &'a [u8], to: &'a [u8] },
}

impl<'a> Arrival<'a> {
    /// `None` if the line tells nothing of it.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let colon = memchr::memchr(b':', text)?;
        let (queue_id, rest) = text.split_at(colon);
        let rest = rest.strip_prefix(b": ")?;
        match rest.first()? {
            b'c' => client(queue_id, rest.strip_prefix(b"client=")?),
            b'f' => sender(queue_id, rest.strip_prefix(b"from=<")?),
            b't' if rest.starts_with(b"to=<") => Some(Self::Recipients { queue_id, to: rest }),
            b'r' if queue_id == b"NOQUEUE" => refused(rest.strip_prefix(b"reject: RCPT from ")?),
            _ => None,
        }
    }
}

/// `name[192.0.2.1]`. Mail of users that log in, and what a content filter hands
/// back, did not come from a sender.
fn client<'a>(queue_id: &'a [u8], peer: &[u8]) -> Option<Arrival<'a>> {
    bracketed_ipv4(peer)?;
    let is_login = memchr::memmem::find(peer, b", sasl_username=").is_some();
    (!is_login).then_some(Arrival::Client { queue_id })
}

/// Postfix: `a@b>, size=1, nrcpt=1 (queue active)`; Sendmail: `a@b>, size=1,
/// class=0, nrcpts=1, msgid=<...>, proto=ESMTP, daemon=MTA, relay=name
/// [192.0.2.1]`.
fn sender<'a>(queue_id: &'a [u8], rest: &'a [u8]) -> Option<Arrival<'a>> {
    let end = memchr::memmem::find(rest, b">, ")?;
    let (from, rest) = rest.split_at(end);
    match memchr::memmem::rfind(rest, b", relay=") {
        Some(relay) => {
            bracketed_ipv4(&rest[relay..])?;
            Some(Arrival::ClientAndSender { queue_id, from })
        }
        None => Some(Arrival::Sender { queue_id, from }),
    }
}

/// `name[192.0.2.1]: 450 4.7.1 text; from=<a@b> to=<c@d> proto=ESMTP helo=<e>`
fn refused(rest: &[u8]) -> Option<Arrival<'_>> {
    bracketed_ipv4(rest)?;
    let envelope = &rest[memchr::memmem::rfind(rest, b"; from=<")? + 8..];
    let end = memchr::memmem::find(envelope, b"> to=<")?;
    let (from, to) = envelope.split_at(end);
    Some(Arrival::Refused { from, to: &to[2..] })
}

/// The first address in square brackets, if it is IPv4 and of another host.
fn bracketed_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let rest = &text[memchr::memchr(b'[', text)? + 1..];
    let address = &rest[..memchr::memchr(b']', rest)?];
    let address: Ipv4Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
    (!address.is_loopback()).then_some(address)
}

/// The addresses of `to=<a@b>,<c@d>, orig_to=<e@f>, relay=...`: those that the
/// MTA delivers to, and the one that was asked for.
pub(super) fn recipients(to: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = to;
    std::iter::from_fn(move || {
        let begin = [&b"to=<"[..], b",<", b", orig_to=<"]
            .into_iter()
            .find_map(|begin| rest.strip_prefix(begin))?;
        let (address, after) = begin.split_at(memchr::memchr(b'>', begin)?);
        rest = &after[1..];
        Some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8] = b"4F9D195432C";

    #[test]
    fn lines_of_postfix_and_sendmail_are_understood() {
        let sender = |from: &'static str| Arrival::Sender {
            queue_id: ID,
            from: from.as_bytes(),
        };
        let sendmail = |from: &'static str| Arrival::ClientAndSender {
            queue_id: ID,
            from: from.as_bytes(),
        };
        let client = Arrival::Client { queue_id: ID };
        let table = [
            (
                "4F9D195432C: client=mail.example.net[198.51.100.10]",
                Some(client),
            ),
            (
                "4F9D195432C: client=mail.example.net[198.51.100.10]:2525",
                Some(Arrival::Client { queue_id: ID }),
            ),
            ("4F9D195432C: client=mail.example.net[2001:db8::1]", None),
            ("4F9D195432C: client=localhost[127.0.0.1]", None),
            (
                "4F9D195432C: client=dsl[198.51.100.10], sasl_method=PLAIN, sasl_username=u",
                None,
            ),
            (
                "4F9D195432C: from=<a@b>, size=612, nrcpt=1 (queue active)",
                Some(sender("a@b")),
            ),
            (
                "4F9D195432C: from=<>, size=612, nrcpt=1 (queue active)",
                Some(sender("")),
            ),
            (
                "4F9D195432C: from=<a@b>, size=300, class=0, nrcpts=1, msgid=<x@y>, proto=ESMTP, \
                 daemon=MTA, relay=mail.example.net [198.51.100.10]",
                Some(sendmail("a@b")),
            ),
            (
                "4F9D195432C: from=<a@b>, size=300, class=0, nrcpts=1, msgid=<x@y>, proto=ESMTP, \
                 daemon=MTA, relay=dsl.example.net [198.51.100.10] (may be forged)",
                Some(sendmail("a@b")),
            ),
            (
                "4F9D195432C: from=<a@b>, size=300, class=0, nrcpts=1, msgid=<x@y>, proto=ESMTP, \
                 daemon=MTA, relay=mail.example.net [IPv6:2001:db8:1:0:0:0:0:10]",
                None,
            ),
            (
                "NOQUEUE: reject: RCPT from mail.example.net[198.51.100.10]: 450 4.2.0 <c@d>: \
                 Recipient address rejected: Greylisted; from=<a@b> to=<c@d> proto=ESMTP helo=<e>",
                Some(Arrival::Refused {
                    from: b"a@b",
                    to: b"to=<c@d> proto=ESMTP helo=<e>",
                }),
            ),
            (
                "NOQUEUE: milter-reject: RCPT from unknown[2001:db8::1]: 450 4.7.25 x; from=<a@b> \
                 to=<c@d> proto=ESMTP helo=<e>",
                None,
            ),
            ("4F9D195432C: Milter: to=<c@d>, reject=450 4.7.25 x", None),
            ("4F9D195432C: removed", None),
            (
                "disconnect from mail.example.net[198.51.100.10] ehlo=1 mail=1",
                None,
            ),
            ("", None),
        ];
        for (line, want) in table {
            assert_eq!(Arrival::parse(line.as_bytes()), want, "{line}");
        }
    }

    #[test]
    fn every_recipient_of_a_line_is_found() {
        let table = [
            (
                "to=<c@d>, relay=local, delay=0.1, dsn=2.0.0, status=sent",
                vec!["c@d"],
            ),
            (
                "to=<c@d>, orig_to=<e@f>, relay=local, delay=0.1",
                vec!["c@d", "e@f"],
            ),
            (
                "to=<c@d>,<e@f>, delay=00:00:01, xdelay=00:00:01, mailer=local",
                vec!["c@d", "e@f"],
            ),
            ("to=<c@d", vec![]),
        ];
        for (line, want) in table {
            let found: Vec<_> = recipients(line.as_bytes()).collect();
            let want: Vec<_> = want.iter().map(|w| w.as_bytes()).collect();
            assert_eq!(found, want, "{line}");
        }
    }
}
