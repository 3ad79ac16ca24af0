//! Counts of a run, by class.

use std::{collections::BTreeMap, fmt};

/// How often each class was seen.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, class: &'static str) {
        *self.0.entry(class).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    /// One class a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.iter();
        lines.try_for_each(|(class, count)| writeln!(f, "{count:>10}  {class}"))
    }
}
