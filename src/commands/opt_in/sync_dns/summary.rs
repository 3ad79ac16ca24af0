//! Prints a summary of the changes to the zone.

use crate::{
    commands::outcomes::FEW,
    dns::primary::Change,
    exit::{Exit, Failure},
    opt_in::mx_zone::MxZone,
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// The changes that the server has made.
#[derive(Default)]
pub(super) struct Summary {
    first: Vec<Change>,
    counts: BTreeMap<(&'static str, &'static str), usize>,
}

impl Summary {
    pub(super) fn count(&mut self, changes: &[Change]) {
        for change in changes {
            let kind = (change.family.name(), verb(change));
            *self.counts.entry(kind).or_default() += 1;
            if self.first.len() <= FEW {
                self.first.push(change.clone());
            }
        }
    }

    /// Prints each change, or only numbers if there are many.
    pub(super) fn print(&self, zone: &MxZone, hosts: usize) -> Result<(), Failure> {
        let mut text = String::new();
        if self.first.len() <= FEW {
            for change in &self.first {
                let (label, suffix) = (&change.label, &zone.suffix);
                let (family, verb) = (change.family.name(), verb(change));
                text += &format!("{label}.{suffix}: {family} {verb}\n");
            }
        } else {
            let counts = self.counts.iter();
            let counts = counts.map(|((family, verb), count)| format!("{family} {verb} {count}"));
            text += &counts.collect::<Vec<_>>().join(", ");
            text.push('\n');
        }
        if self.first.is_empty() {
            text = format!("no difference in {hosts} host names\n");
        }
        let mut out = io::stdout().lock();
        let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        printed.map_err(|error| Failure::new(Exit::Io, error))
    }
}

fn verb(change: &Change) -> &'static str {
    match (&change.before, &change.after) {
        (None, _) => "added",
        (Some(_), Some(_)) => "changed",
        (Some(_), None) => "removed",
    }
}
