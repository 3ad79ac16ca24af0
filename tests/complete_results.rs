//! `authentication_results.complete` and `.families`: a field with every method, also for
//! mail that is not checked, and the same decisions as without them.

#[path = "e2e/signer.rs"]
#[allow(dead_code, unreachable_pub, reason = "the dialogues use more of it")]
mod signer;
mod support;

use serde_json::Value;
use signer::{Canonicalization, Key, Signer};
use std::{
    io::Write,
    process::{Command as Program, Stdio},
    time::{Duration, Instant},
};
use support::{
    daemon::Daemon,
    dns::{Data, DnsServer, Zone},
    http,
    milter::{Command, MilterClient, Modification, Reply},
    port,
};

const ZONE: &str = r#"
2001:db8:1::10       PTR    mail.good.example
mail.good.example    AAAA   2001:db8:1::10
mail.good.example    A      192.0.2.10
192.0.2.10           PTR    mail.good.example
mail.good.example    TXT    "v=spf1 a -all"
2001:db8:1::50       PTR    mail.good.example
2001:db8:1::60       SERVFAIL
192.0.2.61           SILENCE
good.example         TXT    "v=spf1 ip6:2001:db8:1::/64 ip4:192.0.2.10 -all"
bad.example          TXT    "v=spf1 -all"
alumni.example       TXT    "v=spf1 ip6:2001:db8:1::50 -all"
broken.example       SERVFAIL
other.example.opt-in.broken.example SERVFAIL
mute.example         SILENCE
mail.mute.example    SILENCE
"#;

const COMPLETE: &str = "complete: yes";
const ALL: &str = "complete: yes, families: all";

/// One site with its DNS, served by daemons of different configurations.
struct Site {
    dns: DnsServer,
    key: Key,
}

impl Site {
    fn new() -> Self {
        let key = Key::ed25519();
        let mut zone = Zone::parse(ZONE).expect("a zone");
        let record = || Data::text(format!("v=DKIM1; k=ed25519; p={}", key.public()));
        for domain in ["good.example", "bad.example"] {
            zone.add(format!("s._domainkey.{domain}"), record());
        }
        zone.fault(
            "broken._domainkey.bad.example",
            support::dns::Fault::ServFail,
        );
        Self {
            dns: DnsServer::start(zone),
            key,
        }
    }

    fn daemon(&self, results: &str, config: &str) -> Daemon {
        Daemon::start(&self.config(results, config))
    }

    fn config(&self, results: &str, config: &str) -> String {
        format!(
            "dns: {{servers: [{}], timeout: 300ms, attempts: 1}}\n\
             limits: {{stage_timeout: 1s}}\n\
             opt_in: {{domains: [contoso.com]}}\n\
             authentication_results: {{{results}}}\n{config}\n",
            self.dns.address()
        )
    }

    /// A message with the signatures that `signed_by` names: `good`, `bad`, `broken` (its
    /// key is out of reach) and `changed` (its body was).
    fn message(&self, signed_by: &[&str]) -> String {
        let plain = "From: a@good.example\r\nTo: b@contoso.com\r\nSubject: x\r\n\r\nbody\r\n";
        let mut message = plain.to_owned();
        for &name in signed_by {
            let (domain, selector) = match name {
                "good" => ("good.example", "s"),
                "broken" => ("bad.example", "broken"),
                _ => ("bad.example", "s"),
            };
            let signer = Signer {
                key: &self.key,
                domain,
                selector,
                header: Canonicalization::Relaxed,
                body: Canonicalization::Relaxed,
                fields: &["from", "to", "subject"],
                tags: "",
            };
            message = match name {
                "changed" => signer
                    .sign(&message.replace("body", "another body"))
                    .replace("another body", "body"),
                _ => signer.sign(&message),
            };
        }
        message
    }
}

type Macros = &'static [(&'static str, &'static str)];

/// The commands of an MTA, and what it gets: the replies, and the changes to the message.
struct Dialogue<'a> {
    client: &'a str,
    helo: &'a str,
    at_mail: &'a [(&'a str, &'a str)],
    from: &'a str,
    to: &'a str,
}

const FROM_GOOD: Dialogue<'_> = Dialogue {
    client: "2001:db8:1::10",
    helo: "mail.good.example",
    at_mail: &[],
    from: "<a@good.example>",
    to: "<b@contoso.com>",
};

/// The outcome of a dialogue.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The refusals that the SMTP client gets.
    refusals: Vec<String>,
    modifications: Vec<Modification>,
    skipped: bool,
}

impl Dialogue<'_> {
    fn hold(&self, daemon: &Daemon, message: &str) -> Outcome {
        let mut outcome = Outcome {
            refusals: Vec::new(),
            modifications: Vec::new(),
            skipped: false,
        };
        let mut mta = MilterClient::open(&daemon.address());
        mta.macros(Command::Connect, &[("j", "mx.contoso.com")]);
        let family = match self.client {
            "local" => b'L',
            client if client.contains(':') => b'6',
            _ => b'4',
        };
        if mta.connect("[x]", family, self.client, 25) == Reply::Accept {
            return outcome;
        }
        if !self.helo.is_empty() {
            assert_eq!(mta.helo(self.helo), Reply::Continue);
        }
        mta.macros(Command::Mail, self.at_mail);
        if mta.mail(&[self.from]) == Reply::Accept {
            return outcome;
        }
        if let Reply::Smtp(refusal) = mta.rcpt(&[self.to]) {
            outcome.refusals.push(refusal);
            return outcome;
        }
        let (header, body) = message.split_once("\r\n\r\n").expect("a message");
        for field in header.replace("\r\n\t", "\n\t").split("\r\n") {
            let (name, value) = field.split_once(':').expect("a field");
            mta.header(name, value);
        }
        mta.eoh();
        let reply = mta.body(body.as_bytes());
        outcome.skipped = reply == Reply::Skip;
        let reply = match reply {
            Reply::Continue | Reply::Skip => {
                let end = mta.eom();
                outcome.modifications = end.modifications;
                end.reply
            }
            refused => refused,
        };
        match reply {
            Reply::Continue => {}
            Reply::Smtp(refusal) => outcome.refusals.push(refusal),
            other => panic!("{other:?}"),
        }
        outcome
    }
}

impl Outcome {
    /// The values of the fields that are added, each without its folds.
    fn fields(&self) -> Vec<String> {
        let inserted = self.modifications.iter().filter_map(|change| match change {
            Modification::InsertHeader { value, .. } => Some(value.trim().replace("\n\t", " ")),
            _ => None,
        });
        // Each is put in front of the one before.
        inserted.rev().collect()
    }

    /// The results of the only field, without comments.
    fn results(&self) -> Vec<String> {
        let fields = self.fields();
        let [field] = fields.as_slice() else {
            panic!("one field, not {fields:?}");
        };
        let (id, results) = field.split_once(';').expect("results");
        assert_eq!(id, "mx.contoso.com");
        let without_comments = |result: &str| {
            let mut plain = String::new();
            let mut depth = 0;
            for c in result.trim().chars() {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    c if depth == 0 => plain.push(c),
                    _ => {}
                }
            }
            plain.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        results.split(';').map(without_comments).collect()
    }
}

fn dkim(result: &str, domain: &str, selector: &str) -> String {
    format!("dkim={result} header.d={domain} header.s={selector} header.a=ed25519-sha256")
}

/// A signature's result begins with this; what follows is header.b.
fn assert_results(outcome: &Outcome, want: &[String], label: &str) {
    let results = outcome.results();
    assert_eq!(results.len(), want.len(), "{label}: {results:?}");
    for (result, want) in results.iter().zip(want) {
        let is_same = match want.starts_with("dkim=") && want != "dkim=none" {
            true => result.starts_with(&format!("{want} header.b=")),
            false => result == want,
        };
        assert!(is_same, "{label}: {result} is not {want}");
    }
}

const IPREV: &str = "iprev=pass policy.iprev=\"2001:db8:1::10\"";
const SPF_PASS: &str = "spf=pass smtp.mailfrom=good.example";
const HELO_PASS: &str = "spf=pass smtp.helo=mail.good.example";

#[test]
fn a_complete_field_has_every_method_whatever_decided() {
    let site = Site::new();
    let daemon = site.daemon(COMPLETE, "exempt: {forwarders: {spf_of: [alumni.example]}}");
    let table: [(&str, Dialogue<'_>, &[&str], &[&str]); 6] = [
        (
            "SPF has passed, and the body is read",
            FROM_GOOD,
            &["good", "changed", "broken"],
            &[
                IPREV,
                HELO_PASS,
                SPF_PASS,
                &dkim("pass", "good.example", "s"),
                &dkim("temperror", "bad.example", "broken"),
                &dkim("fail", "bad.example", "s"),
            ],
        ),
        (
            "nothing is signed",
            FROM_GOOD,
            &[],
            &[IPREV, HELO_PASS, SPF_PASS, "dkim=none"],
        ),
        (
            "a signature has decided",
            Dialogue {
                from: "<a@bad.example>",
                ..FROM_GOOD
            },
            &["bad"],
            &[
                IPREV,
                HELO_PASS,
                "spf=fail smtp.mailfrom=bad.example",
                &dkim("pass", "bad.example", "s"),
            ],
        ),
        (
            "the null sender has the HELO name alone",
            Dialogue {
                from: "<>",
                ..FROM_GOOD
            },
            &[],
            &[IPREV, HELO_PASS, "dkim=none"],
        ),
        (
            "a HELO name that is not a valid domain",
            Dialogue {
                helo: "[IPv6:2001:db8:1::10]",
                ..FROM_GOOD
            },
            &[],
            &[
                IPREV,
                "spf=none smtp.helo=\"[IPv6:2001:db8:1::10]\"",
                SPF_PASS,
                "dkim=none",
            ],
        ),
        (
            "a known forwarder",
            Dialogue {
                client: "2001:db8:1::50",
                from: "<a@bad.example>",
                ..FROM_GOOD
            },
            &["changed"],
            &[
                "iprev=fail policy.iprev=\"2001:db8:1::50\"",
                "spf=fail smtp.helo=mail.good.example",
                "spf=fail smtp.mailfrom=bad.example",
                "x-forwarder=pass policy.spf-of=alumni.example",
                &dkim("fail", "bad.example", "s"),
            ],
        ),
    ];
    for (label, dialogue, signed_by, want) in table {
        let outcome = dialogue.hold(&daemon, &site.message(signed_by));
        assert_eq!(outcome.refusals, [""; 0], "{label}");
        assert_eq!(outcome.skipped, signed_by.is_empty(), "{label}");
        let want: Vec<String> = want.iter().map(|&result| result.to_owned()).collect();
        assert_results(&outcome, &want, label);
    }
    // What was found out for the field is in the decision line.
    daemon.log().wait_for(&[
        "rule=spf-pass",
        "dkim=pass dkim_signatures=good.example:s:pass",
    ]);
}

#[test]
fn a_field_that_is_not_complete_has_what_was_needed() {
    let site = Site::new();
    let daemon = site.daemon("", "");
    let outcome = FROM_GOOD.hold(&daemon, &site.message(&["good"]));
    assert!(outcome.skipped);
    let spf = "spf=pass smtp.mailfrom=a@good.example".to_owned();
    assert_results(&outcome, &[IPREV.to_owned(), spf], "");
    site.dns.forget_questions();
    let outcome = FROM_GOOD.hold(&daemon, &site.message(&["good"]));
    assert!(outcome.skipped);
    assert!(
        !site
            .dns
            .questions()
            .iter()
            .any(|(name, _)| name.contains("_domainkey"))
    );
}

#[test]
fn mail_that_is_not_checked_gets_results_and_no_decision() {
    let site = Site::new();
    let metrics = port::lasting_address();
    let daemon = site.daemon(
        ALL,
        &format!(
            "metrics: {{listen: \"{metrics}\"}}\nlog: {{level: debug}}\n\
             exempt: {{networks: [\"2001:db8:9::/48\"], tls: any}}\n\
             ipv4_prefixes: [\"64:ff9b::/96\"]"
        ),
    );
    let iprev = |result: &str, ip: &str| format!("iprev={result} policy.iprev={ip}");
    let fail = || "spf=fail smtp.mailfrom=bad.example".to_owned();
    // rule, client, macros at MAIL, results
    let table: [(&str, &str, Macros, Vec<String>); 6] = [
        (
            "ipv4",
            "192.0.2.10",
            &[],
            vec![iprev("pass", "192.0.2.10"), HELO_PASS.to_owned(), fail()],
        ),
        (
            "ipv4",
            "64:ff9b::192.0.2.10",
            &[],
            vec![iprev("pass", "192.0.2.10"), HELO_PASS.to_owned(), fail()],
        ),
        (
            "exempt-network",
            "2001:db8:9::1",
            &[],
            vec![
                iprev("permerror", "\"2001:db8:9::1\""),
                "spf=fail smtp.helo=mail.good.example".to_owned(),
                fail(),
            ],
        ),
        (
            "exempt-authenticated",
            "2001:db8:1::10",
            &[("{auth_authen}", "alice")],
            vec![IPREV.to_owned(), HELO_PASS.to_owned(), fail()],
        ),
        (
            "exempt-tls",
            "2001:db8:1::10",
            &[("{tls_version}", "TLSv1.3")],
            vec![IPREV.to_owned(), HELO_PASS.to_owned(), fail()],
        ),
        // The DNS does not answer.
        (
            "ipv4",
            "192.0.2.61",
            &[],
            vec![
                iprev("temperror", "192.0.2.61"),
                "spf=fail smtp.helo=mail.good.example".to_owned(),
                fail(),
            ],
        ),
    ];
    let changed = format!(
        "Authentication-Results: mx.contoso.com; dkim=pass header.d=bank.example\r\n\
         Authentication-Results: elsewhere.example; dkim=pass\r\n{}",
        site.message(&["changed", "bad"])
    );
    for (rule, client, at_mail, mut want) in table {
        let dialogue = Dialogue {
            client,
            at_mail,
            from: "<a@bad.example>",
            // It has not opted in.
            to: "<b@other.example>",
            ..FROM_GOOD
        };
        let outcome = dialogue.hold(&daemon, &changed);
        assert_eq!(outcome.refusals, [""; 0], "{client}");
        want.extend([
            dkim("pass", "bad.example", "s"),
            dkim("fail", "bad.example", "s"),
        ]);
        assert_results(&outcome, &want, client);
        let removed: Vec<_> = (outcome.modifications.iter())
            .filter_map(|change| match change {
                Modification::ChangeHeader { index, value, .. } => Some((*index, value.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(removed, [(1, "")], "{client}");
        daemon.log().wait_for(&["accept:", &format!("rule={rule}")]);
    }
    for (family, client) in [
        ("loopback", "::1"),
        ("loopback", "127.0.0.1"),
        ("local", "local"),
    ] {
        let dialogue = Dialogue {
            client,
            ..FROM_GOOD
        };
        let outcome = dialogue.hold(&daemon, &changed);
        assert_eq!(outcome.modifications, [], "{family}: {client}");
    }
    let metrics = http::get(metrics, "/metrics").body;
    for line in [
        // Connections, as without results.
        r#"sixgate_decisions_total{action="accept",mode="enforce",rule="ipv4"} 4"#,
        r#"sixgate_decisions_total{action="accept",mode="enforce",rule="exempt-network"} 2"#,
        r#"sixgate_decisions_total{action="accept",mode="enforce",rule="exempt-tls"} 1"#,
        r#"sixgate_decisions_total{action="reject",mode="enforce",rule="not-opted-in"} 0"#,
        r#"sixgate_decisions_total{action="defer",mode="enforce",rule="unauthenticated"} 0"#,
        r#"sixgate_checks_total{check="helo-spf",result="pass"} 4"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn a_field_does_not_wait_longer_for_the_dns_than_a_stage_may_take() {
    let site = Site::new();
    let daemon = site.daemon(ALL, "");
    let dialogue = Dialogue {
        client: "192.0.2.61",
        helo: "mail.mute.example",
        from: "<a@mute.example>",
        ..FROM_GOOD
    };
    let start = Instant::now();
    let outcome = dialogue.hold(&daemon, &site.message(&["broken"]));
    // A second for the checks, which all wait at a time, and the rest for a busy machine.
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(outcome.refusals, [""; 0]);
    let want = [
        "iprev=temperror policy.iprev=192.0.2.61".to_owned(),
        "spf=temperror smtp.helo=mail.mute.example".to_owned(),
        "spf=temperror smtp.mailfrom=mute.example".to_owned(),
        dkim("temperror", "bad.example", "broken"),
    ];
    assert_results(&outcome, &want, "");
}

#[test]
fn without_the_end_of_headers_signatures_are_temperror_and_never_a_fail() {
    let site = Site::new();
    let daemon = site.daemon(ALL, "");
    let mut mta = MilterClient::open(&daemon.address());
    mta.macros(Command::Connect, &[("j", "mx.contoso.com")]);
    assert_eq!(mta.connect("[x]", b'4', "192.0.2.10", 25), Reply::Continue);
    mta.helo("mail.good.example");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@other.example>"]), Reply::Continue);
    mta.header("DKIM-Signature", " v=1; d=good.example; s=s");
    let end = mta.eom();
    assert_eq!(end.reply, Reply::Continue);
    let field = format!("{:?}", end.modifications);
    assert!(field.contains("dkim=temperror (not verified)"), "{field}");
}

#[test]
fn more_forged_fields_than_can_be_removed_are_a_temporary_failure_for_all() {
    let site = Site::new();
    let forged = "Authentication-Results: mx.contoso.com; spf=pass\r\n".repeat(1001);
    let message = format!("{forged}{}", site.message(&[]));
    for (mode, refusals) in [("enforce", 1), ("observe", 0)] {
        let daemon = site.daemon(ALL, &format!("mode: {mode}"));
        let dialogue = Dialogue {
            client: "192.0.2.10",
            ..FROM_GOOD
        };
        let outcome = dialogue.hold(&daemon, &message);
        assert_eq!(outcome.refusals.len(), refusals, "{outcome:?}");
        assert!(
            outcome
                .refusals
                .iter()
                .all(|reply| reply.starts_with("451 4.4.3 "))
        );
        if refusals > 0 {
            daemon
                .log()
                .wait_for(&["would stay in a message: there are too many"]);
        }
    }
}

#[test]
fn a_message_with_many_signatures_has_all_of_them_in_fields_under_998_bytes() {
    let site = Site::new();
    let daemon = site.daemon(COMPLETE, "dkim: {max_signatures: 12}");
    let message = site.message(&["good"; 14]);
    let outcome = FROM_GOOD.hold(&daemon, &message);
    let fields = outcome.fields();
    assert!(fields.len() > 1, "{fields:?}");
    for field in &fields {
        assert!(field.starts_with("mx.contoso.com; "), "{field}");
        assert!(
            "Authentication-Results: ".len() + field.len() < 998,
            "{}",
            field.len()
        );
    }
    assert!(
        fields[0].contains(IPREV) && !fields[1].contains("spf="),
        "{fields:?}"
    );
    let passes: usize = fields.iter().map(|f| f.matches("dkim=pass").count()).sum();
    assert_eq!(passes, 12, "{fields:?}");
}

/// Every rule, by dialogues that lead there: with and without a complete field, and with
/// one for all mail, each has the same replies and the same rule in the log.
#[test]
fn what_is_found_out_for_the_field_changes_no_decision() {
    let site = Site::new();
    let bad = Dialogue {
        from: "<a@bad.example>",
        ..FROM_GOOD
    };
    let exempt = "exempt: {networks: [\"2001:db8:9::/48\"], tls: any}";
    let forwarders = "exempt: {forwarders: {spf_of: [alumni.example]}}";
    let accept = "on_dns_failure: accept";
    let observe = "mode: observe";
    let from = |client| Dialogue {
        client,
        ..FROM_GOOD
    };
    let broken = || Dialogue {
        from: "<a@broken.example>",
        ..FROM_GOOD
    };
    // configuration, dialogue, signatures, rule
    let table: Vec<(&str, Dialogue<'_>, &[&str], &str)> = vec![
        (exempt, from("local"), &[], "local"),
        (exempt, from("192.0.2.10"), &["changed"], "ipv4"),
        (
            exempt,
            from("2001:db8:9::1"),
            &["changed"],
            "exempt-network",
        ),
        (
            exempt,
            Dialogue {
                at_mail: &[("{auth_authen}", "alice")],
                ..FROM_GOOD
            },
            &["changed"],
            "exempt-authenticated",
        ),
        (
            exempt,
            Dialogue {
                at_mail: &[("{tls_version}", "TLSv1.3")],
                ..FROM_GOOD
            },
            &["changed"],
            "exempt-tls",
        ),
        (
            "",
            Dialogue {
                to: "<b@other.example>",
                ..FROM_GOOD
            },
            &["good"],
            "not-opted-in",
        ),
        (
            "opt_in: {dns_zone: opt-in.broken.example}",
            Dialogue {
                to: "<b@other.example>",
                ..FROM_GOOD
            },
            &["good"],
            "opt-in-temperror",
        ),
        ("", from("2001:db8:1::20"), &["good"], "no-ptr"),
        ("", from("2001:db8:1::60"), &["good"], "ptr-temperror"),
        (accept, from("2001:db8:1::60"), &["good"], "spf-pass"),
        (
            "reverse_dns: confirmed",
            from("2001:db8:1::50"),
            &["good"],
            "ptr-unconfirmed",
        ),
        ("", FROM_GOOD, &["changed"], "spf-pass"),
        (
            "",
            Dialogue {
                from: "<>",
                ..FROM_GOOD
            },
            &["changed"],
            "spf-pass",
        ),
        (
            forwarders,
            Dialogue {
                client: "2001:db8:1::50",
                from: "<a@bad.example>",
                ..FROM_GOOD
            },
            &["changed"],
            "known-forwarder",
        ),
        // A HELO name that passes does not make a failed MAIL FROM pass.
        ("", Dialogue { ..bad }, &[], "unauthenticated"),
        ("", Dialogue { ..bad }, &["changed"], "unauthenticated"),
        ("", Dialogue { ..bad }, &["bad"], "dkim-pass"),
        ("", Dialogue { ..bad }, &["broken"], "auth-temperror"),
        (accept, Dialogue { ..bad }, &["broken"], "auth-temperror"),
        ("", broken(), &[], "auth-temperror"),
        ("", broken(), &["changed"], "auth-temperror"),
        ("", broken(), &["good"], "dkim-pass"),
        (accept, broken(), &[], "auth-temperror"),
        (observe, Dialogue { ..bad }, &["changed"], "unauthenticated"),
        (observe, Dialogue { ..bad }, &[], "unauthenticated"),
        (observe, from("2001:db8:1::20"), &["good"], "no-ptr"),
        (
            "replies: {details: yes}",
            Dialogue { ..bad },
            &["changed", "broken"],
            "auth-temperror",
        ),
        (
            "replies: {details: yes}",
            Dialogue { ..bad },
            &["changed"],
            "unauthenticated",
        ),
    ];
    let configs: std::collections::BTreeSet<&str> = table.iter().map(|row| row.0).collect();
    let mut rules = std::collections::BTreeSet::new();
    for config in configs {
        let base = "log: {level: debug}\n".to_owned();
        let site_config = match config.strip_prefix("opt_in: {") {
            // The configuration of the site has that section.
            Some(rest) => site.config("RESULTS", &base).replace(
                "opt_in: {",
                &format!("opt_in: {{{}, ", rest.trim_end_matches('}')),
            ),
            None => site.config("RESULTS", &format!("{base}{config}")),
        };
        let daemons = ["", COMPLETE, ALL]
            .map(|results| Daemon::start(&site_config.replace("RESULTS", results)));
        for (_, dialogue, signed_by, rule) in table.iter().filter(|row| row.0 == config) {
            let message = site.message(signed_by);
            let label = format!(
                "{config} {} {} {signed_by:?}",
                dialogue.client, dialogue.from
            );
            let lines = |daemon: &Daemon| {
                let log = daemon.log();
                let of_rule = |line: &String| line.contains(&format!("rule={rule} "));
                log.lines().into_iter().filter(of_rule).count()
            };
            let outcomes = daemons.each_ref().map(|daemon| {
                let before = lines(daemon);
                let outcome = dialogue.hold(daemon, &message);
                let deadline = Instant::now() + Duration::from_secs(20);
                while lines(daemon) == before {
                    assert!(Instant::now() < deadline, "{label}: no line with {rule}");
                    std::thread::sleep(Duration::from_millis(5));
                }
                outcome.refusals
            });
            assert_eq!(outcomes[0], outcomes[1], "{label}");
            assert_eq!(outcomes[0], outcomes[2], "{label}");
            rules.insert(*rule);
        }
    }
    let all = sixgate::policy::Rule::ALL.map(|rule| rule.name());
    assert_eq!(rules, std::collections::BTreeSet::from(all));
}

#[test]
fn explain_shows_the_field() {
    let site = Site::new();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("milter.yaml");
    let explain = |results: &str, arguments: &str, message: &str| -> Value {
        std::fs::write(&file, site.config(results, "")).expect("a configuration");
        let mut program = Program::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(["explain", "--json", "-c"])
            .arg(&file)
            .args(arguments.split(' '))
            .args(["--helo", "mail.good.example", "--from", "a@good.example"])
            .args(["--to", "b@contoso.com", "--message", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut input = program.stdin.take().expect("a pipe");
        input.write_all(message.as_bytes()).expect("a message");
        drop(input);
        let output = program.wait_with_output().expect("the program ends");
        let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        explained["authentication_results"].clone()
    };
    let signed = site.message(&["good"]);
    let own = "authserv_id: mx.contoso.com";
    let checked = "--client 2001:db8:1::10";
    let ipv4 = "--client 192.0.2.10";
    let table: [(&str, String, &str, &[&str]); 7] = [
        (
            "by default",
            String::new(),
            checked,
            &["{j};", "smtp.mailfrom=a@good.example"],
        ),
        (
            "complete",
            format!("{own}, {COMPLETE}"),
            checked,
            &[
                "mx.contoso.com;",
                IPREV,
                "smtp.helo=mail.good.example",
                "dkim=pass",
            ],
        ),
        ("IPv4", format!("{own}, {COMPLETE}"), ipv4, &[]),
        (
            "IPv4 with results",
            format!("{own}, families: all"),
            ipv4,
            &[
                "iprev=pass",
                "spf=pass",
                "smtp.helo=mail.good.example",
                "dkim=pass",
            ],
        ),
        (
            "loopback",
            format!("{own}, families: all"),
            "--client ::1",
            &[],
        ),
        (
            "refused",
            format!("{own}, {COMPLETE}"),
            "--client 2001:db8:1::20",
            &[],
        ),
        ("without", format!("add: false, {COMPLETE}"), checked, &[]),
    ];
    for (label, results, arguments, want) in table {
        let results = explain(&results, arguments, &signed);
        let fields = results.as_array().expect("fields");
        assert_eq!(fields.is_empty(), want.is_empty(), "{label}: {results}");
        let text = fields.iter().filter_map(Value::as_str).collect::<String>();
        for words in want {
            assert!(text.contains(words), "{label}: {words} is not in {text}");
        }
        let is_complete = text.contains("dkim=");
        assert_eq!(is_complete, want.contains(&"dkim=pass"), "{label}: {text}");
    }
}
