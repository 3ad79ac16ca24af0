//! Contents and targets of the log, and attempts of a peer to forge it.
//!
//! Everything runs the real daemon. To log to /dev/log or the journal, it runs in a mount
//! namespace in which these are sockets of the test.

mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::{Command, ExitCode},
};
use support::{
    daemon::Daemon,
    datagrams::Datagrams,
    dns::{DnsServer, Zone},
    milter::{Command as Stage, MilterClient, Reply},
};
use tempfile::TempDir;

const ZONE: &str = r#"
2001:db8:1::10            PTR    mail.good.example
mail.good.example         AAAA   2001:db8:1::10
good.example              TXT    "v=spf1 ip6:2001:db8:1::/64 -all"
bad.example               TXT    "v=spf1 -all"
"#;

fn main() -> ExitCode {
    let anywhere: [(&str, fn()); 5] = [
        ("a_text_line_has_every_field", text_lines),
        ("a_json_line_has_every_field", json_lines),
        ("exempt_mail_is_told_at_debug_alone", exempt_mail),
        ("a_level_silences_decisions", silenced),
        ("auto_is_standard_error_on_a_pipe", auto_pipe),
    ];
    let in_a_namespace: [(&str, fn()); 7] = [
        ("syslog_gets_datagrams_of_facility_mail", syslog),
        (
            "a_syslog_that_is_lost_and_back_gets_what_was_said_meanwhile",
            syslog_lost,
        ),
        ("a_syslog_that_does_not_read_stops_no_mail", syslog_stuck),
        ("the_journal_gets_every_field", journal),
        ("why_it_does_not_start_is_in_syslog_too", last_word),
        (
            "auto_is_the_journal_where_standard_error_leads_to_it",
            auto_journal,
        ),
        (
            "auto_is_syslog_where_standard_error_leads_nowhere",
            auto_syslog,
        ),
    ];
    let mut trials: Vec<Trial> = anywhere.into_iter().map(trial).collect();
    trials.extend(FORMATS.map(|format| {
        let name = format!("no_peer_can_forge_a_line_of_{format}_on_standard_error");
        Trial::test(name, move || done(|| no_forgery_on_stderr(format)))
    }));
    let obstacle = obstacle();
    if let Some(obstacle) = &obstacle {
        eprintln!("tests of sockets are ignored: {obstacle}");
    }
    let elsewhere = in_a_namespace.into_iter().map(trial);
    let forgeries = FORMATS.into_iter().flat_map(|format| {
        let syslog = format!("no_peer_can_forge_a_line_of_{format}_in_syslog");
        let journal = format!("no_peer_can_forge_a_line_of_{format}_in_the_journal");
        [
            Trial::test(syslog, move || done(|| no_forgery_in_syslog(format))),
            Trial::test(journal, move || done(|| no_forgery_in_the_journal(format))),
        ]
    });
    let ignored = obstacle.is_some();
    trials.extend(
        elsewhere
            .chain(forgeries)
            .map(|t| t.with_ignored_flag(ignored)),
    );
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

const FORMATS: [&str; 2] = ["text", "json"];

fn trial((name, test): (&str, fn())) -> Trial {
    Trial::test(name, move || done(test))
}

fn done(test: impl FnOnce()) -> Result<(), Failed> {
    test();
    Ok(())
}

/// Returns the reason if namespaces are unavailable.
fn obstacle() -> Option<String> {
    let output = unshare().arg("true").output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !nix::unistd::Uid::effective().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--mount");
    command
}

/// The daemon with its DNS server.
struct Fixture {
    daemon: Daemon,
    _dns: DnsServer,
}

impl Fixture {
    fn new(config: &str) -> Self {
        Self::started_by(Command::new(env!("CARGO_BIN_EXE_sixgate")), config)
    }

    /// In a namespace that `script` prepares before it becomes the daemon.
    fn inside(script: &str, config: &str) -> Self {
        let mut command = unshare();
        let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
        command.args(["/bin/sh", "-c", &script]);
        command.arg(env!("CARGO_BIN_EXE_sixgate"));
        Self::started_by(command, config)
    }

    fn started_by(command: Command, config: &str) -> Self {
        let dns = DnsServer::start(Zone::parse(ZONE).expect("a zone"));
        let config = format!(
            "dns: {{servers: [{}], timeout: 500ms, attempts: 1}}\n\
             opt_in: {{domains: [contoso.com, second.example]}}\n{config}",
            dns.address()
        );
        Self {
            daemon: Daemon::start_by(command, &config),
            _dns: dns,
        }
    }

    fn mta(&self, ip: &str) -> MilterClient {
        let mut mta = MilterClient::open(&self.daemon.address());
        mta.macros(Stage::Connect, &[("j", "mx.contoso.com")]);
        let ip: IpAddr = ip.parse().expect("an address");
        mta.connect_from("[x]", SocketAddr::new(ip, 25252));
        mta
    }

    /// A recipient that is refused because there is no PTR record.
    fn refusal(&self) {
        let mut mta = self.mta("2001:db8:1::20");
        mta.helo("mail.good.example");
        assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
        assert!(matches!(mta.rcpt(&["<b@Contoso.com>"]), Reply::Smtp(_)));
    }

    /// A message that passes by SPF.
    fn acceptance(&self) {
        let mut mta = self.mta("2001:db8:1::10");
        mta.helo("mail.good.example");
        assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
        for recipient in ["<b@contoso.com>", "<c@second.example>", "<d@contoso.com>"] {
            assert_eq!(mta.rcpt(&[recipient]), Reply::Continue);
        }
        mta.header("From", " a@good.example");
        mta.eoh();
        mta.macros(Stage::EndOfMessage, &[("i", "4F9D195432C")]);
        assert_eq!(mta.eom().reply, Reply::Continue);
    }
}

const NO_PTR: &str = "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::20] must \
                      have reverse DNS record.";

fn without_ms(line: &str) -> &str {
    let (line, ms) = line.rsplit_once(" ms=").expect("the time that it took");
    assert!(ms.trim_end().parse::<u64>().is_ok(), "{ms}");
    line
}

fn text_refusal() -> String {
    format!(
        "NOQUEUE: reject: RCPT from unknown[2001:db8:1::20]: {NO_PTR}; rule=no-ptr mode=enforce \
         from=<a@good.example> to=<b@Contoso.com> helo=<mail.good.example> ptr=none opt_in=domains"
    )
}

const TEXT_ACCEPTANCE: &str = "4F9D195432C: accept: rule=spf-pass mode=enforce client=unknown[2001:db8:1::10] \
     from=<a@good.example> nrcpt=3 rcpt_domains=contoso.com,second.example \
     helo=<mail.good.example> ptr=found ptr_names=mail.good.example opt_in=domains spf=pass \
     spf_identity=mailfrom spf_domain=good.example spf_term=ip6:2001:db8:1::/64 dkim=none";

fn text_lines() {
    let fixture = Fixture::new("");
    fixture.refusal();
    fixture.acceptance();
    for (rule, want) in [
        ("rule=no-ptr", text_refusal().as_str()),
        ("rule=spf-pass", TEXT_ACCEPTANCE),
    ] {
        let line = fixture.daemon.log().wait_for(&[rule]);
        let (time, line) = line.split_once("  INFO ").expect("a level");
        assert_eq!(without_ms(line), want);
        assert_is_time(time);
    }
}

/// As in 2026-11-21T06:33:30.123Z.
fn assert_is_time(text: &str) {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
}

fn json_lines() {
    let fixture = Fixture::new("log: {format: json}");
    fixture.refusal();
    fixture.acceptance();
    let refusal = json!({
        "level": "info", "event": "decision", "queue_id": null, "action": "defer",
        "refused": true, "stage": "rcpt", "rule": "no-ptr", "mode": "enforce", "reply": NO_PTR,
        "client_name": "unknown", "client_address": "2001:db8:1::20",
        "helo": "mail.good.example", "from": "a@good.example", "to": "b@Contoso.com",
        "recipients": 0, "recipient_domains": ["contoso.com"], "ptr": "none", "ptr_names": [],
        "opt_in": "domains", "spf": null, "dkim": null, "dkim_signatures": [], "forwarder": null,
        "deferred_for": null, "observed_by": null,
    });
    let acceptance = json!({
        "level": "info", "event": "decision", "queue_id": "4F9D195432C", "action": "accept",
        "refused": false, "stage": "eom", "rule": "spf-pass", "mode": "enforce", "reply": null,
        "client_name": "unknown", "client_address": "2001:db8:1::10",
        "helo": "mail.good.example", "from": "a@good.example", "to": null,
        "recipients": 3, "recipient_domains": ["contoso.com", "second.example"],
        "ptr": "found", "ptr_names": ["mail.good.example"], "opt_in": "domains",
        "spf": {"result": "pass", "identity": "mailfrom", "domain": "good.example",
                "term": "ip6:2001:db8:1::/64"},
        "dkim": "none", "dkim_signatures": [], "forwarder": null,
        "deferred_for": null, "observed_by": null,
    });
    for (rule, want) in [("no-ptr", refusal), ("spf-pass", acceptance)] {
        let line = fixture
            .daemon
            .log()
            .wait_for(&[&format!("\"rule\":\"{rule}\"")]);
        let mut line: Value = serde_json::from_str(&line).expect("JSON");
        let object = line.as_object_mut().expect("an object");
        assert!(object.remove("ms").is_some_and(|ms| ms.is_u64()));
        let time = object.remove("time").expect("a time");
        assert_is_time(time.as_str().expect("a text"));
        assert_eq!(line, want);
    }
    let ready = fixture.daemon.log().wait_for(&["\"message\":\"ready\""]);
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    assert_eq!(ready["event"], "message");
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
}

fn exempt_mail() {
    for (level, logged) in [("debug", true), ("info", false)] {
        let fixture = Fixture::new(&format!("log: {{level: {level}}}"));
        let mut mta = MilterClient::open(&fixture.daemon.address());
        let v4 = SocketAddr::new([192, 0, 2, 1].into(), 25);
        assert_eq!(mta.connect_from("mail.example", v4), Reply::Accept);
        fixture.refusal();
        fixture.daemon.log().wait_for(&["rule=no-ptr"]);
        let want = "NOQUEUE: accept: rule=ipv4 client=mail.example[192.0.2.1]";
        let lines = fixture.daemon.log().lines();
        assert_eq!(
            lines.iter().any(|line| line.ends_with(want)),
            logged,
            "{lines:#?}"
        );
    }
}

fn silenced() {
    let fixture = Fixture::new("log: {level: \"info,sixgate::decision=off\"}");
    fixture.refusal();
    let log = fixture.daemon.log();
    assert!(fixture.daemon.stop().success());
    assert!(
        log.text().contains("ready") && !log.text().contains("rule="),
        "{}",
        log.text()
    );
}

fn auto_pipe() {
    let fixture = Fixture::new("log: {target: auto}");
    fixture.refusal();
    fixture.daemon.log().wait_for(&["rule=no-ptr"]);
}

/// A folder for sockets, and the script that makes /dev/log and the journal's socket point
/// there.
struct Sockets(TempDir);

impl Sockets {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    fn syslog(&self) -> String {
        let path = self.path();
        format!(
            "mount -t tmpfs none /dev; ln -s {} /dev/log",
            path.display()
        )
    }

    fn journal(&self) -> String {
        let path = self.path();
        format!(
            "mount -t tmpfs none /run; mkdir -p /run/systemd/journal; \
             ln -s {} /run/systemd/journal/socket",
            path.display()
        )
    }
}

/// The record as a syslog daemon would split it, with `Mmm dd hh:mm:ss` instead of the
/// time.
fn split_syslog(record: &str) -> (String, &str) {
    let (priority, rest) = record.split_once('>').expect("a priority");
    let (time, rest) = rest.split_at(16);
    let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
    assert!(
        time[6..].chars().map(shape).eq(" 00:00:00 ".chars()),
        "{time}"
    );
    let (tag, line) = rest.split_once(": ").expect("a tag");
    (format!("{priority}>{tag}"), line)
}

fn syslog() {
    let sockets = Sockets::new();
    let socket = Datagrams::bind(&sockets.path());
    let fixture = Fixture::inside(&sockets.syslog(), "log: {target: syslog}");
    fixture.refusal();
    let record = socket.wait_for(&["rule=no-ptr"]);
    let (head, line) = split_syslog(&record);
    assert_eq!(head, format!("<22>sixgate[{}]", fixture.daemon.pid()));
    assert_eq!(without_ms(line), text_refusal());
}

fn syslog_lost() {
    let sockets = Sockets::new();
    let first = Datagrams::bind(&sockets.path());
    let fixture = Fixture::inside(&sockets.syslog(), "log: {target: syslog}");
    first.wait_for(&["ready"]);
    drop(first);
    fixture.refusal();
    fixture
        .daemon
        .log()
        .wait_for(&["/dev/log can't be written", "lines wait for it"]);
    fixture.acceptance();
    let second = Datagrams::bind(&sockets.path());
    second.wait_for(&["rule=no-ptr"]);
    second.wait_for(&["rule=spf-pass"]);
}

fn syslog_stuck() {
    let sockets = Sockets::new();
    let socket = Datagrams::bind(&sockets.path());
    let config = "log: {target: syslog}\nmode: observe";
    let fixture = Fixture::inside(&sockets.syslog(), config);
    let mut mta = fixture.mta("2001:db8:1::20");
    mta.helo("mail.good.example");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    // More than fits into the kernel's buffer and the queue.
    for _ in 0..10_000 {
        assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    }
    socket.wait_for(&["log lines were lost"]);
}

fn field<'a>(entry: &'a str, name: &str) -> Vec<&'a str> {
    let fields = entry.lines().filter_map(|line| line.split_once('='));
    let values = fields.filter(|(found, _)| *found == name);
    values.map(|(_, value)| value).collect()
}

fn journal() {
    let sockets = Sockets::new();
    let socket = Datagrams::bind(&sockets.path());
    let fixture = Fixture::inside(&sockets.journal(), "log: {target: journald}");
    fixture.acceptance();
    let entry = socket.wait_for(&["SIXGATE_RULE=spf-pass"]);
    assert_eq!(without_ms(field(&entry, "MESSAGE")[0]), TEXT_ACCEPTANCE);
    let table: [(&str, &[&str]); 16] = [
        ("PRIORITY", &["6"]),
        ("SYSLOG_FACILITY", &["2"]),
        ("SYSLOG_IDENTIFIER", &["sixgate"]),
        ("SIXGATE_EVENT", &["decision"]),
        ("SIXGATE_QUEUE_ID", &["4F9D195432C"]),
        ("SIXGATE_ACTION", &["accept"]),
        ("SIXGATE_REFUSED", &["false"]),
        ("SIXGATE_REPLY", &[]),
        ("SIXGATE_FROM", &["a@good.example"]),
        ("SIXGATE_RECIPIENTS", &["3"]),
        (
            "SIXGATE_RECIPIENT_DOMAINS",
            &["contoso.com", "second.example"],
        ),
        ("SIXGATE_PTR_NAMES", &["mail.good.example"]),
        ("SIXGATE_SPF_RESULT", &["pass"]),
        ("SIXGATE_SPF_DOMAIN", &["good.example"]),
        ("SIXGATE_SPF_TERM", &["ip6:2001:db8:1::/64"]),
        ("SIXGATE_DKIM", &["none"]),
    ];
    for (name, want) in table {
        assert_eq!(field(&entry, name), want, "{name}");
    }
}

fn auto_journal() {
    let sockets = Sockets::new();
    let socket = Datagrams::bind(&sockets.path());
    let stream = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)";
    let script = format!("{}; {stream}", sockets.journal());
    let fixture = Fixture::inside(&script, "");
    fixture.refusal();
    socket.wait_for(&["SIXGATE_RULE=no-ptr"]);

    // If it is requested explicitly, it gets the priorities of sd-daemon(3).
    let script = format!("{}; {stream}", sockets.journal());
    let fixture = Fixture::inside(&script, "log: {target: stderr}");
    fixture.refusal();
    let line = fixture.daemon.log().wait_for(&["rule=no-ptr"]);
    assert_eq!(without_ms(&line), format!("<6>{}", text_refusal()));
}

fn auto_syslog() {
    let sockets = Sockets::new();
    let socket = Datagrams::bind(&sockets.path());
    // Closing the pipe would look like the end of the program.
    let script = format!("exec 3>&2 2> /dev/null; {}", sockets.syslog());
    let fixture = Fixture::inside(&script, "");
    fixture.refusal();
    socket.wait_for(&["rule=no-ptr"]);
}

fn last_word() {
    let sockets = Sockets::new();
    let socket = Datagrams::bind(&sockets.path());
    let config = sockets.0.path().join("milter.yaml");
    let text = "listen: systemd:nothing\nlog: {target: syslog}\n";
    std::fs::write(&config, text).expect("a configuration");
    let script = format!("{}; exec \"$0\" \"$@\"", sockets.syslog());
    let output = unshare()
        .args(["/bin/sh", "-c", &script, env!("CARGO_BIN_EXE_sixgate")])
        .args(["serve", "-c"])
        .arg(&config)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(71));
    let record = socket.wait_for(&["<19>", "can't listen on systemd:nothing"]);
    let (_, line) = split_syslog(&record);
    assert!(String::from_utf8_lossy(&output.stderr).contains(line));
}

/// Sends everything that could split or forge a line: short enough to be logged in full, as
/// long as the daemon accepts, and 64 KB. In each of the first two cases one recipient is
/// refused.
fn attack(fixture: &Fixture) {
    let bytes = [
        // HELO, MAIL, RCPT
        (1, 1, 1),
        (3900, 3900, 3900),
        (65_000, 1, 1),
        (1, 65_000, 1),
        (1, 1, 65_000),
    ];
    for (helo, mail, rcpt) in bytes {
        let mut mta = MilterClient::open(&fixture.daemon.address());
        let ip: IpAddr = "2001:db8:1::20".parse().expect("an address");
        mta.connect_from("h]: x; rule=spf-pass\n", SocketAddr::new(ip, 25));
        mta.helo(&filled(
            helo,
            "h>\r\nNOQUEUE: accept: rule=spf-pass mode=enforce\nSIXGATE_RULE=spf-pass\n",
        ));
        let queue_id = "4F9D: accept: rule=spf-pass\n\u{2028}";
        mta.macros(Stage::Rcpt, &[("i", queue_id)]);
        let hostile = "a\u{2028}\u{85}\u{1b}[2J\",\"rule\":\"spf-pass\"\\ ";
        mta.mail(&[&format!("<{}@e.example>", filled(mail, hostile))]);
        let hostile = filled(rcpt, "\u{1f4e8}b");
        mta.rcpt(&[&format!("<{hostile}@x\"\r,; rule=spf-pass mode=enforce>")]);
    }
    // The next line in the log.
    fixture.refusal();
}

/// At least once, and at least this many bytes.
fn filled(bytes: usize, with: &str) -> String {
    with.repeat(bytes.div_ceil(with.len()))
}

/// All lines are sixgate's, and the decisions are those that were made.
fn assert_not_forged(format: &str, lines: &[&str]) {
    let decisions: Vec<_> = lines.iter().filter(|line| line.contains("rule")).collect();
    assert_eq!(decisions.len(), 3, "{lines:#?}");
    for line in decisions {
        assert!(
            line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{line}"
        );
        assert!(line.len() < 8000, "{}", line.len());
        match format {
            "json" => assert_is_refusal(line),
            _ => assert_has_one_rule(line),
        }
    }
}

fn assert_has_one_rule(line: &str) {
    assert_eq!(line.matches(" rule=").count(), 1, "{line}");
    assert!(!line.contains(" rule=spf-pass"), "{line}");
}

fn assert_is_refusal(line: &str) {
    let parsed: Value = serde_json::from_str(line).expect("JSON");
    let rule = parsed["rule"].as_str().expect("a rule");
    assert!(["not-opted-in", "no-ptr"].contains(&rule), "{line}");
    assert_eq!(line.matches("\"rule\":").count(), 1, "{line}");
}

fn no_forgery_on_stderr(format: &str) {
    let fixture = Fixture::new(&format!("log: {{format: {format}}}"));
    attack(&fixture);
    fixture.daemon.log().wait_for(&["no-ptr"]);
    let lines = fixture.daemon.log().lines();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for line in &lines {
        assert!(
            line.starts_with("20") || line.starts_with("{\"time\":\"20"),
            "{line}"
        );
    }
    assert_not_forged(format, &lines);
}

fn no_forgery_in_syslog(format: &str) {
    let sockets = Sockets::new();
    let socket = Datagrams::bind(&sockets.path());
    let config = format!("log: {{format: {format}, target: syslog}}");
    let fixture = Fixture::inside(&sockets.syslog(), &config);
    attack(&fixture);
    socket.wait_for(&["no-ptr"]);
    let records = socket.received();
    let lines: Vec<&str> = records
        .iter()
        .map(|record| split_syslog(record).1)
        .collect();
    assert_not_forged(format, &lines);
}

fn no_forgery_in_the_journal(format: &str) {
    let sockets = Sockets::new();
    let socket = Datagrams::bind(&sockets.path());
    let config = format!("log: {{format: {format}, target: journald}}");
    let fixture = Fixture::inside(&sockets.journal(), &config);
    attack(&fixture);
    socket.wait_for(&["SIXGATE_RULE=no-ptr"]);
    let entries = socket.received();
    let decisions: Vec<&String> = entries
        .iter()
        .filter(|e| e.contains("EVENT=decision"))
        .collect();
    assert_eq!(decisions.len(), 3);
    for entry in &decisions {
        let rules = field(entry, "SIXGATE_RULE");
        assert!(rules == ["not-opted-in"] || rules == ["no-ptr"], "{entry}");
        assert!(entry.lines().all(is_field), "{entry}");
    }
    let messages: Vec<&str> = decisions.iter().map(|e| field(e, "MESSAGE")[0]).collect();
    assert_not_forged(format, &messages);
}

fn is_field(line: &str) -> bool {
    let name = line
        .split_once('=')
        .map(|(name, _)| name)
        .unwrap_or_default();
    let known = [
        "PRIORITY",
        "SYSLOG_FACILITY",
        "SYSLOG_IDENTIFIER",
        "MESSAGE",
    ];
    known.contains(&name) || name.strip_prefix("SIXGATE_").is_some_and(|n| !n.is_empty())
}
