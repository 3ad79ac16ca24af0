//! Counts log lines in the order in which they are read.

use super::{
    counts::{Counts, Failures, network},
    queue::{Mail, Queue},
    retries::Returns,
    top_k::TopK,
};
use crate::{
    enforcement::ObservedBy,
    logs::{
        Action, Content, Decision, Entry, Log, MtaEvent, MtaLine, Window,
        decision::raw_domain,
        mta_line::{self, Delivery},
    },
    policy::Rule,
};
use std::collections::BTreeMap;

/// The maximum number of keys per list; beyond it, the rarest are evicted.
const KEYS: usize = 1 << 15;

/// The maximum length of a stored comment, in bytes.
const MAX_COMMENT: usize = 320;

/// The maximum number of distinct hours: more than two years.
const HOURS: usize = 20_000;

/// The maximum plausible wait in milliseconds; longer values are capped.
const LONGEST_WAIT: u64 = 1 << 40;

/// The counts of a /64 network.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientSums {
    pub(super) counts: Counts,
    /// Refusals not enforced because of `enforce_share`.
    pub(super) spared_by_share: u64,
    /// The last host name seen.
    pub(super) name: String,
}

/// The counts of an entry of exempt networks.
#[derive(Clone, Debug, Default)]
pub(super) struct ExemptSums {
    pub(super) connections: u64,
    pub(super) last: Option<i64>,
    /// The last comment seen.
    pub(super) comment: String,
}

/// A histogram of the times that the MTA waited.
#[derive(Debug)]
pub(super) struct Waits {
    /// Four buckets for each power of two of milliseconds.
    buckets: [u64; 256],
    pub(super) longest: u64,
}

/// The counts so far.
#[derive(Debug)]
pub struct Tally {
    pub(super) window: Window,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) decisions: u64,
    pub(super) untimed: u64,
    pub(super) mta_lines: u64,
    /// The times of the first and last relevant lines.
    pub(super) period: Option<(i64, i64)>,
    pub(super) totals: Counts,
    pub(super) not_checked: u64,
    /// The counts by rule. The last row is for rules that this version does not know.
    pub(super) rules: [Counts; Rule::ALL.len() + 1],
    /// Refusals that were not enforced, by rule and reason.
    pub(super) observed_by: [[u64; ObservedBy::ALL.len()]; Rule::ALL.len() + 1],
    pub(super) recipients: TopK<String, Counts>,
    pub(super) senders: TopK<String, Counts>,
    pub(super) clients: TopK<u64, ClientSums>,
    pub(super) not_opted_in: TopK<String, u64>,
    /// Permanent refusals of senders that were deferred for long
    /// (`replies.give_up_after`), by sender domain.
    pub(super) given_up: TopK<String, u64>,
    /// Messages of known forwarders, by the entry of `exempt.forwarders`.
    pub(super) forwarders: TopK<String, Counts>,
    /// Connections by the entry that exempts them.
    pub(super) exempt: TopK<String, ExemptSums>,
    /// Temporary failures by check and looked-up name, separated by a space.
    pub(super) causes: TopK<String, u64>,
    pub(super) failures: Failures,
    pub(super) observed_recipients: TopK<String, Counts>,
    pub(super) observed_senders: TopK<String, Counts>,
    pub(super) hours: BTreeMap<i64, Counts>,
    pub(super) waits: Waits,
    pub(super) returns: Returns,
    queue: Queue,
}

impl Tally {
    /// Creates an empty tally.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            lines: 0,
            bytes: 0,
            decisions: 0,
            untimed: 0,
            mta_lines: 0,
            period: None,
            totals: Counts::default(),
            not_checked: 0,
            rules: Default::default(),
            observed_by: Default::default(),
            recipients: TopK::new(KEYS),
            senders: TopK::new(KEYS),
            clients: TopK::new(KEYS),
            not_opted_in: TopK::new(KEYS),
            given_up: TopK::new(KEYS),
            forwarders: TopK::new(KEYS),
            exempt: TopK::new(KEYS),
            causes: TopK::new(KEYS),
            failures: Failures::default(),
            observed_recipients: TopK::new(KEYS),
            observed_senders: TopK::new(KEYS),
            hours: BTreeMap::new(),
            waits: Waits::default(),
            returns: Returns::default(),
            queue: Queue::new(),
        }
    }

    /// Counts the lines of a chunk of a log, which has to end at the end of a line.
    pub fn add(&mut self, log: &mut Log, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.lines += log.for_each(piece, |entry| self.entry(&entry));
    }

    /// Decides the outcome of the deferred messages that are still followed.
    pub(super) fn finish(&mut self) {
        if let Some((_, end)) = self.period {
            self.returns.finish(end);
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        match (&entry.content, entry.time) {
            (Content::Decision(decision), time) => self.decision(decision, time),
            (Content::Mta(line), Some(time)) => self.mta_line(line, time),
            (Content::Mta(_), None) => {}
        }
    }

    fn decision(&mut self, decision: &Decision<'_>, time: Option<i64>) {
        match time {
            Some(time) if self.window.contains(time) => self.extend_period(time),
            None if self.window.is_whole() => {}
            Some(_) => return,
            None => {
                self.untimed += 1;
                return;
            }
        }
        self.decisions += 1;
        self.rules[Counts::row(decision.rule)].add(decision);
        if decision
            .rule
            .is_some_and(|rule| !rule.applies_to_checked_mail())
        {
            self.not_checked += 1;
            self.exempt(decision, time);
            return;
        }
        self.totals.add(decision);
        self.waits.add(decision.waited);
        if let (Some(reason), false) = (decision.observed_by, decision.carried_out) {
            self.observed_by[Counts::row(decision.rule)][reason as usize] += 1;
        }
        self.lists(decision);
        self.cause(decision);
        if let Some(time) = time {
            self.hour(decision, time);
            self.follow(decision, time);
        }
    }

    fn exempt(&mut self, decision: &Decision<'_>, time: Option<i64>) {
        if decision.exempt_entry.is_empty() {
            return;
        }
        self.exempt.count(decision.exempt_entry.as_ref(), |entry| {
            entry.connections += 1;
            if time >= entry.last {
                entry.last = time;
                entry.comment = decision.exempt_comment.chars().take(MAX_COMMENT).collect();
            }
        });
    }

    fn extend_period(&mut self, time: i64) {
        let (first, last) = self.period.unwrap_or((time, time));
        self.period = Some((first.min(time), last.max(time)));
    }

    fn lists(&mut self, decision: &Decision<'_>) {
        let is_observed = decision.action != Action::Accept && !decision.carried_out;
        let add = |counts: &mut Counts| counts.add(decision);
        for domain in decision.recipient_domains() {
            self.recipients.count(domain.as_ref(), add);
            if decision.rule == Some(Rule::NotOptedIn) && decision.carried_out {
                self.not_opted_in.count(domain.as_ref(), |n| *n += 1);
            }
            if is_observed {
                self.observed_recipients.count(domain.as_ref(), add);
            }
        }
        if decision.rule == Some(Rule::KnownForwarder) {
            self.forwarders.count(decision.forwarder.as_ref(), add);
        }
        let sender = decision.sender_domain().unwrap_or_default();
        self.senders.count(sender.as_ref(), add);
        if decision.deferred_for.is_some() && decision.carried_out {
            self.given_up.count(sender.as_ref(), |n| *n += 1);
        }
        if is_observed {
            self.observed_senders.count(sender.as_ref(), add);
        }
        if let Some(network) = decision.network() {
            self.clients.count(&network, |client| {
                client.counts.add(decision);
                let is_spared = decision.observed_by == Some(ObservedBy::Share);
                client.spared_by_share += u64::from(is_spared);
                let name = decision.client_label();
                if !name.is_empty() && name != client.name {
                    client.name = name.to_owned();
                }
            });
        }
    }

    /// Counts the lookup that failed, if one did.
    fn cause(&mut self, decision: &Decision<'_>) {
        let failures = &mut self.failures;
        let sender = || decision.sender_domain().unwrap_or_default();
        let (count, cause) = match decision.rule {
            Some(Rule::OptInTemperror) => {
                let domain = decision.recipient_domains().next().unwrap_or_default();
                (&mut failures.opt_in, format!("opt-in {domain}"))
            }
            Some(Rule::PtrTemperror) => {
                let network = decision.network().map(network).unwrap_or_default();
                (&mut failures.ptr, format!("ptr {network}"))
            }
            Some(Rule::AuthTemperror) if decision.spf == "temperror" => {
                (&mut failures.spf, format!("spf {}", sender()))
            }
            Some(Rule::AuthTemperror) => (&mut failures.dkim, format!("dkim {}", sender())),
            Some(
                Rule::Local
                | Rule::Ipv4
                | Rule::ExemptNetwork
                | Rule::ExemptAuthenticated
                | Rule::ExemptTls
                | Rule::NotOptedIn
                | Rule::NoPtr
                | Rule::PtrUnconfirmed
                | Rule::SpfPass
                | Rule::KnownForwarder
                | Rule::DkimPass
                | Rule::Unauthenticated,
            )
            | None => return,
        };
        *count += 1;
        self.causes.count(cause.as_str(), |n| *n += 1);
    }

    fn hour(&mut self, decision: &Decision<'_>, time: i64) {
        let hour = time.div_euclid(3600);
        if self.hours.len() < HOURS || self.hours.contains_key(&hour) {
            self.hours.entry(hour).or_default().add(decision);
        }
    }

    fn follow(&mut self, decision: &Decision<'_>, time: i64) {
        match (decision.action, decision.carried_out) {
            (Action::Accept, _) => self.returns.passed(decision, time),
            (Action::Defer, true) => self.returns.deferred(decision, time),
            // A message that observe mode accepted is not retried, nor is a rejected one.
            (Action::Defer, false) | (Action::Reject, _) => {}
        }
    }

    /// Evaluates lines about messages over IPv4 only, to detect retries of deferred
    /// messages.
    fn mta_line(&mut self, line: &MtaLine<'_>, time: i64) {
        let queue_id = line.queue_id;
        let comes_over_ipv4 = match &line.event {
            MtaEvent::Client(peer) | MtaEvent::Received { peer, .. } => peer.is_ipv4_sender(),
            MtaEvent::Refused {
                by_milter, peer, ..
            } => !by_milter && peer.is_ipv4_sender(),
            MtaEvent::Sender { .. } | MtaEvent::Expired { .. } | MtaEvent::Delivery(_) => true,
            MtaEvent::MessageId(_) => false,
        };
        if !comes_over_ipv4 || !self.window.contains(time) {
            return;
        }
        self.extend_period(time);
        self.mta_lines += 1;
        match line.event {
            MtaEvent::Client(_) => self.begin(queue_id, time, None),
            MtaEvent::Received { from, .. } => self.begin(queue_id, time, Some(from)),
            MtaEvent::Sender { from } | MtaEvent::Expired { from } => {
                (self.queue).name(queue_id, || self.returns.raw_sender(from));
            }
            MtaEvent::Delivery(delivery) => self.recipients_of(queue_id, delivery),
            MtaEvent::Refused { from, to, .. } => {
                let sender = self.returns.raw_sender(from);
                for address in mta_line::recipients(to) {
                    let domain = raw_domain(address);
                    self.returns.refused_over_ipv4(sender, &domain, time);
                }
            }
            MtaEvent::MessageId(_) => {}
        }
    }

    fn begin(&mut self, queue_id: &[u8], arrived: i64, from: Option<&[u8]>) {
        let sender = from.map(|from| self.returns.raw_sender(from));
        self.queue.begin(queue_id, Mail { arrived, sender });
    }

    fn recipients_of(&mut self, queue_id: &[u8], delivery: Delivery<'_>) {
        let Some(Mail {
            arrived,
            sender: Some(sender),
        }) = self.queue.get(queue_id)
        else {
            return;
        };
        for address in delivery.recipients() {
            let domain = raw_domain(address);
            self.returns.arrived_over_ipv4(sender, &domain, arrived);
        }
    }
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            buckets: [0; 256],
            longest: 0,
        }
    }
}

impl Waits {
    fn add(&mut self, milliseconds: u64) {
        self.buckets[bucket(milliseconds.min(LONGEST_WAIT))] += 1;
        self.longest = self.longest.max(milliseconds);
    }

    /// Returns the percentile `percent` in milliseconds, up to a quarter too high.
    pub(super) fn percentile(&self, percent: u64) -> u64 {
        let all: u64 = self.buckets.iter().sum();
        let mut left = (all * percent).div_ceil(100);
        let slowest = self.buckets.iter().position(|&count| {
            left = left.saturating_sub(count);
            left == 0
        });
        slowest.map_or(0, |bucket| upper_end(bucket).min(self.longest))
    }
}

fn bucket(milliseconds: u64) -> usize {
    match milliseconds.checked_ilog2() {
        None | Some(0..2) => milliseconds as usize,
        Some(power) => power as usize * 4 + ((milliseconds >> (power - 2)) & 3) as usize - 4,
    }
}

fn upper_end(bucket: usize) -> u64 {
    match bucket {
        0..4 => bucket as u64,
        _ => {
            let power = (bucket / 4 + 1) as u32;
            let quarter = (bucket % 4) as u64;
            (1_u64 << power) + (quarter + 1) * (1 << (power - 2)) - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_accurate_within_a_quarter() {
        for milliseconds in [0, 1, 3, 4, 5, 7, 8, 9, 100, 999, 7999, 1 << 40] {
            let mut waits = Waits::default();
            waits.add(milliseconds);
            waits.add(1 << 41);
            let median = waits.percentile(50);
            assert!(
                median >= milliseconds && median <= milliseconds + milliseconds / 4,
                "{milliseconds}: {median}"
            );
        }
    }

    #[test]
    fn percentiles_are_those_of_the_counts() {
        let mut waits = Waits::default();
        (0..100).for_each(|n| waits.add(n));
        assert_eq!(waits.percentile(1), 0);
        assert!((49..=55).contains(&waits.percentile(50)));
        assert_eq!(waits.percentile(100), 99);
    }
}
