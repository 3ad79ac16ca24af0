//! Decisions that have everything, for tests.

use super::{Decision, decision_line};
use crate::{
    address::{Client, Domain, Recipient, ReversePath},
    config::Mode,
    dkim::{self, DkimResult, SignatureResult},
    dns::Name,
    opt_in,
    policy::{Ptr, Refusal, Rule, Stage},
    reply::{Replies, Reply, Values},
    spf,
};
use std::{net::IpAddr, time::Duration};

/// One on a recipient and one on a message, both observed; and a message that is
/// accepted.
pub(super) fn decisions() -> Vec<Decision<'static>> {
    let message = Decision {
        queue_id: Some("4F9D195432C"),
        mode: Mode::Observe,
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
        rule: Rule::DkimPass,
        ..message
    };
    vec![recipient, accepted, message]
}

/// As a line.
pub(super) fn line(decision: &Decision<'_>) -> String {
    let mut line = String::new();
    decision_line::render(&mut line, decision);
    line
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
