//! Counts of a run by class, and the unexplained differences.

use std::{collections::BTreeMap, fmt};

/// The number of cases in each class.
#[derive(Debug, Default)]
pub struct Tally {
    classes: BTreeMap<String, u64>,
    unexplained: BTreeMap<String, Unexplained>,
}

/// Differences of one kind.
#[derive(Debug)]
struct Unexplained {
    count: u64,
    /// The first of them in full.
    first: String,
}

impl Tally {
    /// Counts one case.
    pub fn count(&mut self, class: impl Into<String>) {
        *self.classes.entry(class.into()).or_default() += 1;
    }

    /// Records a difference without an explanation.
    pub fn unexplained(&mut self, kind: String, case: impl FnOnce() -> String) {
        let first = || Unexplained {
            count: 0,
            first: case(),
        };
        self.unexplained.entry(kind).or_insert_with(first).count += 1;
    }

    /// Returns whether every difference is explained.
    pub fn is_explained(&self) -> bool {
        self.unexplained.is_empty()
    }
}

impl fmt::Display for Tally {
    /// Prints one class on each line, then the unexplained differences.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (class, count) in &self.classes {
            writeln!(f, "{count:>10}  {class}")?;
        }
        for Unexplained { first, .. } in self.unexplained.values().take(5) {
            writeln!(f, "\n{first}")?;
        }
        for (kind, Unexplained { count, .. }) in &self.unexplained {
            writeln!(f, "{count:>10}  UNEXPLAINED: {kind}")?;
        }
        Ok(())
    }
}
