//! Compares opt-ins with the AAAA records of MX hosts.
//!
//! A domain whose MX has an AAAA record receives mail over IPv6. If it has not opted in,
//! that mail bounces. The opposite does no harm: a domain that opted in receives no mail
//! over IPv6 until its MX has an AAAA record.

mod host_names;
mod opt_in_lists;
mod postfix;
mod sendmail;

use super::{
    Mtas,
    finding::{Check, Finding},
};
use crate::{
    address::{Domain, Recipient},
    cli::Doctor,
    config::Mode,
    dns::{
        Dns,
        exchangers::{self, Exchangers},
    },
    exit::{Exit, Failure},
    opt_in::mx_zone::Drift,
    policy::{OptIn, Refusal, Rule},
    reply::Class,
    snapshot::Snapshot,
};
use host_names::HostNames;
use std::{
    collections::BTreeSet,
    fs,
    io::{self, IsTerminal, Read, Write},
    path::Path,
    sync::Arc,
};
use tokio::task::JoinSet;

/// Looks up every domain that opted in, and those of the MTA or of `--domains`.
pub(super) async fn check(
    arguments: &Doctor,
    snapshot: Snapshot<Dns>,
    mtas: &Mtas,
) -> Result<Vec<Finding>, Failure> {
    let mut candidates = gather(arguments, mtas).await?;
    opt_in_lists::gather(&snapshot, &mut candidates);
    let host_names = HostNames::gather(&snapshot.config, &mut candidates).map(Arc::new);
    let snapshot = Arc::new(snapshot);
    let examined = look_up_all(&snapshot, host_names.as_ref(), candidates.domains).await;
    let mut findings = candidates.findings;
    for examined in &examined {
        let names = host_names.as_ref();
        findings.extend(names.and_then(|names| names.finding(examined)));
        if !names.is_some_and(|names| names.covers(examined)) {
            findings.extend(examined.mismatch(&snapshot));
        }
    }
    findings.extend(host_names.and_then(|names| names.missing(&examined)));
    findings.push(summary(examined.len(), &findings));
    Ok(findings)
}

fn summary(examined: usize, findings: &[Finding]) -> Finding {
    Finding::ok(
        Check::Domains,
        format!(
            "{examined} domain(s) checked, {} finding(s)",
            findings.len()
        ),
    )
}

/// The domains to look up.
#[derive(Default)]
struct Candidates {
    domains: BTreeSet<Domain>,
    /// Warnings about lists of domains that can't be read.
    findings: Vec<Finding>,
}

impl Candidates {
    /// Adds a name if it can be a mail domain on the Internet: not `localhost`, and not the
    /// pattern `.example.org`.
    fn take(&mut self, name: &str) {
        if let Ok(domain) = Domain::parse(name)
            && domain.parent().is_some()
            && !name.starts_with('.')
        {
            self.domains.insert(domain);
        }
    }

    fn not_read(&mut self, what: &str, why: impl std::fmt::Display) {
        self.findings.push(Finding::warning(
            Check::Domains,
            format!("the domains in {what} can't be listed: {why}"),
            "pass the domains with --domains, one per line",
        ));
    }
}

async fn gather(arguments: &Doctor, mtas: &Mtas) -> Result<Candidates, Failure> {
    let mut candidates = Candidates::default();
    if let Some(file) = &arguments.domains {
        let text = read(file).map_err(|error| no_list(file, error))?;
        text.lines()
            .filter_map(first_word)
            .for_each(|name| candidates.take(name));
        return Ok(candidates);
    }
    for instance in &mtas.postfix {
        postfix::gather(instance, &mut candidates).await;
    }
    if let Some(cf) = &mtas.sendmail {
        sendmail::gather(cf, &mut candidates);
    }
    Ok(candidates)
}

fn read(file: &Path) -> io::Result<String> {
    match file == Path::new("-") {
        true => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            Ok(text)
        }
        false => fs::read_to_string(file),
    }
}

fn no_list(file: &Path, error: io::Error) -> Failure {
    let words = anyhow::Error::new(error).context(format!("{}: can't be read", file.display()));
    Failure::new(Exit::NoInput, words)
}

/// Returns the first word of a line, without its comment.
fn first_word(line: &str) -> Option<&str> {
    let text = line.split('#').next().unwrap_or_default();
    text.split_whitespace().next()
}

/// The number of domains that are looked up at once.
const CONCURRENCY: usize = 32;

/// What was looked up about a domain.
struct Examined {
    domain: Domain,
    opt_in: OptIn,
    exchangers: Exchangers,
    /// The difference at its host name; `None` without `opt_in.mx_zone`.
    drift: Option<Drift>,
}

async fn look_up_all(
    snapshot: &Arc<Snapshot<Dns>>,
    host_names: Option<&Arc<HostNames>>,
    domains: BTreeSet<Domain>,
) -> Vec<Examined> {
    let total = domains.len();
    let mut waiting = domains.into_iter();
    let mut asking = JoinSet::new();
    let mut examined = Vec::with_capacity(total);
    loop {
        while asking.len() < CONCURRENCY
            && let Some(domain) = waiting.next()
        {
            asking.spawn(look_up(Arc::clone(snapshot), host_names.cloned(), domain));
        }
        match asking.join_next().await {
            Some(done) => examined.extend(done.ok()),
            None => break,
        }
        show_progress(examined.len(), total);
    }
    examined.sort_by(|a, b| a.domain.cmp(&b.domain));
    examined
}

async fn look_up(
    snapshot: Arc<Snapshot<Dns>>,
    host_names: Option<Arc<HostNames>>,
    domain: Domain,
) -> Examined {
    let checks = &snapshot.checks;
    let opt_in = checks.opt_in(Some(&domain)).await.opt_in;
    let drift = match host_names {
        Some(names) => Some(names.drift(checks.resolver(), &domain, opt_in).await),
        None => None,
    };
    Examined {
        opt_in,
        drift,
        exchangers: exchangers::look_up(checks.resolver(), &domain).await,
        domain,
    }
}

/// Shows the progress on a terminal, on one line that is cleared at the end.
fn show_progress(done: usize, total: usize) {
    let mut terminal = io::stderr();
    let is_seldom = done.is_multiple_of(CONCURRENCY) || done == total;
    if total < 2 * CONCURRENCY || !is_seldom || !terminal.is_terminal() {
        return;
    }
    // An error means that the terminal is gone.
    let _ = match done == total {
        true => write!(terminal, "\r\x1b[K"),
        false => write!(terminal, "\r{done} of {total} domains"),
    };
}

impl Examined {
    fn mismatch(&self, snapshot: &Snapshot<Dns>) -> Option<Finding> {
        let domain = &self.domain;
        match (self.opt_in, &self.exchangers) {
            (OptIn::Yes, Exchangers::WithAaaa(_)) => None,
            (OptIn::No, Exchangers::WithoutAaaa(_) | Exchangers::None(_)) => None,
            (OptIn::Yes, Exchangers::WithoutAaaa(hosts)) => Some(idle(
                domain,
                &format!("none of its MX ({hosts}) has an AAAA record"),
            )),
            (OptIn::Yes, Exchangers::None(why)) => Some(idle(domain, why)),
            (OptIn::No, Exchangers::WithAaaa(host)) => Some(bounced(domain, host, snapshot)),
            (OptIn::Temperror, _) => Some(unknown(domain, "its opt-in source does not answer")),
            (OptIn::Yes | OptIn::No, Exchangers::Temperror(why)) => Some(unknown(domain, why)),
        }
    }
}

fn idle(domain: &Domain, why: &str) -> Finding {
    Finding::warning(
        Check::Domains,
        format!("{domain} has opted in, but {why}: it receives no mail over IPv6"),
        "add an AAAA record for its MX; no mail is lost without it",
    )
}

/// A domain whose legitimate mail is refused when it arrives over IPv6.
fn bounced(domain: &Domain, host: &str, snapshot: &Snapshot<Dns>) -> Finding {
    let recipient = Recipient::parse(&format!("<postmaster@{domain}>"), None);
    let reply = snapshot.config.replies.get(Refusal::NotOptedIn);
    let seen = format!("{domain} has not opted in, but its MX {host} has an AAAA record");
    let todo = format!(
        "opt it in (sixgate opt-in add {domain}), or use an MX name without an AAAA record \
         (docs/rollout.md)"
    );
    let mode = match snapshot.config.observe_rules.contains(&Rule::NotOptedIn) {
        true => Mode::Observe,
        false => snapshot.enforcement.mode_for(&recipient),
    };
    match (mode, reply.class()) {
        (Mode::Observe, _) => {
            let seen = format!("{seen}: once this is enforced, legitimate mail to it is refused");
            Finding::warning(Check::Domains, seen, todo)
        }
        (Mode::Enforce, Class::Transient) => {
            let seen =
                format!("{seen}: legitimate mail to it is delayed until it arrives over IPv4");
            Finding::warning(Check::Domains, seen, todo)
        }
        (Mode::Enforce, Class::Permanent) => {
            let seen = format!("{seen}: legitimate mail to it bounces");
            Finding::problem(Check::Domains, seen, todo)
        }
    }
}

fn unknown(domain: &Domain, why: &str) -> Finding {
    Finding::warning(
        Check::Domains,
        format!("{domain} can't be checked now: {why}"),
        "try again later",
    )
}
