//! The decision line: one line in the format of Postfix's own lines, so that log tools
//! and a grep for queue ID, address or rule find it.
//!
//! Text that a peer chose is escaped, so it can forge neither a line nor a field.

use super::{
    Decision, Exemption,
    escape::{MAX_ITEM, MAX_VALUE, Style, escape},
};
use crate::{address::Client, config::Mode, dkim, exempt::entry::show, policy::Stage};
use std::fmt::{Display, Write};

/// All `name=` of the line, in order.
pub const NAMES: [&str; 26] = [
    "rule",
    "mode",
    "would",
    "client",
    "seen_as",
    "certificate",
    "exempt_entry",
    "exempt_comment",
    "from",
    "to",
    "nrcpt",
    "rcpt_domains",
    "helo",
    "ptr",
    "ptr_names",
    "opt_in",
    "spf",
    "spf_identity",
    "spf_domain",
    "spf_term",
    "dkim",
    "dkim_signatures",
    "forwarder",
    "deferred_for",
    "observed_by",
    "ms",
];

/// The maximum number of PTR names in a line.
pub(super) const MAX_NAMES: usize = 4;

/// The maximum number of DKIM signatures in a line.
pub(super) const MAX_SIGNATURES: usize = 8;

/// Appends the line, without a line break.
pub(super) fn render(line: &mut String, decision: &Decision<'_>) {
    item(line, decision.queue_id.unwrap_or("NOQUEUE"));
    match decision.reply {
        Some(reply) => refusal(line, decision, reply),
        None => acceptance(line, decision),
    }
    envelope(line, decision);
    findings(line, decision);
    if decision.recipient.is_none() {
        authentication(line, decision);
    }
    if let Some(forwarder) = decision.forwarder {
        line.push_str(" forwarder=");
        item(line, forwarder);
    }
    if let Some(time) = decision.deferred_for {
        append(line, format_args!(" deferred_for={}", time.as_secs()));
    }
    if let Some(reason) = decision.observed_by {
        append(line, format_args!(" observed_by={reason}"));
    }
    append(line, format_args!(" ms={}", decision.waited.as_millis()));
}

/// Appends the line of a connection or mail transaction that is not checked.
pub(super) fn render_exempt(line: &mut String, exemption: &Exemption<'_>) {
    let rule = exemption.rule;
    append(line, format_args!("NOQUEUE: accept: rule={rule} client="));
    client(line, exemption.client);
    if let Some(address) = exemption.seen_as {
        append(line, format_args!(" seen_as={address}"));
    }
    optional(line, " certificate=", exemption.certificate);
    if let Some(found) = exemption.entry {
        let network = show(&found.listed.entry.network);
        append(line, format_args!(" exempt_entry={network}"));
        let comment = &*found.listed.comment;
        optional(
            line,
            " exempt_comment=",
            Some(comment).filter(|c| !c.is_empty()),
        );
    }
}

fn refusal(line: &mut String, decision: &Decision<'_>, reply: impl Display) {
    let verb = match decision.mode {
        Mode::Enforce => "reject",
        // Postfix's term for mail that warn_if_reject accepts.
        Mode::Observe => "reject_warning",
    };
    let stage = match decision.stage {
        Stage::Connect => "CONNECT",
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        // The client sees both replies after the final dot, and Postfix uses this name
        // for both.
        Stage::EndOfHeaders | Stage::EndOfMessage => "END-OF-MESSAGE",
    };
    append(line, format_args!(": {verb}: {stage} from "));
    client(line, decision.client);
    append(line, format_args!(": {reply}; rule={}", decision.rule));
    mode(line, decision.mode);
    if decision.mode == Mode::Observe {
        append(line, format_args!(" would={}", decision.action()));
    }
}

fn acceptance(line: &mut String, decision: &Decision<'_>) {
    append(line, format_args!(": accept: rule={}", decision.rule));
    mode(line, decision.mode);
    line.push_str(" client=");
    client(line, decision.client);
}

fn mode(line: &mut String, mode: Mode) {
    line.push_str(" mode=");
    line.push_str(mode.name());
}

fn envelope(line: &mut String, decision: &Decision<'_>) {
    line.push_str(" from=<");
    value(line, decision.reverse_path);
    line.push('>');
    match decision.recipient {
        Some(recipient) => {
            line.push_str(" to=<");
            value(line, &recipient.address);
            line.push('>');
        }
        None => recipients(line, decision),
    }
    line.push_str(" helo=<");
    value(line, decision.helo.unwrap_or_default());
    line.push('>');
}

fn recipients(line: &mut String, decision: &Decision<'_>) {
    append(line, format_args!(" nrcpt={}", decision.recipients));
    list(line, " rcpt_domains=", decision.recipient_domains);
    if decision.more_recipient_domains {
        line.push_str(",...");
    }
}

fn findings(line: &mut String, decision: &Decision<'_>) {
    if let Some(ptr) = decision.ptr {
        line.push_str(" ptr=");
        line.push_str(ptr.name());
        let names = decision.ptr_names.iter().take(MAX_NAMES);
        list(line, " ptr_names=", names);
    }
    if let Some(source) = decision.opt_in {
        append(line, format_args!(" opt_in={source}"));
    }
}

fn authentication(line: &mut String, decision: &Decision<'_>) {
    if let Some(spf) = decision.spf {
        let (result, identity) = (spf.result, spf.identity);
        append(line, format_args!(" spf={result} spf_identity={identity}"));
        optional(line, " spf_domain=", spf.domain.as_deref());
        optional(line, " spf_term=", spf.term.as_deref());
    }
    line.push_str(" dkim=");
    line.push_str(decision.dkim_result());
    if let Some(outcome) = decision.dkim {
        signatures(line, outcome);
    }
}

fn signatures(line: &mut String, outcome: &dkim::Outcome) {
    let separators = [" dkim_signatures="].into_iter();
    let separators = separators.chain(std::iter::repeat(","));
    let signatures = outcome.best().take(MAX_SIGNATURES);
    for (separator, signature) in separators.zip(signatures) {
        line.push_str(separator);
        item(line, signature.domain.as_deref().unwrap_or("?"));
        line.push(':');
        item(line, signature.selector.as_deref().unwrap_or("?"));
        line.push(':');
        line.push_str(signature.result.word());
    }
}

/// Writes a list; writes nothing if there are no items.
fn list(line: &mut String, name: &'static str, items: impl IntoIterator<Item = impl Display>) {
    let separators = [name].into_iter().chain(std::iter::repeat(","));
    for (separator, content) in separators.zip(items) {
        line.push_str(separator);
        item(line, content);
    }
}

fn optional(line: &mut String, name: &'static str, content: Option<&str>) {
    if let Some(content) = content {
        line.push_str(name);
        value(line, content);
    }
}

/// Writes `name[address]` as Postfix does.
fn client(line: &mut String, client: &Client) {
    value(line, &client.name);
    append(line, format_args!("[{}]", client.addr));
}

fn value(line: &mut String, value: impl Display) {
    escape(line, Style::Field, MAX_VALUE, value);
}

fn item(line: &mut String, value: impl Display) {
    escape(line, Style::Field, MAX_ITEM, value);
}

fn append(line: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = line.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use crate::telemetry::{decision_fields, line, sample};
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_lines_have_the_fields_that_are_listed_in_this_order() {
        let mut seen = BTreeSet::new();
        let decisions = sample::decisions();
        let mut lines: Vec<String> = decisions.iter().map(line).collect();
        lines.push(sample::exempt_line());
        for line in lines {
            let (_, fields) = line.split_once("rule=").unwrap();
            let names = format!("rule={fields}");
            let names = names
                .split(' ')
                .map(|field| field.split_once('=').unwrap().0);
            let places: Vec<usize> = names
                .map(|name| super::NAMES.iter().position(|n| *n == name).unwrap())
                .collect();
            assert!(places.is_sorted(), "{line}");
            seen.extend(places);
        }
        assert_eq!(seen.len(), super::NAMES.len());
    }

    #[test]
    fn the_objects_have_the_fields_that_are_listed_in_this_order() {
        let message = sample::decisions().into_iter().last().unwrap();
        let mut names = BTreeSet::from(["time".to_owned(), "level".to_owned()]);
        for object in [sample::object(&message), sample::exempt_object()] {
            let value: Value = serde_json::from_str(&object).unwrap();
            collect("", &value, &mut names);
        }
        assert_eq!(names, decision_fields::NAMES.map(str::to_owned).into());
    }

    /// Syslog daemons truncate lines at 8 KiB, which would break a JSON object.
    #[test]
    fn no_line_and_no_object_is_longer_than_syslog_takes() {
        let worst = sample::worst();
        let line = line(&worst);
        let object = sample::object(&worst);
        for text in [&line, &object] {
            assert!((4000..8000).contains(&text.len()), "{}", text.len());
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        assert!(serde_json::from_str::<Value>(&object).is_ok());
    }

    fn collect(prefix: &str, value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    names.insert(format!("{prefix}{name}"));
                    collect(&format!("{prefix}{name}."), value, names);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(prefix, item, names)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
