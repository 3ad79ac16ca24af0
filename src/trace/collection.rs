//! The second pass: collects all log lines about the senders and domains that the first
//! one found.

use super::{
    Key, Query, Search, Trace,
    events::{Decided, Delivered, Exempt, Received, Refused},
    mails::{self, Mail, Mails},
    message,
};
use crate::logs::{
    Content, Decision, Entry, Log, MtaEvent, MtaLine,
    decision::{comparable_address, raw_domain},
    mta_line::{self, Delivery, Outcome, Peer},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::IpAddr,
};

/// The maximum number each of decisions, refusals of the MTA, and accepted messages with
/// their deliveries; the ones read last are kept. Together with the length of their
/// values it bounds memory.
const MAX_EVENTS: usize = 5000;

/// The maximum number of delivery attempts kept per message: the first ones, and the
/// last. Postfix makes about 120 within five days.
const MAX_DELIVERIES: usize = 200;

/// The collected events.
#[derive(Debug)]
pub struct Collection<'q> {
    query: &'q Query,
    keys: HashSet<Key>,
    mails: Mails,
    decisions: VecDeque<(Key, Decided)>,
    refusals: VecDeque<(Key, Refused)>,
    /// The accepted messages, in the order of reading.
    received: BTreeMap<u64, Received>,
    /// The newest message of each queue ID in `received`.
    by_queue_id: HashMap<Box<str>, u64>,
    next: u64,
    /// Connections of exempt clients, which are logged before the sender is known.
    exempt: VecDeque<(IpAddr, i64, Exempt)>,
    /// The number of deliveries in `received`.
    deliveries: usize,
    /// Whether older attempts were dropped.
    has_more: bool,
    /// The time of the last relevant line.
    end: i64,
}

impl<'q> Collection<'q> {
    /// Creates an empty collection.
    pub fn new(query: &'q Query, found: Search<'q>) -> Self {
        let end = found.read().period.map_or(0, |(_, last)| last);
        let (keys, has_more) = found.into_keys();
        Self {
            query,
            keys: keys.collect(),
            mails: Mails::new(),
            decisions: VecDeque::new(),
            refusals: VecDeque::new(),
            received: BTreeMap::new(),
            by_queue_id: HashMap::new(),
            next: 0,
            exempt: VecDeque::new(),
            deliveries: 0,
            has_more,
            end,
        }
    }

    /// Reads a chunk of a log, which has to end at the end of a line.
    pub fn add(&mut self, log: &mut Log, piece: &[u8]) {
        log.for_each(piece, |entry| self.entry(&entry));
    }

    /// Returns the newest `limit` messages.
    pub fn finish(mut self, limit: usize) -> Trace {
        let mut by_key: HashMap<Key, message::Attempts> = HashMap::new();
        for (key, decided) in self.decisions {
            by_key.entry(key).or_default().decisions.push(decided);
        }
        for (key, refused) in self.refusals {
            by_key.entry(key).or_default().refusals.push(refused);
        }
        self.received.values_mut().for_each(Received::sort);
        let mut exempt: HashMap<IpAddr, Vec<(i64, Exempt)>> = HashMap::new();
        for (client, time, entry) in self.exempt {
            exempt.entry(client).or_default().push((time, entry));
        }
        for received in self.received.values_mut() {
            if let Some(connections) = exempt.get(&received.mail.client) {
                received.find_exempt(connections);
            }
        }
        for received in self.received.values() {
            let sender = received.mail.from.as_deref().unwrap_or_default();
            for domain in received.domains() {
                let key = Key {
                    sender: sender.to_owned(),
                    domain: domain.to_owned(),
                };
                if self.keys.contains(&key) {
                    by_key
                        .entry(key)
                        .or_default()
                        .received
                        .push(received.clone());
                }
            }
        }
        Trace::new(by_key, self.end, limit, self.has_more)
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        let Some(time) = entry.time else { return };
        match &entry.content {
            Content::Decision(decision) => self.decision(decision, time),
            Content::Mta(line) => self.mta_line(line, time),
        }
    }

    fn decision(&mut self, decision: &Decision<'_>, time: i64) {
        if let (Some(client), Some(exempt)) = (decision.client, Exempt::of(decision)) {
            // They only add details to messages that are found anyway.
            push(&mut self.exempt, (client, time, exempt));
            return;
        }
        let sender = comparable_address(&decision.from);
        for domain in decision.recipient_domains() {
            let key = Key {
                sender: sender.clone(),
                domain: domain.into_owned(),
            };
            if self.keys.contains(&key) {
                let is_match = self.query.matches_decision(decision, time)
                    && self.query.matches_recipient(&decision.to, &key.domain);
                let decided = Decided::new(decision, time, is_match);
                self.has_more |= push(&mut self.decisions, (key, decided));
            }
        }
    }

    fn mta_line(&mut self, line: &MtaLine<'_>, time: i64) {
        self.mails.add(line, time);
        match &line.event {
            MtaEvent::Client(_) | MtaEvent::Received { .. } => {
                self.by_queue_id.remove(&mails::value(line.queue_id));
            }
            MtaEvent::Delivery(delivery) => self.delivery(line.queue_id, *delivery, time),
            MtaEvent::Expired { .. } => {
                self.add_delivery(&mails::value(line.queue_id), Delivered::expired(time));
            }
            MtaEvent::Refused {
                by_milter,
                peer,
                reply,
                from,
                to,
            } => self.refusal(*by_milter, peer, reply, from, to, time),
            MtaEvent::MessageId(_) | MtaEvent::Sender { .. } => {}
        }
    }

    fn delivery(&mut self, queue_id: &[u8], delivery: Delivery<'_>, time: i64) {
        let Some((outcome, said)) = delivery.outcome() else {
            return;
        };
        let id = mails::value(queue_id);
        if self.known(&id).is_none() {
            let Some(mail) = self.mails.get(queue_id) else {
                return;
            };
            if !self.is_wanted(&mail, delivery) {
                return;
            }
            self.receive(&mail, delivery);
        }
        self.add_delivery(&id, delivered(delivery, outcome, said, time));
    }

    fn add_delivery(&mut self, queue_id: &str, delivered: Delivered) {
        let Some(received) = self.known(queue_id) else {
            return;
        };
        let added = received.add(delivered, MAX_DELIVERIES);
        self.deliveries += added;
        while self.received.len() + self.deliveries > MAX_EVENTS
            && let Some((_, oldest)) = self.received.pop_first()
        {
            self.deliveries -= oldest.deliveries();
            self.has_more = true;
        }
    }

    fn known(&mut self, queue_id: &str) -> Option<&mut Received> {
        self.received.get_mut(self.by_queue_id.get(queue_id)?)
    }

    fn is_wanted(&self, mail: &Mail, delivery: Delivery<'_>) -> bool {
        let Some(sender) = &mail.from else {
            return false;
        };
        delivery
            .recipients()
            .any(|address| self.keys.contains(&Key::of_recipient(sender, address)))
    }

    fn receive(&mut self, mail: &Mail, delivery: Delivery<'_>) {
        let is_match = self.query.matches_mail(mail)
            && (delivery.recipients()).any(|address| self.query.matches_raw_recipient(address));
        let id = self.next;
        self.next += 1;
        self.by_queue_id.insert(mail.queue_id.clone(), id);
        self.received
            .insert(id, Received::new(mail.clone(), is_match));
    }

    fn refusal(
        &mut self,
        by_milter: bool,
        peer: &Peer<'_>,
        reply: &[u8],
        from: &[u8],
        to: &[u8],
        time: i64,
    ) {
        let sender = mails::sender(from);
        let name = mails::name(peer.name);
        for address in mta_line::recipients(to) {
            let key = Key::of_recipient(&sender, address);
            if !self.keys.contains(&key) {
                continue;
            }
            let is_match = (self.query).matches_refusal(&sender, peer.address, &name, time)
                && self.query.matches_raw_recipient(address);
            let refused = Refused {
                time,
                is_match,
                by_milter,
                client: peer.address,
                is_ipv4: peer.is_ipv4_sender(),
                client_name: name.clone(),
                recipient: mails::sentence(address),
                reply: mails::sentence(reply),
            };
            self.has_more |= push(&mut self.refusals, (key, refused));
        }
    }
}

/// Appends an event; returns whether an older one was dropped.
fn push<T>(events: &mut VecDeque<T>, event: T) -> bool {
    events.push_back(event);
    let is_full = events.len() > MAX_EVENTS;
    if is_full {
        events.pop_front();
    }
    is_full
}

fn delivered(delivery: Delivery<'_>, outcome: Outcome, said: &[u8], time: i64) -> Delivered {
    /// The maximum number of recipients kept per line; Sendmail logs many in one line.
    const MAX_RECIPIENTS: usize = 20;
    let recipients = || delivery.recipients().take(MAX_RECIPIENTS);
    Delivered {
        time,
        outcome,
        recipients: recipients().map(mails::sentence).collect(),
        domains: recipients()
            .map(|address| raw_domain(address).into())
            .collect(),
        relay: mails::sentence(delivery.relay()),
        said: mails::sentence(said),
    }
}
