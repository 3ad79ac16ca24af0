//! Prints what an edit of a managed list changed.

use crate::exit::{Exit, Failure};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// Up to this number, entries are printed one by one and examined.
pub(super) const FEW: usize = 20;

/// The outcome for one entry: a word, by which outcomes are counted, and details.
pub(super) struct Outcome {
    pub(super) entry: String,
    pub(super) word: &'static str,
    pub(super) details: String,
}

/// Prints a line for each entry, or only numbers if there are many.
pub(super) fn print_outcomes(
    outcomes: impl ExactSizeIterator<Item = Outcome>,
) -> Result<(), Failure> {
    let text = match outcomes.len() <= FEW {
        true => one_by_one(outcomes),
        false => in_numbers(outcomes),
    };
    print(&text)
}

/// Prints a text on standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|error| Failure::new(Exit::Io, error))
}

fn one_by_one(outcomes: impl Iterator<Item = Outcome>) -> String {
    let line = |o: Outcome| format!("{}: {}{}\n", o.entry, o.word, o.details);
    outcomes.map(line).collect()
}

fn in_numbers(outcomes: impl Iterator<Item = Outcome>) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for outcome in outcomes {
        *counts.entry(outcome.word).or_default() += 1;
    }
    let counts = counts.iter().map(|(word, count)| format!("{count} {word}"));
    counts.collect::<Vec<_>>().join(", ") + "\n"
}
