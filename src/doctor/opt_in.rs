//! Checks the opt-in sources: whether the lists can be read, how many entries they have and
//! how old they are, and whether the servers answer.

use super::finding::{Check, Finding};
use crate::{
    address::Domain,
    checks::Checks,
    config::{Config, HostPattern, OptInMx},
    dns::{Answer, Dns, Name, Resolve},
    list_file,
    opt_in::{
        ListStatus, OPTED_IN, ServerCheck, ServerFinding, ServerStatus, Source, SourceList, Sources,
    },
};
use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// Reads the lists, as `serve` does.
pub(super) async fn open(config: &Config) -> Result<Sources, Finding> {
    let lists = config.opt_in.clone();
    let read = tokio::task::spawn_blocking(move || Sources::open(&lists, None));
    let wrong = |complaint: String| {
        Finding::problem(
            Check::OptIn,
            complaint,
            "fix the list; until then a running sixgate keeps the last valid one, and a stopped one \
             does not start",
        )
    };
    match read.await {
        Ok(Ok(sources)) => Ok(sources),
        Ok(Err(error)) => Err(wrong(error.to_string())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// Returns a finding for each list.
pub(super) fn check(sources: &Result<Sources, Finding>) -> Vec<Finding> {
    match sources {
        Ok(sources) => check_lists(sources),
        Err(wrong) => vec![wrong.clone()],
    }
}

fn check_lists(sources: &Sources) -> Vec<Finding> {
    let lists = sources.lists();
    let of_source = |status: &ListStatus| {
        let list = lists.iter().find(|list| list.source == status.source)?;
        is_used(status, list).then(|| describe(status, list))
    };
    let mut findings: Vec<Finding> = sources.list_status().iter().filter_map(of_source).collect();
    findings.extend(sources.warning().map(nobody_opted_in));
    findings
}

fn nobody_opted_in(warning: &str) -> Finding {
    Finding::warning(
        Check::OptIn,
        warning,
        "opt a domain in: sixgate opt-in add example.org",
    )
}

fn is_used(status: &ListStatus, list: &SourceList<'_>) -> bool {
    status.entries > 0 || newest(list).is_some()
}

fn describe(status: &ListStatus, list: &SourceList<'_>) -> Finding {
    let entries = match status.entries {
        1 => format!("{}: 1 entry", status.source),
        many => format!("{}: {many} entries", status.source),
    };
    let age = newest(list).and_then(|(file, written)| {
        let age = SystemTime::now().duration_since(written).ok()?;
        Some(format!(
            ", changed {} ago ({})",
            format_age(age),
            file.display()
        ))
    });
    let seen = entries + &age.unwrap_or_default();
    match &status.error {
        None => Finding::ok(Check::OptIn, seen),
        Some(error) => Finding::problem(
            Check::OptIn,
            format!("{seen}; the last valid list is used: {error}"),
            "fix the list",
        ),
    }
}

/// A domain that can't exist (RFC 6761 section 6.4), so no list has it and the servers are
/// queried.
const TEST_DOMAIN: &str = "sixgate-doctor.invalid";

/// Queries the opt-in servers, if there are any.
pub(super) async fn check_servers(checks: &Checks<Dns>, zone: Option<&Domain>) -> Vec<Finding> {
    let sources = checks.opt_in_sources();
    if sources.server_status().is_empty() {
        return Vec::new();
    }
    let domain = Domain::parse(TEST_DOMAIN).ok();
    checks.opt_in(domain.as_ref()).await;
    let servers = sources.server_status();
    let checked = sources.check_servers().await;
    let others = servers
        .iter()
        .filter(|server| checked.iter().all(|check| check.source != server.source));
    let mut findings: Vec<Finding> = others.map(server_status).collect();
    findings.splice(..0, checked.into_iter().map(checked_server));
    if let Some(zone) = zone {
        findings.extend(test_entry(checks.resolver(), zone).await);
    }
    findings
}

/// Checks that the hosts by which domains opt in have AAAA records.
pub(super) async fn check_mx_hosts(resolver: &Dns, mx: &OptInMx) -> Vec<Finding> {
    let mut findings = Vec::new();
    for host in mx.hosts.iter().filter_map(HostPattern::host) {
        let Ok(name) = Name::parse(host.as_str()) else {
            continue;
        };
        let answer = resolver.aaaa(&name).await;
        let seen = format!("mx: {host} has {}", answer.describe(Ipv6Addr::to_string));
        findings.push(match answer {
            Answer::Found(_) => Finding::ok(Check::OptIn, seen),
            Answer::Absent(_) => Finding::warning(
                Check::OptIn,
                format!("{seen}: domains that opt in by this host receive no mail over IPv6"),
                format!("add an AAAA record for {host}, or remove it from opt_in.mx.hosts"),
            ),
            Answer::Temperror(_) => {
                Finding::warning(Check::OptIn, seen, "check that its DNS servers answer")
            }
        });
    }
    findings
}

/// Checks that the test entry of the zone can be looked up. A resolver that removes
/// addresses in 127.0.0.0/8 from answers removes all entries.
async fn test_entry(resolver: &Dns, zone: &Domain) -> Option<Finding> {
    let name = Name::parse(format!("test.{zone}")).ok()?;
    let answer = resolver.a(&name).await;
    match &answer {
        Answer::Found(found) if found.records.contains(&OPTED_IN) => {
            let seen = format!("dns-zone: {name} has {OPTED_IN}");
            Some(Finding::ok(Check::OptIn, seen))
        }
        Answer::Found(_) | Answer::Absent(_) => Some(Finding::warning(
            Check::OptIn,
            format!(
                "dns-zone: {name} has {}",
                answer.describe(Ipv4Addr::to_string)
            ),
            format!(
                "add {OPTED_IN} there (RFC 5782 section 5); if the zone has it, make the resolver \
                 keep 127.0.0.0/8 in answers, because otherwise no domain is listed"
            ),
        )),
        // The check of the server reports it.
        Answer::Temperror(_) => None,
    }
}

fn checked_server(check: ServerCheck) -> Finding {
    const UNTIL_THEN: &str = "until then, domains that are not cached are answered 451 4.4.3";
    let (source, url) = (check.source, check.url);
    let (does, key) = match source {
        Source::Sql => ("answers the query", "opt_in.sql.query"),
        _ => ("has the hash", "opt_in.redis.key"),
    };
    match check.finding {
        ServerFinding::Ok => Finding::ok(Check::OptIn, format!("{source}: {url} {does}")),
        ServerFinding::Unreachable(reason) => Finding::problem(
            Check::OptIn,
            format!("{source}: {url} can't be queried: {reason}"),
            format!("check that the server runs; {UNTIL_THEN}"),
        ),
        ServerFinding::Empty(reason) => Finding::problem(
            Check::OptIn,
            format!("{source}: {url}: {reason}"),
            format!("add a domain to it, or fix {key}; {UNTIL_THEN}"),
        ),
        ServerFinding::Wrong(reason) => Finding::problem(
            Check::OptIn,
            match source {
                Source::Sql => format!("{source}: {url} refuses the query: {reason}"),
                _ => format!("{source}: {url}: {reason}"),
            },
            format!("fix {key}; {UNTIL_THEN}"),
        ),
    }
}

fn server_status(status: &ServerStatus) -> Finding {
    let source = status.source;
    match (&status.error, status.age) {
        (Some(error), _) => Finding::problem(
            Check::OptIn,
            format!("{source}: no usable answer: {error}"),
            "check that the server runs; until then, domains that are not cached are answered \
             451 4.4.3",
        ),
        (None, Some(_)) => Finding::ok(Check::OptIn, format!("{source} answers")),
        (None, None) => {
            let seen = format!(
                "{source} was not queried, because an earlier source answers for all domains"
            );
            Finding::ok(Check::OptIn, seen)
        }
    }
}

/// Returns the most recently modified file of a list, and its time.
fn newest(list: &SourceList<'_>) -> Option<(PathBuf, SystemTime)> {
    let files = list_file::expand(list.paths).ok()?;
    let written = files.into_iter().filter_map(|file| {
        let written = fs::metadata(&file).and_then(|metadata| metadata.modified());
        Some((file, written.ok()?))
    });
    written.max_by_key(|(_, written)| *written)
}

fn format_age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
