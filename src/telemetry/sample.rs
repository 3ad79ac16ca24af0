//! Decisions with all fields, for tests.

use super::{Decision, Exemption, decision_fields, decision_line, json::Object};
use crate::{
    address::{Client, Domain, Recipient, ReversePath},
    config::Mode,
    dkim::{self, DkimResult, SignatureResult},
    dns::Name,
    enforcement::ObservedBy,
    exempt,
    forwarder::{Identified, Proof},
    opt_in,
    policy::{Forwarder, Ptr, Refusal, Rule, Stage},
    reply::{Replies, Reply, Values},
    spf,
};
use std::{net::IpAddr, time::Duration};

/// Returns decisions about a recipient and a message, both observed, and an accepted
/// message.
pub(crate) fn decisions() -> Vec<Decision<'static>> {
    let message = Decision {
        queue_id: Some("4F9D195432C"),
        mode: Mode::Observe,
        observed_by: Some(ObservedBy::Share),
        deferred_for: Some(Duration::from_secs(86_400)),
        stage: Stage::EndOfMessage,
        rule: Rule::Unauthenticated,
        reply: Some(kept(reply())),
        client: kept(Client {
            addr: ip().into(),
            name: "mail.example.org".to_owned(),
            mta: None,
        }),
        helo: Some("mail.example.org"),
        reverse_path: kept(ReversePath::parse("<a@example.org>")),
        recipient: None,
        recipients: 2,
        recipient_domains: kept([Domain::parse("contoso.com").unwrap()]),
        more_recipient_domains: true,
        opt_in: Some(opt_in::Source::Domains),
        ptr: Some(Ptr::Found),
        ptr_names: kept([Name::parse(b"mail.example.org").unwrap()]),
        spf: Some(kept(spf_outcome())),
        forwarder: Some(kept(forwarder())),
        signed: true,
        dkim: Some(kept(dkim_outcome())),
        waited: Duration::from_millis(3),
    };
    let recipient = Decision {
        recipient: Some(kept(Recipient::parse("<b@contoso.com>", None))),
        stage: Stage::Rcpt,
        ..message
    };
    let accepted = Decision {
        reply: None,
        observed_by: None,
        deferred_for: None,
        rule: Rule::DkimPass,
        ..message
    };
    vec![recipient, accepted, message]
}

/// Returns a decision in which all text that a peer can choose is as long and hostile as
/// possible.
pub(crate) fn worst() -> Decision<'static> {
    let long = "\u{2028}\"\\\n".repeat(9000);
    let label = "x".repeat(60);
    let domain = [label.as_str(); 4].join(".");
    let signature = SignatureResult {
        domain: Some(domain.clone()),
        selector: Some(domain.clone()),
        ..dkim_outcome().signatures.remove(0)
    };
    let message = decisions().pop().unwrap();
    let domains: Vec<Domain> = (0..8)
        .map(|n| Domain::parse(&format!("{n}{}", &domain[1..])).unwrap())
        .collect();
    Decision {
        queue_id: Some(kept(long.clone())),
        client: kept(Client {
            name: long.clone(),
            ..message.client.clone()
        }),
        helo: Some(kept(long.clone())),
        reverse_path: kept(ReversePath::parse(&format!("<{long}@x>"))),
        recipient_domains: kept(domains),
        ptr_names: kept(vec![Name::parse(domain.as_bytes()).unwrap(); 100]),
        spf: Some(kept(spf::Outcome {
            domain: Some(domain),
            term: Some(long),
            ..spf_outcome()
        })),
        dkim: Some(kept(dkim::Outcome {
            signatures: vec![signature; 100],
        })),
        ..message
    }
}

/// Formats a decision as a JSON object.
pub(super) fn object(decision: &Decision<'_>) -> String {
    let mut text = String::new();
    let mut object = Object::begin(&mut text);
    decision_fields::write_decision(decision, &mut object);
    object.end();
    text
}

/// Returns an exemption with all fields.
pub(crate) fn exemption() -> Exemption<'static> {
    let list = exempt::table::parse("2001:db8::/32  # 2026-11-28 ticket 4711\n").unwrap();
    let found = exempt::Found {
        source: exempt::Source::Managed,
        listed: list.iter().next().unwrap().clone(),
    };
    Exemption {
        client: decisions()[0].client,
        stage: Stage::Mail,
        rule: Rule::ExemptTls,
        seen_as: Some("64:ff9b::192.0.2.1".parse().unwrap()),
        certificate: Some("mx.partner.example"),
        entry: Some(kept(found)),
        mode: Mode::Enforce,
    }
}

/// Formats the exemption as a line.
pub(super) fn exempt_line() -> String {
    let mut line = String::new();
    decision_line::render_exempt(&mut line, &exemption());
    line
}

/// Formats the exemption as a JSON object.
pub(super) fn exempt_object() -> String {
    let mut text = String::new();
    let mut object = Object::begin(&mut text);
    decision_fields::write_exemption(&exemption(), &mut object);
    object.end();
    text
}

fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn ip() -> IpAddr {
    "2001:db8::1".parse().unwrap()
}

fn reply() -> Reply {
    Replies::default()
        .get(Refusal::Unauthenticated)
        .render(Values {
            address: ip(),
            domain: "",
        })
}

fn forwarder() -> Identified {
    Identified {
        result: Forwarder::Known,
        proof: Some(Proof::Spf {
            domain: Domain::parse("alumni.example").unwrap(),
            term: None,
        }),
        reasons: Vec::new(),
    }
}

fn spf_outcome() -> spf::Outcome {
    spf::Outcome {
        result: spf::SpfResult::Fail,
        identity: spf::Identity::MailFrom,
        domain: Some("example.org".to_owned()),
        term: Some("-all".to_owned()),
        reason: "-all matches".to_owned(),
        explanation: None,
    }
}

fn dkim_outcome() -> dkim::Outcome {
    let signature = SignatureResult {
        result: DkimResult::Fail,
        domain: Some("example.org".to_owned()),
        selector: Some("s1".to_owned()),
        algorithm: None,
        header_b: None,
        reason: String::new(),
    };
    dkim::Outcome {
        signatures: vec![signature],
    }
}
