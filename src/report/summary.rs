//! The result of counting, ready for output. `--json` prints its JSON form;
//! docs/report.md describes it.

use super::{
    counts::{Cause, Counts, Failures, network},
    retries::Mails,
    tally::{ClientSums, ExemptSums, Tally},
    top_k::{Top, TopK},
};
use crate::{enforcement::ObservedBy, logs::Fate, policy::Rule};
use jiff::Timestamp;
use serde::Serialize;

/// The whole report. Lists are sorted by weight, heaviest entry first.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The period covered.
    pub period: Period,
    /// The amount of data read.
    pub read: Read,
    /// All decisions about checked mail.
    pub totals: Counts,
    /// Lines about connections and mail that is not checked (rules 1 to 5). They are
    /// logged at debug level only.
    pub not_checked: u64,
    /// How long the MTA waited for replies.
    pub waited: Waited,
    /// Rules with at least one decision, in the order of the decision table.
    pub rules: Vec<RuleCounts>,
    /// Decisions by recipient domain.
    pub recipient_domains: Vec<Named>,
    /// Decisions by sender domain; the null reverse-path has an empty name.
    pub sender_domains: Vec<Named>,
    /// Decisions by client /64.
    pub clients: Vec<Client>,
    /// Recipients rejected because their domain has not opted in, by domain.
    pub not_opted_in: Vec<Cause>,
    /// Permanent refusals of senders that were deferred for long
    /// (`replies.give_up_after`), by sender domain.
    pub given_up: Vec<Cause>,
    /// Exempt networks.
    pub exempt: Exempt,
    /// Messages of known forwarders, by the entry of `exempt.forwarders`.
    pub forwarders: Vec<Named>,
    /// Temporary lookup failures.
    pub temporary_failures: Failures,
    /// Messages that observe mode would have refused.
    pub observed: Observed,
    /// The progress of the rollout.
    pub roll_out: RollOut,
    /// The outcome of deferred mail.
    pub returns: Returns,
    /// Hours with at least one decision.
    pub hours: Vec<Hour>,
}

/// The period of the report.
#[derive(Debug, Serialize)]
pub struct Period {
    /// `--since`, if given.
    pub since: Option<Timestamp>,
    /// `--until`, if given.
    pub until: Option<Timestamp>,
    /// The first relevant line; null if no line has a time.
    pub first: Option<Timestamp>,
    /// The last relevant line.
    pub last: Option<Timestamp>,
}

/// The amount of data read.
#[derive(Debug, Serialize)]
pub struct Read {
    /// Bytes after decompression.
    #[serde(rename = "octets")]
    pub bytes: u64,
    /// Lines of any program.
    pub lines: u64,
    /// Decision lines within the period.
    pub decisions: u64,
    /// Decision lines skipped because their time is unknown.
    pub untimed: u64,
    /// Lines of Postfix or Sendmail about incoming messages. Without them, retries over
    /// IPv4 can't be detected.
    pub mta_lines: u64,
}

/// How long the MTA waited for replies, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Waited {
    /// The median.
    pub median_ms: u64,
    /// The 99th percentile.
    pub p99_ms: u64,
    /// The maximum.
    pub longest_ms: u64,
}

/// Decisions of one rule.
#[derive(Debug, Serialize)]
pub struct RuleCounts {
    /// Its name; `other` for rules that this version does not know.
    pub rule: &'static str,
    /// The number of decisions by action.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Decisions about one domain.
#[derive(Debug, Serialize)]
pub struct Named {
    /// The domain.
    pub name: String,
    /// The number of decisions by action.
    #[serde(flatten)]
    pub counts: Counts,
    /// The maximum number of decisions missed before it was counted; 0 unless there were
    /// too many domains to count each.
    pub missed: u64,
}

/// Decisions about one client network.
#[derive(Debug, Serialize)]
pub struct Client {
    /// The /64.
    pub network: String,
    /// The last host name seen, by PTR; empty if none is logged.
    pub name: String,
    /// The number of decisions by action.
    #[serde(flatten)]
    pub counts: Counts,
    /// As in [`Named`].
    pub missed: u64,
}

/// Exempt networks, by `sixgate exempt` and `exempt.networks`.
#[derive(Debug, Serialize)]
pub struct Exempt {
    /// Entries used in the log, most recently used first. Entries of `exempt.networks`
    /// are logged at debug level only.
    pub used: Vec<ExemptUse>,
    /// Entries that end within a week, the next one first; null if the configuration was
    /// not read.
    pub ending: Option<Vec<ExemptEntry>>,
    /// Entries unused for 90 days.
    pub unused: Option<Vec<ExemptEntry>>,
}

/// The use of an entry of exempt networks.
#[derive(Debug, Serialize)]
pub struct ExemptUse {
    /// The network.
    pub entry: String,
    /// The logged comment.
    pub comment: String,
    /// Connections of clients that it exempts.
    pub connections: u64,
    /// The time of the last connection; null if the lines have no time.
    pub last: Option<Timestamp>,
    /// As in [`Named`].
    pub missed: u64,
}

/// An entry of the lists of exempt networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExemptEntry {
    /// The network.
    pub entry: String,
    /// Its comment.
    pub comment: String,
    /// When it ends.
    pub until: Option<Timestamp>,
    /// The last use that the daemon has recorded.
    pub last_used: Option<Timestamp>,
    /// Whether it ends within a week.
    #[serde(skip)]
    pub is_ending: bool,
    /// Whether it was not used for 90 days.
    #[serde(skip)]
    pub is_unused: bool,
}

/// Messages that observe mode would have refused.
#[derive(Debug, Serialize)]
pub struct Observed {
    /// Decisions by recipient domain.
    pub recipient_domains: Vec<Named>,
    /// Decisions by sender domain.
    pub sender_domains: Vec<Named>,
}

/// Refusals that were enforced, and those that were only logged.
#[derive(Debug, Serialize)]
pub struct RollOut {
    /// Rules with refusals that were only logged.
    pub rules: Vec<RollOutOfRule>,
    /// The number of /64 networks with an enforced refusal; null if there were too many
    /// to count.
    pub networks_refused: Option<usize>,
    /// The number of /64 networks with a refusal that `enforce_share` did not enforce.
    pub networks_spared: Option<usize>,
}

/// The rollout of one rule.
#[derive(Debug, Serialize)]
pub struct RollOutOfRule {
    /// Its name; `other` for rules that this version does not know.
    pub rule: &'static str,
    /// Enforced refusals.
    pub refused: u64,
    /// Refusals not enforced because of `mode: observe`.
    pub mode: u64,
    /// Refusals not enforced because of `observe_domains`.
    pub observe_domains: u64,
    /// Refusals not enforced because of `observe_rules`.
    pub observe_rules: u64,
    /// Refusals not enforced because of `enforce_share`.
    pub enforce_share: u64,
}

/// The outcome of deferred mail. A message is identified by its sender's address and a
/// recipient domain.
#[derive(Debug, Serialize)]
pub struct Returns {
    /// All deferred messages.
    pub total: Fates,
    /// Deferred messages by the rule of the first deferral.
    pub rules: Vec<Fates>,
    /// Sender domains of messages with [`Fate::Ipv4`].
    pub ipv4: Vec<Returned>,
    /// Sender domains of messages with [`Fate::Ipv4Refused`].
    pub ipv4_refused: Vec<Returned>,
    /// Sender domains of messages with [`Fate::Ipv6`].
    pub ipv6: Vec<Returned>,
    /// Sender domains of messages with [`Fate::Retrying`].
    pub retrying: Vec<Returned>,
    /// Sender domains of messages with [`Fate::Gone`].
    pub gone: Vec<Returned>,
    /// Sender domains of messages with [`Fate::Waiting`].
    pub waiting: Vec<Returned>,
    /// The number of sender domains with [`Fate::Ipv4`]; null if there were too many to
    /// count.
    pub ipv4_domains: Option<usize>,
    /// The number of sender domains with [`Fate::Gone`]; null if there were too many to
    /// count.
    pub gone_domains: Option<usize>,
}

/// Deferred messages by their outcome.
#[derive(Debug, Serialize)]
pub struct Fates {
    /// The rule; `all` in the total, `other` for rules that this version does
    /// not know.
    pub rule: &'static str,
    /// All messages.
    pub mails: u64,
    /// Messages with [`Fate::Ipv4`].
    pub ipv4: u64,
    /// Messages with [`Fate::Ipv4Refused`].
    pub ipv4_refused: u64,
    /// Messages with [`Fate::Ipv6`].
    pub ipv6: u64,
    /// Messages with [`Fate::Retrying`].
    pub retrying: u64,
    /// Messages with [`Fate::Gone`].
    pub gone: u64,
    /// Messages with [`Fate::Waiting`].
    pub waiting: u64,
}

/// Deferred messages of one sender domain with the same fate.
#[derive(Debug, Serialize)]
pub struct Returned {
    /// The sender domain; empty for the null reverse-path.
    pub name: String,
    /// The number of messages.
    pub mails: u64,
    /// The number of attempts over IPv6.
    pub attempts: u64,
    /// The rule of the last deferral.
    pub rule: &'static str,
    /// The client's /64 in the last attempt.
    pub network: String,
    /// The client's host name in the last attempt.
    pub client: String,
    /// As in [`Named`].
    pub missed: u64,
}

/// Decisions of one hour.
#[derive(Debug, Serialize)]
pub struct Hour {
    /// When it began.
    pub begin: Timestamp,
    /// The number of decisions by action.
    #[serde(flatten)]
    pub counts: Counts,
}

impl RuleCounts {
    /// Returns whether this is one of rules 1 to 5, which do not check mail.
    pub(super) fn is_not_checked(&self) -> bool {
        let rule = Rule::ALL.into_iter().find(|rule| rule.name() == self.rule);
        rule.is_some_and(|rule| !rule.applies_to_checked_mail())
    }
}

impl Summary {
    /// Summarizes the counts, each list limited to its first `top` entries. `exempt` is
    /// the content of the lists of exempt networks; `None` if unknown.
    pub fn new(mut tally: Tally, top: usize, exempt: Option<Vec<ExemptEntry>>) -> Self {
        tally.finish();
        let tally = &tally;
        Self {
            period: period(tally),
            read: Read {
                bytes: tally.bytes,
                lines: tally.lines,
                decisions: tally.decisions,
                untimed: tally.untimed,
                mta_lines: tally.mta_lines,
            },
            totals: tally.totals,
            not_checked: tally.not_checked,
            waited: Waited {
                median_ms: tally.waits.percentile(50),
                p99_ms: tally.waits.percentile(99),
                longest_ms: tally.waits.longest,
            },
            rules: rules(tally),
            recipient_domains: named(&tally.recipients, top, Counts::total),
            sender_domains: named(&tally.senders, top, Counts::total),
            clients: clients(tally, top),
            not_opted_in: causes(&tally.not_opted_in, top, "opt-in"),
            given_up: causes(&tally.given_up, top, ""),
            exempt: exempted(tally, top, exempt),
            forwarders: named(&tally.forwarders, top, Counts::total),
            temporary_failures: Failures {
                names: causes(&tally.causes, top, ""),
                ..tally.failures.clone()
            },
            observed: Observed {
                recipient_domains: named(&tally.observed_recipients, top, Counts::total),
                sender_domains: named(&tally.observed_senders, top, Counts::total),
            },
            roll_out: roll_out(tally),
            returns: returns(tally, top),
            hours: hours(tally),
        }
    }
}

fn period(tally: &Tally) -> Period {
    let timestamp = |second| Timestamp::from_second(second).ok();
    Period {
        since: tally.window.since.and_then(timestamp),
        until: tally.window.until.and_then(timestamp),
        first: tally.period.and_then(|(first, _)| timestamp(first)),
        last: tally.period.and_then(|(_, last)| timestamp(last)),
    }
}

fn rule_name(row: usize) -> &'static str {
    Rule::ALL.get(row).map_or("other", |rule| rule.name())
}

fn rules(tally: &Tally) -> Vec<RuleCounts> {
    (tally.rules.iter().enumerate())
        .filter(|(_, counts)| counts.total() > 0)
        .map(|(row, &counts)| RuleCounts {
            rule: rule_name(row),
            counts,
        })
        .collect()
}

fn named(tops: &TopK<String, Counts>, top: usize, weight: fn(&Counts) -> u64) -> Vec<Named> {
    let named = |top: Top<String, Counts>| Named {
        name: top.key,
        counts: top.value,
        missed: top.missed,
    };
    tops.top(top, weight).into_iter().map(named).collect()
}

fn clients(tally: &Tally, top: usize) -> Vec<Client> {
    (tally.clients.top(top, |client| client.counts.total()))
        .into_iter()
        .map(|top| Client {
            network: network(top.key),
            name: top.value.name,
            counts: top.value.counts,
            missed: top.missed,
        })
        .collect()
}

fn roll_out(tally: &Tally) -> RollOut {
    let rows = tally.observed_by.iter().zip(&tally.rules).enumerate();
    let rules = rows.filter(|(_, (observed, _))| observed.iter().any(|&n| n > 0));
    let networks = |is_meant: fn(&ClientSums) -> bool| {
        let all = tally.clients.distinct()?;
        let clients = tally.clients.top(all, |_| 1);
        Some(clients.iter().filter(|top| is_meant(&top.value)).count())
    };
    RollOut {
        rules: rules
            .map(|(row, (observed, counts))| RollOutOfRule {
                rule: rule_name(row),
                refused: counts.refused(),
                mode: observed[ObservedBy::Mode as usize],
                observe_domains: observed[ObservedBy::Domain as usize],
                observe_rules: observed[ObservedBy::Rule as usize],
                enforce_share: observed[ObservedBy::Share as usize],
            })
            .collect(),
        networks_refused: networks(|client| client.counts.refused() > 0),
        networks_spared: networks(|client| client.spared_by_share > 0),
    }
}

fn exempted(tally: &Tally, top: usize, entries: Option<Vec<ExemptEntry>>) -> Exempt {
    let latest = |sums: &ExemptSums| sums.last.map_or(1, |last| last.max(1).unsigned_abs());
    let used = tally.exempt.top(top, latest).into_iter();
    let of = |is_wanted: fn(&ExemptEntry) -> bool| {
        let wanted = entries.as_ref()?.iter().filter(|entry| is_wanted(entry));
        Some(wanted.cloned().collect::<Vec<_>>())
    };
    let mut ending = of(|entry| entry.is_ending);
    if let Some(ending) = &mut ending {
        ending.sort_by_key(|entry| entry.until);
        ending.truncate(top);
    }
    let mut unused = of(|entry| entry.is_unused);
    if let Some(unused) = &mut unused {
        unused.sort_by_key(|entry| entry.last_used);
        unused.truncate(top);
    }
    Exempt {
        used: used
            .map(|top| ExemptUse {
                entry: top.key,
                comment: top.value.comment,
                connections: top.value.connections,
                last: top
                    .value
                    .last
                    .and_then(|last| Timestamp::from_second(last).ok()),
                missed: top.missed,
            })
            .collect(),
        ending,
        unused,
    }
}

fn causes(tops: &TopK<String, u64>, top: usize, check: &str) -> Vec<Cause> {
    (tops.top(top, |count| *count).into_iter())
        .map(|top| {
            let (check, name) = top.key.split_once(' ').unwrap_or((check, &top.key));
            Cause {
                check: check.to_owned(),
                name: name.to_owned(),
                count: top.value,
                missed: top.missed,
            }
        })
        .collect()
}

fn returns(tally: &Tally, top: usize) -> Returns {
    let fates = &tally.returns.fates;
    let total = std::array::from_fn(|fate| fates.iter().map(|row| row[fate]).sum());
    let list = |fate| returned(&tally.returns.domains[fate as usize], top);
    Returns {
        total: fates_of("all", &total),
        rules: (fates.iter().enumerate())
            .map(|(row, fates)| fates_of(rule_name(row), fates))
            .filter(|fates| fates.mails > 0)
            .collect(),
        ipv4: list(Fate::Ipv4),
        ipv4_refused: list(Fate::Ipv4Refused),
        ipv6: list(Fate::Ipv6),
        retrying: list(Fate::Retrying),
        gone: list(Fate::Gone),
        waiting: list(Fate::Waiting),
        ipv4_domains: tally.returns.domains[Fate::Ipv4 as usize].distinct(),
        gone_domains: tally.returns.domains[Fate::Gone as usize].distinct(),
    }
}

fn fates_of(rule: &'static str, fates: &[u64; Fate::ALL.len()]) -> Fates {
    let of = |fate: Fate| fates[fate as usize];
    Fates {
        rule,
        mails: fates.iter().sum(),
        ipv4: of(Fate::Ipv4),
        ipv4_refused: of(Fate::Ipv4Refused),
        ipv6: of(Fate::Ipv6),
        retrying: of(Fate::Retrying),
        gone: of(Fate::Gone),
        waiting: of(Fate::Waiting),
    }
}

fn returned(tops: &TopK<String, Mails>, top: usize) -> Vec<Returned> {
    (tops.top(top, |mails| mails.mails).into_iter())
        .map(|top| Returned {
            name: top.key,
            mails: top.value.mails,
            attempts: top.value.attempts,
            rule: top.value.rule.map_or("other", Rule::name),
            network: top.value.network.map(network).unwrap_or_default(),
            client: top.value.name,
            missed: top.missed,
        })
        .collect()
}

fn hours(tally: &Tally) -> Vec<Hour> {
    (tally.hours.iter())
        .filter_map(|(hour, &counts)| {
            let begin = Timestamp::from_second(hour * 3600).ok()?;
            Some(Hour { begin, counts })
        })
        .collect()
}
