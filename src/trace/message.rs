//! Groups the attempts of one sender to one domain into messages.

use super::{
    Key,
    advice::advice,
    events::{Decided, Delivered, Event, Received, Refused},
};
use crate::logs::{Action, Fate, Retries, SAME_ATTEMPT, mta_line::Outcome};
use serde::Serialize;
use std::{cmp::Reverse, collections::HashMap};

/// The maximum time in seconds between the log lines of a milter and its MTA about the
/// same refusal.
const SAME_REFUSAL: i64 = 5;

/// The result of a trace.
#[derive(Debug, Serialize)]
pub struct Trace {
    /// The messages found, newest first.
    pub messages: Vec<Message>,
    /// Whether older matching messages were omitted.
    pub more: bool,
}

/// A message: all attempts of a sender to deliver it to a domain, or to several
/// domains together.
#[derive(Debug, Serialize)]
pub struct Message {
    /// The envelope sender, empty for the null reverse-path.
    pub sender: String,
    /// The recipients' domains.
    pub recipient_domains: Vec<String>,
    /// The outcome, as far as the logs show it.
    pub result: Ending,
    /// The outcome of the last delivery attempt.
    pub delivery: Option<Outcome>,
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// The advice on what to do.
    pub advice: String,
    /// The newest attempt that matches the query.
    #[serde(skip)]
    matched: Option<i64>,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// sixgate accepted the first attempt.
    Accepted,
    /// Observe mode accepted it instead of refusing it.
    Observed,
    /// sixgate rejected it permanently.
    Rejected,
    /// The MTA or another milter refused it.
    RefusedByMta,
    /// The MTA accepted it without a decision of sixgate: over IPv4, from an exempt
    /// client, or because sixgate's log is missing.
    NotChecked,
    /// sixgate deferred it first.
    #[serde(untagged)]
    Deferred(Fate),
}

/// All log lines about one sender and domain.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    pub(super) decisions: Vec<Decided>,
    pub(super) received: Vec<Received>,
    pub(super) refusals: Vec<Refused>,
}

impl Trace {
    pub(super) fn new(
        attempts: HashMap<Key, Attempts>,
        end: i64,
        limit: usize,
        has_more: bool,
    ) -> Self {
        let mut messages = Vec::new();
        for (key, attempts) in attempts {
            messages.append(&mut Messages::of(&key, attempts, end));
        }
        messages.retain(|message| message.matched.is_some());
        let key = |message: &Message| {
            let (sender, domains) = (message.sender.clone(), message.recipient_domains.clone());
            (Reverse(message.matched), sender, domains)
        };
        messages.sort_by_cached_key(key);
        messages.dedup_by(|next, message| message.is_also(next));
        let more = has_more || messages.len() > limit;
        messages.truncate(limit);
        for message in &mut messages {
            message.advice = advice(message);
        }
        Self { messages, more }
    }
}

/// Builds the messages of one sender to one domain from their attempts in order of time.
struct Messages<'k> {
    key: &'k Key,
    ended: Vec<Message>,
    /// The deferred message that may be retried.
    open: Option<(Retries, Message)>,
}

enum Attempt {
    Decided(Box<Decided>, Option<Received>),
    Received(Received),
    Refused(Refused),
}

impl Attempt {
    fn time(&self) -> i64 {
        match self {
            Self::Decided(decided, _) => decided.time,
            Self::Received(received) => received.mail.arrived,
            Self::Refused(refused) => refused.time,
        }
    }
}

impl<'k> Messages<'k> {
    fn of(key: &'k Key, attempts: Attempts, end: i64) -> Vec<Message> {
        let mut messages = Self {
            key,
            ended: Vec::new(),
            open: None,
        };
        for attempt in in_order(attempts) {
            match attempt {
                Attempt::Decided(decided, received) => messages.decided(*decided, received),
                Attempt::Received(received) => messages.received(received),
                Attempt::Refused(refused) => messages.refused(refused),
            }
        }
        if let Some((retries, message)) = messages.open.take() {
            messages.end(message, Ending::Deferred(retries.fate(end)));
        }
        messages.ended
    }

    fn decided(&mut self, decided: Decided, received: Option<Received>) {
        let time = decided.time;
        match (decided.action, decided.enforced) {
            (Action::Defer, true) => self.deferred(decided),
            (Action::Accept, _) => {
                let (mut message, ending) = match self.take_open(time) {
                    Some(message) => (message, Ending::Deferred(Fate::Ipv6)),
                    None => (self.new_message(), Ending::Accepted),
                };
                message.add_decided(decided);
                self.end_with(message, ending, received);
            }
            (Action::Reject, true) => {
                let mut message = (self.take_open(time))
                    .or_else(|| self.take_ended(Ending::Rejected, &decided))
                    .unwrap_or_else(|| self.new_message());
                message.add_decided(decided);
                self.end_with(message, Ending::Rejected, received);
            }
            (Action::Defer | Action::Reject, false) => {
                let mut message = (self.take_open(time))
                    .or_else(|| self.take_ended(Ending::Observed, &decided))
                    .unwrap_or_else(|| self.new_message());
                message.add_decided(decided);
                self.end_with(message, Ending::Observed, received);
            }
        }
    }

    fn deferred(&mut self, decided: Decided) {
        let time = decided.time;
        if let Some((retries, message)) = &mut self.open
            && retries.may_be_tried(time)
        {
            retries.deferred(time);
            message.add_decided(decided);
            return;
        }
        if let Some((retries, given_up)) = self.open.take() {
            self.end(given_up, Ending::Deferred(retries.fate(time)));
        }
        let mut message = self.new_message();
        message.add_decided(decided);
        self.open = Some((Retries::new(time), message));
    }

    /// Adds a message that the MTA accepted without a decision of sixgate.
    fn received(&mut self, received: Received) {
        let is_ipv4 = received.mail.client.is_ipv4();
        let (message, ending) = match self.take_open(received.mail.arrived) {
            Some(message) if is_ipv4 => (message, Ending::Deferred(Fate::Ipv4)),
            Some(message) => (message, Ending::Deferred(Fate::Ipv6)),
            // The MTA may have refused an earlier attempt, for example by greylisting.
            None => match self.ended.pop_if(|m| m.result == Ending::RefusedByMta) {
                Some(message) => (message, Ending::NotChecked),
                None => (self.new_message(), Ending::NotChecked),
            },
        };
        self.end_with(message, ending, Some(received));
    }

    fn refused(&mut self, refused: Refused) {
        if let Some((retries, message)) = &mut self.open {
            if refused.is_ipv4 && !refused.by_milter {
                retries.refused_over_ipv4(refused.time);
            }
            message.add_refused(refused);
            return;
        }
        let mut message = (self.ended)
            .pop_if(|message| message.result == Ending::RefusedByMta)
            .unwrap_or_else(|| self.new_message());
        message.add_refused(refused);
        self.end(message, Ending::RefusedByMta);
    }

    /// Takes the deferred message, if an attempt at `time` may be its retry.
    fn take_open(&mut self, time: i64) -> Option<Message> {
        let open = self
            .open
            .take_if(|(retries, _)| retries.may_come_back(time));
        open.map(|(_, message)| message)
    }

    /// Takes the message that ended last, if this decision belongs to the same attempt.
    fn take_ended(&mut self, ending: Ending, decided: &Decided) -> Option<Message> {
        self.ended.pop_if(|message| {
            message.result == ending
                && message.last_decided().is_some_and(|last| {
                    last.client == decided.client && decided.time - last.time < SAME_ATTEMPT
                })
        })
    }

    fn end_with(&mut self, mut message: Message, ending: Ending, received: Option<Received>) {
        if let Some(received) = received {
            message.add_received(received);
        }
        self.end(message, ending);
    }

    fn end(&mut self, mut message: Message, ending: Ending) {
        message.result = ending;
        self.ended.push(message);
    }

    fn new_message(&self) -> Message {
        Message {
            sender: self.key.sender.clone(),
            recipient_domains: vec![self.key.domain.clone()],
            result: Ending::Deferred(Fate::Waiting),
            delivery: None,
            events: Vec::new(),
            advice: String::new(),
            matched: None,
        }
    }
}

/// Sorts the attempts by time, and joins accepted messages with their decisions.
fn in_order(attempts: Attempts) -> Vec<Attempt> {
    let Attempts {
        decisions,
        received,
        mut refusals,
    } = attempts;
    let received = without_filters(received);
    // The MTA also logs the refusals that sixgate requests.
    refusals.retain(|refused| {
        !refused.by_milter
            || !decisions.iter().any(|decided| {
                decided.action != Action::Accept
                    && decided.client == Some(refused.client)
                    && decided.time.abs_diff(refused.time) <= SAME_REFUSAL.unsigned_abs()
            })
    });
    let mut with: Vec<Option<Received>> = decisions.iter().map(|_| None).collect();
    let mut rest = Vec::new();
    for received in received {
        let decision = received.decision(&decisions);
        match decision.and_then(|index| with.get_mut(index)) {
            Some(place) => *place = Some(received),
            None => rest.push(Attempt::Received(received)),
        }
    }
    let decided = decisions.into_iter().zip(with);
    let mut attempts: Vec<Attempt> = decided
        .map(|(decided, received)| Attempt::Decided(Box::new(decided), received))
        .chain(rest)
        .chain(refusals.into_iter().map(Attempt::Refused))
        .collect();
    attempts.sort_by_key(Attempt::time);
    attempts
}

/// Joins messages that a content filter returned to the MTA from this host under another
/// queue ID. Their deliveries become those of the first message.
fn without_filters(received: Vec<Received>) -> Vec<Received> {
    let (back, mut first): (Vec<_>, Vec<_>) =
        (received.into_iter()).partition(|received| received.mail.client.is_loopback());
    for back in back {
        let parent = first.iter_mut().rev().find(|first| {
            let mut queued_as = first.deliveries.iter().filter_map(Delivered::queued_as);
            first.mail.arrived <= back.mail.arrived
                && queued_as.any(|id| id == back.mail.queue_id.as_ref())
        });
        if let Some(parent) = parent {
            parent.is_match |= back.is_match;
            parent.deliveries.extend(back.deliveries);
        }
    }
    first
}

impl Message {
    /// Returns the last decision about it.
    pub(super) fn last_decided(&self) -> Option<&Decided> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Decision(decided) => Some(decided),
            Event::Received(_) | Event::Refused(_) | Event::Delivery(_) => None,
        })
    }

    /// Returns the last decision that refused it, or would have.
    pub(super) fn last_refusal(&self) -> Option<&Decided> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Decision(decided) if decided.action != Action::Accept => Some(decided),
            _ => None,
        })
    }

    /// Returns when it was first tried, and when it was accepted or last tried; in
    /// seconds since 1970.
    pub(super) fn tried(&self) -> (i64, i64) {
        let mut times = self.events.iter().filter_map(|event| match event {
            Event::Decision(decided) => Some(decided.time),
            Event::Received(received) => Some(received.mail.arrived),
            Event::Refused(refused) => Some(refused.time),
            Event::Delivery(_) => None,
        });
        let first = times.next().unwrap_or_default();
        (first, times.next_back().unwrap_or(first))
    }

    /// Merges the domains of `other` if it is the same message: one with recipients in
    /// several domains has the same events for each.
    fn is_also(&mut self, other: &mut Self) -> bool {
        let is_same = self.sender == other.sender
            && self.result == other.result
            && self.events == other.events;
        if is_same {
            self.recipient_domains.append(&mut other.recipient_domains);
        }
        is_same
    }

    fn matches(&mut self, is_match: bool, time: i64) {
        if is_match {
            self.matched = self.matched.max(Some(time));
        }
    }

    fn add_decided(&mut self, decided: Decided) {
        self.matches(decided.is_match, decided.time);
        // One attempt with several recipients is one event.
        if let Some(Event::Decision(last)) = self.events.last_mut()
            && last.is_same_attempt(&decided)
        {
            last.recipients.extend(decided.recipients);
            return;
        }
        self.events.push(Event::Decision(decided));
    }

    fn add_received(&mut self, mut received: Received) {
        self.matches(received.is_match, received.mail.arrived);
        let deliveries = std::mem::take(&mut received.deliveries);
        self.events.push(Event::Received(received));
        for delivered in deliveries {
            let is_ours = |domain: &str| self.recipient_domains.iter().any(|this| this == domain);
            let mut domains = delivered.domains.iter().map(AsRef::as_ref);
            let is_here = delivered.domains.is_empty() || domains.any(is_ours);
            if is_here {
                self.delivery = Some(delivered.outcome);
                self.events.push(Event::Delivery(delivered));
            }
        }
    }

    fn add_refused(&mut self, refused: Refused) {
        self.matches(refused.is_match, refused.time);
        self.events.push(Event::Refused(refused));
    }
}
