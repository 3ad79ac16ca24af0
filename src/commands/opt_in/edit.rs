//! `sixgate opt-in add` and `remove`: change the managed list, and warn of what
//! the change alone does not bring about.

use super::requests::{self, Request};
use crate::{
    cli::{OptInAdd, OptInEdit, OptInRemove},
    commands::exchangers::{self, Exchangers},
    config::Config,
    dns::Dns,
    exit::{Exit, Failure},
    opt_in::{
        Sources,
        entry::{Entry, Scope},
        managed::{self, Addition, Removal},
    },
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};

/// Up to so many entries are told one by one and looked after.
const FEW: usize = 20;

/// How long mail exchangers may take to be found, all together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Adds entries. Those that are there already stay as they are.
pub(super) fn add(arguments: &OptInAdd) -> Result<(), Failure> {
    let config = Config::load(&arguments.edit.config.path)?;
    let requests = requests::read(&arguments.edit.entries)?;
    if !arguments.force {
        requests::check_dots(&requests)?;
    }
    let comment = arguments.comment.as_deref();
    let additions = managed::edit(&config.opt_in.managed_file, |list| {
        let add = |r: &Request| list.add(&r.entry, comment.unwrap_or(&r.comment));
        requests.iter().map(add).collect::<Vec<Addition>>()
    })?;
    let told = requests.iter().zip(&additions).map(|(request, addition)| {
        let (word, sentence) = told_addition(&request.entry, addition);
        (&request.entry, word, sentence)
    });
    tell(told.collect()).map_err(|error| Failure::new(Exit::Io, error))?;
    let entries = requests.iter().map(|request| request.entry.clone());
    warn_of_exchangers(&config, &arguments.edit, entries.collect())
}

/// Removes entries. Those that are not there are none the worse for it.
pub(super) fn remove(arguments: &OptInRemove) -> Result<(), Failure> {
    let config = Config::load(&arguments.edit.config.path)?;
    let requests = requests::read(&arguments.edit.entries)?;
    let removals = managed::edit(&config.opt_in.managed_file, |list| {
        let remove = |request: &Request| list.remove(&request.entry);
        requests.iter().map(remove).collect::<Vec<Removal>>()
    })?;
    let told = requests.iter().zip(&removals).map(|(request, removal)| {
        let (word, sentence) = told_removal(&request.entry, *removal);
        (&request.entry, word, sentence)
    });
    tell(told.collect()).map_err(|error| Failure::new(Exit::Io, error))?;
    let entries = requests
        .iter()
        .zip(removals)
        .map(|(r, removal)| (&r.entry, removal));
    if requests.len() <= FEW {
        warn_of_other_lists(&config, entries.clone().map(|(entry, _)| entry));
    }
    let removed = entries.filter(|(_, removal)| *removal == Removal::Removed);
    // What is no longer opted in is as if its contrary had been added.
    let contraries = removed.map(|(entry, _)| entry.contrary()).collect();
    warn_of_exchangers(&config, &arguments.edit, contraries)
}

fn told_addition(entry: &Entry, addition: &Addition) -> (&'static str, String) {
    match addition {
        Addition::Added => ("added", "added".to_owned()),
        Addition::AlreadyThere(comment) if comment.is_empty() => {
            ("listed already", "listed already".to_owned())
        }
        Addition::AlreadyThere(comment) => {
            ("listed already", format!("listed already ({comment})"))
        }
        Addition::Turned => ("changed", format!("changed from {}", entry.contrary())),
    }
}

fn told_removal(entry: &Entry, removal: Removal) -> (&'static str, String) {
    match removal {
        Removal::Removed => ("removed", "removed".to_owned()),
        Removal::NotThere => ("not listed", "not listed".to_owned()),
        Removal::ContraryIsThere => (
            "not listed",
            format!("not listed, but {} is", entry.contrary()),
        ),
    }
}

/// A line an entry, or for many their numbers.
fn tell(outcomes: Vec<(&Entry, &'static str, String)>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if outcomes.len() <= FEW {
        for (entry, _, sentence) in outcomes {
            writeln!(out, "{entry}: {sentence}")?;
        }
        return out.flush();
    }
    let mut counts = BTreeMap::<&str, usize>::new();
    for (_, word, _) in outcomes {
        *counts.entry(word).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    writeln!(out, "{}", counts.join(", "))?;
    out.flush()
}

/// Whoever removes a domain expects that it does not take mail over IPv6 then.
fn warn_of_other_lists<'a>(config: &Config, entries: impl Iterator<Item = &'a Entry>) {
    let sources = match Sources::open(&config.opt_in, None) {
        Ok(sources) => sources,
        Err(error) => return eprintln!("warning: {error}"),
    };
    let removed = entries.filter(|e| e.scope == Scope::Itself && e.opted_in);
    for Entry { domain, .. } in removed {
        if let Some(listed) = sources
            .listed(domain)
            .filter(|listed| listed.entry.opted_in)
        {
            eprintln!(
                "warning: {domain} is still opted in by {listed}; \
                 to opt it out: sixgate opt-in add '!{domain}'"
            );
        }
    }
}

fn warn_of_exchangers(
    config: &Config,
    arguments: &OptInEdit,
    entries: Vec<Entry>,
) -> Result<(), Failure> {
    let is_wanted = !arguments.no_dns && (arguments.dns || entries.len() <= FEW);
    let entries = entries
        .into_iter()
        .filter(|entry| entry.scope == Scope::Itself);
    let entries: Vec<Entry> = entries.collect();
    if !is_wanted || entries.is_empty() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Os, error))?;
    match Dns::new(&config.dns) {
        Ok(dns) => runtime.block_on(look_after(dns, entries)),
        Err(error) => eprintln!("warning: the mail exchangers can't be looked up: {error}"),
    }
    Ok(())
}

/// Asks for the mail exchangers of all domains at once, some hundred at a time.
async fn look_after(dns: Dns, entries: Vec<Entry>) {
    let dns = Arc::new(dns);
    let mut entries = entries.into_iter();
    let mut under_way = JoinSet::new();
    let ask = |entry: Entry| {
        let dns = Arc::clone(&dns);
        async move {
            let found = timeout(PATIENCE, exchangers::look_up(&*dns, &entry.domain)).await;
            let found = found.unwrap_or(Exchangers::Temperror("time-out".to_owned()));
            (entry, found)
        }
    };
    for entry in entries.by_ref().take(AT_A_TIME) {
        under_way.spawn(ask(entry));
    }
    while let Some(answered) = under_way.join_next().await {
        if let Ok((entry, found)) = answered
            && let Some(warning) = warning(&entry, &found)
        {
            eprintln!("warning: {}: {warning}", entry.domain);
        }
        if let Some(entry) = entries.next() {
            under_way.spawn(ask(entry));
        }
    }
}

const AT_A_TIME: usize = 100;

/// What the mail exchangers of a domain mean for it.
fn warning(entry: &Entry, exchangers: &Exchangers) -> Option<String> {
    match (exchangers, entry.opted_in) {
        (Exchangers::WithAaaa(_), true) | (Exchangers::WithoutAaaa(_), false) => None,
        (Exchangers::WithAaaa(host), false) => Some(format!(
            "its mail exchanger {host} has an AAAA record, so mail that comes over IPv6 is \
             refused with 550; give it one without"
        )),
        (Exchangers::WithoutAaaa(hosts), true) => Some(format!(
            "no mail comes over IPv6 until one of its mail exchangers has an AAAA record: {hosts}"
        )),
        (Exchangers::None(why), true) => Some((*why).to_owned()),
        (Exchangers::None(_), false) => None,
        (Exchangers::Temperror(why), _) => {
            Some(format!("its mail exchangers can't be looked up now: {why}"))
        }
    }
}
