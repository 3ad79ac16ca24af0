//! Warns on standard error if the MX hosts of a domain do not match its new opt-in.

use crate::{
    cli::OptInEdit,
    commands::{self, outcomes::FEW},
    config::Config,
    dns::{
        Dns,
        exchangers::{self, Exchangers},
    },
    exit::Failure,
    opt_in::entry::{Entry, Scope},
};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};

/// The timeout for looking up the mail exchangers of one domain.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The number of domains looked up at once.
const AT_A_TIME: usize = 100;

/// Looks up the MX hosts of the entries' domains, and prints warnings.
pub(super) fn exchangers(
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
    let runtime = commands::runtime()?;
    match Dns::new(&config.dns) {
        Ok(dns) => runtime.block_on(look_after(dns, entries)),
        Err(error) => eprintln!("warning: the mail exchangers can't be looked up: {error}"),
    }
    Ok(())
}

async fn look_after(dns: Dns, entries: Vec<Entry>) {
    let dns = Arc::new(dns);
    let mut entries = entries.into_iter();
    let mut pending = JoinSet::new();
    let query = |entry: Entry| {
        let dns = Arc::clone(&dns);
        async move {
            let found = timeout(TIMEOUT, exchangers::look_up(&*dns, &entry.domain)).await;
            let found = found.unwrap_or(Exchangers::Temperror("timeout".to_owned()));
            (entry, found)
        }
    };
    for entry in entries.by_ref().take(AT_A_TIME) {
        pending.spawn(query(entry));
    }
    while let Some(answered) = pending.join_next().await {
        if let Ok((entry, found)) = answered
            && let Some(warning) = warning(&entry, &found)
        {
            eprintln!("warning: {}: {warning}", entry.domain);
        }
        if let Some(entry) = entries.next() {
            pending.spawn(query(entry));
        }
    }
}

/// Returns the warning about a domain whose MX hosts do not match its opt-in.
fn warning(entry: &Entry, exchangers: &Exchangers) -> Option<String> {
    match (exchangers, entry.opted_in) {
        (Exchangers::WithAaaa(_), true) | (Exchangers::WithoutAaaa(_), false) => None,
        (Exchangers::WithAaaa(host), false) => Some(format!(
            "its mail exchanger {host} has an AAAA record, so mail that arrives over IPv6 is \
             refused with 550; use one without"
        )),
        (Exchangers::WithoutAaaa(hosts), true) => Some(format!(
            "no mail arrives over IPv6 until one of its mail exchangers has an AAAA record: {hosts}"
        )),
        (Exchangers::None(why), true) => Some((*why).to_owned()),
        (Exchangers::None(_), false) => None,
        (Exchangers::Temperror(why), _) => {
            Some(format!("its mail exchangers can't be looked up now: {why}"))
        }
    }
}
