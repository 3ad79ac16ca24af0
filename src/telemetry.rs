//! Everything that is said about a decision, from one value.

mod decision_line;
mod set_up;

pub use set_up::{init, log_panics};

use crate::{
    address::{Client, Recipient, ReversePath},
    config::Mode,
    dkim, opt_in,
    policy::{Ptr, Rule, Stage},
    reply::Reply,
    spf,
};
use std::time::Duration;

/// The tracing target of decision lines.
pub const TARGET: &str = "sixgate::decision";

/// A rule settled a recipient or a message.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The MTA's queue id (`{i}`), when it has one by now.
    pub queue_id: Option<&'a str>,
    /// Whether a refusal is carried out.
    pub mode: Mode,
    /// Where it was decided.
    pub stage: Stage,
    /// What decided it.
    pub rule: Rule,
    /// The reply of a refusal; `None` for an acceptance.
    pub reply: Option<&'a Reply>,
    /// Who sends.
    pub client: &'a Client,
    /// The name given at HELO or EHLO.
    pub helo: Option<&'a str>,
    /// The sender.
    pub reverse_path: &'a ReversePath,
    /// The recipient, when it is about one.
    pub recipient: Option<&'a Recipient>,
    /// How many recipients the message has so far.
    pub recipients: usize,
    /// Who decided about the last recipient's opt-in.
    pub opt_in: Option<opt_in::Source>,
    /// Whether the client has a PTR record, if that was needed.
    pub ptr: Option<Ptr>,
    /// What SPF said, if it was waited for.
    pub spf: Option<&'a spf::Outcome>,
    /// Whether there is a DKIM-Signature field.
    pub signed: bool,
    /// What the signatures said, if they were needed.
    pub dkim: Option<&'a dkim::Outcome>,
    /// How long the MTA waited for us in this mail transaction.
    pub waited: Duration,
}

/// Tells a decision: one line at info.
pub fn decided(decision: &Decision<'_>) {
    tracing::info!(target: TARGET, "{}", decision_line::render(decision));
}

/// Tells that a connection or mail transaction is not checked: one line at
/// debug.
pub fn exempt(client: &Client, rule: Rule) {
    tracing::debug!(target: TARGET, "NOQUEUE: accept: rule={rule} client={}", decision_line::client(client));
}
