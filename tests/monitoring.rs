//! Metrics, health and observe mode, checked against messages with known outcomes.
//!
//! Everything runs the real daemon, with a real DNS server behind it.

mod support;

use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::{
        fs::MetadataExt,
        net::{UnixListener, UnixStream},
    },
    process::Command,
    time::Instant,
};
use support::{
    daemon::{Daemon, TIMEOUT},
    dns::{DnsServer, SENDERS, Zone},
    faketime, http,
    milter::{MilterClient, Reply, UNSIGNED},
};

/// The daemon with the DNS that it asks and the address of its metrics.
struct Fixture {
    daemon: Daemon,
    _dns: DnsServer,
    address: SocketAddr,
}

impl Fixture {
    fn new(config: &str) -> Self {
        let dns = DnsServer::start(Zone::parse(SENDERS).expect("a zone"));
        let address = http::free_address();
        let daemon = Daemon::start(&format!(
            "dns: {{servers: [{}], timeout: 500ms, attempts: 1}}\n\
             metrics: {{listen: inet:{address}}}\n\
             opt_in: {{domains: [contoso.com, watched.example, .watched.example]}}\n{config}",
            dns.address()
        ));
        Self {
            daemon,
            _dns: dns,
            address,
        }
    }

    fn mta(&self, ip: &str) -> MilterClient {
        let mut mta = MilterClient::open(&self.daemon.address());
        let ip: IpAddr = ip.parse().expect("an address");
        let reply = mta.connect_from("[x]", SocketAddr::new(ip, 25252));
        assert!(matches!(reply, Reply::Continue | Reply::Accept));
        mta.helo("mail.good.example");
        mta
    }

    /// From `sender` to `recipients`, and the outcome of each and of the message.
    fn mail(&self, ip: &str, sender: &str, recipients: &[&str]) -> (Vec<Reply>, Reply) {
        let mut mta = self.mta(ip);
        assert_eq!(mta.mail(&[sender]), Reply::Continue);
        let replies = recipients.iter().map(|recipient| mta.rcpt(&[recipient]));
        let replies: Vec<Reply> = replies.collect();
        let message = match replies.contains(&Reply::Continue) {
            true => mta.message(UNSIGNED, 65535).reply,
            false => Reply::Continue,
        };
        (replies, message)
    }

    fn metrics(&self) -> Metrics {
        let response = http::get(self.address, "/metrics");
        assert_eq!(response.status, 200);
        assert!(response.head.contains("text/plain; version=0.0.4"));
        Metrics::parse(&response.body)
    }

    /// Waits until a series has a value, which connections that end take time
    /// to bring about.
    fn wait_for(&self, series: &str, want: f64) {
        let start = Instant::now();
        while self.metrics().get(series) != Some(want) {
            assert!(start.elapsed() < TIMEOUT, "{series} does not become {want}");
        }
    }
}

struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Self(series.collect())
    }

    fn get(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    #[track_caller]
    fn assert(&self, table: &[(&str, f64)]) {
        for (series, want) in table {
            assert_eq!(self.get(series), Some(*want), "{series}");
        }
    }
}

#[test]
fn metrics_count_what_was_decided_and_how() {
    let fixture = Fixture::new("");
    drop(fixture.mta("192.0.2.1"));
    fixture.mail("2001:db8:1::20", "<a@good.example>", &["<b@contoso.com>"]);
    fixture.mail("2001:db8:1::60", "<a@good.example>", &["<b@contoso.com>"]);
    let to = ["<b@contoso.com>", "<b@other.example>"];
    let (replies, message) = fixture.mail("2001:db8:1::10", "<a@good.example>", &to);
    assert!(matches!(replies[1], Reply::Smtp(_)));
    assert_eq!(message, Reply::Continue);
    let (_, message) = fixture.mail("2001:db8:1::10", "<a@bad.example>", &to[..1]);
    assert!(matches!(message, Reply::Smtp(_)));
    fixture.metrics().assert(&[
        (
            r#"sixgate_decisions_total{action="accept",mode="enforce",rule="ipv4"}"#,
            1.0,
        ),
        (
            r#"sixgate_decisions_total{action="defer",mode="enforce",rule="no-ptr"}"#,
            1.0,
        ),
        (
            r#"sixgate_decisions_total{action="defer",mode="enforce",rule="ptr-temperror"}"#,
            1.0,
        ),
        (
            r#"sixgate_decisions_total{action="reject",mode="enforce",rule="not-opted-in"}"#,
            1.0,
        ),
        (
            r#"sixgate_decisions_total{action="accept",mode="enforce",rule="spf-pass"}"#,
            1.0,
        ),
        (
            r#"sixgate_decisions_total{action="defer",mode="enforce",rule="unauthenticated"}"#,
            1.0,
        ),
        (r#"sixgate_messages_total{family="ipv4"}"#, 1.0),
        (r#"sixgate_messages_total{family="ipv6"}"#, 2.0),
        (r#"sixgate_checks_total{check="opt-in",result="yes"}"#, 4.0),
        (r#"sixgate_checks_total{check="opt-in",result="no"}"#, 1.0),
        (r#"sixgate_checks_total{check="ptr",result="found"}"#, 2.0),
        (r#"sixgate_checks_total{check="ptr",result="none"}"#, 1.0),
        (
            r#"sixgate_checks_total{check="ptr",result="temperror"}"#,
            1.0,
        ),
        (r#"sixgate_checks_total{check="spf",result="fail"}"#, 1.0),
        (r#"sixgate_check_seconds_count{check="ptr"}"#, 4.0),
        (r#"sixgate_stage_seconds_count{stage="rcpt"}"#, 5.0),
        (r#"sixgate_stage_seconds_count{stage="eoh"}"#, 2.0),
        (r#"sixgate_opt_in_domains{source="domains"}"#, 3.0),
        // SPF passed, and the first chunk was answered with SKIP.
        ("sixgate_body_bytes_total", 24.0),
        ("sixgate_connections_limit", 10_000.0),
        ("sixgate_log_lines_lost_total", 0.0),
    ]);
    fixture.wait_for(r#"sixgate_connections{state="open"}"#, 0.0);
}

#[test]
fn metrics_count_connections_and_transactions_that_are_open() {
    let fixture = Fixture::new("limits: {connections: 2}");
    let mut first = fixture.mta("2001:db8:1::10");
    let second = fixture.mta("2001:db8:1::10");
    assert_eq!(first.mail(&["<a@good.example>"]), Reply::Continue);
    assert_eq!(
        MilterClient::connect_only(&fixture.daemon.address()).receive_frame(),
        None
    );
    fixture.metrics().assert(&[
        (r#"sixgate_connections{state="open"}"#, 2.0),
        (r#"sixgate_connections{state="in-transaction"}"#, 1.0),
        (r#"sixgate_connections_refused_total{reason="limit"}"#, 1.0),
        ("sixgate_connections_limit", 2.0),
    ]);
    first.abort();
    drop((first, second));
    fixture.wait_for(r#"sixgate_connections{state="open"}"#, 0.0);
    fixture.wait_for(r#"sixgate_connections{state="in-transaction"}"#, 0.0);
}

#[test]
fn metrics_count_reloads() {
    let fixture = Fixture::new("");
    fixture.daemon.reload();
    fs::write(fixture.daemon.config_file(), "mode: on\n").expect("the configuration");
    fixture.daemon.reload();
    fixture.metrics().assert(&[
        (r#"sixgate_config_reloads_total{result="success"}"#, 1.0),
        (r#"sixgate_config_reloads_total{result="failure"}"#, 1.0),
    ]);
}

#[test]
fn ready_is_who_has_a_dns_that_answers_and_is_not_about_to_stop() {
    let fixture = Fixture::new("");
    let healthy = http::get(fixture.address, "/healthz");
    assert_eq!((healthy.status, healthy.body.as_str()), (200, "ok\n"));
    let ready = http::get(fixture.address, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));

    let mut mta = fixture.mta("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    fixture.daemon.signal(Signal::SIGTERM);
    fixture.daemon.wait_for_notification("STOPPING=1");
    let stopping = http::get(fixture.address, "/readyz");
    assert_eq!(
        (stopping.status, stopping.body.as_str()),
        (503, "stopping\n")
    );
    assert_eq!(http::get(fixture.address, "/healthz").status, 200);
}

#[test]
fn without_a_dns_it_lives_and_is_not_ready_and_says_why() {
    let mute = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mute = mute.local_addr().expect("an address");
    let table = [
        (mute, "the DNS does not answer: timeout\n"),
        (
            http::free_address(),
            "the DNS does not answer: port closed\n",
        ),
    ];
    for (server, problem) in table {
        let address = http::free_address();
        let _daemon = Daemon::start(&format!(
            "dns: {{servers: [{server}], timeout: 200ms, attempts: 1}}\n\
             metrics: {{listen: inet:{address}}}\n"
        ));
        let response = http::get(address, "/readyz");
        assert_eq!((response.status, response.body.as_str()), (503, problem));
        assert_eq!(http::get(address, "/healthz").status, 200);
    }
}

#[test]
fn a_list_that_is_broken_is_noted_and_the_last_good_one_serves() {
    let folder = tempfile::TempDir::new().expect("a directory");
    let list = folder.path().join("opt-in.list");
    fs::write(&list, "listed.example\n").expect("a list");
    let address = http::free_address();
    let dns = DnsServer::start(Zone::parse(SENDERS).expect("a zone"));
    let daemon = Daemon::start(&format!(
        "dns: {{servers: [{}]}}\nmetrics: {{listen: inet:{address}}}\n\
         opt_in: {{files: [{}]}}\n",
        dns.address(),
        list.display()
    ));
    fs::write(&list, "not a domain\n").expect("a list");
    daemon.log().wait_for(&["opt-in.list"]);
    let ready = http::get(address, "/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.body.starts_with("ready\nnote: "), "{}", ready.body);
    let metrics = Metrics::parse(&http::get(address, "/metrics").body);
    metrics.assert(&[
        (r#"sixgate_opt_in_stale{source="file"}"#, 1.0),
        (r#"sixgate_opt_in_stale{source="managed"}"#, 0.0),
        (r#"sixgate_opt_in_domains{source="file"}"#, 1.0),
    ]);
    let age = metrics.get(r#"sixgate_opt_in_age_seconds{source="file"}"#);
    assert!(age.is_some_and(|age| (0.0..60.0).contains(&age)), "{age:?}");
}

#[test]
fn a_server_of_opt_ins_is_told_of_with_what_it_has_answered() {
    let zone = format!("{SENDERS}asked.example.optin.example A 127.0.0.2\n");
    let address = http::free_address();
    let dns = DnsServer::start(Zone::parse(&zone).expect("a zone"));
    let daemon = Daemon::start(&format!(
        "dns: {{servers: [{}]}}\nmetrics: {{listen: inet:{address}}}\n\
         opt_in: {{dns_zone: optin.example}}\n",
        dns.address()
    ));
    let mut mta = MilterClient::open(&daemon.address());
    let client: IpAddr = "2001:db8:1::10".parse().expect("an address");
    mta.connect_from("[x]", SocketAddr::new(client, 25252));
    mta.mail(&["<a@good.example>"]);
    assert_eq!(mta.rcpt(&["<b@asked.example>"]), Reply::Continue);
    Metrics::parse(&http::get(address, "/metrics").body).assert(&[
        (r#"sixgate_opt_in_domains{source="dns-zone"}"#, 1.0),
        (r#"sixgate_opt_in_stale{source="dns-zone"}"#, 0.0),
    ]);
}

#[test]
fn monitoring_that_misbehaves_is_cut_off_and_stops_no_mail() {
    let fixture = Fixture::new("");
    let table = [
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (
            "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            405,
        ),
        ("nonsense\r\n\r\n", 400),
    ];
    for (request, status) in table {
        assert_eq!(
            http::request(fixture.address, request).status,
            status,
            "{request}"
        );
    }
    let idle: Vec<_> = (0..16).map(|_| http::connect(fixture.address)).collect();
    let mut one_more = http::connect(fixture.address);
    assert_eq!(std::io::Read::read(&mut one_more, &mut [0]).ok(), Some(0));
    let (_, message) = fixture.mail("2001:db8:1::10", "<a@good.example>", &["<b@contoso.com>"]);
    assert_eq!(message, Reply::Continue);
    drop(idle);
    let start = Instant::now();
    while std::panic::catch_unwind(|| http::get(fixture.address, "/healthz")).is_err() {
        assert!(start.elapsed() < TIMEOUT, "places are not given back");
    }
}

#[test]
fn an_observed_domain_is_decided_on_told_and_not_refused() {
    let fixture = Fixture::new(
        "observe_domains: [watched.example, .watched.example, \"!x.watched.example\"]",
    );
    let table = [
        // recipient, refused at RCPT
        ("<b@watched.example>", false),
        ("<b@sub.watched.example>", false),
        ("<b@x.watched.example>", true),
        ("<b@contoso.com>", true),
    ];
    for (recipient, refused) in table {
        let (replies, _) = fixture.mail("2001:db8:1::20", "<a@bad.example>", &[recipient]);
        assert_eq!(matches!(replies[0], Reply::Smtp(_)), refused, "{recipient}");
    }
    let log = fixture.daemon.log();
    log.wait_for(&[
        "NOQUEUE: reject_warning: RCPT from unknown[2001:db8:1::20]: 450 4.7.25 ",
        "; rule=no-ptr mode=observe would=defer from=<a@bad.example> to=<b@watched.example>",
    ]);
    log.wait_for(&[
        "NOQUEUE: reject_warning: END-OF-MESSAGE from unknown[2001:db8:1::20]: 450 4.7.26 ",
        "; rule=unauthenticated mode=observe would=defer from=<a@bad.example> nrcpt=1 \
         rcpt_domains=sub.watched.example",
    ]);
    log.wait_for(&[
        "reject: RCPT",
        "rule=no-ptr mode=enforce",
        "to=<b@contoso.com>",
    ]);
    fixture.metrics().assert(&[
        (
            r#"sixgate_decisions_total{action="defer",mode="observe",rule="no-ptr"}"#,
            2.0,
        ),
        (
            r#"sixgate_decisions_total{action="defer",mode="observe",rule="unauthenticated"}"#,
            2.0,
        ),
        (
            r#"sixgate_decisions_total{action="defer",mode="enforce",rule="no-ptr"}"#,
            2.0,
        ),
    ]);
}

#[test]
fn a_message_is_refused_as_soon_as_one_recipient_is_enforced() {
    let fixture = Fixture::new("observe_domains: watched.example");
    let table: [(&[&str], bool); 4] = [
        (&["<b@watched.example>"], false),
        (&["<b@contoso.com>"], true),
        (&["<b@watched.example>", "<b@contoso.com>"], true),
        // Refused at RCPT, it has no say about the message.
        (&["<b@watched.example>", "<b@other.example>"], false),
    ];
    for (recipients, refused) in table {
        let (_, message) = fixture.mail("2001:db8:1::10", "<a@bad.example>", recipients);
        assert_eq!(matches!(message, Reply::Smtp(_)), refused, "{recipients:?}");
    }
    fixture.daemon.log().wait_for(&[
        "reject: END-OF-MESSAGE",
        "mode=enforce",
        "nrcpt=2 rcpt_domains=watched.example,contoso.com",
    ]);
}

#[test]
fn every_hour_it_warns_while_no_domain_has_opted_in_and_counts_what_that_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    // An hour takes 2 s.
    command
        .env("LD_PRELOAD", faketime::library())
        .env("FAKETIME", "+0 x1800")
        .env("FAKETIME_NO_CACHE", "1");
    let daemon = Daemon::start_by(
        command,
        "dns: {servers: [127.0.0.1]}\nopt_in: {files: []}\n",
    );
    let at_once = "no domain has opted in, so \"mode: enforce\" refuses all mail over IPv6";
    daemon.log().wait_for(&["WARN", at_once]);
    let mut mta = MilterClient::open(&daemon.address());
    let client = "[2001:db8:1::10]:25252".parse().expect("an address");
    mta.connect_from("[x]", client);
    mta.helo("mail.good.example");
    mta.mail(&["<a@good.example>"]);
    for recipient in ["<a@contoso.com>", "<b@contoso.com>"] {
        let reply = mta.rcpt(&[recipient]);
        assert!(
            matches!(&reply, Reply::Smtp(text) if text.starts_with("550 5.2.1")),
            "{reply:?}"
        );
    }
    let all = "no domain has opted in, so all mail over IPv6 is refused";
    daemon
        .log()
        .wait_for(&[all, ": 2 recipients were refused in the last hour"]);
    daemon
        .log()
        .wait_for(&[all, ": 0 recipients were refused in the last hour"]);
}

#[test]
fn observe_mode_says_what_it_would_do() {
    let fixture = Fixture::new("mode: observe\nlog: {format: json}");
    fixture.mail("2001:db8:1::20", "<a@good.example>", &["<b@other.example>"]);
    let line = fixture.daemon.log().wait_for(&["not-opted-in"]);
    for part in [
        r#""action":"reject","refused":false"#,
        r#""mode":"observe","reply":"550 5.2.1"#,
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn metrics_are_served_on_every_kind_of_address() {
    let folder = tempfile::TempDir::new().expect("a directory");
    let socket = folder.path().join("metrics.sock");
    let v4 = http::free_address();
    let v6 = std::net::TcpListener::bind("[::1]:0").expect("a port");
    let port = v6.local_addr().expect("its address").port();
    drop(v6);
    let stale = UnixListener::bind(&socket).expect("a socket");
    drop(stale);
    let daemon = Daemon::start(&format!(
        "metrics: {{listen: [\"{v4}\", \"[::1]:{port}\", \"unix:{}\"]}}\n",
        socket.display()
    ));
    for address in [v4, format!("[::1]:{port}").parse().expect("an address")] {
        assert_eq!(http::get(address, "/healthz").status, 200, "{address}");
    }
    let mode = fs::metadata(&socket).expect("a socket").mode() & 0o777;
    assert_eq!(mode, 0o666, "as open as a port on loopback");
    let mut stream = UnixStream::connect(&socket).expect("a socket");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\nsixgate_build_info"), "{answer}");
    assert!(daemon.stop().success());
    assert!(
        !socket.exists(),
        "the socket of a stopped daemon is removed"
    );
}

#[test]
fn addresses_of_metrics_that_can_not_be_had_are_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let folder = tempfile::TempDir::new().expect("a directory");
    let config = folder.path().join("milter.yaml");
    let socket = folder.path().join("milter.sock");
    let text = format!(
        "listen: unix:{}\nmetrics: {{listen: inet:{address}}}\n",
        socket.display()
    );
    fs::write(&config, text).expect("a configuration");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["serve", "-c"])
        .arg(&config)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(71));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains(&format!("metrics.listen: can't listen on inet:{address}")),
        "{text}"
    );
}
