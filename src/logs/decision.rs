//! Parses decision lines. The text form and the JSON form give the same value.
//!
//! In the text form every value is escaped except the reply, which may quote a recipient.
//! So the fields begin at the last `; rule=`, which no escaped value can contain.

use super::{
    escape::{escape, printable, unescape},
    timestamp,
};
use crate::{address::Domain, enforcement::ObservedBy, policy::Rule};
use serde::Deserialize;
use std::{borrow::Cow, net::IpAddr};

/// The action of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Accepted.
    Accept,
    /// Refused with 4xx.
    Defer,
    /// Refused with 5xx.
    Reject,
}

/// A decision line. Every text except the reply is printable ASCII without spaces, and
/// empty if the line does not have it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision<'a> {
    /// Seconds since 1970, if the line itself contains a time.
    pub(crate) time: Option<i64>,
    /// The queue ID, `NOQUEUE` if the MTA has not assigned one yet.
    pub(crate) queue_id: Cow<'a, str>,
    pub(crate) action: Action,
    /// `false` for a refusal in observe mode.
    pub(crate) carried_out: bool,
    /// The rule; `None` if this version does not know it.
    pub(crate) rule: Option<Rule>,
    /// The first line of the reply, which may quote a recipient.
    pub(crate) reply: Cow<'a, str>,
    pub(crate) client_name: Cow<'a, str>,
    pub(crate) client: Option<IpAddr>,
    /// The envelope sender; empty for the null reverse-path.
    pub(crate) from: Cow<'a, str>,
    /// The recipient, if the decision is about one.
    pub(crate) to: Cow<'a, str>,
    /// The recipients' domains, separated by commas.
    pub(crate) domains: Cow<'a, str>,
    /// The first name of the PTR records.
    pub(crate) ptr_name: Cow<'a, str>,
    pub(crate) spf: Cow<'a, str>,
    /// The domain whose SPF record was evaluated.
    pub(crate) spf_domain: Cow<'a, str>,
    /// The term of this record that decided.
    pub(crate) spf_term: Cow<'a, str>,
    pub(crate) dkim: Cow<'a, str>,
    /// `domain:selector:result` for each signature, separated by commas.
    pub(crate) dkim_signatures: Cow<'a, str>,
    /// The entry that exempts the client's network.
    pub(crate) exempt_entry: Cow<'a, str>,
    pub(crate) exempt_comment: Cow<'a, str>,
    /// The result of `exempt.forwarders`: an entry, `none` or `temperror`.
    pub(crate) forwarder: Cow<'a, str>,
    /// For `replies.give_up_after`: how long the sender had been deferred, in seconds.
    pub(crate) deferred_for: Option<u64>,
    /// Why a refusal was not enforced; always `None` in lines of version 0.1.
    pub(crate) observed_by: Option<ObservedBy>,
    /// How long the MTA waited, in milliseconds.
    pub(crate) waited: u64,
}

impl<'a> Decision<'a> {
    /// Parses the text of a log line of sixgate; `None` if it is not a decision.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        match text {
            [b'{', ..] => Json::parse(text)?.decision(),
            _ => parse_text(std::str::from_utf8(text).ok()?),
        }
    }

    /// Returns the domains of the recipients, in comparable form.
    pub(crate) fn recipient_domains(&self) -> impl Iterator<Item = Cow<'_, str>> {
        (self.domains.split(','))
            .filter(|domain| !domain.is_empty() && *domain != "...")
            .map(comparable_domain)
    }

    /// Returns the domain of the sender; `None` for the null reverse-path.
    pub(crate) fn sender_domain(&self) -> Option<Cow<'_, str>> {
        match self.from.is_empty() {
            true => None,
            false => Some(comparable_domain(domain_of(&self.from))),
        }
    }

    /// Returns the /64 of an IPv6 client, which usually belongs to a single site.
    pub(crate) fn network(&self) -> Option<u64> {
        match self.client? {
            IpAddr::V6(ip) => Some((ip.to_bits() >> 64) as u64),
            IpAddr::V4(_) => None,
        }
    }

    /// Returns the client's host name by its PTR records; empty if the line does not have
    /// it.
    pub(crate) fn client_label(&self) -> &str {
        match (self.ptr_name.as_ref(), self.client_name.as_ref()) {
            ("", "unknown") => "",
            // If there is no name, the MTA logs the address in its place.
            ("", name) if name.starts_with("\\x5b") => "",
            ("", name) => name,
            (name, _) => name,
        }
    }

    fn new(action: Action, carried_out: bool) -> Self {
        Self {
            time: None,
            queue_id: Cow::default(),
            action,
            carried_out,
            rule: None,
            reply: Cow::default(),
            client_name: Cow::default(),
            client: None,
            from: Cow::default(),
            to: Cow::default(),
            domains: Cow::default(),
            ptr_name: Cow::default(),
            spf: Cow::default(),
            spf_domain: Cow::default(),
            spf_term: Cow::default(),
            dkim: Cow::default(),
            dkim_signatures: Cow::default(),
            exempt_entry: Cow::default(),
            exempt_comment: Cow::default(),
            forwarder: Cow::default(),
            deferred_for: None,
            observed_by: None,
            waited: 0,
        }
    }
}

/// Returns the text after the last `@`, or all of it if there is none.
pub(crate) fn domain_of(address: &str) -> &str {
    address
        .rsplit_once('@')
        .map_or(address, |(_, domain)| domain)
}

/// Returns a domain in comparable form: A-labels in lower case, limited to the length of
/// a domain.
pub(crate) fn comparable_domain(escaped: &str) -> Cow<'_, str> {
    const LONGEST: usize = 255;
    let cut = &escaped[..escaped.len().min(LONGEST)];
    let is_plain = cut
        .bytes()
        .all(|byte| !byte.is_ascii_uppercase() && byte != b'\\');
    if is_plain {
        return Cow::Borrowed(cut.strip_suffix('.').unwrap_or(cut));
    }
    match unescape(cut).and_then(|raw| Domain::parse(&raw).ok()) {
        Some(domain) => Cow::Owned(domain.as_str().to_owned()),
        None => Cow::Owned(cut.to_ascii_lowercase()),
    }
}

/// Returns the domain of an address that an MTA logged, in comparable form.
pub(crate) fn raw_domain(address: &[u8]) -> String {
    let address = String::from_utf8_lossy(address);
    comparable_domain(&escape(domain_of(&address))).into_owned()
}

fn observed_by(name: &str) -> Option<ObservedBy> {
    ObservedBy::ALL
        .into_iter()
        .find(|reason| reason.name() == name)
}

fn rule(name: &str) -> Option<Rule> {
    Rule::ALL.into_iter().find(|rule| rule.name() == name)
}

/// Parses `QUEUEID: accept: FIELDS` and `QUEUEID: reject: STAGE from CLIENT: REPLY;
/// FIELDS`.
fn parse_text(text: &str) -> Option<Decision<'_>> {
    let (queue_id, text) = text.split_once(": ")?;
    let (verb, text) = text.split_once(": ")?;
    if queue_id.contains(' ') {
        return None;
    }
    let mut decision = match verb {
        "accept" => Decision::new(Action::Accept, true),
        "reject" => refusal(text, true)?,
        "reject_warning" => refusal(text, false)?,
        _ => return None,
    };
    decision.queue_id = printable(queue_id);
    let fields = match decision.action {
        Action::Accept => text,
        Action::Defer | Action::Reject => {
            let end = memchr::memmem::rfind(text.as_bytes(), b"; rule=")?;
            decision.reply = Cow::Borrowed(reply(&text[..end])?);
            &text[end + 2..]
        }
    };
    if !fields.starts_with("rule=") {
        return None;
    }
    for (key, value) in fields.split(' ').filter_map(|field| field.split_once('=')) {
        set_field(&mut decision, key, value);
    }
    Some(decision)
}

/// Returns the text after `RCPT from name[2001:db8::1]: `.
fn reply(text: &str) -> Option<&str> {
    text.split_once("]: ").map(|(_, reply)| reply)
}

/// Parses the part before the fields.
fn refusal(text: &str, carried_out: bool) -> Option<Decision<'_>> {
    let (_stage, text) = text.split_once(" from ")?;
    let (peer, reply) = text.split_once("]: ")?;
    let action = match reply.as_bytes().first()? {
        b'4' => Action::Defer,
        b'5' => Action::Reject,
        _ => return None,
    };
    let mut decision = Decision::new(action, carried_out);
    set_client(&mut decision, peer);
    Some(decision)
}

fn set_field<'a>(decision: &mut Decision<'a>, key: &str, value: &'a str) {
    match key {
        "rule" => decision.rule = rule(value),
        "client" => set_client(decision, value.strip_suffix(']').unwrap_or(value)),
        "from" => decision.from = printable(without_brackets(value)),
        "to" => {
            decision.to = printable(without_brackets(value));
            decision.domains = printable(domain_of(without_brackets(value)));
        }
        "rcpt_domains" => decision.domains = printable(value),
        "ptr_names" => decision.ptr_name = printable(first_name(value)),
        "spf" => decision.spf = printable(value),
        "spf_domain" => decision.spf_domain = printable(value),
        "spf_term" => decision.spf_term = printable(value),
        "dkim" => decision.dkim = printable(value),
        "dkim_signatures" => decision.dkim_signatures = printable(value),
        "exempt_entry" => decision.exempt_entry = printable(value),
        "exempt_comment" => decision.exempt_comment = printable(value),
        "forwarder" => decision.forwarder = printable(value),
        "deferred_for" => decision.deferred_for = value.parse().ok(),
        "observed_by" => decision.observed_by = observed_by(value),
        "ms" => decision.waited = value.parse().unwrap_or_default(),
        _ => {}
    }
}

/// Sets the client from `NAME[ADDR`.
fn set_client<'a>(decision: &mut Decision<'a>, peer: &'a str) {
    if let Some((name, address)) = peer.rsplit_once('[') {
        decision.client_name = printable(name);
        decision.client = address.parse().ok();
    }
}

fn without_brackets(value: &str) -> &str {
    let value = value.strip_prefix('<').unwrap_or(value);
    value.strip_suffix('>').unwrap_or(value)
}

fn first_name(names: &str) -> &str {
    names.split(',').next().unwrap_or(names)
}

/// The JSON form. A null value counts as missing.
#[derive(Debug, Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    refused: bool,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    queue_id: Option<String>,
    reply: Option<String>,
    client_name: Option<String>,
    client_address: Option<String>,
    from: Option<String>,
    to: Option<String>,
    recipient_domains: Option<Vec<String>>,
    ptr_names: Option<Vec<String>>,
    spf: Option<JsonSpf>,
    dkim: Option<String>,
    dkim_signatures: Option<Vec<JsonSignature>>,
    exempt_entry: Option<String>,
    exempt_comment: Option<String>,
    forwarder: Option<String>,
    deferred_for: Option<u64>,
    observed_by: Option<String>,
    ms: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
struct JsonSpf {
    result: Option<String>,
    domain: Option<String>,
    term: Option<String>,
}

#[derive(Debug, Deserialize)]
struct JsonSignature {
    domain: Option<String>,
    selector: Option<String>,
    result: Option<String>,
}

impl JsonSignature {
    /// Returns the value as in the text form.
    fn text(&self) -> String {
        let word = |word: &Option<String>| escape(word.as_deref().unwrap_or("?")).into_owned();
        let (domain, selector) = (word(&self.domain), word(&self.selector));
        format!("{domain}:{selector}:{}", word(&self.result))
    }
}

/// Returns the time of any JSON line.
pub(crate) fn json_time(line: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Timed<'a> {
        #[serde(borrow)]
        time: Cow<'a, str>,
    }
    let timed: Timed<'_> = serde_json::from_slice(line).ok()?;
    timestamp::rfc3339(timed.time.as_bytes()).map(|(time, _)| time)
}

impl<'a> Json<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    fn decision<'d>(self) -> Option<Decision<'d>> {
        let action = match self.action.as_ref() {
            "accept" => Action::Accept,
            "defer" => Action::Defer,
            "reject" => Action::Reject,
            _ => return None,
        };
        if self.event != "decision" {
            return None;
        }
        let names = self.ptr_names.unwrap_or_default();
        let spf = self.spf.unwrap_or_default();
        let signatures = self.dkim_signatures.unwrap_or_default();
        let signatures: Vec<_> = signatures.iter().map(JsonSignature::text).collect();
        Some(Decision {
            time: timestamp::rfc3339(self.time.as_bytes()).map(|(time, _)| time),
            queue_id: escaped(Some(self.queue_id.unwrap_or_else(|| "NOQUEUE".to_owned()))),
            rule: rule(&self.rule),
            reply: Cow::Owned(self.reply.unwrap_or_default()),
            client_name: escaped(self.client_name),
            client: self.client_address.and_then(|address| address.parse().ok()),
            from: escaped(self.from),
            domains: match &self.to {
                Some(to) => Cow::Owned(escape(domain_of(to)).into_owned()),
                None => joined(self.recipient_domains.unwrap_or_default()),
            },
            to: escaped(self.to),
            ptr_name: escaped(names.into_iter().next()),
            spf: escaped(spf.result),
            spf_domain: escaped(spf.domain),
            spf_term: escaped(spf.term),
            dkim: escaped(self.dkim),
            dkim_signatures: Cow::Owned(signatures.join(",")),
            exempt_entry: escaped(self.exempt_entry),
            exempt_comment: escaped(self.exempt_comment),
            forwarder: escaped(self.forwarder),
            deferred_for: self.deferred_for,
            observed_by: self.observed_by.as_deref().and_then(observed_by),
            waited: self.ms.unwrap_or_default() as u64,
            ..Decision::new(action, action == Action::Accept || self.refused)
        })
    }
}

fn escaped<'d>(raw: Option<String>) -> Cow<'d, str> {
    Cow::Owned(escape(&raw.unwrap_or_default()).into_owned())
}

fn joined<'d>(domains: Vec<String>) -> Cow<'d, str> {
    let domains: Vec<_> = domains.iter().map(|domain| escape(domain)).collect();
    Cow::Owned(domains.join(","))
}

/// Converts an escaped address to comparable form.
pub(crate) fn comparable_address(escaped: &str) -> String {
    match escaped.rsplit_once('@') {
        Some((local, domain)) => {
            format!(
                "{}@{}",
                local.to_ascii_lowercase(),
                comparable_domain(domain)
            )
        }
        None => escaped.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(line: &str) -> Option<Decision<'_>> {
        Decision::parse(line.as_bytes())
    }

    #[test]
    fn text_and_json_give_the_same_value() {
        let text = "4F9D195432C: reject: END-OF-MESSAGE from mail.example.net[2001:db8::2]: 450 \
                    4.7.26 Service unavailable; rule=unauthenticated mode=enforce \
                    from=<a@Example.net> nrcpt=2 rcpt_domains=contoso.com,contoso.net \
                    helo=<x> ptr=found ptr_names=mail.example.net,b.example.net opt_in=file \
                    spf=fail spf_identity=mailfrom spf_domain=example.net spf_term=-all dkim=fail \
                    dkim_signatures=example.net:s1:fail,?:?:neutral forwarder=none \
                    deferred_for=90000 observed_by=share ms=12";
        let json = r#"{"time":"2026-11-21T06:33:30.123Z","level":"INFO","event":"decision",
            "queue_id":"4F9D195432C","action":"defer","refused":true,"stage":"eom",
            "rule":"unauthenticated","mode":"enforce","reply":"450 4.7.26 Service unavailable",
            "client_name":"mail.example.net","client_address":"2001:db8::2","helo":"x",
            "from":"a@Example.net","to":null,"recipients":2,
            "recipient_domains":["contoso.com","contoso.net"],"ptr":"found",
            "ptr_names":["mail.example.net","b.example.net"],"opt_in":"file",
            "spf":{"result":"fail","identity":"mailfrom","domain":"example.net","term":"-all"},
            "dkim":"fail","dkim_signatures":[
            {"domain":"example.net","selector":"s1","result":"fail"},
            {"domain":null,"selector":null,"result":"neutral"}],"forwarder":"none",
            "deferred_for":90000,"observed_by":"share","ms":12}"#
            .replace('\n', "");
        let from_text = decision(text).unwrap();
        let from_json = decision(&json).unwrap();
        assert_eq!(from_text.action, Action::Defer);
        assert_eq!(from_text.sender_domain().as_deref(), Some("example.net"));
        assert_eq!(from_text.ptr_name, "mail.example.net");
        assert_eq!(from_text.reply, "450 4.7.26 Service unavailable");
        assert_eq!(from_text.forwarder, "none");
        assert_eq!(from_text.deferred_for, Some(90_000));
        assert_eq!(from_text.observed_by, Some(ObservedBy::Share));
        let time = from_json.time;
        assert_eq!(time, Some(1_795_242_810));
        assert_eq!(from_json, Decision { time, ..from_text });
    }

    #[test]
    fn text_quoted_in_a_reply_is_not_a_field() {
        let line = "NOQUEUE: reject: RCPT from unknown[2001:db8::1]: 550 5.2.1 Service \
                    unavailable, [\"; rule=spf-pass from=<x@y>\"] does not accept email over \
                    IPv6.; rule=not-opted-in mode=enforce from=<a@b> \
                    to=<\"\\x3b\\x20rule=spf-pass\"> helo=<e> ms=0";
        let decision = decision(line).unwrap();
        assert_eq!(decision.rule, Some(Rule::NotOptedIn));
        assert_eq!(decision.from, "a@b");
        assert!(decision.reply.ends_with("does not accept email over IPv6."));
    }

    #[test]
    fn observed_refusals_differ_from_enforced_ones() {
        let line = "NOQUEUE: reject_warning: RCPT from unknown[2001:db8::1]: 450 4.7.25 x; \
                    rule=no-ptr mode=observe would=defer from=<> to=<B@Contoso.COM> helo=<e> ms=0";
        let decision = decision(line).unwrap();
        assert_eq!(
            (decision.action, decision.carried_out),
            (Action::Defer, false)
        );
        assert_eq!(decision.sender_domain(), None);
        let domains: Vec<_> = decision.recipient_domains().collect();
        assert_eq!(domains, ["contoso.com"]);
    }

    #[test]
    fn other_lines_of_sixgate_are_not_decisions() {
        let table = [
            "listening on inet:127.0.0.1:8894",
            "a milter connection is closed: accept: rule=spf-pass",
            "warning: reject: RCPT from",
            "NOQUEUE: reject: RCPT from x[2001:db8::1]: 450 4.7.25 cut off",
            "NOQUEUE: accept: client=x",
            "{\"event\":\"message\",\"message\":\"NOQUEUE: accept: rule=spf-pass\"}",
            "{",
        ];
        for line in table {
            assert_eq!(decision(line), None, "{line}");
        }
    }

    #[test]
    fn domains_compare_equal_in_every_spelling() {
        let table = [
            ("Example.ORG.", "example.org"),
            ("b\\xc3\\xbccher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("\\x5b192.0.2.1\\x5d", "\\x5b192.0.2.1\\x5d"),
        ];
        for (spelling, want) in table {
            assert_eq!(comparable_domain(spelling), want);
        }
    }
}
