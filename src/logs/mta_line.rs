//! Parses the log lines of Postfix and Sendmail about a message: where it came from, its
//! sender, its recipients, and its delivery.
//!
//! The input is the text after the syslog tag. Peers choose the addresses and replies in
//! these lines.

use serde::Serialize;
use std::net::{IpAddr, Ipv6Addr};

/// A line about one message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MtaLine<'a> {
    /// The queue ID; `NOQUEUE` if Postfix has not assigned one yet.
    pub(crate) queue_id: &'a [u8],
    pub(crate) event: MtaEvent<'a>,
}

/// An event in the life of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MtaEvent<'a> {
    /// Postfix: the client that began the message.
    Client(Peer<'a>),
    /// Postfix: its Message-ID, without angle brackets.
    MessageId(&'a [u8]),
    /// Postfix: its sender.
    Sender { from: &'a [u8] },
    /// Postfix: the message expired and was returned to this sender.
    Expired { from: &'a [u8] },
    /// Sendmail: its client, sender and Message-ID.
    Received {
        peer: Peer<'a>,
        from: &'a [u8],
        message_id: &'a [u8],
    },
    /// Both: a delivery attempt.
    Delivery(Delivery<'a>),
    /// Postfix: refused by a rule of its own, or by a milter.
    Refused {
        by_milter: bool,
        peer: Peer<'a>,
        reply: &'a [u8],
        from: &'a [u8],
        /// The text from `to=<` on; empty if the command had no recipient.
        to: &'a [u8],
    },
}

/// An SMTP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer<'a> {
    /// Its host name, as determined by the MTA.
    pub(crate) name: &'a [u8],
    pub(crate) address: IpAddr,
    /// Whether it authenticated by SASL.
    pub(crate) is_login: bool,
}

/// The recipients of a delivery attempt, and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery<'a> {
    /// The text from `to=<` on.
    pub(crate) text: &'a [u8],
}

/// The outcome of a delivery attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Delivered, or accepted by the next mail server.
    Sent,
    /// Failed temporarily: the MTA retries.
    Deferred,
    /// Failed permanently: the sender gets a bounce.
    Bounced,
}

impl<'a> MtaLine<'a> {
    /// Parses a line; `None` if it is not a relevant line about a message.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let colon = memchr::memchr(b':', text)?;
        let (queue_id, rest) = text.split_at(colon);
        let rest = rest.strip_prefix(b": ")?;
        let event = match rest.first()? {
            b'c' => client(rest.strip_prefix(b"client=")?)?,
            b'f' => sender(rest.strip_prefix(b"from=<")?)?,
            b'm' if rest.starts_with(b"message-id=") => message_id(&rest[11..]),
            b'm' => refused(rest.strip_prefix(b"milter-reject: ")?, true)?,
            b'r' => refused(rest.strip_prefix(b"reject: ")?, false)?,
            b't' if rest.starts_with(b"to=<") => MtaEvent::Delivery(Delivery { text: rest }),
            _ => return None,
        };
        Some(Self { queue_id, event })
    }
}

/// Parses `name[192.0.2.1], sasl_method=PLAIN, sasl_username=u`.
fn client(peer: &[u8]) -> Option<MtaEvent<'_>> {
    Some(MtaEvent::Client(Peer {
        is_login: memchr::memmem::find(peer, b", sasl_username=").is_some(),
        ..Peer::parse(peer)?
    }))
}

/// Parses a Message-ID, usually in angle brackets: `<a@b>`.
fn message_id(text: &[u8]) -> MtaEvent<'_> {
    MtaEvent::MessageId(without_brackets(text))
}

/// Parses a sender. Postfix: `a@b>, size=1, nrcpt=1 (queue active)` or `a@b>,
/// status=expired, returned to sender`; Sendmail: `a@b>, size=1, class=0, nrcpts=1,
/// msgid=<...>, proto=ESMTP, daemon=MTA, relay=name [192.0.2.1]`.
fn sender(rest: &[u8]) -> Option<MtaEvent<'_>> {
    let end = memchr::memmem::find(rest, b">, ")?;
    let (from, rest) = rest.split_at(end);
    let rest = &rest[3..];
    if rest.starts_with(b"status=") {
        return Some(MtaEvent::Expired { from });
    }
    let Some(relay) = memchr::memmem::rfind(rest, b", relay=") else {
        return Some(MtaEvent::Sender { from });
    };
    let message_id = after(&rest[..relay], b"msgid=")
        .and_then(|id| id.split(|&byte| byte == b',').next())
        .unwrap_or_default();
    Some(MtaEvent::Received {
        peer: Peer::parse(&rest[relay + 8..])?,
        from,
        message_id: without_brackets(message_id),
    })
}

/// Parses `RCPT from name[192.0.2.1]: 450 4.7.1 text; from=<a@b> to=<c@d> proto=ESMTP
/// helo=<e>`.
fn refused(rest: &[u8], by_milter: bool) -> Option<MtaEvent<'_>> {
    let peer = after(rest, b" from ")?;
    let reply = after(peer, b"]: ")?;
    let fields = memchr::memmem::rfind(reply, b"; from=<")?;
    let (reply, envelope) = (&reply[..fields], &reply[fields + 8..]);
    let end = memchr::memchr(b'>', envelope)?;
    Some(MtaEvent::Refused {
        by_milter,
        peer: Peer::parse(peer)?,
        reply,
        from: &envelope[..end],
        to: envelope[end..].strip_prefix(b"> ").unwrap_or_default(),
    })
}

fn after<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    Some(&text[memchr::memmem::find(text, mark)? + mark.len()..])
}

fn without_brackets(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"<").unwrap_or(text);
    text.strip_suffix(b">").unwrap_or(text)
}

impl<'a> Peer<'a> {
    /// Parses `name[192.0.2.1]` (Postfix) or `name [IPv6:2001:db8:0:0:0:0:0:1]`
    /// (Sendmail).
    fn parse(text: &'a [u8]) -> Option<Self> {
        let open = memchr::memchr(b'[', text)?;
        let (name, rest) = (&text[..open], &text[open + 1..]);
        let address = std::str::from_utf8(&rest[..memchr::memchr(b']', rest)?]).ok()?;
        let address = match address.strip_prefix("IPv6:") {
            Some(address) => IpAddr::V6(address.parse::<Ipv6Addr>().ok()?),
            None => address.parse().ok()?,
        };
        Some(Self {
            name: name.trim_ascii_end(),
            address: address.to_canonical(),
            is_login: false,
        })
    }

    /// Returns whether this is a sender's mail server over IPv4, as opposed to an
    /// authenticated user or a content filter on this host.
    pub(crate) fn is_ipv4_sender(&self) -> bool {
        self.address.is_ipv4() && !self.address.is_loopback() && !self.is_login
    }
}

impl<'a> Delivery<'a> {
    /// Returns the addresses of `to=<a@b>,<c@d>, orig_to=<e@f>, relay=...`: the ones the
    /// MTA delivers to, and the one given at RCPT.
    pub(crate) fn recipients(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        recipients(self.text)
    }

    /// Returns the outcome with the text of the next hop or the MTA; `None` for a line
    /// without an outcome.
    pub(crate) fn outcome(&self) -> Option<(Outcome, &'a [u8])> {
        let fields = self.fields();
        if let Some(status) = after(fields, b", status=") {
            return postfix_outcome(status);
        }
        let text = after(fields, b", stat=")?;
        let outcome = match after(fields, b", dsn=")?.first()? {
            b'2' => Outcome::Sent,
            b'4' => Outcome::Deferred,
            b'5' => Outcome::Bounced,
            _ => return None,
        };
        Some((outcome, text))
    }

    /// Returns the next hop; empty if the line has none.
    pub(crate) fn relay(&self) -> &'a [u8] {
        let relay = after(self.fields(), b", relay=").unwrap_or_default();
        relay.split(|&byte| byte == b',').next().unwrap_or(relay)
    }

    /// Returns the text after the recipients' addresses.
    fn fields(&self) -> &'a [u8] {
        let mut addresses = Addresses { rest: self.text };
        while addresses.next().is_some() {}
        addresses.rest
    }
}

/// Parses `sent (250 2.0.0 Ok: queued as 4F9D195432C)`.
fn postfix_outcome(status: &[u8]) -> Option<(Outcome, &[u8])> {
    let (word, text) = match memchr::memchr(b' ', status) {
        Some(space) => (&status[..space], &status[space + 1..]),
        None => (status, &status[status.len()..]),
    };
    let outcome = match word {
        b"sent" => Outcome::Sent,
        b"deferred" => Outcome::Deferred,
        b"bounced" | b"expired" => Outcome::Bounced,
        _ => return None,
    };
    let text = text.strip_prefix(b"(").unwrap_or(text);
    Some((outcome, text.strip_suffix(b")").unwrap_or(text)))
}

/// Returns the addresses of `to=<a@b>,<c@d>, orig_to=<e@f>, relay=...`.
pub(crate) fn recipients(to: &[u8]) -> impl Iterator<Item = &[u8]> {
    Addresses { rest: to }
}

struct Addresses<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Addresses<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let begin = [&b"to=<"[..], b",<", b", orig_to=<"]
            .into_iter()
            .find_map(|begin| self.rest.strip_prefix(begin))?;
        let (address, after) = begin.split_at(memchr::memchr(b'>', begin)?);
        self.rest = &after[1..];
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8] = b"4F9D195432C";

    fn peer(name: &'static str, address: &str) -> Peer<'static> {
        Peer {
            name: name.as_bytes(),
            address: address.parse().unwrap(),
            is_login: false,
        }
    }

    #[test]
    fn lines_of_postfix_and_sendmail_are_understood() {
        let sender = |from: &'static str| MtaEvent::Sender {
            from: from.as_bytes(),
        };
        let received = |peer| MtaEvent::Received {
            peer,
            from: b"a@b",
            message_id: b"x@y",
        };
        let mail = peer("mail.example.net", "198.51.100.10");
        let table = [
            (
                "client=mail.example.net[198.51.100.10]",
                Some(MtaEvent::Client(mail)),
            ),
            (
                "client=mail.example.net[198.51.100.10]:2525",
                Some(MtaEvent::Client(mail)),
            ),
            (
                "client=mail.example.net[2001:db8::1]",
                Some(MtaEvent::Client(peer("mail.example.net", "2001:db8::1"))),
            ),
            (
                "client=dsl[198.51.100.10], sasl_method=PLAIN, sasl_username=u",
                Some(MtaEvent::Client(Peer {
                    is_login: true,
                    ..peer("dsl", "198.51.100.10")
                })),
            ),
            ("client=unknown[unknown]", None),
            ("message-id=<x@y>", Some(MtaEvent::MessageId(b"x@y"))),
            (
                "from=<a@b>, size=612, nrcpt=1 (queue active)",
                Some(sender("a@b")),
            ),
            (
                "from=<>, size=612, nrcpt=1 (queue active)",
                Some(sender("")),
            ),
            (
                "from=<a@b>, status=expired, returned to sender",
                Some(MtaEvent::Expired { from: b"a@b" }),
            ),
            (
                "from=<a@b>, size=300, class=0, nrcpts=1, msgid=<x@y>, proto=ESMTP, daemon=MTA, \
                 relay=mail.example.net [198.51.100.10]",
                Some(received(mail)),
            ),
            (
                "from=<a@b>, size=300, class=0, nrcpts=1, msgid=<x@y>, proto=ESMTP, daemon=MTA, \
                 relay=mail.example.net [198.51.100.10] (may be forged)",
                Some(received(mail)),
            ),
            (
                "from=<a@b>, size=300, class=0, nrcpts=1, msgid=<x@y>, proto=ESMTP, daemon=MTA, \
                 relay=mail.example.net [IPv6:2001:db8:1:0:0:0:0:10]",
                Some(received(peer("mail.example.net", "2001:db8:1::10"))),
            ),
            (
                "reject: RCPT from mail.example.net[198.51.100.10]: 450 4.2.0 <c@d>: Recipient \
                 address rejected: Greylisted; from=<a@b> to=<c@d> proto=ESMTP helo=<e>",
                Some(MtaEvent::Refused {
                    by_milter: false,
                    peer: mail,
                    reply: b"450 4.2.0 <c@d>: Recipient address rejected: Greylisted",
                    from: b"a@b",
                    to: b"to=<c@d> proto=ESMTP helo=<e>",
                }),
            ),
            (
                "milter-reject: END-OF-MESSAGE from mail.example.net[198.51.100.10]: 5.7.1 spam; \
                 from=<a@b> to=<c@d> proto=ESMTP helo=<e>",
                Some(MtaEvent::Refused {
                    by_milter: true,
                    peer: mail,
                    reply: b"5.7.1 spam",
                    from: b"a@b",
                    to: b"to=<c@d> proto=ESMTP helo=<e>",
                }),
            ),
            ("Milter: to=<c@d>, reject=450 4.7.25 x", None),
            ("removed", None),
            ("", None),
        ];
        for (text, want) in table {
            let line = format!("4F9D195432C: {text}");
            let want = want.map(|event| MtaLine {
                queue_id: ID,
                event,
            });
            assert_eq!(MtaLine::parse(line.as_bytes()), want, "{line}");
        }
        let line = b"disconnect from mail.example.net[198.51.100.10] ehlo=1 mail=1";
        assert_eq!(MtaLine::parse(line), None);
    }

    #[test]
    fn only_mail_servers_that_connect_over_ipv4_are_ipv4_senders() {
        let login = Peer {
            is_login: true,
            ..peer("a", "198.51.100.10")
        };
        let table = [
            (peer("a", "198.51.100.10"), true),
            (peer("a", "2001:db8::1"), false),
            (peer("localhost", "127.0.0.1"), false),
            (login, false),
        ];
        for (peer, want) in table {
            assert_eq!(peer.is_ipv4_sender(), want, "{peer:?}");
        }
    }

    #[test]
    fn every_recipient_and_outcome_of_a_delivery_is_found() {
        let table: [(&str, &[&str], _, &str); 8] = [
            (
                "to=<c@d>, relay=local, delay=0.1, dsn=2.0.0, status=sent (delivered to mailbox)",
                &["c@d"],
                Some((Outcome::Sent, "delivered to mailbox")),
                "local",
            ),
            (
                "to=<c@d>, orig_to=<e@f>, relay=mx[192.0.2.1]:25, dsn=4.4.1, status=deferred (x)",
                &["c@d", "e@f"],
                Some((Outcome::Deferred, "x")),
                "mx[192.0.2.1]:25",
            ),
            (
                "to=<c@d>, relay=none, dsn=5.1.1, status=bounced (a, status=sent (b))",
                &["c@d"],
                Some((Outcome::Bounced, "a, status=sent (b)")),
                "none",
            ),
            (
                "to=<c@d>,<e@f>, delay=00:00:01, mailer=local, relay=local, dsn=2.0.0, stat=Sent",
                &["c@d", "e@f"],
                Some((Outcome::Sent, "Sent")),
                "local",
            ),
            (
                "to=<c@d>, delay=00:00:01, dsn=4.0.0, stat=Deferred: Connection refused",
                &["c@d"],
                Some((Outcome::Deferred, "Deferred: Connection refused")),
                "",
            ),
            (
                "to=<c@d>, delay=00:00:01, mailer=local, pri=30300, stat=queued",
                &["c@d"],
                None,
                "",
            ),
            ("to=<c@d>", &["c@d"], None, ""),
            ("to=<c@d", &[], None, ""),
        ];
        for (text, recipients, outcome, relay) in table {
            let delivery = Delivery {
                text: text.as_bytes(),
            };
            let found: Vec<_> = delivery.recipients().collect();
            let want: Vec<_> = recipients.iter().map(|w| w.as_bytes()).collect();
            assert_eq!(found, want, "{text}");
            let want = outcome.map(|(outcome, said): (_, &str)| (outcome, said.as_bytes()));
            assert_eq!(delivery.outcome(), want, "{text}");
            assert_eq!(delivery.relay(), relay.as_bytes(), "{text}");
        }
    }
}
