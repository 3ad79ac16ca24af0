//! The DNS servers of the system: changes of `/etc/resolv.conf` while the daemon runs,
//! link-local servers, and a missing network.
//!
//! The whole test runs in its own network and mount namespace, where port 53 is free,
//! `/etc` is a copy, and `fe80::53` is an address of `veth0`.

mod support;

use libtest_mimic::{Arguments, Trial};
use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV6},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, TIMEOUT},
    dns::{DnsServer, Zone},
    http,
    milter::{Command as Stage, MilterClient, Reply},
};

const INSIDE: &str = "SIXGATE_RESOLV_CONF_INSIDE";

const SET_UP: &str = r#"
set -e
mount --make-rprivate /
mkdir "$0/etc"
cp -a /etc/. "$0/etc"
mount --bind "$0/etc" /etc
ip link set lo up
ip link add veth0 type veth peer name veth1
ip link set veth0 up
ip link set veth1 up
ip address add fe80::53/64 dev veth0 nodad
exec "$@"
"#;

fn main() -> ExitCode {
    let tests: [(&str, fn()); 6] = [
        ("a_daemon_starts_before_there_is_a_server", starts_before),
        ("every_kind_of_change_is_followed", followed),
        ("the_last_good_servers_stay_while_there_is_none", kept),
        ("a_link_local_server_keeps_its_scope", link_local),
        ("a_network_that_is_unreachable_is_called_so", unreachable),
        ("commands_name_the_file_without_a_server", commands),
    ];
    let inside = env::var_os(INSIDE).is_some();
    let obstacle = match inside {
        true => None,
        false => match run_inside() {
            Ok(code) => return code,
            Err(obstacle) => Some(obstacle),
        },
    };
    if let Some(obstacle) = &obstacle {
        eprintln!("the tests are ignored: {obstacle}");
    }
    let trials = tests.map(|(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(obstacle.is_some())
    });
    // They share the namespace.
    let arguments = Arguments {
        test_threads: Some(1),
        ..Arguments::from_args()
    };
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// Runs this program in the namespace, or returns the reason if that is impossible.
fn run_inside() -> Result<ExitCode, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let unshare = || {
        let mut command = Command::new("unshare");
        if !nix::unistd::Uid::effective().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--net", "/bin/sh", "-c"]);
        command
    };
    let probe = unshare()
        .args(["ip link add veth0 type veth peer name veth1"])
        .output();
    let probe = probe.map_err(|error| format!("unshare: {error}"))?;
    if !probe.status.success() {
        return Err(String::from_utf8_lossy(&probe.stderr).trim().to_owned());
    }
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let status = unshare()
        .arg(SET_UP)
        .arg(folder.path())
        .arg(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .map_err(|error| error.to_string())?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// No answer is cached, so that each message shows which server is queried.
fn zone() -> Zone {
    let mut zone = Zone::new();
    zone.set_ttl(0);
    for line in [
        "2001:db8:1::10 PTR mail.good.example",
        "good.example TXT \"v=spf1 ip6:2001:db8:1::/64 -all\"",
    ] {
        zone.add_line(line).expect("a line");
    }
    zone
}

/// Servers at port 53 of 127.0.0.1 and 127.0.0.2.
fn two_servers() -> [DnsServer; 2] {
    [1, 2].map(|last| {
        let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 53));
        DnsServer::start_at(zone(), address).expect("the port is free")
    })
}

/// Replaces the file as a network manager does: as a whole.
fn replace(text: &str) {
    let new = Path::new("/etc/resolv.conf.new");
    fs::write(new, text).expect("a file");
    fs::rename(new, RESOLV_CONF).expect("it takes its place");
}

fn start() -> Daemon {
    start_with("timeout: 1s")
}

fn start_with(dns: &str) -> Daemon {
    Daemon::start(&format!(
        "opt_in: {{domains: [contoso.com]}}\n\
         dns: {{{dns}}}\n\
         limits: {{stage_timeout: 4s}}\n\
         metrics: {{listen: \"inet:{MONITOR}\"}}"
    ))
}

const MONITOR: &str = "127.0.0.1:9894";

fn readiness() -> (u16, String) {
    let response = http::get(MONITOR.parse().expect("an address"), "/readyz");
    (response.status, response.body)
}

/// Returns the deciding reply to a message that should pass.
fn send(daemon: &Daemon) -> Reply {
    let client = "[2001:db8:1::10]:25252".parse().expect("an address");
    let mut mta = MilterClient::open(&daemon.address());
    mta.macros(Stage::Connect, &[("j", "mx.contoso.com")]);
    assert_eq!(mta.connect_from("[x]", client), Reply::Continue);
    mta.helo("mail.good.example");
    mta.mail(&["<a@good.example>"]);
    match mta.rcpt(&["<b@contoso.com>"]) {
        Reply::Continue => {
            mta.message(b"From: a@good.example\r\n\r\nx\r\n", 65535)
                .reply
        }
        refusal => refusal,
    }
}

#[track_caller]
fn assert_accepted_by(daemon: &Daemon, server: &DnsServer) {
    server.forget_questions();
    assert_eq!(send(daemon), Reply::Continue, "{}", daemon.log().text());
    assert!(!server.questions().is_empty());
}

fn starts_before() {
    let _ = fs::remove_file(RESOLV_CONF);
    let [server, _] = two_servers();
    let daemon = start();
    let log = daemon.log();
    log.wait_for(&["/etc/resolv.conf: no such file; set dns.servers; mail can't be checked"]);
    let (status, body) = readiness();
    assert_eq!(status, 503);
    assert!(body.contains("/etc/resolv.conf: no such file"), "{body}");
    let deferred =
        |reply: Reply| matches!(reply, Reply::Smtp(text) if text.starts_with("451 4.4.3 "));
    assert!(deferred(send(&daemon)));

    // The network manager first writes a file without a server.
    replace("search contoso.com\n");
    log.wait_for(&["/etc/resolv.conf: no name server; set dns.servers"]);
    assert!(deferred(send(&daemon)));

    replace("nameserver 127.0.0.1\n");
    log.wait_for(&["the DNS servers are 127.0.0.1:53"]);
    assert_accepted_by(&daemon, &server);
    let deadline = Instant::now() + TIMEOUT;
    // Results are cached for some seconds.
    while readiness().0 != 200 {
        assert!(Instant::now() < deadline, "{:?}", readiness());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn followed() {
    replace("nameserver 127.0.0.1\n");
    let [first, second] = two_servers();
    let daemon = start();
    assert_accepted_by(&daemon, &first);
    let [to_first, to_second] = ["nameserver 127.0.0.1\n", "nameserver 127.0.0.2\n"];
    for (n, text) in [to_first, to_second].into_iter().enumerate() {
        fs::write(format!("/etc/resolv.conf.{n}"), text).expect("a file");
    }
    let link_to = |target: &str| {
        let new = "/etc/resolv.conf.link";
        symlink(target, new).expect("a link");
        fs::rename(new, RESOLV_CONF).expect("it takes its place");
    };
    let changes: [(&str, &dyn Fn(), &DnsServer); 5] = [
        ("replaced", &|| replace(to_second), &second),
        (
            "rewritten",
            &|| fs::write(RESOLV_CONF, to_first).expect("a file"),
            &first,
        ),
        ("linked", &|| link_to("resolv.conf.1"), &second),
        ("link switched", &|| link_to("resolv.conf.0"), &first),
        (
            "target replaced",
            &|| {
                let _ = fs::rename("/etc/resolv.conf.1", "/etc/resolv.conf.0");
            },
            &second,
        ),
    ];
    for (what, change, server) in changes {
        change();
        let deadline = Instant::now() + TIMEOUT;
        server.forget_questions();
        while server.questions().is_empty() {
            assert!(
                Instant::now() < deadline,
                "{what}:\n{}",
                daemon.log().text()
            );
            assert_eq!(send(&daemon), Reply::Continue, "{what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let _ = fs::remove_file(RESOLV_CONF);
}

fn kept() {
    replace("nameserver 127.0.0.1\n");
    let [server, other] = two_servers();
    let daemon = start();
    assert_accepted_by(&daemon, &server);
    let log = daemon.log();
    for (make, complaint) in [
        (&(|| replace("")) as &dyn Fn(), "no name server"),
        (
            &|| fs::remove_file(RESOLV_CONF).expect("it was there"),
            "no such file",
        ),
    ] {
        make();
        let stays = "the last good DNS servers stay in use";
        log.wait_for(&["/etc/resolv.conf: ", complaint, stays]);
        assert_accepted_by(&daemon, &server);
        daemon.reload();
        assert_accepted_by(&daemon, &server);
    }
    replace("nameserver 127.0.0.2\n");
    log.wait_for(&["the DNS servers are 127.0.0.2:53"]);
    assert_accepted_by(&daemon, &other);
}

fn link_local() {
    let index = nix::net::if_::if_nametoindex("veth0").expect("an interface");
    let ip = "fe80::53".parse().expect("an address");
    let address = SocketAddrV6::new(ip, 53, 0, index);
    let server = DnsServer::start_at(zone(), address.into()).expect("the port is free");
    replace("nameserver fe80::53%veth0\n");
    assert_accepted_by(&start(), &server);
    let _ = fs::remove_file(RESOLV_CONF);
    for spelling in ["fe80::53%veth0", "[fe80::53%veth0]:53"] {
        assert_accepted_by(&start_with(&format!("servers: \"{spelling}\"")), &server);
    }
    let daemon = start_with("servers: \"fe80::53%gone0\"");
    assert!(matches!(send(&daemon), Reply::Smtp(text) if text.starts_with("451 ")));
    let (_, problem) = readiness();
    assert!(
        problem.contains("there is no network interface gone0"),
        "{problem}"
    );
}

fn unreachable() {
    // No route leads to it.
    let daemon = start_with("servers: \"2001:db8::53\", timeout: 10s");
    let start = Instant::now();
    assert!(matches!(send(&daemon), Reply::Smtp(text) if text.starts_with("451 ")));
    assert!(start.elapsed() < Duration::from_secs(5), "it waited");
    let (_, problem) = readiness();
    assert!(problem.contains("network unreachable"), "{problem}");
}

fn commands() {
    replace("# nothing yet\n");
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("milter.yaml");
    fs::write(&config, "opt_in: {domains: [contoso.com]}\n").expect("a file");
    let table: [&[&str]; 3] = [
        &["check-config"],
        &[
            "explain",
            "--client",
            "2001:db8::1",
            "--from",
            "a@b.example",
            "--to",
            "b@contoso.com",
        ],
        &[
            "doctor",
            "--postfix-config",
            "/nonexistent",
            "--sendmail-cf",
            "/nonexistent",
        ],
    ];
    for arguments in table {
        let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(arguments)
            .arg("-c")
            .arg(&config)
            .output()
            .expect("the program runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let want = "/etc/resolv.conf: no name server; set dns.servers";
        assert!(text.contains(want), "{arguments:?}: {text}");
    }
}
