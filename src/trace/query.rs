//! Queries for messages.

use super::mails::Mail;
use crate::{
    address::Domain,
    logs::{
        Decision, Window,
        decision::{comparable_address, comparable_domain, domain_of, raw_domain},
        escape::escape,
    },
};
use ipnet::IpNet;
use std::{collections::HashMap, net::IpAddr, str::FromStr};

/// The maximum time in seconds between the log lines of a decision and its Message-ID:
/// queue IDs are reused after a while.
const SAME_TRANSACTION: i64 = 3600;

/// The maximum number of queue IDs followed per Message-ID.
const MAX_QUEUE_IDS: usize = 1000;

/// An address, a whole domain, or the null reverse-path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mailbox {
    /// `<>`
    Null,
    /// `user@example.org`; the local part is case-insensitive.
    Address(String),
    /// `example.org` or `@example.org`: every address of this domain, but not of
    /// its subdomains.
    Domain(String),
}

impl FromStr for Mailbox {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = match text.strip_prefix('<').and_then(|t| t.strip_suffix('>')) {
            Some("") => return Ok(Self::Null),
            Some(bare) => bare,
            None => text,
        };
        let (local, domain) = bare.rsplit_once('@').unwrap_or(("", bare));
        let domain = Domain::parse(domain).map_err(|error| {
            format!("{error}; use user@example.org, example.org for a whole domain, or <>")
        })?;
        if local.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("an address has no spaces; use user@example.org".to_owned());
        }
        Ok(match local {
            "" => Self::Domain(domain.as_str().to_owned()),
            local => Self::Address(comparable_address(&escape(&format!("{local}@{domain}")))),
        })
    }
}

impl Mailbox {
    /// Returns whether it matches an address in comparable form.
    fn has_address(&self, address: &str) -> bool {
        match self {
            Self::Null => address.is_empty(),
            Self::Address(this) => this == address,
            Self::Domain(this) => !address.is_empty() && this == domain_of(address),
        }
    }

    /// Returns whether it may match an address of this domain.
    fn may_be_of_domain(&self, domain: &str) -> bool {
        match self {
            Self::Null => domain.is_empty(),
            Self::Address(this) => domain_of(this) == domain,
            Self::Domain(this) => this == domain,
        }
    }
}

/// A pattern for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientPattern {
    /// An address or a network.
    Network(IpNet),
    /// A host name as in the PTR record; with a leading dot, the names below it.
    Name(String),
}

impl FromStr for ClientPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let literal = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Ok(address) = literal.unwrap_or(text).parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        let (dot, name) = match text.strip_prefix('.') {
            Some(name) => (".", name),
            None => ("", text),
        };
        // A name that is all digits and colons is a mistyped address.
        let looks_like_address =
            text.contains([':', '/']) || name.ends_with(|c: char| c.is_ascii_digit());
        match Domain::parse(name) {
            Ok(name) if !looks_like_address => Ok(Self::Name(format!("{dot}{name}"))),
            _ => Err(
                "use an address (2001:db8::1), a network (2001:db8:1::/64), a host name \
                 (mail.example.org) or .example.org for all names below it"
                    .to_owned(),
            ),
        }
    }
}

impl ClientPattern {
    fn matches(&self, address: Option<IpAddr>, name: &str) -> bool {
        match self {
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Name(wanted) => {
                let name = comparable_domain(name);
                match wanted.starts_with('.') {
                    true => name.ends_with(wanted.as_str()),
                    false => name == wanted.as_str(),
                }
            }
        }
    }
}

/// A query. A message matches if one of its attempts meets all conditions.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The envelope sender.
    pub from: Option<Mailbox>,
    /// The envelope recipient. A decision about a whole message only contains the domains
    /// of its recipients.
    pub to: Option<Mailbox>,
    /// The SMTP client.
    pub client: Option<ClientPattern>,
    /// The MTA's queue ID.
    pub queue_id: Option<String>,
    /// The Message-ID, without angle brackets.
    pub message_id: Option<String>,
    /// The time of the attempt.
    pub window: Window,
    /// The queue IDs found by [`Query::find_message_id`].
    pub queue_ids: QueueIds,
}

/// The queue IDs under which the MTA logged a Message-ID, with the times.
#[derive(Clone, Debug, Default)]
pub struct QueueIds(HashMap<String, Vec<i64>>);

impl Query {
    /// Returns whether a decision matches everything but the recipient.
    pub(super) fn matches_decision(&self, decision: &Decision<'_>, time: i64) -> bool {
        let queue_id = decision.queue_id.as_ref();
        self.window.contains(time)
            && self.queue_id.as_deref().is_none_or(|id| id == queue_id)
            && (self.message_id.is_none() || self.queue_ids.has(queue_id, time))
            && (self.client.as_ref())
                .is_none_or(|client| client.matches(decision.client, decision.client_label()))
            && (self.from.as_ref())
                .is_none_or(|from| from.has_address(&comparable_address(&decision.from)))
    }

    /// Returns whether a recipient of a decision matches. `address` is empty if the
    /// decision contains the domain only.
    pub(super) fn matches_recipient(&self, address: &str, domain: &str) -> bool {
        match &self.to {
            None => true,
            Some(to) if address.is_empty() => to.may_be_of_domain(domain),
            Some(to) => to.has_address(&comparable_address(address)),
        }
    }

    /// Returns whether a recipient address that the MTA logged matches.
    pub(super) fn matches_raw_recipient(&self, address: &[u8]) -> bool {
        let escaped = escape(&String::from_utf8_lossy(address)).into_owned();
        self.matches_recipient(&escaped, &raw_domain(address))
    }

    /// Returns whether a message that the MTA accepted matches everything but the
    /// recipient.
    pub(super) fn matches_mail(&self, mail: &Mail) -> bool {
        self.window.contains(mail.arrived)
            && (self.queue_id.as_deref()).is_none_or(|id| id == mail.queue_id.as_ref())
            && (self.message_id.as_deref()).is_none_or(|id| escape(id) == mail.message_id.as_ref())
            && (self.client.as_ref())
                .is_none_or(|client| client.matches(Some(mail.client), &mail.client_name))
            && self.matches_sender(mail.from.as_deref())
    }

    /// Returns whether an attempt that the MTA refused matches everything but the
    /// recipient. It has neither queue ID nor Message-ID.
    pub(super) fn matches_refusal(
        &self,
        sender: &str,
        client: IpAddr,
        client_name: &str,
        time: i64,
    ) -> bool {
        self.window.contains(time)
            && self.queue_id.is_none()
            && self.message_id.is_none()
            && (self.client.as_ref())
                .is_none_or(|pattern| pattern.matches(Some(client), client_name))
            && self.matches_sender(Some(sender))
    }

    fn matches_sender(&self, sender: Option<&str>) -> bool {
        match (&self.from, sender) {
            (None, _) => true,
            (Some(from), Some(sender)) => from.has_address(sender),
            (Some(_), None) => false,
        }
    }
}

impl QueueIds {
    pub(super) fn add(&mut self, queue_id: &str, time: i64) {
        if self.0.len() < MAX_QUEUE_IDS || self.0.contains_key(queue_id) {
            let times = self.0.entry(queue_id.to_owned()).or_default();
            if times.len() < MAX_QUEUE_IDS {
                times.push(time);
            }
        }
    }

    /// Returns whether the message was logged with this queue ID at about this time.
    fn has(&self, queue_id: &str, time: i64) -> bool {
        let times = self.0.get(queue_id).into_iter().flatten();
        times
            .copied()
            .any(|at| at.abs_diff(time) <= SAME_TRANSACTION.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_an_address_a_domain_or_the_null_reverse_path() {
        let address = |text: &str| Some(Mailbox::Address(text.to_owned()));
        let domain = |text: &str| Some(Mailbox::Domain(text.to_owned()));
        let table = [
            ("A@Example.ORG", address("a@example.org")),
            ("<a@example.org>", address("a@example.org")),
            ("a@b\u{fc}cher.example", address("a@xn--bcher-kva.example")),
            ("\"a@b\"@example.org", address("\"a@b\"@example.org")),
            ("example.org", domain("example.org")),
            ("@Example.org.", domain("example.org")),
            ("<>", Some(Mailbox::Null)),
            ("", None),
            ("a b@example.org", None),
            ("a@", None),
            ("a@exa mple.org", None),
            ("a@x..org", None),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<Mailbox>().ok(), want, "{text}");
        }
    }

    #[test]
    fn a_client_is_an_address_a_network_or_a_name() {
        let network = |text: &str| Some(ClientPattern::Network(text.parse().unwrap()));
        let name = |text: &str| Some(ClientPattern::Name(text.to_owned()));
        let table = [
            ("2001:db8::1", network("2001:db8::1/128")),
            ("[2001:db8::1]", network("2001:db8::1/128")),
            ("2001:db8::1/64", network("2001:db8::/64")),
            ("::ffff:192.0.2.1", network("192.0.2.1/32")),
            ("192.0.2.0/24", network("192.0.2.0/24")),
            ("Mail.Example.org", name("mail.example.org")),
            (".example.org", name(".example.org")),
            ("2001:db8::g", None),
            ("2001:db8::/129", None),
            ("192.0.2.256", None),
            ("", None),
            (".", None),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<ClientPattern>().ok(), want, "{text}");
        }
    }

    #[test]
    fn names_below_a_domain_match_where_they_should() {
        let below: ClientPattern = ".example.org".parse().unwrap();
        assert!(below.matches(None, "mail.Example.org."));
        assert!(!below.matches(None, "example.org"));
        assert!(!below.matches(None, "mail.badexample.org"));
        assert!(!below.matches(None, ""));
    }
}
