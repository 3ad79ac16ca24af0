//! The first pass: finds the senders and recipient domains of matching attempts.

use super::{
    Key, Query,
    mails::{self, Mails},
};
use crate::logs::{
    Content, Decision, Entry, Log, MtaEvent, MtaLine, decision::comparable_address, mta_line,
};
use std::collections::{BTreeSet, HashMap};

/// The result of the first pass.
#[derive(Debug)]
pub struct Search<'q> {
    query: &'q Query,
    /// The maximum number of messages.
    limit: usize,
    mails: Mails,
    /// The keys with the newest matching attempts, and the times of these. The newest
    /// `limit` messages all have one of these keys.
    keys: HashMap<Key, i64>,
    by_time: BTreeSet<(i64, Key)>,
    /// Whether keys with older attempts were omitted.
    has_more: bool,
    read: Read,
}

/// The amount of data read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Read {
    /// Lines of any program.
    pub lines: u64,
    /// Decision lines of sixgate.
    pub decisions: u64,
    /// Lines of the MTA about messages.
    pub mta_lines: u64,
    /// The times of the first and the last of these lines, in seconds since 1970.
    pub period: Option<(i64, i64)>,
}

impl Query {
    /// Returns whether the logs first have to be searched for queue IDs, by
    /// [`Query::find_message_id`].
    pub fn needs_queue_ids(&self) -> bool {
        self.message_id.is_some()
    }

    /// Finds the queue IDs of the requested Message-ID in a chunk of a log. Decision
    /// lines do not contain the Message-ID and are found by the queue ID.
    pub fn find_message_id(&mut self, log: &mut Log, piece: &[u8]) {
        let Some(wanted) = self.message_id.clone() else {
            return;
        };
        log.for_each(piece, |entry| {
            if let (Content::Mta(line), Some(time)) = (&entry.content, entry.time)
                && let MtaEvent::MessageId(id) | MtaEvent::Received { message_id: id, .. } =
                    line.event
                && id == wanted.as_bytes()
            {
                self.queue_ids.add(&mails::value(line.queue_id), time);
            }
        });
    }
}

impl<'q> Search<'q> {
    /// Creates an empty search for at most `limit` messages.
    pub fn new(query: &'q Query, limit: usize) -> Self {
        Self {
            query,
            limit,
            mails: Mails::new(),
            keys: HashMap::new(),
            by_time: BTreeSet::new(),
            has_more: false,
            read: Read::default(),
        }
    }

    /// Reads a chunk of a log, which has to end at the end of a line.
    pub fn add(&mut self, log: &mut Log, piece: &[u8]) {
        self.read.lines += log.for_each(piece, |entry| self.entry(&entry));
    }

    /// Returns the amount of data read.
    pub fn read(&self) -> Read {
        self.read
    }

    /// Returns whether anything matches, so that a second pass is needed.
    pub fn found_any(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(super) fn into_keys(self) -> (impl Iterator<Item = Key>, bool) {
        (self.keys.into_keys(), self.has_more)
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        match &entry.content {
            Content::Decision(_) => self.read.decisions += 1,
            Content::Mta(_) => self.read.mta_lines += 1,
        }
        let Some(time) = entry.time else { return };
        let (first, last) = self.read.period.unwrap_or((time, time));
        self.read.period = Some((first.min(time), last.max(time)));
        match &entry.content {
            Content::Decision(decision) => self.decision(decision, time),
            Content::Mta(line) => self.mta_line(line, time),
        }
    }

    fn decision(&mut self, decision: &Decision<'_>, time: i64) {
        if !self.query.matches_decision(decision, time) {
            return;
        }
        for domain in decision.recipient_domains() {
            if self.query.matches_recipient(&decision.to, &domain) {
                let key = Key {
                    sender: comparable_address(&decision.from),
                    domain: domain.into_owned(),
                };
                self.found(key, time);
            }
        }
    }

    fn mta_line(&mut self, line: &MtaLine<'_>, time: i64) {
        self.mails.add(line, time);
        match &line.event {
            MtaEvent::Delivery(delivery) => {
                let Some(mail) = self.mails.get(line.queue_id) else {
                    return;
                };
                if let Some(from) = &mail.from
                    && self.query.matches_mail(&mail)
                {
                    for address in delivery.recipients() {
                        self.recipient(from, address, mail.arrived);
                    }
                }
            }
            MtaEvent::Refused { peer, from, to, .. } => {
                let sender = mails::sender(from);
                let name = mails::name(peer.name);
                if (self.query).matches_refusal(&sender, peer.address, &name, time) {
                    for address in mta_line::recipients(to) {
                        self.recipient(&sender, address, time);
                    }
                }
            }
            MtaEvent::Client(_)
            | MtaEvent::MessageId(_)
            | MtaEvent::Sender { .. }
            | MtaEvent::Expired { .. }
            | MtaEvent::Received { .. } => {}
        }
    }

    fn recipient(&mut self, sender: &str, address: &[u8], time: i64) {
        if self.query.matches_raw_recipient(address) {
            self.found(Key::of_recipient(sender, address), time);
        }
    }

    fn found(&mut self, key: Key, time: i64) {
        match self.keys.get_mut(&key) {
            Some(newest) if *newest >= time => return,
            Some(newest) => {
                self.by_time.remove(&(*newest, key.clone()));
                *newest = time;
            }
            None => {
                self.keys.insert(key.clone(), time);
            }
        }
        self.by_time.insert((time, key));
        if self.keys.len() > self.limit
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.keys.remove(&oldest);
            self.has_more = true;
        }
    }
}
