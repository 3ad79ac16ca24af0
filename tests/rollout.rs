//! Refusals during a rollout by rule and by share, and how log, report and `explain` show
//! them.
//!
//! Everything runs the real daemon with a real DNS server.

mod support;

use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr, process::Command};
use support::{
    daemon::Daemon,
    dns::{DnsServer, SENDERS, Zone},
    logs::{Logs, json},
    milter::{MilterClient, Reply},
};

const MESSAGE: &[u8] = b"From: a@good.example\r\nSubject: x\r\n\r\nbody\r\n";

/// The daemon with its DNS server.
struct Site {
    daemon: Daemon,
    dns: DnsServer,
}

impl Site {
    fn new(config: &str) -> Self {
        let dns = DnsServer::start(Zone::parse(SENDERS).expect("a zone"));
        let daemon = Daemon::start(&Self::config(&dns, config));
        Self { daemon, dns }
    }

    fn config(dns: &DnsServer, config: &str) -> String {
        format!(
            "dns: {{servers: [{}], timeout: 500ms, attempts: 1}}\n\
             opt_in: {{domains: [contoso.com, watched.example]}}\n{config}",
            dns.address()
        )
    }

    fn reload_with(&self, config: &str) {
        self.daemon.reload_with(&Self::config(&self.dns, config));
    }

    /// Sends a message from the client and returns the first refusal, if any.
    fn mail(&self, client: &str, sender: &str, to: &str) -> Option<String> {
        let client: IpAddr = client.parse().expect("an address");
        let mut mta = MilterClient::open(&self.daemon.address());
        assert_eq!(
            mta.connect_from("[x]", (client, 25).into()),
            Reply::Continue
        );
        mta.helo("mail.good.example");
        assert_eq!(mta.mail(&[sender]), Reply::Continue);
        match mta.rcpt(&[to]) {
            Reply::Continue => text(mta.message(MESSAGE, 65535).reply),
            refusal => text(refusal),
        }
    }
}

fn text(reply: Reply) -> Option<String> {
    match reply {
        Reply::Smtp(text) => Some(text),
        Reply::Continue | Reply::Accept => None,
        other => panic!("{other:?}"),
    }
}

const NO_PTR: &str = "2001:db8:1::20";
const GOOD: &str = "2001:db8:1::10";
const BROKEN: &str = "2001:db8:1::60";

#[test]
fn a_rule_that_is_observed_is_logged_and_the_next_rules_decide() {
    let site = Site::new("observe_rules: [no-ptr, ptr-temperror, not-opted-in]");
    let table = [
        // client, sender, recipient, refusal
        (NO_PTR, "<a@good.example>", "<b@contoso.com>", None),
        (BROKEN, "<a@good.example>", "<b@contoso.com>", None),
        (GOOD, "<a@good.example>", "<b@other.example>", None),
        // Rule 12 is enforced, whatever suppressed the refusal of the recipient.
        (
            NO_PTR,
            "<a@bad.example>",
            "<b@contoso.com>",
            Some("450 4.7.26 "),
        ),
        (
            GOOD,
            "<a@bad.example>",
            "<b@other.example>",
            Some("450 4.7.26 "),
        ),
    ];
    for (client, sender, to, want) in table {
        let refusal = site.mail(client, sender, to);
        let begins = |want: &str| {
            refusal
                .as_deref()
                .is_some_and(|text| text.starts_with(want))
        };
        let is_right = want.map_or(refusal.is_none(), begins);
        assert!(is_right, "{client} {sender} {to}: {refusal:?}");
    }
    let log = site.daemon.log();
    log.wait_for(&[
        "reject_warning: RCPT",
        "; rule=no-ptr mode=observe would=defer from=<a@good.example>",
        " observed_by=rule ms=",
    ]);
    log.wait_for(&[
        "rule=not-opted-in mode=observe would=reject",
        "observed_by=rule",
    ]);
    log.wait_for(&[
        "rule=ptr-temperror mode=observe would=defer",
        "observed_by=rule",
    ]);
    let refused = log.wait_for(&["reject: END-OF-MESSAGE", "rule=unauthenticated"]);
    assert!(!refused.contains("observed_by"), "{refused}");
    // The next connection follows the new configuration.
    site.reload_with("observe_rules: [unauthenticated]");
    assert_eq!(site.mail(GOOD, "<a@bad.example>", "<b@contoso.com>"), None);
    assert!(
        site.mail(NO_PTR, "<a@good.example>", "<b@contoso.com>")
            .is_some()
    );
}

#[test]
fn whatever_observes_spares_and_nothing_refuses_what_another_setting_spares() {
    let table = [
        // settings, why the refusal of b@contoso.com by no-ptr is not carried out
        ("", None),
        ("observe_rules: [unauthenticated]", None),
        ("observe_domains: [watched.example]", None),
        ("enforce_share: 100%", None),
        ("observe_rules: [no-ptr]", Some("rule")),
        ("observe_domains: [contoso.com]", Some("domain")),
        ("enforce_share: 0%", Some("share")),
        ("mode: observe", Some("mode")),
        ("observe_rules: [no-ptr]\nenforce_share: 0%", Some("rule")),
        (
            "observe_domains: [contoso.com]\nobserve_rules: [no-ptr]\nenforce_share: 0%",
            Some("domain"),
        ),
        (
            "mode: observe\nobserve_domains: [contoso.com]\nobserve_rules: [no-ptr]\n\
             enforce_share: 0%",
            Some("mode"),
        ),
    ];
    let site = Site::new("");
    for (index, (settings, want)) in table.into_iter().enumerate() {
        site.reload_with(settings);
        let sender = format!("<a{index}@good.example>");
        let refusal = site.mail(NO_PTR, &sender, "<b@contoso.com>");
        assert_eq!(refusal.is_some(), want.is_none(), "{settings}");
        let line = site.daemon.log().wait_for(&["rule=no-ptr", &sender]);
        let reason = line.split("observed_by=").nth(1);
        let reason = reason.and_then(|rest| rest.split(' ').next());
        assert_eq!(reason, want, "{settings}: {line}");
    }
}

/// The /64 networks of 200 clients without reverse DNS that are refused.
fn refused(site: &Site) -> BTreeSet<u16> {
    let clients = (0..200).map(|n| (n, format!("2001:db8:2:{n:x}::{n:x}")));
    let refused = clients.filter(|(_, client)| {
        let refusal = site.mail(client, "<a@good.example>", "<b@contoso.com>");
        refusal.is_some()
    });
    refused.map(|(n, _)| n).collect()
}

#[test]
fn a_roll_out_by_share_refuses_a_part_of_the_networks_that_only_grows_and_is_in_the_report() {
    let site = Site::new("enforce_share: 10%");
    let ten = refused(&site);
    assert!((8..=35).contains(&ten.len()), "{}", ten.len());
    // Another host of the same network gets the same result, also from another server.
    let other = Site::new("enforce_share: 10%");
    for n in 0..200 {
        let client = format!("2001:db8:2:{n:x}:ffff::1");
        let refusal = other.mail(&client, "<x@other.example>", "<c@contoso.com>");
        assert_eq!(refusal.is_some(), ten.contains(&n), "{client}");
    }
    site.reload_with("enforce_share: 50%");
    let fifty = refused(&site);
    assert!((75..=125).contains(&fifty.len()), "{}", fifty.len());
    assert!(ten.is_subset(&fifty));
    site.reload_with("enforce_share: 50%\nenforce_share_key: mx.contoso.com");
    let with_key = refused(&site);
    assert!(!ten.is_subset(&with_key) || with_key != fifty);
    // A 550 is suppressed like every refusal.
    for n in 0..200_u16 {
        let client = format!("2001:db8:2:{n:x}::1");
        let refusal = site.mail(&client, "<a@good.example>", "<b@fabrikam.com>");
        assert_eq!(refusal.is_some(), with_key.contains(&n), "{client}");
    }
    site.reload_with("enforce_share: 100%");
    assert_eq!(refused(&site).len(), 200);

    let log = other.daemon.log();
    other.daemon.stop();
    let summary = json(&Logs::new().report("--json", log.text().as_bytes()));
    let roll_out = &summary["roll_out"];
    let no_ptr = &roll_out["rules"][0];
    assert_eq!(no_ptr["rule"], "no-ptr");
    assert_eq!(no_ptr["refused"], ten.len());
    assert_eq!(no_ptr["enforce_share"], 200 - ten.len());
    assert_eq!(no_ptr["observe_rules"], 0);
    assert_eq!(roll_out["networks_refused"], ten.len());
    assert_eq!(roll_out["networks_spared"], 200 - ten.len());
    let page = Logs::new().report("", log.text().as_bytes());
    let page = String::from_utf8(page.stdout).expect("text");
    let headline = format!(
        "Roll-out: {} networks refused, {} spared by enforce_share",
        ten.len(),
        200 - ten.len()
    );
    assert!(page.contains(&headline), "{page}");
}

#[test]
fn the_report_tells_the_reasons_apart_in_both_forms_of_the_log() {
    for format in ["text", "json"] {
        let log_section = format!("log: {{format: {format}}}\n");
        let site = Site::new(&format!("{log_section}observe_rules: [no-ptr]"));
        site.mail(NO_PTR, "<a@bad.example>", "<b@contoso.com>");
        site.reload_with(&format!("{log_section}observe_domains: [contoso.com]"));
        site.mail(NO_PTR, "<a@good.example>", "<b@contoso.com>");
        site.reload_with(&format!("{log_section}mode: observe"));
        site.mail(NO_PTR, "<a@good.example>", "<b@contoso.com>");
        let log = site.daemon.log();
        site.daemon.stop();
        let summary = json(&Logs::new().report("--json", log.text().as_bytes()));
        let rules = summary["roll_out"]["rules"].as_array().expect("a list");
        let of = |rule: &str| rules.iter().find(|row| row["rule"] == rule);
        let no_ptr = of("no-ptr").expect("a row");
        for reason in ["observe_rules", "observe_domains", "mode"] {
            assert_eq!(no_ptr[reason], 1, "{format} {reason}: {summary:#}");
        }
        // The message that rule 12 refused is not included.
        assert!(of("unauthenticated").is_none(), "{summary:#}");
        assert_eq!(summary["totals"]["deferred"], 1, "{summary:#}");
    }
}

#[test]
fn trace_names_the_setting_that_suppressed_a_refusal_and_the_sender_given_up() {
    let log_section = "log: {format: json}\n";
    let site = Site::new(log_section);
    for (sender, settings) in [
        ("<rule@good.example>", "observe_rules: [no-ptr]"),
        ("<domain@good.example>", "observe_domains: [contoso.com]"),
        ("<share@good.example>", "enforce_share: 0%"),
        ("<mode@good.example>", "mode: observe"),
    ] {
        site.reload_with(&format!("{log_section}{settings}"));
        assert_eq!(site.mail(NO_PTR, sender, "<b@contoso.com>"), None);
    }
    let log = site.daemon.log();
    site.daemon.stop();
    let given_up = "Nov 21 06:00:00 mx sixgate[7]: NOQUEUE: reject: RCPT from \
                    unknown[2001:db8:1::20]: 550 5.7.25 x; rule=no-ptr mode=enforce \
                    from=<late@good.example> to=<b@contoso.com> helo=<x> ptr=none \
                    deferred_for=90000 ms=1\n";
    let table = [
        ("rule", "Without the entry in observe_rules it is deferred."),
        (
            "domain",
            "Without the entry in observe_domains it is deferred.",
        ),
        ("share", "With enforce_share: 100% it is deferred."),
        ("mode", "With mode: enforce it is deferred."),
        ("late", "was given up (replies.give_up_after) after 25 h"),
    ];
    for (sender, want) in table {
        let log = match sender {
            "late" => given_up.to_owned(),
            _ => log.text(),
        };
        let arguments = format!("--from {sender}@good.example");
        let output = Logs::new().trace(&arguments, log.as_bytes());
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(text.contains(want), "{sender}: {text}");
    }
}

#[test]
fn a_rule_may_have_a_share_of_its_own() {
    let site = Site::new("enforce_share: {unauthenticated: 0%}");
    assert!(
        site.mail(NO_PTR, "<a@good.example>", "<b@contoso.com>")
            .is_some()
    );
    assert_eq!(site.mail(GOOD, "<a@bad.example>", "<b@contoso.com>"), None);
    let line = site.daemon.log().wait_for(&["rule=unauthenticated"]);
    assert!(line.contains("observed_by=share"), "{line}");
}

fn explain(site: &Site, arguments: &[&str]) -> (String, Value) {
    let run = |json: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(["explain", "-c"])
            .arg(site.daemon.config_file())
            .args(arguments)
            .args(json)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let value = serde_json::from_str(&run(&["--json"])).expect("JSON");
    (run(&[]), value)
}

#[test]
fn explain_names_the_setting_that_suppresses_a_refusal_and_continues() {
    let site = Site::new("observe_rules: [no-ptr]");
    let mail = [
        "--client",
        NO_PTR,
        "--from",
        "a@bad.example",
        "--to",
        "b@contoso.com",
    ];
    let (text, value) = explain(&site, &mail);
    assert_eq!(value["recipients"][0]["verdict"]["rule"], "no-ptr");
    assert_eq!(value["recipients"][0]["verdict"]["observed_by"], "rule");
    assert_eq!(value["verdict"]["rule"], "unauthenticated");
    assert_eq!(value["verdict"].get("observed_by"), None);
    assert!(
        text.contains("observe_rules: logged, and not refused"),
        "{text}"
    );
    site.reload_with("enforce_share: 0%");
    let (text, value) = explain(&site, &mail);
    assert_eq!(value["verdict"]["observed_by"], "share");
    assert!(
        text.contains("enforce_share: logged, and not refused"),
        "{text}"
    );
}
