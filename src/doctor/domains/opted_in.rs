//! The domains that the opt-in lists name. An entry for subdomains names none that
//! could be asked for.

use super::Gathered;
use crate::{
    dns::Dns,
    list_file,
    opt_in::{
        entry::{Entry, Scope},
        files,
    },
    snapshot::Snapshot,
};

/// Adds them to what was gathered.
pub(super) fn gather(snapshot: &Snapshot<Dns>, gathered: &mut Gathered) {
    for entry in &snapshot.config.opt_in.domains {
        take(entry.clone(), gathered);
    }
    for list in snapshot.checks.opt_in_sources().lists() {
        for file in list_file::expand(list.paths).unwrap_or_default() {
            let read = files::each_entry(&file, |line| {
                take(line.entry, gathered);
                Ok(())
            });
            if let Err(error) = read
                && file.exists()
            {
                gathered.not_read(&file.display().to_string(), error);
            }
        }
    }
}

fn take(entry: Entry, gathered: &mut Gathered) {
    match entry.scope {
        Scope::Itself => {
            gathered.domains.insert(entry.domain);
        }
        Scope::Subdomains => {}
    }
}
