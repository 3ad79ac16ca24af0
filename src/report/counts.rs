//! How many decisions of each kind.

use crate::logs::{Action, Decision};
use crate::policy::Rule;
use serde::Serialize;

/// Decisions by what was done. One recipient refused is one, and so is one
/// message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Let through.
    pub accepted: u64,
    /// Refused with 4xx: the sender tries again.
    pub deferred: u64,
    /// Refused with 5xx: the sender gives up.
    pub rejected: u64,
    /// What observe mode would have refused with 4xx.
    pub would_defer: u64,
    /// What observe mode would have refused with 5xx.
    pub would_reject: u64,
}

impl Counts {
    /// Where a rule stands in a table of all rules; unknown ones come last.
    pub(super) fn row(rule: Option<Rule>) -> usize {
        let found = Rule::ALL.iter().position(|known| Some(*known) == rule);
        found.unwrap_or(Rule::ALL.len())
    }

    pub(super) fn add(&mut self, decision: &Decision<'_>) {
        let count = match (decision.action, decision.carried_out) {
            (Action::Accept, _) => &mut self.accepted,
            (Action::Defer, true) => &mut self.deferred,
            (Action::Reject, true) => &mut self.rejected,
            (Action::Defer, false) => &mut self.would_defer,
            (Action::Reject, false) => &mut self.would_reject,
        };
        *count += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.deferred += other.deferred;
        self.rejected += other.rejected;
        self.would_defer += other.would_defer;
        self.would_reject += other.would_reject;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.accepted + self.refused() + self.would_refuse()
    }

    /// Those that were refused.
    pub fn refused(&self) -> u64 {
        self.deferred + self.rejected
    }

    /// Those that observe mode would have refused.
    pub fn would_refuse(&self) -> u64 {
        self.would_defer + self.would_reject
    }
}
