//! Opts domains out in an order that bounces no mail: first the AAAA record is removed, and
//! after it has expired from caches, the list is changed.

use super::{Comparison, Sync};
use crate::{
    address::Domain,
    commands::{opt_in::edit, outcomes::print},
    dns::primary::Change,
    exit::Failure,
    opt_in::{
        entry::Entry,
        pending::{self, Action, Pending},
    },
    policy::OptIn,
};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::{BTreeSet, HashMap},
    thread,
    time::Duration,
};

/// An opt-out to begin.
pub(in crate::commands::opt_in) struct OptOut {
    domain: Domain,
    action: Action,
    comment: String,
}

impl OptOut {
    /// Creates an opt-out of a domain whose source is not the managed list.
    pub(super) fn hold(domain: Domain) -> Self {
        Self {
            domain,
            action: Action::Hold,
            comment: String::new(),
        }
    }

    /// Creates an opt-out that adds an entry to the managed list, or removes one.
    pub(in crate::commands::opt_in) fn new(
        entry: &Entry,
        action: Action,
        comment: &str,
    ) -> Result<Self, Failure> {
        Ok(Self {
            domain: super::domain(entry)?,
            action,
            comment: comment.to_owned(),
        })
    }
}

impl Sync<'_> {
    /// Records opt-outs, so that no run adds their AAAA records again.
    pub(super) fn begin(&self, opt_outs: &[OptOut]) -> Result<BTreeSet<Domain>, Failure> {
        if opt_outs.is_empty() {
            return Ok(BTreeSet::new());
        }
        pending::edit(&self.config.opt_in.managed_file, |pending| {
            for opt_out in opt_outs {
                // An opt-out in progress keeps its end.
                let until = pending.get(&opt_out.domain).and_then(|before| before.until);
                let new = Pending {
                    action: opt_out.action,
                    until,
                    comment: opt_out.comment.clone(),
                };
                pending.set(&opt_out.domain, &new);
            }
        })?;
        Ok(opt_outs
            .iter()
            .map(|opt_out| opt_out.domain.clone())
            .collect())
    }

    /// Records when the removed AAAA records will have expired from caches.
    pub(super) fn note_removals(&self, comparison: &Comparison) -> Result<(), Failure> {
        let removed: HashMap<&str, &Change> = comparison
            .plan
            .removals
            .iter()
            .map(|change| (change.label.as_str(), change))
            .collect();
        let now = Timestamp::now();
        let mut ends = Vec::new();
        let hosts = comparison.domains.iter().zip(&comparison.wanted);
        for (domain, wanted) in hosts {
            let Some(pending) = comparison.pending.get(domain) else {
                continue;
            };
            let change = removed.get(wanted.label.as_str());
            let ttl = change.and_then(|change| change.before.as_ref());
            if ttl.is_none() && pending.until.is_some() {
                continue;
            }
            let ttl = ttl.map_or(0, |before| u64::from(before.ttl));
            let wait = self.zone.ttl.max(Duration::from_secs(ttl)) + self.grace;
            // Whole seconds, rounded up.
            let wait = i64::try_from(wait.as_secs() + 1).unwrap_or(i64::MAX);
            let until = now.as_second().saturating_add(wait);
            let until = Timestamp::from_second(until).unwrap_or(Timestamp::MAX);
            ends.push((domain.clone(), until));
        }
        if ends.is_empty() {
            return Ok(());
        }
        pending::edit(&self.config.opt_in.managed_file, |pending| {
            for (domain, until) in ends {
                // It may have been canceled meanwhile.
                if let Some(before) = pending.get(&domain) {
                    let until = Some(until);
                    pending.set(&domain, &Pending { until, ..before });
                }
            }
        })?;
        Ok(())
    }

    /// Completes the opt-outs that are due. A domain that is already opted out does not have
    /// to wait.
    pub(super) fn complete(&self, comparison: &Comparison) -> Result<(), Failure> {
        let now = Timestamp::now();
        let pending = self.pending()?;
        let answers = comparison.domains.iter().zip(&comparison.answers);
        let due = answers.filter_map(|(domain, (answer, _))| {
            let pending = pending.get(domain)?;
            let is_opted_out = answer.opt_in == OptIn::No;
            let is_due = is_opted_out || pending.until.is_some_and(|until| until <= now);
            is_due.then_some((domain, pending, is_opted_out))
        });
        let due: Vec<_> = due.collect();
        let (held, due): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|(_, pending, is_opted_out)| {
                pending.action == Action::Hold && !is_opted_out
            });
        for (domain, _, _) in held {
            let line = "its AAAA record has expired from caches; opt it out in its source";
            print(&format!("{domain}: {line}\n"))?;
        }
        if due.is_empty() {
            return Ok(());
        }
        let with = |action| {
            due.iter()
                .filter(move |(_, pending, _)| pending.action == action)
        };
        let opt_in = |domain: &Domain| Entry::opt_in(domain.clone());
        let denied: Vec<(Entry, &str)> = with(Action::Deny)
            .map(|(domain, pending, _)| (opt_in(domain).opposite(), pending.comment.as_str()))
            .collect();
        let removed: Vec<Entry> = with(Action::Remove)
            .map(|(domain, _, _)| opt_in(domain))
            .collect();
        if !denied.is_empty() {
            let entries = denied.iter().map(|(entry, comment)| (entry, *comment));
            edit::add_entries(self.config, &entries.collect::<Vec<_>>())?;
        }
        if !removed.is_empty() {
            edit::remove_entries(self.config, &removed.iter().collect::<Vec<_>>())?;
        }
        pending::edit(&self.config.opt_in.managed_file, |list| {
            due.iter().for_each(|(domain, _, _)| list.remove(domain));
        })?;
        for (domain, pending, _) in &due {
            print(&match pending.action {
                Action::Deny => format!("!{domain}: added\n"),
                Action::Remove => format!("{domain}: removed\n"),
                Action::Hold => format!("{domain}: opted out\n"),
            })?;
        }
        Ok(())
    }

    /// Waits for the opt-outs of these domains and completes them.
    pub(super) fn wait_for(&self, domains: &BTreeSet<Domain>) -> Result<(), Failure> {
        let mut is_announced = false;
        loop {
            let pending = self.pending()?;
            let ends = domains
                .iter()
                .filter_map(|domain| pending.get(domain)?.until);
            let Some(end) = ends.max() else {
                return Ok(());
            };
            let rest = end.duration_since(Timestamp::now());
            if rest <= SignedDuration::ZERO {
                return self.pass(Some(domains), false);
            }
            if !is_announced {
                print(&format!(
                    "waiting until {end} ({} s) for the AAAA records to expire from caches; if this \
                     is interrupted, sixgate opt-in sync-dns continues\n",
                    rest.as_secs()
                ))?;
                is_announced = true;
            }
            thread::sleep(Duration::from_millis(200).min(rest.unsigned_abs()));
        }
    }
}

/// Cancels opt-outs in progress; the next comparison adds the AAAA records again.
pub(in crate::commands::opt_in) fn cancel(
    managed_file: &std::path::Path,
    domains: &[Domain],
) -> Result<(), Failure> {
    let in_progress = pending::read(managed_file)?;
    let cancelled: Vec<&Domain> = domains
        .iter()
        .filter(|domain| in_progress.contains_key(*domain))
        .collect();
    if cancelled.is_empty() {
        return Ok(());
    }
    pending::edit(managed_file, |list| {
        cancelled.iter().for_each(|domain| list.remove(domain));
    })?;
    for domain in cancelled {
        print(&format!("{domain}: its opt-out in progress is canceled\n"))?;
    }
    Ok(())
}
