//! The events of a message that logs contain.

use super::{json, mails::Mail};
use crate::{
    enforcement::ObservedBy,
    logs::{
        Action, Decision, SAME_ATTEMPT,
        escape::{escape, readable},
        mta_line::Outcome,
    },
    policy::Rule,
};
use serde::Serialize;
use std::{collections::BTreeSet, net::IpAddr};

/// The maximum time in seconds between log lines of the same transaction: queue IDs are
/// reused after a while.
const SAME_TRANSACTION: i64 = 3600;

/// A logged event of a message. Values are printable; those of decisions are escaped as
/// in decision lines.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// sixgate decided.
    Decision(Decided),
    /// The MTA accepted the message.
    Received(Received),
    /// The MTA or another milter refused it.
    Refused(Refused),
    /// The MTA delivered it, or tried to.
    Delivery(Delivered),
}

/// A decision of sixgate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decided {
    /// The time in seconds since 1970.
    #[serde(serialize_with = "json::timestamp")]
    pub time: i64,
    /// `accept`, `defer` or `reject`.
    #[serde(serialize_with = "json::action")]
    pub action: Action,
    /// `false` for a refusal in observe mode.
    pub enforced: bool,
    /// The rule; `None` if this version does not know it.
    #[serde(serialize_with = "json::rule")]
    pub rule: Option<Rule>,
    /// The first line of the reply; empty for an acceptance.
    pub reply: Box<str>,
    /// The queue ID; `NOQUEUE` if the MTA had not assigned one yet.
    pub queue_id: Box<str>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The client's host name; empty if it has none.
    pub client_name: Box<str>,
    /// The recipients of a decision about recipients.
    pub recipients: Vec<Box<str>>,
    /// The SPF result; empty if SPF was not evaluated.
    pub spf: Box<str>,
    /// The domain whose SPF record was evaluated.
    pub spf_domain: Box<str>,
    /// The term of this record that decided.
    pub spf_term: Box<str>,
    /// The DKIM result; empty if it was not known yet.
    pub dkim: Box<str>,
    /// `domain:selector:result` for each signature, separated by commas.
    pub dkim_signatures: Box<str>,
    /// The entry of `exempt.forwarders` that let the message pass; empty if none did.
    pub forwarder: Box<str>,
    /// The setting that prevented enforcement of a refusal; only in lines of 0.2.0 and
    /// later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_by: Option<&'static str>,
    /// For `replies.give_up_after`: how long the sender had been deferred, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deferred_for: Option<u64>,
    #[serde(skip)]
    pub(super) is_match: bool,
}

/// A message that the MTA accepted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Received {
    #[serde(flatten)]
    pub(super) mail: Mail,
    /// The entry that exempts its client; null if there is none.
    pub exempt: Option<Exempt>,
    #[serde(skip)]
    pub(super) deliveries: Vec<Delivered>,
    #[serde(skip)]
    pub(super) is_match: bool,
}

/// The entry of `sixgate exempt` or `exempt.networks` that exempts a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exempt {
    /// The network.
    pub entry: Box<str>,
    /// Its comment.
    pub comment: Box<str>,
}

/// A refusal of the MTA, or of another milter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// The time in seconds since 1970.
    #[serde(serialize_with = "json::timestamp")]
    pub time: i64,
    /// Whether a milter refused it.
    pub by_milter: bool,
    /// The client's address.
    pub client: IpAddr,
    /// The client's host name; empty if it has none.
    pub client_name: Box<str>,
    /// The recipient.
    pub recipient: Box<str>,
    /// The reply.
    pub reply: Box<str>,
    #[serde(skip)]
    pub(super) is_ipv4: bool,
    #[serde(skip)]
    pub(super) is_match: bool,
}

/// An attempt of the MTA to deliver a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delivered {
    /// The time in seconds since 1970.
    #[serde(serialize_with = "json::timestamp")]
    pub time: i64,
    /// The outcome.
    pub outcome: Outcome,
    /// The recipients; empty for all.
    pub recipients: Vec<Box<str>>,
    /// The next hop; empty if there was none.
    pub relay: Box<str>,
    /// The reply of the next hop, or the text of the MTA.
    pub said: Box<str>,
    #[serde(skip)]
    pub(super) domains: Vec<Box<str>>,
}

impl Decided {
    pub(super) fn new(decision: &Decision<'_>, time: i64, is_match: bool) -> Self {
        let recipients = match decision.to.as_ref() {
            "" => Vec::new(),
            to => vec![short(to)],
        };
        Self {
            time,
            action: decision.action,
            enforced: decision.carried_out,
            rule: decision.rule,
            reply: short(&readable(&escape(&decision.reply))),
            queue_id: short(&decision.queue_id),
            client: decision.client,
            client_name: short(decision.client_label()),
            recipients,
            spf: short(&decision.spf),
            spf_domain: short(&decision.spf_domain),
            spf_term: short(&decision.spf_term),
            dkim: short(&decision.dkim),
            dkim_signatures: short(&decision.dkim_signatures),
            forwarder: match decision.rule {
                Some(Rule::KnownForwarder) => short(&decision.forwarder),
                Some(_) | None => Box::default(),
            },
            observed_by: decision.observed_by.map(ObservedBy::setting),
            deferred_for: decision.deferred_for,
            is_match,
        }
    }

    /// Returns whether this is about other recipients of the same attempt.
    pub(super) fn is_same_attempt(&self, next: &Self) -> bool {
        self.rule == next.rule
            && self.reply == next.reply
            && self.client == next.client
            && self.enforced == next.enforced
            && next.time - self.time < SAME_ATTEMPT
            && !next.recipients.is_empty()
            && next
                .recipients
                .iter()
                .all(|recipient| !self.recipients.contains(recipient))
    }
}

impl Exempt {
    /// Returns the entry in a decision about an exempt connection.
    pub(super) fn of(decision: &Decision<'_>) -> Option<Self> {
        match decision.exempt_entry.as_ref() {
            "" => None,
            entry => Some(Self {
                entry: short(entry),
                comment: short(&decision.exempt_comment),
            }),
        }
    }
}

impl Received {
    /// Finds the connection in which the message may have arrived: the client's last one
    /// that began before it.
    pub(super) fn find_exempt(&mut self, connections: &[(i64, Exempt)]) {
        let arrived = self.mail.arrived;
        let before = connections
            .iter()
            .filter(|(time, _)| (-SAME_ATTEMPT..=SAME_TRANSACTION).contains(&(arrived - time)));
        let last = before.max_by_key(|(time, _)| *time);
        self.exempt = last.map(|(_, exempt)| exempt.clone());
    }

    pub(super) fn new(mail: Mail, is_match: bool) -> Self {
        Self {
            mail,
            exempt: None,
            deliveries: Vec::new(),
            is_match,
        }
    }

    /// Adds a delivery attempt, and returns by how many their number has grown. At
    /// `limit`, it replaces the last attempt.
    pub(super) fn add(&mut self, delivered: Delivered, limit: usize) -> usize {
        let before = self.deliveries.len();
        self.deliveries.truncate(limit - 1);
        self.deliveries.push(delivered);
        self.deliveries.len() - before
    }

    /// Returns the number of delivery attempts.
    pub(super) fn deliveries(&self) -> usize {
        self.deliveries.len()
    }

    pub(super) fn sort(&mut self) {
        self.deliveries.sort_by_key(|delivered| delivered.time);
    }

    /// Returns the domains of its recipients, each once.
    pub(super) fn domains(&self) -> BTreeSet<&str> {
        let domains = self
            .deliveries
            .iter()
            .flat_map(|delivered| &delivered.domains);
        domains.map(AsRef::as_ref).collect()
    }

    /// Returns the decision about this message: one with the same queue ID or, because
    /// Postfix assigns none before the first recipient, a decision of observe mode about
    /// the same client shortly before.
    pub(super) fn decision(&self, decisions: &[Decided]) -> Option<usize> {
        let arrived = self.mail.arrived;
        let by_id = decisions.iter().rposition(|decided| {
            decided.queue_id == self.mail.queue_id
                && decided.time.abs_diff(arrived) <= SAME_TRANSACTION.unsigned_abs()
        });
        by_id.or_else(|| {
            decisions.iter().rposition(|decided| {
                !decided.enforced
                    && decided.client == Some(self.mail.client)
                    && (-SAME_ATTEMPT..=SAME_ATTEMPT).contains(&(arrived - decided.time))
            })
        })
    }
}

impl Delivered {
    /// Creates the event of a message that expired in Postfix.
    pub(super) fn expired(time: i64) -> Self {
        Self {
            time,
            outcome: Outcome::Bounced,
            recipients: Vec::new(),
            relay: Box::default(),
            said: "expired, returned to the sender".into(),
            domains: Vec::new(),
        }
    }

    /// Returns the queue ID that the next hop assigned: `250 2.0.0 Ok: queued as
    /// 4F9D195432C`, optionally in parentheses, or Sendmail's `(4F9D195432C Message
    /// accepted for delivery)`.
    pub(super) fn queued_as(&self) -> Option<&str> {
        let id = match self.said.rsplit_once("queued as ") {
            Some((_, id)) => id,
            None => self
                .said
                .split_once(" Message accepted")?
                .0
                .rsplit(['(', ' '])
                .next()?,
        };
        let end = id
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(id.len());
        Some(&id[..end])
    }
}

/// Truncates an overlong value: the log may not be a mail log.
fn short(value: &str) -> Box<str> {
    const MAX_VALUE: usize = 4096;
    match value.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => value[..end].into(),
        None => value.into(),
    }
}
