//! `sixgate explain` with a real DNS server: its JSON and its text output.

mod support;

use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Command, Output, Stdio},
};
use support::dns::{DnsServer, Zone};

const ZONE: &str = r#"
2001:db8:1::10            PTR    mail.good.example
mail.good.example         AAAA   2001:db8:1::10
2001:db8:1::60            SERVFAIL
192.0.2.33                PTR    mail.translated.example
translated.example        TXT    "v=spf1 ip4:192.0.2.33 -all"
good.example              TXT    "v=spf1 include:_spf.good.example -all"
_spf.good.example         TXT    "v=spf1 a:gone.example ip6:2001:db8:1::/64 ?all"
bad.example               TXT    "v=spf1 -all exp=why.bad.example"
why.bad.example           TXT    "%{c} may not send for %{d}"
"#;

struct Fixture {
    dns: DnsServer,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            dns: DnsServer::start(Zone::parse(ZONE).expect("a zone")),
            directory: tempfile::TempDir::new().expect("a directory"),
        }
    }

    fn explain(&self, arguments: &str, input: &str) -> Output {
        let config = self.directory.path().join("milter.yaml");
        let text = format!(
            "dns: {{servers: [{}]}}\nopt_in: {{domains: [contoso.com]}}\n\
             exempt: {{certificates: [\"*.partner.example\"]}}\n\
             ipv4_prefixes: [\"2001:db8:122:344::/64\"]\n",
            self.dns.address()
        );
        std::fs::write(&config, text).expect("a configuration");
        let mut program = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(["explain", "-c"])
            .arg(config)
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = program.stdin.take().expect("a pipe");
        stdin
            .write_all(input.as_bytes())
            .expect("the program reads");
        drop(stdin);
        program.wait_with_output().expect("the program ends")
    }

    fn json(&self, arguments: &str, input: &str) -> Value {
        let output = self.explain(&format!("{arguments} --json"), input);
        assert!(output.status.success(), "{arguments}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

#[test]
fn explain_decides_as_the_daemon_does() {
    let fixture = Fixture::new();
    let no_ptr = "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::20] must have \
                  reverse DNS record.";
    let not_opted_in =
        "550 5.2.1 Service unavailable, [other.example] does not accept email over IPv6.";
    let unauthenticated = "450 4.7.26 Service unavailable, message sent over IPv6 \
                           [2001:db8:1::10] must pass either SPF or DKIM validation.";
    let temporary = "451 4.4.3 Service unavailable, temporary failure, please try again later.";
    let table = [
        // arguments, scope, action, stage, rule, reply
        (
            "--client 192.0.2.1 --to b@contoso.com",
            "ipv4",
            "accept",
            "connect",
            "ipv4",
            None,
        ),
        (
            "--client ::ffff:192.0.2.1",
            "ipv4",
            "accept",
            "connect",
            "ipv4",
            None,
        ),
        (
            "--client fe80::1",
            "exempt",
            "accept",
            "connect",
            "exempt-network",
            None,
        ),
        (
            "--client 2001:db8:1::20 --authenticated --to b@contoso.com",
            "exempt",
            "accept",
            "mail",
            "exempt-authenticated",
            None,
        ),
        (
            "--client 2001:db8:1::20 --to b@other.example",
            "checked",
            "reject",
            "rcpt",
            "not-opted-in",
            Some(not_opted_in),
        ),
        (
            "--client 2001:db8:1::20 --to b@contoso.com",
            "checked",
            "defer",
            "rcpt",
            "no-ptr",
            Some(no_ptr),
        ),
        (
            "--client 2001:db8:1::20",
            "checked",
            "defer",
            "rcpt",
            "no-ptr",
            Some(no_ptr),
        ),
        (
            "--client 2001:db8:1::60 --to b@contoso.com",
            "checked",
            "defer",
            "rcpt",
            "ptr-temperror",
            Some(temporary),
        ),
        (
            "--client 2001:db8:1::10 --from a@good.example --to b@contoso.com",
            "checked",
            "accept",
            "eoh",
            "spf-pass",
            None,
        ),
        (
            "--client 2001:db8:1::10 --from a@bad.example --to b@contoso.com",
            "checked",
            "defer",
            "eoh",
            "unauthenticated",
            Some(unauthenticated),
        ),
    ];
    for (arguments, scope, action, stage, rule, reply) in table {
        let explained = fixture.json(arguments, "");
        assert_eq!(explained["scope"], scope, "{arguments}");
        let want = json!({"action": action, "stage": stage, "rule": rule, "reply": reply});
        assert_eq!(explained["verdict"], want, "{arguments}");
    }
}

#[test]
fn a_detailed_reply_is_shown_line_by_line() {
    let fixture = Fixture::new();
    let directory = fixture.directory.path();
    let config = format!(
        "dns: {{servers: [{}]}}\nreplies: {{details: yes, url: \"https://mx.example.org/#{{rule}}\"}}\n",
        fixture.dns.address()
    );
    std::fs::write(directory.join("details.yaml"), config).expect("a configuration");
    let explain = |more: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(["explain", "-c"])
            .arg(directory.join("details.yaml"))
            .args(["--client", "2001:db8:1::10", "--from", "a@bad.example"])
            .args(more.split_whitespace())
            .output();
        String::from_utf8(output.expect("the program ends").stdout).expect("text")
    };
    let lines = [
        "450-4.7.26 Service unavailable, message sent over IPv6 [2001:db8:1::10] must pass \
         either SPF or DKIM validation.",
        "450-4.7.26 SPF: fail (-all of bad.example). DKIM: the message is not signed.",
        "450 4.7.26 https://mx.example.org/#unauthenticated",
    ];
    let text = explain("");
    let indented = lines.map(|line| format!("             {line}\n")).concat();
    let verdict = format!("verdict    defer at eoh by unauthenticated:\n{indented}");
    assert!(text.contains(&verdict), "{text}");
    let explained: Value = serde_json::from_str(&explain("--json")).expect("JSON");
    assert_eq!(explained["verdict"]["reply_lines"], json!(lines));
    assert_eq!(
        explained["verdict"]["reply"],
        lines[0].replacen('-', " ", 1)
    );
}

#[test]
fn an_ipv4_client_behind_a_translator_is_shown_by_its_own_address() {
    let fixture = Fixture::new();
    let arguments = "--client 2001:db8:122:344:c0:2:2100:: --from a@translated.example";
    let explained = fixture.json(arguments, "");
    assert_eq!(explained["client"], "2001:db8:122:344:c0:2:2100:0");
    assert_eq!(explained["scope"], "ipv4");
    assert_eq!(explained["verdict"]["rule"], "ipv4");
    let want = json!({"prefix": "2001:db8:122:344::/64", "ipv4": "192.0.2.33"});
    assert_eq!(explained["translated"], want);
    assert_eq!(
        explained["ptr"]["names"],
        json!(["mail.translated.example"])
    );
    assert_eq!(explained["spf"]["result"], "pass");
    let text = String::from_utf8(fixture.explain(arguments, "").stdout).expect("text");
    let line = "in 2001:db8:122:344::/64 of ipv4_prefixes, so it is the IPv4 client 192.0.2.33\n";
    assert!(text.contains(line), "{text}");

    let reserved = "--client 2001:db8:122:344:1c0:2:2100::";
    let explained = fixture.json(reserved, "");
    assert_eq!(explained["scope"], "checked");
    let want = json!({"prefix": "2001:db8:122:344::/64", "ipv4": null});
    assert_eq!(explained["translated"], want);
    let text = String::from_utf8(fixture.explain(reserved, "").stdout).expect("text");
    assert!(text.contains("embeds no IPv4 address\n"), "{text}");
    assert_eq!(
        fixture.json("--client 2001:db8:1::20", "")["translated"],
        json!(null)
    );
}

#[test]
fn a_certificate_is_shown_with_the_entry_that_matches_it() {
    let fixture = Fixture::new();
    let arguments = "--client 2001:db8:1::20 --to b@contoso.com --certificate";
    let named = format!("{arguments} MX.partner.example");
    let explained = fixture.json(&named, "");
    assert_eq!(explained["scope"], "exempt");
    assert_eq!(explained["verdict"]["rule"], "exempt-tls");
    let want = json!({"name": "MX.partner.example", "named_by": "*.partner.example"});
    assert_eq!(explained["certificate"], want);
    let text = String::from_utf8(fixture.explain(&named, "").stdout).expect("text");
    let line = "tls        certificate MX.partner.example, verified: exempt.certificates has \
                *.partner.example\n";
    assert!(text.contains(line), "{text}");

    let other = format!("{arguments} mx.other.example");
    let explained = fixture.json(&other, "");
    assert_eq!(explained["verdict"]["rule"], "no-ptr");
    let want = json!({"name": "mx.other.example", "named_by": null});
    assert_eq!(explained["certificate"], want);
    let text = String::from_utf8(fixture.explain(&other, "").stdout).expect("text");
    assert!(
        text.contains("exempt.certificates does not have it\n"),
        "{text}"
    );

    assert_eq!(
        fixture.json("--client 2001:db8:1::20", "")["certificate"],
        json!(null)
    );
}

/// So that it runs for any user on any machine.
#[test]
fn without_a_configuration_the_defaults_hold_and_this_is_said() {
    let explain = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(["explain", "--client", "127.0.0.1", "--json"])
            .args(arguments)
            .output()
            .expect("the program ends")
    };
    let named = explain(&["-c", "/nonexistent/milter.yaml"]);
    assert_eq!(named.status.code(), Some(66));
    if std::path::Path::new("/etc/sixgate/milter.yaml").exists() {
        return;
    }
    let output = explain(&[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "/etc/sixgate/milter.yaml does not exist; using the defaults (-c FILE names another)\n"
    );
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(explained["verdict"]["rule"], "ipv4");
}

#[test]
fn every_check_is_shown_even_if_the_decision_does_not_need_it() {
    let fixture = Fixture::new();
    let explained = fixture.json(
        "--client 2001:db8:1::10 --from a@good.example --to b@other.example --to b@contoso.com",
        "",
    );
    assert_eq!(
        explained["ptr"],
        json!({"result": "found", "names": ["mail.good.example"], "confirmed": true, "reason": ""})
    );
    assert_eq!(explained["spf"]["result"], "pass");
    assert_eq!(explained["spf"]["identity"], "mailfrom");
    assert_eq!(explained["spf"]["domain"], "good.example");
    assert_eq!(explained["recipients"][0]["opt_in"], "no");
    assert_eq!(
        explained["recipients"][0]["verdict"]["rule"],
        "not-opted-in"
    );
    assert_eq!(explained["recipients"][1]["opt_in"], "yes");
    assert_eq!(explained["recipients"][0]["reason"], "no source knows it");
    assert_eq!(explained["recipients"][1]["source"], "domains");
    assert_eq!(
        explained["recipients"][1]["reason"],
        "contoso.com in opt_in.domains"
    );
    assert_eq!(explained["recipients"][1]["verdict"]["rule"], "spf-pass");
    assert_eq!(explained["verdict"]["rule"], "spf-pass");
    let questions = explained["dns"].as_array().expect("questions");
    let asked: Vec<_> = questions.iter().map(|q| (&q["type"], &q["name"])).collect();
    assert!(asked.contains(&(&json!("TXT"), &json!("_spf.good.example"))));
}

#[test]
fn spf_is_shown_record_by_record_with_the_deciding_term() {
    let fixture = Fixture::new();
    let output = fixture.explain("--client 2001:db8:1::10 --from a@good.example", "");
    let text = String::from_utf8(output.stdout).expect("text");
    let story = [
        "v=spf1 include:_spf.good.example -all",
        "include:_spf.good.example (lookup 1 of 10)",
        "a:gone.example",
        "void lookup 1 of 2",
        "does not match",
        "ip6:2001:db8:1::/64",
        "matches: pass",
        "verdict    accept at eoh by spf-pass",
    ];
    let mut rest = text.as_str();
    for words in story {
        let found = rest.find(words);
        rest = &rest[found.unwrap_or_else(|| panic!("{words:?} is missing in order:\n{text}"))..];
    }
}

#[test]
fn an_spf_fail_is_shown_with_the_domains_own_explanation() {
    let fixture = Fixture::new();
    let explained = fixture.json("--client 2001:db8:1::10 --from a@bad.example", "");
    assert_eq!(
        explained["spf"]["explanation"],
        "2001:db8:1::10 may not send for bad.example"
    );
}

#[test]
fn a_signature_that_cannot_pass_is_shown_with_the_reason() {
    let fixture = Fixture::new();
    let message = "From: a@bad.example\nDKIM-Signature: v=1; a=rsa-sha1; d=bad.example; s=s;\n \
                   h=from; bh=AAAA; b=AAAA\n\nbody\n";
    let explained = fixture.json(
        "--client 2001:db8:1::10 --from a@bad.example --to b@contoso.com --message -",
        message,
    );
    let signature = &explained["dkim"][0];
    assert_eq!(signature["domain"], "bad.example");
    assert_eq!(signature["selector"], "s");
    assert_ne!(signature["result"], "pass");
    assert_ne!(signature["reason"], "");
    assert_eq!(explained["verdict"]["stage"], "eom");
    assert_eq!(explained["verdict"]["rule"], "unauthenticated");
}

#[test]
fn an_unreadable_message_exits_with_no_input() {
    let fixture = Fixture::new();
    let output = fixture.explain("--client 2001:db8:1::10 --message /nonexistent", "");
    assert_eq!(output.status.code(), Some(66));
}
