//! Reports decisions: one value is the basis of the log line in all its forms and of the
//! counters.
//!
//! All output goes through [`log`], which never delays mail.

mod decision_fields;
mod decision_line;
pub(crate) mod escape;
pub mod hidden_clients;
mod json;
pub mod log;
pub mod metrics;
mod panics;
#[cfg(test)]
pub(crate) mod sample;

pub use decision_fields::NAMES as FIELD_NAMES;
pub use decision_line::NAMES as LINE_FIELD_NAMES;
pub use panics::log_panics;

use crate::{
    address::{Client, Domain, Recipient, ReversePath},
    config::Mode,
    dkim,
    dns::Name,
    enforcement::ObservedBy,
    exempt,
    forwarder::Identified,
    opt_in,
    policy::{Authentication, Ptr, Rule, Stage},
    reply::{Class, Reply},
    spf,
};
use std::{fmt, net::Ipv6Addr, sync::OnceLock, time::Duration};

/// The tracing target of decision lines.
pub const TARGET: &str = "sixgate::decision";

/// A decision about a recipient or a message.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The MTA's queue ID (`{i}`), if it has assigned one.
    pub queue_id: Option<&'a str>,
    /// Whether a refusal is enforced; for an acceptance, whether one would be by `mode`
    /// and `observe_domains`.
    pub mode: Mode,
    /// Why a refusal is not enforced.
    pub observed_by: Option<ObservedBy>,
    /// The stage of the decision.
    pub stage: Stage,
    /// The rule that decided.
    pub rule: Rule,
    /// The reply of a refusal; `None` for an acceptance.
    pub reply: Option<&'a Reply>,
    /// For `replies.give_up_after`: how long the sender has been deferred.
    pub deferred_for: Option<Duration>,
    /// The client.
    pub client: &'a Client,
    /// The name given at HELO or EHLO.
    pub helo: Option<&'a str>,
    /// The sender.
    pub reverse_path: &'a ReversePath,
    /// The recipient, if the decision is about one.
    pub recipient: Option<&'a Recipient>,
    /// The number of recipients so far.
    pub recipients: usize,
    /// The domains of the first recipients, each once.
    pub recipient_domains: &'a [Domain],
    /// Whether there are more recipient domains than these.
    pub more_recipient_domains: bool,
    /// The source of the last recipient's opt-in.
    pub opt_in: Option<opt_in::Source>,
    /// The PTR result, if it was needed.
    pub ptr: Option<Ptr>,
    /// The PTR names, if they were needed.
    pub ptr_names: &'a [Name],
    /// The SPF outcome, if it was needed.
    pub spf: Option<&'a spf::Outcome>,
    /// The known-forwarder result, if it was needed.
    pub forwarder: Option<&'a Identified>,
    /// Whether there is a DKIM-Signature field.
    pub signed: bool,
    /// The DKIM outcome, if it was needed.
    pub dkim: Option<&'a dkim::Outcome>,
    /// How long the MTA waited for replies in this mail transaction.
    pub waited: Duration,
}

/// The action of a decision, whether or not it is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The message is accepted so far.
    Accept,
    /// A 5xx reply: the sender bounces the message.
    Reject,
    /// A 4xx reply: the sender retries.
    Defer,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::Accept, Self::Reject, Self::Defer];

    /// Returns the name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Defer => "defer",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Decision<'_> {
    /// Returns the action.
    pub fn action(&self) -> Action {
        match self.reply.map(Reply::class) {
            None => Action::Accept,
            Some(Class::Permanent) => Action::Reject,
            Some(Class::Transient) => Action::Defer,
        }
    }

    /// Returns the result of DKIM, as in logs.
    fn dkim_result(&self) -> &'static str {
        dkim_result(self.dkim.map(dkim::Outcome::authentication), self.signed)
    }

    /// Returns whether the MTA is instructed to refuse.
    pub fn is_refused(&self) -> bool {
        match self.mode {
            Mode::Enforce => self.reply.is_some(),
            Mode::Observe => false,
        }
    }
}

/// Returns the result of DKIM in logs and on the status page.
pub(crate) fn dkim_result(dkim: Option<Authentication>, is_signed: bool) -> &'static str {
    match dkim {
        Some(Authentication::Pass) => "pass",
        Some(Authentication::NoPass) => "fail",
        Some(Authentication::Temperror | Authentication::Unverifiable) => "temperror",
        None if is_signed => "not-needed",
        None => "none",
    }
}

/// Formats a decision as in a text log after time and level.
pub fn line(decision: &Decision<'_>) -> String {
    let mut line = String::new();
    decision_line::render(&mut line, decision);
    line
}

/// Logs a decision at info and counts it.
pub fn log_decision(decision: &Decision<'_>) {
    metrics::get().decided(decision);
    log::write_decision(decision);
    if let Some(observer) = OBSERVER.get() {
        observer(Observed::Decision(decision));
    }
}

/// A connection or mail transaction that is not checked.
#[derive(Clone, Copy, Debug)]
pub struct Exemption<'a> {
    /// The client.
    pub client: &'a Client,
    /// The stage of the decision.
    pub stage: Stage,
    /// The rule that decided.
    pub rule: Rule,
    /// The IPv6 address of an IPv4 client behind a translator.
    pub seen_as: Option<Ipv6Addr>,
    /// The common name of the client's certificate, if that is what exempts.
    pub certificate: Option<&'a str>,
    /// The entry that exempts the client's network.
    pub entry: Option<&'a exempt::Found>,
    /// The configured mode, for the history.
    pub mode: Mode,
}

impl Exemption<'_> {
    /// Returns whether this client in particular was exempted, and not a whole network of
    /// the site.
    fn is_notable(&self) -> bool {
        let is_managed = |found: &exempt::Found| found.source == exempt::Source::Managed;
        self.certificate.is_some() || self.entry.is_some_and(is_managed)
    }
}

/// Logs that a connection or mail transaction is not checked, and counts it. The line is
/// at debug, or at info if a certificate or an entry of the managed list exempts: such
/// mail is rare, and its origin has to be traceable later.
pub fn log_exempt(exemption: &Exemption<'_>) {
    metrics::get().exempt(exemption.client, exemption.rule);
    log::write_exemption(exemption);
    if let Some(observer) = OBSERVER.get()
        && exemption.is_notable()
    {
        observer(Observed::Exemption(exemption));
    }
}

/// An event for an observer: everything that is logged at info.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'a> {
    /// A decision.
    Decision(&'a Decision<'a>),
    /// Mail that is not checked because this client in particular was exempted.
    Exemption(&'a Exemption<'a>),
}

type Observer = Box<dyn Fn(Observed<'_>) + Send + Sync>;

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// Calls `observer` for every decision from now on. It is called while an MTA waits, so
/// it must not block. There is one observer per process; another one is ignored.
pub fn observe(observer: impl Fn(Observed<'_>) + Send + Sync + 'static) {
    let _ = OBSERVER.set(Box::new(observer));
}
