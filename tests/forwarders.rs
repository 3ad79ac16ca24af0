//! Known forwarders, and clients that only claim to be one.
//!
//! Everything runs the real program with a real DNS server. The clients send forwarded
//! mail: the sender's SPF record does not list them.

mod support;

use serde_json::Value;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Instant,
};
use support::{
    daemon::{Daemon, TIMEOUT},
    dns::{DnsServer, Zone},
    http,
    logs::{Logs, json},
    milter::{MilterClient, Reply},
};

const ZONE: &str = r#"
; the sender, whose own SPF record has no forwarder
sender.example            TXT    "v=spf1 ip6:2001:db8:5::/48 -all"
2001:db8:5::1             PTR    mail.sender.example
mail.sender.example       AAAA   2001:db8:5::1

; a forwarder
alumni.example            TXT    "v=spf1 ip6:2001:db8:a::/48 -all"
2001:db8:a::1             PTR    mx.alumni.example
mx.alumni.example         AAAA   2001:db8:a::1
; another host of it, which its SPF record does not name
2001:db8:b::1             PTR    relay.mx.alumni.example
relay.mx.alumni.example   AAAA   2001:db8:b::1

; strangers: with a name of their own, with the forwarder's, with one that can't be known
2001:db8:f::1             PTR    host.stranger.example
host.stranger.example     AAAA   2001:db8:f::1
2001:db8:f::2             PTR    mx.alumni.example
2001:db8:f::3             PTR    host.badalumni.example
host.badalumni.example    AAAA   2001:db8:f::3
2001:db8:f::4             PTR    broken.alumni.example
broken.alumni.example     SERVFAIL
2001:db8:f::5             PTR    broken.stranger.example
broken.stranger.example   SERVFAIL

; forwarders whose records are a trap
open.example              TXT    "v=spf1 +all"
wide.example              TXT    "v=spf1 ip6:2000::/3 -all"
half.example              TXT    "v=spf1 ip6:2000::/4 -all"
nested.example            TXT    "v=spf1 include:open.example -all"
listed.example            TXT    "v=spf1 exists:%{i}.list.example -all"
helo.example              TXT    "v=spf1 exists:%{h}.list.example -all"
soft.example              TXT    "v=spf1 ~all"
gone.example              TXT    "no SPF record"
dead.example              SERVFAIL
"#;

fn zone() -> Zone {
    let mut zone = Zone::parse(ZONE).expect("a zone");
    // Everybody is on this list.
    zone.add_below("list.example", support::dns::Data::A([127, 0, 0, 2].into()));
    zone
}

const FORWARDER: &str = "2001:db8:a::1";
const RELAY: &str = "2001:db8:b::1";
const STRANGER: &str = "2001:db8:f::1";
const FORGED_PTR: &str = "2001:db8:f::2";
const MESSAGE: &[u8] = b"From: a@sender.example\r\nSubject: x\r\n\r\nbody\r\n";
const SIGNED: &[u8] =
    b"From: a@sender.example\r\nDKIM-Signature: v=1; a=rsa-sha256; d=sender.example; \
    s=s; h=from; bh=AAAA; b=AAAA\r\n\r\nbody\r\n";

struct Site {
    daemon: Daemon,
    dns: DnsServer,
    metrics: SocketAddr,
}

impl Site {
    fn new(forwarders: &str, more: &str) -> Self {
        let dns = DnsServer::start(zone());
        let metrics = http::free_address();
        let daemon = Daemon::start(&format!(
            "dns: {{servers: [{}], timeout: 500ms, attempts: 1}}\n\
             metrics: {{listen: {metrics}}}\n\
             opt_in: {{domains: contoso.com}}\n\
             exempt: {{forwarders: {{{forwarders}}}}}\n{more}",
            dns.address()
        ));
        Self {
            daemon,
            dns,
            metrics,
        }
    }

    fn client(&self, client: &str, helo: &str) -> MilterClient {
        let client: IpAddr = client.parse().expect("an address");
        let mut mta = MilterClient::open(&self.daemon.address());
        assert_eq!(
            mta.connect_from("[x]", (client, 25).into()),
            Reply::Continue
        );
        mta.helo(helo);
        mta
    }

    fn mail(&self, client: &str) -> Option<String> {
        send(&mut self.client(client, "mx.alumni.example"), MESSAGE)
    }

    fn command(&self, name: &str, arguments: &[&str]) -> (String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args([name, "-c"])
            .arg(self.daemon.config_file())
            .args(arguments)
            .output()
            .expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(output.stdout), text(output.stderr))
    }

    /// DNS queries for a forwarder's domain.
    fn asked(&self, domain: &str) -> usize {
        let questions = self.dns.questions();
        questions
            .iter()
            .filter(|(name, _)| name.ends_with(domain))
            .count()
    }
}

/// The refusal, if there is one.
fn send(mta: &mut MilterClient, message: &[u8]) -> Option<String> {
    assert_eq!(mta.mail(&["<a@sender.example>"]), Reply::Continue);
    let reply = match mta.rcpt(&["<b@contoso.com>"]) {
        Reply::Continue => mta.message(message, 65535).reply,
        refusal => refusal,
    };
    match reply {
        Reply::Smtp(text) => Some(text),
        Reply::Continue | Reply::Accept => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forwarder_is_known_by_spf_of_its_domain_or_a_confirmed_name_and_by_nothing_else() {
    let spf = "spf_of: [alumni.example]";
    let names = "names: [.alumni.example]";
    let table = [
        // forwarders, client, refusal
        (spf, FORWARDER, None),
        (spf, RELAY, Some("450 4.7.26 ")),
        (spf, STRANGER, Some("450 4.7.26 ")),
        (spf, FORGED_PTR, Some("450 4.7.26 ")),
        (names, FORWARDER, None),
        (names, RELAY, None),
        (names, STRANGER, Some("450 4.7.26 ")),
        (names, FORGED_PTR, Some("450 4.7.26 ")),
        (names, "2001:db8:f::3", Some("450 4.7.26 ")),
        // The lookup of the name's address fails; that another client's name does not
        // resolve is no failure.
        (names, "2001:db8:f::4", Some("451 4.4.3 ")),
        (names, "2001:db8:f::5", Some("450 4.7.26 ")),
        ("names: [mx.alumni.example]", FORWARDER, None),
        ("names: [mx.alumni.example]", RELAY, Some("450 4.7.26 ")),
        (
            "names: [mx.alumni.example]",
            FORGED_PTR,
            Some("450 4.7.26 "),
        ),
        // One proof is sufficient, whatever else fails.
        ("spf_of: [dead.example, alumni.example]", FORWARDER, None),
        (
            "spf_of: [dead.example], names: [.alumni.example]",
            FORWARDER,
            None,
        ),
        (
            "spf_of: [alumni.example], names: [.stranger.example]",
            FORWARDER,
            None,
        ),
        // The opt-in and reverse DNS are required as for others.
        (spf, "2001:db8:a::99", Some("450 4.7.25 ")),
    ];
    for (forwarders, client, want) in table {
        let refusal = Site::new(forwarders, "").mail(client);
        let begins = |want: &str| {
            refusal
                .as_deref()
                .is_some_and(|text| text.starts_with(want))
        };
        let is_right = want.map_or(refusal.is_none(), begins);
        assert!(is_right, "{forwarders} {client}: {refusal:?}");
    }
}

#[test]
fn a_record_that_passes_anyone_exempts_nobody_and_is_warned_of() {
    for domain in ["open", "wide", "half", "nested", "listed"] {
        let site = Site::new(&format!("spf_of: {domain}.example"), "");
        for client in [STRANGER, FORWARDER] {
            let refusal = site.mail(client).expect("a refusal");
            assert!(refusal.starts_with("450 4.7.26 "), "{domain}: {refusal}");
        }
        let words = [
            "WARN",
            &format!("exempt.forwarders.spf_of: the SPF record of {domain}.example passes any"),
        ];
        site.daemon.log().wait_for(&words);
        let lines = site.daemon.log().lines();
        let warnings = lines
            .iter()
            .filter(|line| line.contains("passes any client"));
        assert_eq!(warnings.count(), 1, "{domain}");
        let (doctor, _) = site.command("doctor", &[]);
        let words = format!("the SPF record of {domain}.example passes any client");
        assert!(doctor.contains(&words), "{doctor}");
        let (verdict, warnings) = site.command("check-config", &["--dns"]);
        assert!(
            verdict.ends_with(": ok\n") && warnings.contains(&words),
            "{warnings}"
        );
        // Without the option nothing is looked up.
        site.dns.forget_questions();
        site.command("check-config", &[]);
        assert_eq!(site.dns.questions(), []);
    }
    for domain in ["soft", "gone"] {
        let site = Site::new(&format!("spf_of: {domain}.example"), "");
        assert!(site.mail(FORWARDER).is_some());
    }
    let site = Site::new("spf_of: [gone.example, dead.example, alumni.example]", "");
    let (doctor, _) = site.command("doctor", &[]);
    for words in [
        "gone.example exempts no client: gone.example has no SPF record",
        "dead.example can't be checked now",
        "the SPF record of alumni.example lists its clients",
    ] {
        assert!(doctor.contains(words), "{words}: {doctor}");
    }
}

#[test]
fn a_helo_name_proves_nothing() {
    // The record uses the HELO name, and every name is in the zone.
    for forwarders in ["spf_of: helo.example", "names: [.alumni.example]"] {
        let site = Site::new(forwarders, "");
        for helo in ["mx.alumni.example", "helo.example", "x"] {
            let refusal = send(&mut site.client(STRANGER, helo), MESSAGE);
            assert!(refusal.is_some(), "{forwarders} {helo}");
        }
    }
}

#[test]
fn a_dns_failure_never_exempts_and_a_signature_may_still_pass() {
    let site = Site::new("spf_of: dead.example", "");
    for message in [MESSAGE, SIGNED] {
        let refusal = send(&mut site.client(STRANGER, "x"), message);
        assert!(refusal.expect("a refusal").starts_with("451 4.4.3 "));
    }
    site.daemon.log().wait_for(&[
        "rule=auth-temperror",
        "spf=fail",
        " forwarder=temperror ms=",
    ]);
    // The setting accepts it, but not as a known forwarder.
    let site = Site::new("spf_of: dead.example", "on_dns_failure: accept");
    assert_eq!(site.mail(STRANGER), None);
    site.daemon
        .log()
        .wait_for(&["accept: rule=auth-temperror", "forwarder=temperror"]);
    // A signature is verified as usual, and the message is refused if it does not pass.
    let site = Site::new("spf_of: alumni.example", "");
    let refusal = send(&mut site.client(STRANGER, "x"), SIGNED);
    assert!(refusal.expect("a refusal").starts_with("450 4.7.26 "));
    site.daemon
        .log()
        .wait_for(&["rule=unauthenticated", "dkim=fail", "forwarder=none"]);
}

#[test]
fn it_is_looked_up_only_if_spf_has_not_passed_and_once_for_a_connection() {
    let site = Site::new("spf_of: alumni.example", "");
    assert_eq!(site.mail("2001:db8:5::1"), None);
    assert_eq!(site.asked("alumni.example"), 0);
    let mut mta = site.client(FORWARDER, "x");
    for _ in 0..3 {
        assert_eq!(send(&mut mta, MESSAGE), None);
        // Signed or not, the MTA need not send the body.
        assert_eq!(send(&mut mta, SIGNED), None);
    }
    assert_eq!(site.mail(FORWARDER), None);
    let mut types = BTreeSet::new();
    for (name, rtype) in site.dns.questions() {
        if name == "alumni.example" {
            assert!(types.insert(rtype.clone()), "{rtype} was asked twice");
        }
    }
    assert_eq!(types, BTreeSet::from(["TXT".to_owned()]));
}

#[test]
fn a_silent_domain_costs_no_more_time_than_a_stage_has() {
    let dns = DnsServer::start({
        let mut zone = zone();
        let silent = (0..16).map(|n| format!("silent{n}.example"));
        silent.for_each(|name| zone.fault(name, support::dns::Fault::Silence));
        zone
    });
    let domains: Vec<String> = (0..16).map(|n| format!("silent{n}.example")).collect();
    let daemon = Daemon::start(&format!(
        "dns: {{servers: [{}], timeout: 30s, attempts: 1}}\n\
         limits: {{stage_timeout: 1s}}\n\
         opt_in: {{domains: contoso.com}}\n\
         exempt: {{forwarders: {{spf_of: [{}]}}}}\n",
        dns.address(),
        domains.join(", ")
    ));
    let mut mta = MilterClient::open(&daemon.address());
    let client: IpAddr = STRANGER.parse().expect("an address");
    mta.connect_from("[x]", (client, 25).into());
    mta.helo("x");
    let start = Instant::now();
    assert!(
        send(&mut mta, MESSAGE)
            .expect("a refusal")
            .starts_with("451 4.4.3 ")
    );
    let took = start.elapsed();
    assert!(took.as_millis() >= 900 && took.as_secs() < 8, "{took:?}");
}

#[test]
fn log_header_metrics_report_trace_and_explain_name_the_forwarder() {
    for format in ["text", "json"] {
        let site = Site::new(
            "spf_of: [alumni.example], names: [relay.mx.alumni.example]",
            &format!(
                "log: {{format: {format}}}\nauthentication_results: {{authserv_id: mx.contoso.com}}"
            ),
        );
        let mut mta = site.client(FORWARDER, "x");
        mta.mail(&["<a@sender.example>"]);
        mta.rcpt(&["<b@contoso.com>"]);
        let field = format!("{:?}", mta.message(MESSAGE, 65535));
        let want = "x-forwarder=pass (ip6:2001:db8:a::/48 of alumni.example) \
                    policy.spf-of=alumni.example";
        assert!(field.contains(want), "{field}");
        for client in [FORWARDER, RELAY, STRANGER] {
            site.mail(client);
        }
        let metrics = http::get(site.metrics, "/metrics").body;
        for line in [
            "sixgate_forwarder_messages_total{forwarder=\"spf:alumni.example\"} 2",
            "sixgate_forwarder_messages_total{forwarder=\"name:relay.mx.alumni.example\"} 1",
            "sixgate_decisions_total{action=\"accept\",mode=\"enforce\",rule=\"known-forwarder\"} 3",
            "sixgate_checks_total{check=\"forwarder\",result=\"known\"} 3",
            "sixgate_checks_total{check=\"forwarder\",result=\"unknown\"} 1",
        ] {
            assert!(metrics.contains(line), "{line}\n{metrics}");
        }
        let explain = |client: &str| -> Value {
            let arguments = ["--client", client, "--from", "a@sender.example", "--json"];
            serde_json::from_str(&site.command("explain", &arguments).0).expect("JSON")
        };
        let known = explain(RELAY);
        assert_eq!(known["verdict"]["rule"], "known-forwarder");
        assert_eq!(known["forwarder"]["result"], "name:relay.mx.alumni.example");
        let unknown = explain(STRANGER);
        assert_eq!(unknown["verdict"]["rule"], "unauthenticated");
        assert_eq!(unknown["forwarder"]["result"], "none");
        let (text, _) = site.command("explain", &["--client", STRANGER, "--from", "a@b.example"]);
        for words in [
            "forwarder  none",
            "spf:alumni.example: fail: -all matches",
            "names: the client has none of these",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let log = site.daemon.log();
        site.daemon.stop();
        let logs = Logs::new();
        let summary = json(&logs.report("--json", log.text().as_bytes()));
        let forwarders = summary["forwarders"].as_array().expect("a list");
        let volumes: Vec<_> = forwarders
            .iter()
            .map(|f| (&f["name"], &f["accepted"]))
            .collect();
        assert_eq!(
            format!("{volumes:?}"),
            format!(
                "{:?}",
                [
                    (&Value::from("spf:alumni.example"), &Value::from(2)),
                    (
                        &Value::from("name:relay.mx.alumni.example"),
                        &Value::from(1)
                    )
                ]
            ),
            "{}",
            log.text()
        );
        let page = logs.report("", log.text().as_bytes());
        let page = String::from_utf8(page.stdout).expect("text");
        assert!(page.contains("By known forwarder"), "{page}");
        if format == "json" {
            let trace = logs.trace("--from a@sender.example", log.text().as_bytes());
            let trace = String::from_utf8(trace.stdout).expect("text");
            assert!(
                trace.contains("known-forwarder (spf:alumni.example)"),
                "{trace}"
            );
        }
    }
}

#[test]
fn a_reload_changes_who_is_known() {
    let site = Site::new("spf_of: alumni.example", "");
    assert_eq!(site.mail(FORWARDER), None);
    let config = std::fs::read_to_string(site.daemon.config_file()).expect("a file");
    let config = config.replace("spf_of: alumni.example", "names: [.stranger.example]");
    let (_, config) = config
        .split_once('\n')
        .expect("a listener in the first line");
    site.daemon.reload_with(config);
    let start = Instant::now();
    while site.mail(FORWARDER).is_none() {
        assert!(start.elapsed() < TIMEOUT);
    }
    assert_eq!(site.mail(STRANGER), None);
}
