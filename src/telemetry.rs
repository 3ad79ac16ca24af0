//! Everything that is said about a decision, from one value: the log line in
//! each of its forms, and the counters.
//!
//! What is said goes through [`log`], which never makes mail wait.

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
    policy::{Ptr, Rule, Stage},
    reply::{Class, Reply},
    spf,
};
use std::{fmt, net::Ipv6Addr, sync::OnceLock, time::Duration};

/// The tracing target of decision lines.
pub const TARGET: &str = "sixgate::decision";

/// A rule settled a recipient or a message.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The MTA's queue id (`{i}`), when it has one by now.
    pub queue_id: Option<&'a str>,
    /// Whether a refusal is carried out; of an acceptance, whether one would be as far as
    /// `mode` and `observe_domains` say.
    pub mode: Mode,
    /// Why a refusal is not carried out.
    pub observed_by: Option<ObservedBy>,
    /// Where it was decided.
    pub stage: Stage,
    /// What decided it.
    pub rule: Rule,
    /// The reply of a refusal; `None` for an acceptance.
    pub reply: Option<&'a Reply>,
    /// How long the sender has been deferred, if it is given up for that.
    pub deferred_for: Option<Duration>,
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
    /// Their domains, each once; those of the first ones if there are many.
    pub recipient_domains: &'a [Domain],
    /// Whether there are more domains than these.
    pub more_recipient_domains: bool,
    /// Who decided about the last recipient's opt-in.
    pub opt_in: Option<opt_in::Source>,
    /// Whether the client has a PTR record, if that was needed.
    pub ptr: Option<Ptr>,
    /// The names that it gives, if they were waited for.
    pub ptr_names: &'a [Name],
    /// What SPF said, if it was waited for.
    pub spf: Option<&'a spf::Outcome>,
    /// Whether the client is a known forwarder, if that was needed.
    pub forwarder: Option<&'a Identified>,
    /// Whether there is a DKIM-Signature field.
    pub signed: bool,
    /// What the signatures said, if they were needed.
    pub dkim: Option<&'a dkim::Outcome>,
    /// How long the MTA waited for us in this mail transaction.
    pub waited: Duration,
}

/// What was decided, whether or not it is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The mail goes on.
    Accept,
    /// A 5xx reply: the sender gives up.
    Reject,
    /// A 4xx reply: the sender tries again.
    Defer,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Accept, Self::Reject, Self::Defer];

    /// The name in logs and metrics.
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
    /// What was decided.
    pub fn action(&self) -> Action {
        match self.reply.map(Reply::class) {
            None => Action::Accept,
            Some(Class::Permanent) => Action::Reject,
            Some(Class::Transient) => Action::Defer,
        }
    }

    /// Whether the MTA is told to refuse.
    pub fn is_refused(&self) -> bool {
        match self.mode {
            Mode::Enforce => self.reply.is_some(),
            Mode::Observe => false,
        }
    }
}

/// The line of a decision, as a log of text has it behind time and level.
pub fn line(decision: &Decision<'_>) -> String {
    let mut line = String::new();
    decision_line::render(&mut line, decision);
    line
}

/// Tells a decision: one line at info, and the counters.
pub fn decided(decision: &Decision<'_>) {
    metrics::get().decided(decision);
    log::decided(decision);
    if let Some(observer) = OBSERVER.get() {
        observer(Observed::Decision(decision));
    }
}

/// A connection or mail transaction that is not checked.
#[derive(Clone, Copy, Debug)]
pub struct Exemption<'a> {
    /// Who sends.
    pub client: &'a Client,
    /// Where it was decided.
    pub stage: Stage,
    /// What decided it.
    pub rule: Rule,
    /// The IPv6 address that an IPv4 client has behind a translator.
    pub seen_as: Option<Ipv6Addr>,
    /// The common name of the client's certificate, if that is what exempts.
    pub certificate: Option<&'a str>,
    /// The entry that exempts the client's network.
    pub entry: Option<&'a exempt::Found>,
}

impl Exemption<'_> {
    /// Whether somebody exempted this client, and not whole networks of the site.
    fn is_notable(&self) -> bool {
        let is_managed = |found: &exempt::Found| found.source == exempt::Source::Managed;
        self.certificate.is_some() || self.entry.is_some_and(is_managed)
    }
}

/// Logs that a connection or mail transaction is not checked, and counts it. The
/// line is at debug, or at info if a certificate or an entry of the managed list
/// exempts: such mail is rare, and somebody has to be able to tell later whose it was.
pub fn exempted(exemption: &Exemption<'_>) {
    metrics::get().exempt(exemption.client, exemption.rule);
    log::exempt(exemption);
    if let Some(observer) = OBSERVER.get()
        && exemption.is_notable()
    {
        observer(Observed::Exemption(exemption));
    }
}

/// What an observer gets: everything that is logged at info.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'a> {
    /// A decision.
    Decision(&'a Decision<'a>),
    /// Mail that is not checked because somebody exempted this client.
    Exemption(&'a Exemption<'a>),
}

type Observer = Box<dyn Fn(Observed<'_>) + Send + Sync>;

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// Calls `observer` for every decision from now on. It is called while an MTA waits, so it
/// must not block. There is one per process; a further one is ignored.
pub fn observe(observer: impl Fn(Observed<'_>) + Send + Sync + 'static) {
    let _ = OBSERVER.set(Box::new(observer));
}
