//! `sixgate healthcheck` with daemons in each state.
//!
//! Everything runs the real daemon with a real DNS server.

mod support;

use nix::sys::signal::Signal;
use std::{fs, net::SocketAddr, os::unix::net::UnixListener, path::Path, process::Command};
use support::{
    daemon::Daemon,
    dns::{DnsServer, Zone},
    http,
    milter::MilterClient,
};

/// Exit code, standard output and standard error.
fn healthcheck(config: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["healthcheck", "-c"])
        .arg(config)
        .output()
        .expect("sixgate runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn assert_not_ready(config: &Path, reason: &str) {
    let (code, out, err) = healthcheck(config);
    assert_eq!((code, out.as_str()), (Some(69), ""), "{err}");
    let want = format!("not ready: {reason}");
    assert!(err.contains(&want), "want {want:?}, got {err:?}");
}

fn assert_ready(config: &Path) {
    let want = (Some(0), "ready\n".to_owned(), String::new());
    assert_eq!(healthcheck(config), want);
}

fn dns() -> DnsServer {
    DnsServer::start(Zone::parse("example.org A 192.0.2.1\n").expect("a zone"))
}

fn config(dns: SocketAddr, metrics: &str) -> String {
    format!(
        "dns: {{servers: [{dns}], timeout: 300ms, attempts: 1}}\nmetrics: {{listen: {metrics}}}\n"
    )
}

#[test]
fn a_daemon_is_ready_until_it_ends() {
    let dns = dns();
    let mut daemon = Daemon::start(&config(dns.address(), "[]"));
    assert_ready(&daemon.config_file());
    daemon.kill();
    let socket = daemon.socket();
    let reason = format!("listen: unix:{}: no process listens", socket.display());
    assert_not_ready(&daemon.config_file(), &reason);
}

#[test]
fn a_daemon_that_drains_is_not_ready() {
    let dns = dns();
    let metrics = http::free_address();
    let daemon = Daemon::start(&config(dns.address(), &format!("inet:{metrics}")));
    assert_ready(&daemon.config_file());
    let mut mta = MilterClient::open(&daemon.address());
    mta.connect_from("[x]", "[2001:db8::1]:25252".parse().expect("an address"));
    mta.helo("mail.good.example");
    mta.mail(&["<a@good.example>"]);
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_notification("STOPPING=1");
    assert_not_ready(&daemon.config_file(), "");
}

#[test]
fn without_dns_it_is_not_ready_and_the_reason_is_that_of_readyz() {
    for metrics in ["unix:SOCKET", "inet:ADDRESS"] {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("metrics.sock").display().to_string();
        let metrics = metrics
            .replace("SOCKET", &socket)
            .replace("ADDRESS", &http::free_address().to_string());
        let daemon = Daemon::start(&config(http::free_address(), &metrics));
        assert_not_ready(&daemon.config_file(), "metrics.listen: ");
        let (_, _, err) = healthcheck(&daemon.config_file());
        assert!(
            err.contains(": the DNS does not answer: port closed"),
            "{err}"
        );
    }
}

#[test]
fn another_program_on_the_socket_is_not_taken_for_a_daemon() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("milter.sock");
    let config = folder.path().join("milter.yaml");
    fs::write(&config, format!("listen: unix:{}\n", socket.display())).expect("a file");
    assert_not_ready(
        &config,
        &format!(
            "listen: unix:{}: the socket does not exist",
            socket.display()
        ),
    );
    let _mute = UnixListener::bind(&socket).expect("a socket");
    assert_not_ready(
        &config,
        &format!("listen: unix:{}: no answer in 5s", socket.display()),
    );
}

#[test]
fn bad_input_has_the_exit_codes_of_check_config() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("milter.yaml");
    let (code, _, err) = healthcheck(&file);
    assert_eq!(code, Some(66), "{err}");
    fs::write(&file, "nonsense: 1\n").expect("a file");
    let (code, _, err) = healthcheck(&file);
    assert_eq!(code, Some(78), "{err}");
    fs::write(&file, "listen: systemd:milter\n").expect("a file");
    assert_not_ready(
        &file,
        "set metrics.listen: systemd opens all sockets of listen",
    );
}
