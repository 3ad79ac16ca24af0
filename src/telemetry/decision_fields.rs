//! The fields of a decision, for programs. JSON objects and the journal have the same
//! fields with the same names.

use super::{
    Decision, Exemption,
    decision_line::{MAX_NAMES, MAX_SIGNATURES},
    escape::{MAX_ITEM, MAX_VALUE},
};
use crate::{dkim::SignatureResult, exempt::entry::show, policy::Ptr, reply::MAX_TEXT, spf};
use std::fmt::Display;

/// The maximum length of a reply in bytes; it is logged in full.
const MAX_REPLY: usize = MAX_TEXT + "550 5.999.999 ".len();

/// All fields in order. A dot separates a field from the one that contains it.
pub const NAMES: [&str; 38] = [
    "time",
    "level",
    "event",
    "queue_id",
    "action",
    "refused",
    "stage",
    "rule",
    "mode",
    "reply",
    "client_name",
    "client_address",
    "seen_as",
    "certificate",
    "exempt_entry",
    "exempt_comment",
    "helo",
    "from",
    "to",
    "recipients",
    "recipient_domains",
    "ptr",
    "ptr_names",
    "opt_in",
    "spf",
    "spf.result",
    "spf.identity",
    "spf.domain",
    "spf.term",
    "dkim",
    "dkim_signatures",
    "dkim_signatures.domain",
    "dkim_signatures.selector",
    "dkim_signatures.result",
    "forwarder",
    "deferred_for",
    "observed_by",
    "ms",
];

/// A writer of fields, which escapes the values.
pub(super) trait Fields {
    /// Writes a text; `None` is null.
    fn text(&mut self, name: &'static str, value: Option<impl Display>) {
        self.long_text(name, MAX_VALUE, value);
    }
    /// Writes a text of at most `max` bytes.
    fn long_text(&mut self, name: &'static str, max: usize, value: Option<impl Display>);
    /// Writes a number.
    fn number(&mut self, name: &'static str, value: u128);
    /// Writes a number; `None` is null.
    fn optional_number(&mut self, name: &'static str, value: Option<u128>) {
        match value {
            Some(value) => self.number(name, value),
            None => self.text(name, None::<&str>),
        }
    }
    /// Writes a boolean.
    fn truth(&mut self, name: &'static str, value: bool);
    /// Writes an array of texts.
    fn texts(&mut self, name: &'static str, values: impl Iterator<Item = impl Display>);
    /// Writes an object; `None` is null.
    fn object<T>(&mut self, name: &'static str, value: Option<T>, fill: impl Fn(&mut Self, T));
    /// Writes an array of objects.
    fn objects<T>(
        &mut self,
        name: &'static str,
        values: impl Iterator<Item = T>,
        fill: impl Fn(&mut Self, T),
    );
}

/// Writes the fields of a decision from `event` on.
pub(super) fn write_decision(decision: &Decision<'_>, fields: &mut impl Fields) {
    settled(decision, fields);
    envelope(decision, fields);
    findings(decision, fields);
    fields.text("forwarder", decision.forwarder);
    let deferred_for = decision.deferred_for.map(|time| time.as_secs().into());
    fields.optional_number("deferred_for", deferred_for);
    fields.text("observed_by", decision.observed_by);
    fields.number("ms", decision.waited.as_millis());
}

/// Writes the fields of a connection or mail transaction that is not checked.
pub(super) fn write_exemption(exemption: &Exemption<'_>, fields: &mut impl Fields) {
    fields.text("event", Some("decision"));
    fields.text("queue_id", None::<&str>);
    fields.text("action", Some("accept"));
    fields.truth("refused", false);
    fields.text("stage", Some(exemption.stage));
    fields.text("rule", Some(exemption.rule));
    fields.text("client_name", Some(&exemption.client.name));
    fields.text("client_address", Some(exemption.client.addr));
    fields.text("seen_as", exemption.seen_as);
    fields.text("certificate", exemption.certificate);
    let listed = exemption.entry.map(|found| &found.listed);
    fields.text("exempt_entry", listed.map(|l| show(&l.entry.network)));
    let comment = listed.map(|listed| &*listed.comment);
    fields.text("exempt_comment", comment.filter(|c| !c.is_empty()));
}

fn settled(decision: &Decision<'_>, fields: &mut impl Fields) {
    fields.text("event", Some("decision"));
    fields.long_text("queue_id", MAX_ITEM, decision.queue_id);
    fields.text("action", Some(decision.action()));
    fields.truth("refused", decision.is_refused());
    fields.text("stage", Some(decision.stage));
    fields.text("rule", Some(decision.rule));
    fields.text("mode", Some(decision.mode.name()));
    fields.long_text("reply", MAX_REPLY, decision.reply);
}

fn envelope(decision: &Decision<'_>, fields: &mut impl Fields) {
    fields.text("client_name", Some(&decision.client.name));
    fields.text("client_address", Some(decision.client.addr));
    fields.text("helo", decision.helo);
    fields.text("from", Some(decision.reverse_path));
    match decision.recipient {
        Some(recipient) => {
            fields.text("to", Some(&recipient.address));
            fields.number("recipients", decision.recipients as u128);
            fields.texts("recipient_domains", recipient.domain.name().into_iter());
        }
        None => recipients(decision, fields),
    }
}

fn recipients(decision: &Decision<'_>, fields: &mut impl Fields) {
    let domains = decision.recipient_domains.iter().map(|d| d.as_str());
    let more = decision.more_recipient_domains.then_some("...");
    fields.text("to", None::<&str>);
    fields.number("recipients", decision.recipients as u128);
    fields.texts("recipient_domains", domains.chain(more));
}

fn findings(decision: &Decision<'_>, fields: &mut impl Fields) {
    fields.text("ptr", decision.ptr.map(Ptr::name));
    fields.texts("ptr_names", decision.ptr_names.iter().take(MAX_NAMES));
    fields.text("opt_in", decision.opt_in);
    fields.object("spf", decision.spf, of_spf);
    let of_message = decision.recipient.is_none();
    fields.text("dkim", of_message.then(|| decision.dkim_result()));
    let signatures = decision.dkim.into_iter().flat_map(|dkim| dkim.best());
    let signatures = signatures.take(MAX_SIGNATURES);
    fields.objects("dkim_signatures", signatures, of_signature);
}

fn of_spf<F: Fields>(fields: &mut F, outcome: &spf::Outcome) {
    fields.text("result", Some(outcome.result));
    fields.text("identity", Some(outcome.identity));
    fields.text("domain", outcome.domain.as_deref());
    fields.text("term", outcome.term.as_deref());
}

fn of_signature<F: Fields>(fields: &mut F, signature: &SignatureResult) {
    fields.text("domain", signature.domain.as_deref());
    fields.text("selector", signature.selector.as_deref());
    fields.text("result", Some(signature.result));
}
