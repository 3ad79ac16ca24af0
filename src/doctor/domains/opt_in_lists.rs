//! The domains in the opt-in lists. Entries for subdomains are skipped: they name no domain
//! that could be looked up.

use super::Candidates;
use crate::{
    dns::Dns,
    list_file,
    opt_in::{
        entry::{Entry, Scope},
        files,
    },
    snapshot::Snapshot,
};

/// Adds the domains of all lists to the candidates.
pub(super) fn gather(snapshot: &Snapshot<Dns>, candidates: &mut Candidates) {
    for entry in &snapshot.config.opt_in.domains {
        take(entry.clone(), candidates);
    }
    for list in snapshot.checks.opt_in_sources().lists() {
        for file in list_file::expand(list.paths).unwrap_or_default() {
            let read = files::each_entry(&file, |line| {
                take(line.entry, candidates);
                Ok(())
            });
            if let Err(error) = read
                && file.exists()
            {
                candidates.not_read(&file.display().to_string(), error);
            }
        }
    }
}

fn take(entry: Entry, candidates: &mut Candidates) {
    match entry.scope {
        Scope::Itself => {
            candidates.domains.insert(entry.domain);
        }
        Scope::Subdomains => {}
    }
}
