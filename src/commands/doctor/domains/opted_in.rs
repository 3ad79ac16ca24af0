//! The domains that the opt-in lists name. An entry for subdomains names none that
//! could be asked for.

use super::Gathered;
use crate::{
    config::Config,
    opt_in::{
        Sources,
        entry::{Entry, Scope},
        files,
    },
};

/// Adds them to what was gathered.
pub(super) fn gather(config: &Config, sources: &Sources, gathered: &mut Gathered) {
    for entry in &config.opt_in.domains {
        take(entry.clone(), gathered);
    }
    for list in sources.lists() {
        for file in files::expand(list.paths).unwrap_or_default() {
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
