//! The steps of an evaluation, for `sixgate explain`.
//!
//! An evaluation reports each step to an [`Observer`]. The milter uses `()`, which the
//! compiler removes together with the code that builds the steps.

use super::SpfResult;
use std::fmt;

/// Receives each step of an evaluation.
pub(super) trait Observer: Send {
    /// Whether to look up the explanation of a fail, which no decision needs.
    const WANTS_EXPLANATION: bool;

    /// Records a step; `depth` is the number of includes and redirects around it.
    fn note(&mut self, depth: usize, step: impl FnOnce() -> Step);
}

impl Observer for () {
    const WANTS_EXPLANATION: bool = false;

    fn note(&mut self, _depth: usize, _step: impl FnOnce() -> Step) {}
}

/// The steps of one evaluation, in order. `Display` writes one line per step, indented by
/// depth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    steps: Vec<(usize, Step)>,
}

impl Trace {
    /// Returns the steps, each with its depth in includes and redirects.
    pub fn steps(&self) -> &[(usize, Step)] {
        &self.steps
    }
}

impl Observer for Trace {
    const WANTS_EXPLANATION: bool = true;

    fn note(&mut self, depth: usize, step: impl FnOnce() -> Step) {
        self.steps.push((depth, step()));
    }
}

/// One step of an evaluation. All texts are printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A domain's SPF record was found, well-formed or not.
    Record {
        /// Whose record it is.
        domain: String,
        /// Its text.
        text: String,
    },
    /// A term is evaluated.
    Term {
        /// The term, in a uniform spelling.
        term: String,
        /// Which of the lookups of RFC 7208 section 4.6.4 it is, if it counts
        /// as one.
        lookup: Option<Count>,
    },
    /// Macros were expanded.
    Expanded {
        /// The text with macros.
        spec: String,
        /// The resulting name.
        name: String,
    },
    /// A DNS lookup.
    Question {
        /// The record type.
        rtype: &'static str,
        /// The name looked up.
        name: String,
        /// The records, or why there are none.
        outcome: String,
        /// Which of the void lookups it is, if it was one that counts.
        void: Option<Count>,
    },
    /// A remark that explains the next step.
    Note(String),
    /// The mechanism matched: its qualifier is the result of the record.
    Matched(SpfResult),
    /// The mechanism did not match: the next one is tried.
    NotMatched,
    /// The end of the whole evaluation.
    Decided {
        /// The result.
        result: SpfResult,
        /// The term that decided, or what is wrong.
        reason: String,
    },
}

/// How much of a limit is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The number used, counted from 1.
    pub used: usize,
    /// The limit.
    pub limit: usize,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in &self.steps {
            let indent = 4 * depth + step.indent();
            writeln!(f, "{:indent$}{step}", "")?;
        }
        Ok(())
    }
}

impl Step {
    /// Returns the indentation: terms are shown below their record, lookups below their
    /// term.
    fn indent(&self) -> usize {
        match self {
            Self::Record { .. } | Self::Decided { .. } => 0,
            Self::Term { .. } => 2,
            Self::Expanded { .. }
            | Self::Question { .. }
            | Self::Note(_)
            | Self::Matched(_)
            | Self::NotMatched => 4,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { domain, text } => write!(f, "record of {domain}: {text}"),
            Self::Term { term, lookup: None } => f.write_str(term),
            Self::Term {
                term,
                lookup: Some(count),
            } => write!(f, "{term} (lookup {count})"),
            Self::Expanded { spec, name } => write!(f, "{spec} expands to {name}"),
            Self::Question {
                rtype,
                name,
                outcome,
                void,
            } => {
                write!(f, "{rtype} {name}: {outcome}")?;
                void.map_or(Ok(()), |count| write!(f, " (void lookup {count})"))
            }
            Self::Note(text) => f.write_str(text),
            Self::Matched(result) => write!(f, "matches: {result}"),
            Self::NotMatched => f.write_str("does not match"),
            Self::Decided { result, reason } => write!(f, "{result}: {reason}"),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.used, self.limit)
    }
}
