//! What was counted, ready to be printed. Its JSON form is what `--json` prints
//! and docs/report.md describes.

use super::{
    counts::Counts,
    retries::Mails,
    tally::{ClientSums, ExemptSums, Tally, is_not_checked},
    top_k::{Top, TopK},
};
use crate::{enforcement::ObservedBy, logs::Fate, policy::Rule};
use jiff::Timestamp;
use serde::Serialize;
use std::net::Ipv6Addr;

/// The whole report. Every list has its heaviest entry first.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What time it is about.
    pub period: Period,
    /// What was read.
    pub read: Read,
    /// All decisions about checked mail.
    pub totals: Counts,
    /// Lines about connections and mail that is not checked (rules 1 to 5).
    /// Only the debug level writes them.
    pub not_checked: u64,
    /// How long the MTA waited for an answer.
    pub waited: Waited,
    /// By rule, in the order of the decision table, those that decided anything.
    pub rules: Vec<RuleCounts>,
    /// By recipient domain.
    pub recipient_domains: Vec<Named>,
    /// By sender domain; the null reverse-path has an empty name.
    pub sender_domains: Vec<Named>,
    /// By client /64.
    pub clients: Vec<Client>,
    /// Recipients rejected because their domain has not opted in, by domain.
    pub not_opted_in: Vec<Cause>,
    /// Refusals for good of senders that were deferred for long
    /// (`replies.give_up_after`), by sender domain.
    pub given_up: Vec<Cause>,
    /// Exempt networks.
    pub exempt: Exempt,
    /// Messages of known forwarders, by the entry of `exempt.forwarders`.
    pub forwarders: Vec<Named>,
    /// Look-ups that failed for the time being.
    pub temporary_failures: Failures,
    /// What observe mode would have refused.
    pub observed: Observed,
    /// How far the roll-out is.
    pub roll_out: RollOut,
    /// What became of deferred mail.
    pub returns: Returns,
    /// By hour, those in which anything was decided.
    pub hours: Vec<Hour>,
}

/// From when until when.
#[derive(Debug, Serialize)]
pub struct Period {
    /// `--since`, if given.
    pub since: Option<Timestamp>,
    /// `--until`, if given.
    pub until: Option<Timestamp>,
    /// The first line of interest; null if no line has a time.
    pub first: Option<Timestamp>,
    /// The last line of interest.
    pub last: Option<Timestamp>,
}

/// How much was read.
#[derive(Debug, Serialize)]
pub struct Read {
    /// Octets, unpacked.
    pub octets: u64,
    /// Lines of any program.
    pub lines: u64,
    /// Decision lines within the period.
    pub decisions: u64,
    /// Decision lines left out because nothing tells when they were written.
    pub untimed: u64,
    /// Lines of Postfix or Sendmail about a mail's way in. Without any it can't
    /// be told what came back over IPv4.
    pub mta_lines: u64,
}

/// How long the MTA waited for an answer, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Waited {
    /// Half of the decisions took no longer.
    pub median_ms: u64,
    /// 99 of 100 took no longer.
    pub p99_ms: u64,
    /// The longest.
    pub longest_ms: u64,
}

/// Decisions of one rule.
#[derive(Debug, Serialize)]
pub struct RuleCounts {
    /// Its name; `other` for rules that this version does not know.
    pub rule: &'static str,
    /// What was decided.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Decisions about one domain.
#[derive(Debug, Serialize)]
pub struct Named {
    /// The domain.
    pub name: String,
    /// What was decided.
    #[serde(flatten)]
    pub counts: Counts,
    /// At most so many more before it was counted; 0 unless there were too many
    /// domains to count each.
    pub missed: u64,
}

/// Decisions about one client network.
#[derive(Debug, Serialize)]
pub struct Client {
    /// The /64.
    pub network: String,
    /// The host name seen last, by PTR; empty if none is told.
    pub name: String,
    /// What was decided.
    #[serde(flatten)]
    pub counts: Counts,
    /// As in [`Named`].
    pub missed: u64,
}

/// Exempt networks, by `sixgate exempt` and `exempt.networks`.
#[derive(Debug, Serialize)]
pub struct Exempt {
    /// Those that the log has, the one that was used last first. Those of
    /// `exempt.networks` are logged at debug only.
    pub used: Vec<ExemptUse>,
    /// Entries of the lists that end within a week, the next one first; null if the
    /// configuration was not read.
    pub ending: Option<Vec<ExemptEntry>>,
    /// Entries of the lists that nobody has used for 90 days.
    pub unused: Option<Vec<ExemptEntry>>,
}

/// How an entry of exempt networks was used.
#[derive(Debug, Serialize)]
pub struct ExemptUse {
    /// The network.
    pub entry: String,
    /// What was logged as its comment.
    pub comment: String,
    /// Connections of clients that it exempts.
    pub connections: u64,
    /// The last one; null if the lines have no time.
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
    /// Whether nobody has used it for 90 days.
    #[serde(skip)]
    pub is_unused: bool,
}

/// How often one thing was the reason.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// What was looked up: `opt-in`, `ptr`, `spf` or `dkim`.
    pub check: String,
    /// For which domain or network.
    pub name: String,
    /// How often.
    pub count: u64,
    /// As in [`Named`].
    pub missed: u64,
}

/// Look-ups that failed for the time being and decided a recipient or a
/// message, by check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Failures {
    /// Asking whether a domain has opted in.
    pub opt_in: u64,
    /// The client's PTR record, or the addresses of its names.
    pub ptr: u64,
    /// SPF.
    pub spf: u64,
    /// Keys of DKIM signatures, where SPF was settled.
    pub dkim: u64,
    /// Of what they failed most often.
    pub names: Vec<Cause>,
}

/// What observe mode would have refused.
#[derive(Debug, Serialize)]
pub struct Observed {
    /// By recipient domain.
    pub recipient_domains: Vec<Named>,
    /// By sender domain.
    pub sender_domains: Vec<Named>,
}

/// Refusals that were carried out, and those that were only logged.
#[derive(Debug, Serialize)]
pub struct RollOut {
    /// By rule, those of which a refusal was only logged.
    pub rules: Vec<RollOutOfRule>,
    /// How many /64 networks were refused anything; null if there were too many networks
    /// to count.
    pub networks_refused: Option<usize>,
    /// How many had a refusal spared by `enforce_share`.
    pub networks_spared: Option<usize>,
}

/// The roll-out of one rule.
#[derive(Debug, Serialize)]
pub struct RollOutOfRule {
    /// Its name; `other` for rules that this version does not know.
    pub rule: &'static str,
    /// Refusals that were carried out.
    pub refused: u64,
    /// Those that were not, because of `mode: observe`.
    pub mode: u64,
    /// Because of `observe_domains`.
    pub observe_domains: u64,
    /// Because of `observe_rules`.
    pub observe_rules: u64,
    /// Because of `enforce_share`.
    pub enforce_share: u64,
}

/// What became of deferred mail. A mail is a sender's address and a recipient
/// domain.
#[derive(Debug, Serialize)]
pub struct Returns {
    /// All of it.
    pub total: Fates,
    /// By the rule that deferred it first.
    pub rules: Vec<Fates>,
    /// Sender domains of mail with [`Fate::Ipv4`].
    pub ipv4: Vec<Returned>,
    /// Of [`Fate::Ipv4Refused`].
    pub ipv4_refused: Vec<Returned>,
    /// Of [`Fate::Ipv6`].
    pub ipv6: Vec<Returned>,
    /// Of [`Fate::Retrying`].
    pub retrying: Vec<Returned>,
    /// Of [`Fate::Gone`].
    pub gone: Vec<Returned>,
    /// Of [`Fate::Waiting`].
    pub waiting: Vec<Returned>,
    /// How many sender domains have mail with [`Fate::Ipv4`]; null if there were
    /// too many to count.
    pub ipv4_domains: Option<usize>,
    /// The same for [`Fate::Gone`].
    pub gone_domains: Option<usize>,
}

/// Deferred mails by what became of them.
#[derive(Debug, Serialize)]
pub struct Fates {
    /// The rule; `all` in the total, `other` for rules that this version does
    /// not know.
    pub rule: &'static str,
    /// All of them.
    pub mails: u64,
    /// [`Fate::Ipv4`].
    pub ipv4: u64,
    /// [`Fate::Ipv4Refused`].
    pub ipv4_refused: u64,
    /// [`Fate::Ipv6`].
    pub ipv6: u64,
    /// [`Fate::Retrying`].
    pub retrying: u64,
    /// [`Fate::Gone`].
    pub gone: u64,
    /// [`Fate::Waiting`].
    pub waiting: u64,
}

/// Deferred mails of one sender domain that had the same fate.
#[derive(Debug, Serialize)]
pub struct Returned {
    /// The sender domain; empty for the null reverse-path.
    pub name: String,
    /// How many mails.
    pub mails: u64,
    /// How often they were tried over IPv6.
    pub attempts: u64,
    /// The rule that deferred the last of them.
    pub rule: &'static str,
    /// The client's /64, of the last of them.
    pub network: String,
    /// Its host name.
    pub client: String,
    /// As in [`Named`].
    pub missed: u64,
}

/// Decisions of one hour.
#[derive(Debug, Serialize)]
pub struct Hour {
    /// When it began.
    pub begin: Timestamp,
    /// What was decided.
    #[serde(flatten)]
    pub counts: Counts,
}

impl RuleCounts {
    /// Rules 1 to 5: what they decide is no decision about checked mail.
    pub(super) fn is_not_checked(&self) -> bool {
        let rule = Rule::ALL.into_iter().find(|rule| rule.name() == self.rule);
        is_not_checked(rule)
    }
}

impl Summary {
    pub(super) fn new(tally: &Tally, top: usize, exempt: Option<Vec<ExemptEntry>>) -> Self {
        Self {
            period: period(tally),
            read: Read {
                octets: tally.octets,
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

/// The first 64 bits of an address as people write the network.
pub(super) fn network(prefix: u64) -> String {
    format!("{}/64", Ipv6Addr::from_bits(u128::from(prefix) << 64))
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
