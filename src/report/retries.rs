//! The outcome of deferred mail: whether messages were retried, and how.
//!
//! A message is identified by its sender's address and the recipient's domain, which a
//! retry shares. It is followed from the first 4xx until it is accepted, for as long as
//! MTAs usually retry. At most [`CAPACITY`] messages are followed at once; beyond that,
//! the oldest get their outcome early.
//!
//! The MTA may have a separate log, read before or after sixgate's, so times decide which
//! message is a retry, not the order of lines.

use super::{counts::Counts, top_k::TopK};
use crate::{
    logs::{Decision, Fate, Retries, escape::escape, recent},
    policy::Rule,
};
use quick_cache::unsync::Cache;
use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
};

/// The maximum number of messages followed at once.
const CAPACITY: usize = 1 << 17;

/// The maximum number of remembered messages over IPv4 whose deferral may be read later.
const ARRIVALS: usize = 1 << 18;

/// The maximum number of sender domains counted for each fate.
const DOMAINS: usize = 1 << 15;

/// A hash of a sender's address, for comparison only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sender(u64);

/// Messages of one sender domain with the same fate.
#[derive(Clone, Debug, Default)]
pub(super) struct Mails {
    pub(super) mails: u64,
    pub(super) attempts: u64,
    /// The rule of the message counted last.
    pub(super) rule: Option<Rule>,
    pub(super) network: Option<u64>,
    pub(super) name: String,
}

/// A message that is being followed.
#[derive(Debug)]
struct Followed {
    retries: Retries,
    rule: Option<Rule>,
    domain: Box<str>,
    network: Option<u64>,
    name: Box<str>,
}

#[derive(Debug)]
pub(super) struct Returns {
    followed: HashMap<u64, Followed>,
    /// Keys in the order of lines, including messages that were accepted since.
    order: VecDeque<(i64, u64)>,
    /// When a message that was not followed last arrived over IPv4.
    arrivals: Cache<u64, i64>,
    hasher: RandomState,
    /// Counts by rule and fate. The last row is for unknown rules.
    pub(super) fates: [[u64; Fate::ALL.len()]; Rule::ALL.len() + 1],
    pub(super) domains: [TopK<String, Mails>; Fate::ALL.len()],
}

impl Default for Returns {
    fn default() -> Self {
        Self {
            followed: HashMap::new(),
            order: VecDeque::new(),
            arrivals: recent::cache(ARRIVALS),
            hasher: RandomState::new(),
            fates: Default::default(),
            domains: std::array::from_fn(|_| TopK::new(DOMAINS)),
        }
    }
}

impl Returns {
    /// Records that a recipient or a message was deferred over IPv6.
    pub(super) fn deferred(&mut self, decision: &Decision<'_>, time: i64) {
        let sender = self.sender(&decision.from);
        for domain in decision.recipient_domains() {
            let key = self.key(sender, &domain);
            self.follow(key, decision, time);
            if let Some(arrived) = self.arrivals.get(&key).copied() {
                self.came_back(key, arrived, Fate::Ipv4);
            }
        }
        self.make_room(time);
    }

    /// Records that a message passed over IPv6.
    pub(super) fn passed(&mut self, decision: &Decision<'_>, time: i64) {
        // Most messages come from senders that were never deferred.
        if self.followed.is_empty() {
            return;
        }
        let sender = self.sender(&decision.from);
        for domain in decision.recipient_domains() {
            self.came_back(self.key(sender, &domain), time, Fate::Ipv6);
        }
    }

    /// Records that the MTA accepted a message over IPv4 that arrived at `arrived`.
    pub(super) fn arrived_over_ipv4(&mut self, sender: Sender, domain: &str, arrived: i64) {
        let key = self.key(sender, domain);
        if !self.came_back(key, arrived, Fate::Ipv4) {
            self.arrivals.insert(key, arrived);
        }
    }

    /// Records that the MTA refused a message over IPv4. It may still be accepted later,
    /// as with greylisting.
    pub(super) fn refused_over_ipv4(&mut self, sender: Sender, domain: &str, time: i64) {
        let key = self.key(sender, domain);
        if let Some(mail) = self.followed.get_mut(&key) {
            mail.retries.refused_over_ipv4(time);
        }
    }

    /// Sets the outcome of the remaining messages at the end of the log.
    pub(super) fn finish(&mut self, end: i64) {
        while let Some((first, key)) = self.order.pop_front() {
            self.judge_if_same(key, first, end);
        }
    }

    /// Converts an escaped address of a decision line.
    pub(super) fn sender(&self, escaped: &str) -> Sender {
        let upper = escaped.bytes().any(|byte| byte.is_ascii_uppercase());
        let lower = match upper {
            true => Cow::Owned(escaped.to_ascii_lowercase()),
            false => Cow::Borrowed(escaped),
        };
        Sender(self.hasher.hash_one(lower.as_ref()))
    }

    /// Converts an address that an MTA logged.
    pub(super) fn raw_sender(&self, raw: &[u8]) -> Sender {
        self.sender(&escape(&String::from_utf8_lossy(raw)))
    }

    fn key(&self, sender: Sender, domain: &str) -> u64 {
        self.hasher.hash_one((sender, domain))
    }

    fn follow(&mut self, key: u64, decision: &Decision<'_>, time: i64) {
        if let Some(mail) = self
            .followed
            .get_mut(&key)
            .filter(|mail| mail.retries.may_be_tried(time))
        {
            mail.retries.deferred(time);
            return;
        }
        let mail = Followed {
            retries: Retries::new(time),
            rule: decision.rule,
            domain: decision.sender_domain().unwrap_or_default().into(),
            network: decision.network(),
            name: decision.client_label().into(),
        };
        self.order.push_back((time, key));
        if let Some(given_up) = self.followed.insert(key, mail) {
            let fate = given_up.retries.fate(time);
            self.settle(given_up, fate);
        }
    }

    /// Sets the outcome of a message; returns `false` if it is not followed.
    fn came_back(&mut self, key: u64, time: i64, fate: Fate) -> bool {
        let is_return = |mail: &Followed| mail.retries.may_come_back(time);
        if self.followed.get(&key).is_some_and(is_return)
            && let Some(mail) = self.followed.remove(&key)
        {
            self.settle(mail, fate);
            return true;
        }
        false
    }

    /// Sets the outcome of the oldest messages if there are too many.
    fn make_room(&mut self, now: i64) {
        while self.order.len() > CAPACITY
            && let Some((first, key)) = self.order.pop_front()
        {
            self.judge_if_same(key, first, now);
        }
    }

    fn judge_if_same(&mut self, key: u64, first: i64, now: i64) {
        let is_same = |mail: &Followed| mail.retries.first() == first;
        if self.followed.get(&key).is_some_and(is_same)
            && let Some(mail) = self.followed.remove(&key)
        {
            let fate = mail.retries.fate(now);
            self.settle(mail, fate);
        }
    }

    fn settle(&mut self, mail: Followed, fate: Fate) {
        self.fates[Counts::row(mail.rule)][fate as usize] += 1;
        self.domains[fate as usize].count(mail.domain.as_ref(), |mails| {
            mails.mails += 1;
            mails.attempts += u64::from(mail.retries.attempts());
            mails.rule = mail.rule;
            mails.network = mail.network;
            mails.name = mail.name.into();
        });
    }
}
