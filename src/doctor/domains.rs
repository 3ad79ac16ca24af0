//! Opt-ins and AAAA records that don't go together.
//!
//! A domain whose MX has an AAAA record gets mail over IPv6; if it has not opted
//! in, that mail is bounced. A domain that opted in and whose MX has none gets no
//! mail over IPv6, which harms nobody.

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

/// Asks for every domain that opted in, and for those of the MTA or of a list.
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
            "{examined} domain(s) asked for, {} to look at",
            findings.len()
        ),
    )
}

/// What is to be asked for.
#[derive(Default)]
struct Candidates {
    domains: BTreeSet<Domain>,
    /// What could not be read.
    findings: Vec<Finding>,
}

impl Candidates {
    /// Takes a name if it can be a mail domain of the Internet: `localhost` is
    /// none, and `.example.org` is a pattern.
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
            "give them with --domains, one a line",
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

/// Of a line without its comment.
fn first_word(line: &str) -> Option<&str> {
    let text = line.split('#').next().unwrap_or_default();
    text.split_whitespace().next()
}

/// Domains that are asked for at once.
const CONCURRENCY: usize = 32;

/// One domain, and what was found out about it.
struct Examined {
    domain: Domain,
    opt_in: OptIn,
    exchangers: Exchangers,
    /// Of its host name; `None` without `opt_in.mx_zone`.
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

/// On a terminal alone, and on the same line; the last word wipes it away.
fn show_progress(done: usize, total: usize) {
    let mut terminal = io::stderr();
    let is_seldom = done.is_multiple_of(CONCURRENCY) || done == total;
    if total < 2 * CONCURRENCY || !is_seldom || !terminal.is_terminal() {
        return;
    }
    // If the terminal is gone, nobody misses it.
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
        format!("{domain} has opted in, but {why}: no mail comes over IPv6"),
        "give its MX an AAAA record; or leave it, no mail is lost by this",
    )
}

/// What becomes of good mail that comes over IPv6.
fn bounced(domain: &Domain, host: &str, snapshot: &Snapshot<Dns>) -> Finding {
    let recipient = Recipient::parse(&format!("<postmaster@{domain}>"), None);
    let reply = snapshot.config.replies.get(Refusal::NotOptedIn);
    let seen = format!("{domain} has not opted in, but its MX {host} is reached over IPv6");
    let todo = format!(
        "opt it in (sixgate opt-in add {domain}), or give it an MX name without an AAAA record \
         (docs/rollout.md)"
    );
    let mode = match snapshot.config.observe_rules.contains(&Rule::NotOptedIn) {
        true => Mode::Observe,
        false => snapshot.enforcement.mode_for(&recipient),
    };
    match (mode, reply.class()) {
        (Mode::Observe, _) => {
            let seen = format!("{seen}: as soon as this is enforced, good mail to it is refused");
            Finding::warning(Check::Domains, seen, todo)
        }
        (Mode::Enforce, Class::Transient) => {
            let seen = format!("{seen}: good mail to it is delayed until it comes over IPv4");
            Finding::warning(Check::Domains, seen, todo)
        }
        (Mode::Enforce, Class::Permanent) => {
            let seen = format!("{seen}: good mail to it is bounced");
            Finding::problem(Check::Domains, seen, todo)
        }
    }
}

fn unknown(domain: &Domain, why: &str) -> Finding {
    Finding::warning(
        Check::Domains,
        format!("{domain}: it can't be told now: {why}"),
        "try again later",
    )
}
