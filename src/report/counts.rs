//! What [`Tally`](super::Tally) counts: decisions by action, and failed lookups.

use crate::logs::{Action, Decision};
use crate::policy::Rule;
use serde::Serialize;
use std::net::Ipv6Addr;

/// Decisions by action. Refusing one recipient or one message is one decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Accepted.
    pub accepted: u64,
    /// Refused with 4xx: the sender retries.
    pub deferred: u64,
    /// Refused with 5xx: the sender gives up.
    pub rejected: u64,
    /// Accepted by observe mode instead of refused with 4xx.
    pub would_defer: u64,
    /// Accepted by observe mode instead of refused with 5xx.
    pub would_reject: u64,
}

impl Counts {
    /// Returns the index of a rule in a table of all rules; unknown rules are last.
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

    /// Returns the number of all decisions.
    pub fn total(&self) -> u64 {
        self.accepted + self.refused() + self.would_refuse()
    }

    /// Returns the number of enforced refusals.
    pub fn refused(&self) -> u64 {
        self.deferred + self.rejected
    }

    /// Returns the number of refusals that observe mode did not enforce.
    pub fn would_refuse(&self) -> u64 {
        self.would_defer + self.would_reject
    }
}

/// The number of times that a domain or network was the reason.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// What was looked up: `opt-in`, `ptr`, `spf` or `dkim`.
    pub check: String,
    /// The domain or network.
    pub name: String,
    /// The number of occurrences.
    pub count: u64,
    /// As in [`Named`](super::Named).
    pub missed: u64,
}

/// Temporary lookup failures that decided a recipient or a message, by check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Failures {
    /// Opt-in lookups.
    pub opt_in: u64,
    /// The client's PTR record, or the addresses of its names.
    pub ptr: u64,
    /// SPF.
    pub spf: u64,
    /// Keys of DKIM signatures, if SPF did not fail temporarily.
    pub dkim: u64,
    /// The most frequent names of failed lookups.
    pub names: Vec<Cause>,
}

/// Formats the first 64 bits of an address as a network.
pub(super) fn network(prefix: u64) -> String {
    format!("{}/64", Ipv6Addr::from_bits(u128::from(prefix) << 64))
}
