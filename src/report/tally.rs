//! Counts what the lines of logs say, in the order in which they are given.

use super::{
    Log, Summary,
    arrival::{self, Arrival},
    counts::Counts,
    decision::{Action, Decision, comparable_domain, domain_of},
    escape::escape,
    journal::Record,
    log_line::Said,
    queue::{Mail, Queue},
    returns::Returns,
    summary::{self, Failures},
    tops::Tops,
};
use crate::policy::Rule;
use std::collections::BTreeMap;

/// How many keys each list counts before it has to forget the rarest.
const KEYS: usize = 1 << 15;

/// How many hours are told apart: more than two years.
const HOURS: usize = 20_000;

/// No MTA waits for years.
const LONGEST_WAIT: u64 = 1 << 40;

/// From when until when, in seconds since 1970. The default is all time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first second; the default is the beginning.
    pub since: Option<i64>,
    /// The first second that is not in it; the default is the end.
    pub until: Option<i64>,
}

impl Window {
    fn is_whole(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    fn contains(&self, time: i64) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// What a /64 network did.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientSums {
    pub(super) counts: Counts,
    /// The host name seen last.
    pub(super) name: String,
}

/// How long the MTA waited.
#[derive(Debug)]
pub(super) struct Waits {
    /// Four to each power of two of milliseconds.
    buckets: [u64; 256],
    pub(super) longest: u64,
}

/// What was counted so far.
#[derive(Debug)]
pub struct Tally {
    pub(super) window: Window,
    pub(super) lines: u64,
    pub(super) octets: u64,
    pub(super) decisions: u64,
    pub(super) untimed: u64,
    pub(super) mta_lines: u64,
    /// The times of the first and the last line of interest.
    pub(super) period: Option<(i64, i64)>,
    pub(super) totals: Counts,
    pub(super) not_checked: u64,
    /// The last row is for rules that this version does not know.
    pub(super) rules: [Counts; Rule::ALL.len() + 1],
    pub(super) recipients: Tops<String, Counts>,
    pub(super) senders: Tops<String, Counts>,
    pub(super) clients: Tops<u64, ClientSums>,
    pub(super) not_opted_in: Tops<String, u64>,
    /// By check and what was looked up, separated by a space.
    pub(super) causes: Tops<String, u64>,
    pub(super) failures: Failures,
    pub(super) observed_recipients: Tops<String, Counts>,
    pub(super) observed_senders: Tops<String, Counts>,
    pub(super) hours: BTreeMap<i64, Counts>,
    pub(super) waits: Waits,
    pub(super) returns: Returns,
    queue: Queue,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            lines: 0,
            octets: 0,
            decisions: 0,
            untimed: 0,
            mta_lines: 0,
            period: None,
            totals: Counts::default(),
            not_checked: 0,
            rules: Default::default(),
            recipients: Tops::new(KEYS),
            senders: Tops::new(KEYS),
            clients: Tops::new(KEYS),
            not_opted_in: Tops::new(KEYS),
            causes: Tops::new(KEYS),
            failures: Failures::default(),
            observed_recipients: Tops::new(KEYS),
            observed_senders: Tops::new(KEYS),
            hours: BTreeMap::new(),
            waits: Waits::default(),
            returns: Returns::default(),
            queue: Queue::new(),
        }
    }

    /// Counts the lines of a piece of a log. A piece ends where a line ends.
    pub fn add(&mut self, log: &mut Log, piece: &[u8]) {
        self.octets += piece.len() as u64;
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', piece).chain([piece.len()]) {
            if let Some(line) = piece.get(begin..end)
                && !line.is_empty()
            {
                self.lines += 1;
                self.line(log, line.strip_suffix(b"\r").unwrap_or(line));
            }
            begin = end + 1;
        }
    }

    /// Everything counted, each list cut to its first `top`.
    pub fn finish(mut self, top: usize) -> Summary {
        if let Some((_, end)) = self.period {
            self.returns.finish(end);
        }
        Summary::new(&self, top)
    }

    fn line(&mut self, log: &mut Log, line: &[u8]) {
        if !line.starts_with(b"{") {
            if let Some(line) = log.read(line) {
                self.said(log, line.time, line.said);
            }
        } else if let Some(record) = Record::parse(line) {
            let time = log.at(record.time());
            if let Some(said) = Said::by(record.identifier.as_bytes(), record.message.as_bytes()) {
                self.said(log, time, said);
            }
        } else {
            let time = log.at(None);
            self.said(log, time, Said::BySixgate(line));
        }
    }

    fn said(&mut self, log: &mut Log, time: Option<i64>, said: Said<'_>) {
        match said {
            Said::BySixgate(text) => {
                if let Some(decision) = Decision::parse(text) {
                    let time = log.at(decision.time.or(time));
                    self.decision(&decision, time);
                }
            }
            Said::ByMta(text) => {
                if let (Some(arrival), Some(time)) = (Arrival::parse(text), time) {
                    self.arrival(&arrival, time);
                }
            }
        }
    }

    fn decision(&mut self, decision: &Decision<'_>, time: Option<i64>) {
        match time {
            Some(time) if self.window.contains(time) => self.saw(time),
            None if self.window.is_whole() => {}
            Some(_) => return,
            None => {
                self.untimed += 1;
                return;
            }
        }
        self.decisions += 1;
        self.rules[Counts::row(decision.rule)].add(decision);
        if is_not_checked(decision.rule) {
            self.not_checked += 1;
            return;
        }
        self.totals.add(decision);
        self.waits.add(decision.waited);
        self.lists(decision);
        self.cause(decision);
        if let Some(time) = time {
            self.hour(decision, time);
            self.follow(decision, time);
        }
    }

    fn saw(&mut self, time: i64) {
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
        let sender = decision.sender_domain().unwrap_or_default();
        self.senders.count(sender.as_ref(), add);
        if is_observed {
            self.observed_senders.count(sender.as_ref(), add);
        }
        if let Some(network) = decision.network() {
            self.clients.count(&network, |client| {
                client.counts.add(decision);
                let name = decision.client_label();
                if !name.is_empty() && name != client.name {
                    client.name = name.to_owned();
                }
            });
        }
    }

    /// Which look-up failed, when one did.
    fn cause(&mut self, decision: &Decision<'_>) {
        let failures = &mut self.failures;
        let sender = || decision.sender_domain().unwrap_or_default();
        let (count, cause) = match decision.rule {
            Some(Rule::OptInTemperror) => {
                let domain = decision.recipient_domains().next().unwrap_or_default();
                (&mut failures.opt_in, format!("opt-in {domain}"))
            }
            Some(Rule::PtrTemperror) => {
                let network = decision.network().map(summary::network).unwrap_or_default();
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
            // What observe mode let through has nothing to come back for, and
            // what was rejected will not.
            (Action::Defer, false) | (Action::Reject, _) => {}
        }
    }

    fn arrival(&mut self, arrival: &Arrival<'_>, time: i64) {
        if !self.window.contains(time) {
            return;
        }
        self.saw(time);
        self.mta_lines += 1;
        match *arrival {
            Arrival::Client { queue_id } => self.begin(queue_id, time, None),
            Arrival::ClientAndSender { queue_id, from } => self.begin(queue_id, time, Some(from)),
            Arrival::Sender { queue_id, from } => {
                (self.queue).name(queue_id, || self.returns.raw_sender(from));
            }
            Arrival::Recipients { queue_id, to } => self.recipients_of(queue_id, to),
            Arrival::Refused { from, to } => {
                let sender = self.returns.raw_sender(from);
                for address in arrival::recipients(to) {
                    let domain = raw_domain(address);
                    self.returns.refused_over_ipv4(sender, &domain, time);
                }
            }
        }
    }

    fn begin(&mut self, queue_id: &[u8], arrived: i64, from: Option<&[u8]>) {
        let sender = from.map(|from| self.returns.raw_sender(from));
        self.queue.begin(queue_id, Mail { arrived, sender });
    }

    fn recipients_of(&mut self, queue_id: &[u8], to: &[u8]) {
        let Some(Mail {
            arrived,
            sender: Some(sender),
        }) = self.queue.get(queue_id)
        else {
            return;
        };
        for address in arrival::recipients(to) {
            let domain = raw_domain(address);
            self.returns.arrived_over_ipv4(sender, &domain, arrived);
        }
    }
}

/// Rules 1 to 5: these say only who was not checked.
pub(super) fn is_not_checked(rule: Option<Rule>) -> bool {
    match rule {
        Some(
            Rule::Local
            | Rule::Ipv4
            | Rule::ExemptNetwork
            | Rule::ExemptAuthenticated
            | Rule::ExemptTls,
        ) => true,
        Some(
            Rule::NotOptedIn
            | Rule::OptInTemperror
            | Rule::NoPtr
            | Rule::PtrTemperror
            | Rule::PtrUnconfirmed
            | Rule::SpfPass
            | Rule::DkimPass
            | Rule::AuthTemperror
            | Rule::Unauthenticated,
        )
        | None => false,
    }
}

/// The domain of an address as an MTA logs it.
fn raw_domain(address: &[u8]) -> String {
    let address = String::from_utf8_lossy(address);
    comparable_domain(&escape(domain_of(&address))).into_owned()
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

    /// So many milliseconds at most did `percent` of all decisions take, up to a
    /// quarter too high.
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
    fn waits_are_told_within_a_quarter() {
        for milliseconds in [0, 1, 3, 4, 5, 7, 8, 9, 100, 999, 7999, 1 << 40] {
            let mut waits = Waits::default();
            waits.add(milliseconds);
            waits.add(1 << 41);
            let told = waits.percentile(50);
            assert!(
                told >= milliseconds && told <= milliseconds + milliseconds / 4,
                "{milliseconds}: {told}"
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
