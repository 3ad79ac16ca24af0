//! Shows what applies to domains after their entries were removed from the managed list:
//! other sources or the default may still opt them in.

use super::verdict::{self, Verdict};
use crate::{
    address::Domain,
    commands::outcomes::FEW,
    config::Config,
    opt_in::{
        Sources,
        entry::{Entry, Scope},
    },
    policy::OptIn,
};
use std::collections::BTreeMap;

/// An unlikely label, for looking up what applies to the subdomains of a domain.
const ANY_LABEL: &str = "sixgate-any-subdomain";

/// Describes what applies now: one line for each entry, or only numbers if there are many.
/// Warns on standard error about domains that are still opted in. Failed lookups are warnings,
/// too, because the list has already been changed.
pub(super) fn describe(config: &Config, entries: &[Entry]) -> String {
    let lookups: Vec<(&Entry, Domain)> = entries
        .iter()
        .filter_map(|entry| Some((entry, representative(entry)?)))
        .collect();
    let domains = lookups.iter().map(|(_, domain)| domain.clone()).collect();
    let verdicts = match Sources::open(&config.opt_in, None) {
        Ok(sources) => verdict::look_up(config, &sources, domains).map_err(|failure| failure.error),
        Err(error) => Err(error.into()),
    };
    let verdicts = match verdicts {
        Ok(verdicts) => verdicts,
        Err(error) => {
            eprintln!("warning: what applies now is unknown: {error}");
            return String::new();
        }
    };
    let outcomes: Vec<(&Entry, Verdict)> = lookups
        .into_iter()
        .map(|(entry, _)| entry)
        .zip(verdicts)
        .collect();
    match entries.len() <= FEW {
        true => each(&outcomes),
        false => in_numbers(&outcomes),
    }
}

/// Returns the domain to look up; `None` if a subdomain would be too long.
fn representative(entry: &Entry) -> Option<Domain> {
    match entry.scope {
        Scope::Itself => Some(entry.domain.clone()),
        Scope::Subdomains => Domain::parse(&format!("{ANY_LABEL}.{}", entry.domain)).ok(),
    }
}

/// Returns whether a domain is still opted in after the removal of its opt-in, which is not
/// what the user expects.
fn is_still_opted_in((entry, verdict): &(&Entry, Verdict)) -> bool {
    entry.opted_in && verdict.answer.opt_in == OptIn::Yes
}

fn each(outcomes: &[(&Entry, Verdict)]) -> String {
    let mut lines = String::new();
    for outcome in outcomes {
        let (Entry { domain, scope, .. }, verdict) = outcome;
        let (below, are) = match scope {
            Scope::Itself => ("", "is"),
            Scope::Subdomains => ("subdomains of ", "are"),
        };
        lines += &format!("now {below}{domain}: {verdict}\n");
        if is_still_opted_in(outcome) {
            let dot = if below.is_empty() { "" } else { "." };
            eprintln!(
                "warning: {below}{domain} {are} still opted in ({}: {}); \
                 to opt out: sixgate opt-in deny {dot}{domain}",
                verdict.answer.source, verdict.reason
            );
        }
    }
    lines
}

fn in_numbers(outcomes: &[(&Entry, Verdict)]) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for (_, verdict) in outcomes {
        let kind = format!("{} ({})", verdict.word(), verdict.answer.source);
        *counts.entry(kind).or_default() += 1;
    }
    let still: Vec<&Entry> = outcomes
        .iter()
        .filter(|outcome| is_still_opted_in(outcome))
        .map(|(entry, _)| *entry)
        .collect();
    if let Some(first) = still.first() {
        let number = still.len();
        eprintln!(
            "warning: {number} of them are still opted in, such as {first}; \
             to opt out: sixgate opt-in deny, to see why: sixgate opt-in status"
        );
    }
    let counts = counts.iter().map(|(kind, count)| format!("{count} {kind}"));
    format!("now: {}\n", counts.collect::<Vec<_>>().join(", "))
}
