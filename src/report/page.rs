//! The content of the report page: the interpretation of a [`Summary`], most important
//! items first. The text and the HTML form both render it.

use super::{
    counts::{Cause, Counts},
    summary::{Client, ExemptEntry, ExemptUse, Fates, Named, Returned, RollOutOfRule, Summary},
};
use crate::logs::escape::{escape, readable};
use jiff::{Timestamp, tz::TimeZone};

/// Everything on the page except the charts.
pub(super) struct Page {
    /// The period.
    pub(super) title: String,
    /// The amount of data read.
    pub(super) subtitle: String,
    /// The totals.
    pub(super) totals: Table,
    /// The time the MTA waited for replies.
    pub(super) waited: Option<String>,
    /// Items that need attention, most urgent first.
    pub(super) look: Vec<Item>,
    /// Items that need none.
    pub(super) fine: Vec<Item>,
    /// The detailed counts.
    pub(super) sums: Vec<Item>,
}

/// One statement with its evidence.
pub(super) struct Item {
    pub(super) headline: String,
    /// What it means and what to do; empty if that is obvious.
    pub(super) advice: &'static str,
    pub(super) table: Option<Table>,
}

/// Rows of cells; `numbers` marks the columns with numbers.
pub(super) struct Table {
    /// The column titles; empty if the rows need none.
    pub(super) head: Vec<&'static str>,
    pub(super) numbers: Vec<bool>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Page {
    pub(super) fn new(summary: &Summary, zone: &TimeZone) -> Self {
        let items = |all: Vec<Option<Item>>| -> Vec<Item> { all.into_iter().flatten().collect() };
        Self {
            title: title(summary, zone),
            subtitle: subtitle(summary),
            totals: totals(summary),
            waited: waited(summary),
            look: items(vec![
                not_opted_in(summary),
                retrying(summary),
                given_up(summary),
                exempt_ending(summary, zone),
                observed(summary),
                temporary_failures(summary),
                without_mta_lines(summary),
            ]),
            fine: items(vec![
                came_back(summary),
                passed_later(summary),
                refused_by_others(summary),
                gone(summary),
                waiting(summary),
                exempt_unused(summary, zone),
            ])
            .into_iter()
            .map(halve)
            .collect(),
            sums: sums(summary, zone),
        }
    }
}

/// Shortens a list to half: enough for an item that needs no attention.
fn halve(mut item: Item) -> Item {
    if let Some(table) = &mut item.table {
        table.rows.truncate(table.rows.len().div_ceil(2).max(5));
    }
    item
}

fn title(summary: &Summary, zone: &TimeZone) -> String {
    let (Some(first), Some(last)) = (summary.period.first, summary.period.last) else {
        return "nothing with a time in it".to_owned();
    };
    let hours = (last.as_second() - first.as_second()).max(0) / 3600;
    let span = match hours {
        0 => "less than an hour".to_owned(),
        1..48 => plural(hours as u64, "hour", "hours"),
        _ => plural(hours as u64 / 24, "day", "days"),
    };
    format!("{} to {} ({span})", local(first, zone), local(last, zone))
}

/// Formats a local time to the minute.
pub(super) fn local(time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    zoned.strftime("%Y-%m-%d %H:%M").to_string()
}

fn subtitle(summary: &Summary) -> String {
    let read = &summary.read;
    let decisions = plural(read.decisions, "decision", "decisions");
    let lines = plural(read.lines, "line", "lines");
    let mut text = format!("{decisions} in {lines} ({})", bytes(read.bytes));
    if summary.not_checked > 0 {
        let count = grouped(summary.not_checked);
        text += &format!("; {count} of them about mail that is not checked");
    }
    if read.untimed > 0 {
        let count = grouped(read.untimed);
        text += &format!("; {count} more have no time and are left out");
    }
    text
}

fn totals(summary: &Summary) -> Table {
    let counts = &summary.totals;
    let row = |name: &str, count: u64, meaning: &str| {
        let share = share(count, counts.total());
        vec![name.to_owned(), grouped(count), share, meaning.to_owned()]
    };
    let mut rows = vec![
        row("accepted", counts.accepted, "SPF or DKIM passed"),
        row("deferred", counts.deferred, "4xx: the sender tries again"),
        row("rejected", counts.rejected, "5xx: the sender gives up"),
    ];
    if counts.would_refuse() > 0 {
        let meaning = "observe mode would have refused, and let pass";
        rows.push(row("observed", counts.would_refuse(), meaning));
    }
    Table {
        head: Vec::new(),
        numbers: vec![false, true, true, false],
        rows,
    }
}

fn waited(summary: &Summary) -> Option<String> {
    let waited = &summary.waited;
    some(summary.totals.total()).map(|_| {
        format!(
            "Response time: median {}, p99 {}, slowest {}.",
            duration(waited.median_ms),
            duration(waited.p99_ms),
            duration(waited.longest_ms)
        )
    })
}

fn not_opted_in(summary: &Summary) -> Option<Item> {
    let row = summary
        .rules
        .iter()
        .find(|row| row.rule == "not-opted-in")?;
    let count = some(row.counts.rejected)?;
    Some(Item {
        headline: format!(
            "{} rejected permanently: the domain has not opted in.",
            plural(count, "recipient was", "recipients were")
        ),
        advice: "Opt the domain in (sixgate opt-in add), or take the AAAA record from its MX.",
        table: Some(causes(&summary.not_opted_in, |cause| {
            vec![readable(&cause.name).into_owned()]
        })),
    })
}

fn retrying(summary: &Summary) -> Option<Item> {
    let count = some(summary.returns.total.retrying)?;
    Some(Item {
        headline: format!(
            "{} retried over IPv6 only and did not pass.",
            plural(count, "deferred message was", "deferred messages were")
        ),
        advice: "These are real mail servers whose mail does not arrive. Contact their \
                 postmasters, or exempt their networks.",
        table: Some(returned(&summary.returns.retrying)),
    })
}

fn given_up(summary: &Summary) -> Option<Item> {
    let domains = summary.given_up.len() as u64;
    some(domains)?;
    Some(Item {
        headline: format!(
            "{} given up (replies.give_up_after) after being deferred over IPv6 for too long.",
            plural(domains, "sender domain was", "sender domains were")
        ),
        advice: "Their users got a bounce with the reason. Help the senders that you know.",
        table: Some(causes(&summary.given_up, |cause| vec![sender(&cause.name)])),
    })
}

fn observed(summary: &Summary) -> Option<Item> {
    let count = some(summary.totals.would_refuse())?;
    let rows = (summary.rules.iter())
        .filter(|row| row.counts.would_refuse() > 0)
        .map(|row| observed_row("rule", row.rule, &row.counts, 0))
        .chain((summary.observed.recipient_domains.iter()).map(|d| observed_domain("to", d)))
        .chain((summary.observed.sender_domains.iter()).map(|d| observed_domain("from", d)))
        .collect();
    Some(Item {
        headline: format!(
            "Observe mode would have refused {}.",
            plural(count, "recipient or message", "recipients and messages")
        ),
        advice: "",
        table: Some(Table {
            head: vec!["", "", "with 4xx", "with 5xx"],
            numbers: vec![false, false, true, true],
            rows,
        }),
    })
}

fn observed_domain(kind: &str, domain: &Named) -> Vec<String> {
    observed_row(kind, &sender(&domain.name), &domain.counts, domain.missed)
}

fn observed_row(kind: &str, name: &str, counts: &Counts, missed: u64) -> Vec<String> {
    vec![
        kind.to_owned(),
        name.to_owned(),
        counted(counts.would_defer, missed),
        counted(counts.would_reject, missed),
    ]
}

fn temporary_failures(summary: &Summary) -> Option<Item> {
    let failures = &summary.temporary_failures;
    let kinds = [
        ("opt-in", failures.opt_in),
        ("PTR", failures.ptr),
        ("SPF", failures.spf),
        ("DKIM", failures.dkim),
    ];
    let count = some(kinds.iter().map(|kind| kind.1).sum())?;
    let kinds = kinds.iter().filter(|kind| kind.1 > 0);
    let kinds: Vec<_> = kinds
        .map(|(check, n)| format!("{check} {}", grouped(*n)))
        .collect();
    Some(Item {
        headline: format!(
            "{} because of a lookup without an answer: {}.",
            plural(count, "temporary failure", "temporary failures"),
            kinds.join(", ")
        ),
        advice: "Many failures of one name: its name servers are down. Of many names: check \
                 the resolver (sixgate doctor).",
        table: Some(causes(&summary.temporary_failures.names, |cause| {
            vec![cause.check.clone(), sender(&cause.name)]
        })),
    })
}

fn exempt_ending(summary: &Summary, zone: &TimeZone) -> Option<Item> {
    let ending = summary.exempt.ending.as_deref()?;
    let count = some(ending.len() as u64)?;
    Some(Item {
        headline: format!(
            "{} within a week.",
            plural(count, "exemption ends", "exemptions end")
        ),
        advice: "Their mail is checked after that. Check whether it would pass (sixgate explain), \
                 or extend them: sixgate exempt add NETWORK --for 14d.",
        table: Some(exempt_entries(ending, zone)),
    })
}

fn exempt_unused(summary: &Summary, zone: &TimeZone) -> Option<Item> {
    let unused = summary.exempt.unused.as_deref()?;
    let count = some(unused.len() as u64)?;
    Some(Item {
        headline: format!(
            "{} not been used for 90 days.",
            plural(count, "exemption has", "exemptions have")
        ),
        advice: "They may not be needed any more: sixgate exempt remove NETWORK.",
        table: Some(exempt_entries(unused, zone)),
    })
}

fn exempt_entries(entries: &[ExemptEntry], zone: &TimeZone) -> Table {
    let time = |time: Option<Timestamp>, none: &str| match time {
        Some(time) => local(time, zone),
        None => none.to_owned(),
    };
    let row = |entry: &ExemptEntry| {
        vec![
            entry.entry.clone(),
            time(entry.until, "none"),
            time(entry.last_used, "never"),
            dash(&escape(&entry.comment)),
        ]
    };
    Table {
        head: vec!["network", "end", "last use", "comment"],
        numbers: vec![false; 4],
        rows: entries.iter().map(row).collect(),
    }
}

fn exempt_uses(uses: &[ExemptUse], zone: &TimeZone) -> Table {
    let row = |used: &ExemptUse| {
        vec![
            used.entry.clone(),
            counted(used.connections, used.missed),
            used.last
                .map_or_else(|| "-".to_owned(), |last| local(last, zone)),
            dash(&used.comment),
        ]
    };
    Table {
        head: vec!["network", "connections", "last use", "comment"],
        numbers: vec![false, true, false, false],
        rows: uses.iter().map(row).collect(),
    }
}

/// Returns a warning if the log has no MTA lines, so that mail retried over IPv4 can't be
/// detected.
fn without_mta_lines(summary: &Summary) -> Option<Item> {
    let blind = summary.read.mta_lines == 0 && summary.returns.total.mails > 0;
    blind.then(|| Item {
        headline: "No line of Postfix or Sendmail was read.".to_owned(),
        advice: "Retries over IPv4 can't be detected and count as not seen again. Read the \
                 MTA's log together with sixgate's.",
        table: None,
    })
}

fn came_back(summary: &Summary) -> Option<Item> {
    let count = some(summary.returns.total.ipv4)?;
    Some(Item {
        headline: format!(
            "{}{} came back over IPv4 and arrived.",
            plural(count, "deferred message", "deferred messages"),
            of_domains(summary.returns.ipv4_domains)
        ),
        advice: "",
        table: Some(returned(&summary.returns.ipv4)),
    })
}

fn passed_later(summary: &Summary) -> Option<Item> {
    let count = some(summary.returns.total.ipv6)?;
    Some(Item {
        headline: format!(
            "{} back over IPv6 and passed.",
            plural(count, "deferred message came", "deferred messages came")
        ),
        advice: "",
        table: Some(returned(&summary.returns.ipv6)),
    })
}

fn refused_by_others(summary: &Summary) -> Option<Item> {
    let count = some(summary.returns.total.ipv4_refused)?;
    Some(Item {
        headline: format!(
            "{} back over IPv4, where another rule of the MTA refused {}.",
            plural(count, "deferred message came", "deferred messages came"),
            if count == 1 { "it" } else { "them" }
        ),
        advice: "",
        table: Some(returned(&summary.returns.ipv4_refused)),
    })
}

fn gone(summary: &Summary) -> Option<Item> {
    let count = some(summary.returns.total.gone)?;
    Some(Item {
        headline: format!(
            "{}{} not seen again after one attempt.",
            plural(count, "deferred message", "deferred messages"),
            of_domains(summary.returns.gone_domains) + if count == 1 { " was" } else { " were" }
        ),
        advice: "Mail servers retry; senders that do not are mostly spam. Look for names you know.",
        table: Some(returned(&summary.returns.gone)),
    })
}

/// Formats a number of domains; `None` if there were too many to count.
fn of_domains(domains: Option<usize>) -> String {
    match domains {
        Some(domains) => {
            let domains = plural(domains as u64, "sender domain", "sender domains");
            format!(" of {domains}")
        }
        None => String::new(),
    }
}

fn waiting(summary: &Summary) -> Option<Item> {
    let count = some(summary.returns.total.waiting)?;
    Some(Item {
        headline: format!(
            "{} deferred in the last four hours and may still be retried.",
            plural(count, "message was", "messages were")
        ),
        advice: "",
        table: None,
    })
}

fn sums(summary: &Summary, zone: &TimeZone) -> Vec<Item> {
    let observed = summary.totals.would_refuse() > 0;
    let sum = |headline: &str, table: Table| Item {
        headline: headline.to_owned(),
        advice: "",
        table: Some(table),
    };
    let rules = summary.rules.iter();
    let rules = rules.map(|row| (vec![row.rule.to_owned()], &row.counts, 0));
    let domain = |domain: &'_ Named| vec![sender(&domain.name)];
    let to = summary.recipient_domains.iter();
    let from = summary.sender_domains.iter();
    let clients = summary.clients.iter();
    let mut sums = vec![
        sum("By rule", counts_table(&["rule"], rules, observed)),
        roll_out(summary),
        sum(
            "By recipient domain",
            counts_table(
                &["recipient domain"],
                to.map(|d| (vec![readable(&d.name).into_owned()], &d.counts, d.missed)),
                observed,
            ),
        ),
        sum(
            "By sender domain",
            counts_table(
                &["sender domain"],
                from.map(|d| (domain(d), &d.counts, d.missed)),
                observed,
            ),
        ),
        sum(
            "By client network",
            counts_table(&["client", "host name"], clients.map(client), observed),
        ),
    ];
    sums.push(sum(
        "By exemption, most recently used first",
        exempt_uses(&summary.exempt.used, zone),
    ));
    let forwarders = summary.forwarders.iter();
    sums.push(sum(
        "By known forwarder",
        Table {
            head: vec!["entry", "messages"],
            numbers: vec![false, true],
            rows: forwarders
                .map(|entry| {
                    let name = readable(&entry.name).into_owned();
                    vec![name, counted(entry.counts.total(), entry.missed)]
                })
                .collect(),
        },
    ));
    sums.retain(|item| {
        item.table
            .as_ref()
            .is_some_and(|table| !table.rows.is_empty())
    });
    if summary.returns.total.mails > 0 {
        sums.push(sum("Outcome of deferred mail", fates(summary)));
    }
    sums
}

/// Describes the share of refusals that are enforced, and what prevents the rest.
fn roll_out(summary: &Summary) -> Item {
    let roll_out = &summary.roll_out;
    let row = |rule: &RollOutOfRule| {
        let observed = [
            rule.enforce_share,
            rule.observe_rules,
            rule.observe_domains,
            rule.mode,
        ];
        let all = rule.refused + observed.iter().sum::<u64>();
        let mut cells = vec![rule.rule.to_owned(), grouped(rule.refused)];
        cells.push(share(rule.refused, all));
        cells.extend(observed.map(grouped));
        cells
    };
    let networks = match (roll_out.networks_refused, roll_out.networks_spared) {
        (Some(refused), Some(spared)) if spared > 0 => format!(
            ": {} refused, {} spared by enforce_share",
            plural(refused as u64, "network", "networks"),
            grouped(spared as u64)
        ),
        _ => String::new(),
    };
    Item {
        headline: format!("Roll-out{networks}"),
        advice: "",
        table: Some(Table {
            head: vec![
                "rule", "refused", "", "share", "rules", "domains", "observe",
            ],
            numbers: (0..7).map(|n| n > 0).collect(),
            rows: roll_out.rules.iter().map(row).collect(),
        }),
    }
}

fn client(client: &Client) -> (Vec<String>, &Counts, u64) {
    let cells = vec![client.network.clone(), dash(&client.name)];
    (cells, &client.counts, client.missed)
}

fn counts_table<'a>(
    head: &[&'static str],
    rows: impl Iterator<Item = (Vec<String>, &'a Counts, u64)>,
    observed: bool,
) -> Table {
    let names = head.len();
    let numbers: &[&str] = match observed {
        true => &["accepted", "deferred", "rejected", "observed"],
        false => &["accepted", "deferred", "rejected"],
    };
    let cells = |(mut cells, counts, missed): (Vec<String>, &Counts, u64)| {
        let all = [
            counts.accepted,
            counts.deferred,
            counts.rejected,
            counts.would_refuse(),
        ];
        cells.extend(all.iter().take(numbers.len()).map(|&n| counted(n, missed)));
        cells
    };
    Table {
        head: head.iter().chain(numbers).copied().collect(),
        numbers: (0..names + numbers.len()).map(|n| n >= names).collect(),
        rows: rows.map(cells).collect(),
    }
}

fn fates(summary: &Summary) -> Table {
    let row = |fates: &Fates| {
        let numbers = [
            fates.mails,
            fates.ipv4,
            fates.ipv4_refused,
            fates.ipv6,
            fates.retrying,
            fates.gone,
            fates.waiting,
        ];
        let name = [fates.rule.to_owned()].into_iter();
        name.chain(numbers.map(grouped)).collect()
    };
    let rows = summary.returns.rules.iter().chain([&summary.returns.total]);
    Table {
        head: vec![
            "deferred by",
            "mails",
            "IPv4",
            "refused",
            "IPv6",
            "retrying",
            "gone",
            "recent",
        ],
        numbers: (0..8).map(|n| n > 0).collect(),
        rows: rows.map(row).collect(),
    }
}

fn returned(list: &[Returned]) -> Table {
    let row = |entry: &Returned| {
        vec![
            sender(&entry.name),
            counted(entry.mails, entry.missed),
            grouped(entry.attempts),
            entry.rule.to_owned(),
            dash(&entry.network),
            dash(&entry.client),
        ]
    };
    Table {
        head: vec![
            "sender domain",
            "mails",
            "tries",
            "rule",
            "client",
            "host name",
        ],
        numbers: vec![false, true, true, false, false, false],
        rows: list.iter().map(row).collect(),
    }
}

fn causes(list: &[Cause], cells: impl Fn(&Cause) -> Vec<String>) -> Table {
    let row = |cause: &Cause| {
        let mut cells = cells(cause);
        cells.push(counted(cause.count, cause.missed));
        cells
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    let columns = rows.first().map_or(0, Vec::len);
    Table {
        head: Vec::new(),
        numbers: (1..=columns).map(|n| n == columns).collect(),
        rows,
    }
}

/// Formats a sender domain; the null reverse-path as `<>`.
fn sender(domain: &str) -> String {
    match domain {
        "" => "<>".to_owned(),
        domain => readable(domain).into_owned(),
    }
}

fn dash(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => readable(text).into_owned(),
    }
}

fn some(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

/// Formats a count as `12,345`, with a plus sign if some may have been missed.
fn counted(count: u64, missed: u64) -> String {
    match missed {
        0 => grouped(count),
        _ => grouped(count) + "+",
    }
}

/// Formats a number as `12,345`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn plural(count: u64, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{} {noun}", grouped(count))
}

fn share(count: u64, all: u64) -> String {
    match (count, all) {
        (_, 0) => String::new(),
        (0, _) => "0 %".to_owned(),
        (count, all) if count * 100 < all => "< 1 %".to_owned(),
        (count, all) => format!("{} %", count * 100 / all),
    }
}

fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        _ => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
    }
}

pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(counted(1000, 3), "1,000+");
        assert_eq!(share(1, 1000), "< 1 %");
        assert_eq!(share(2, 3), "66 %");
        assert_eq!(duration(8012), "8.0 s");
    }
}
