//! The list of `sixgate exempt` in Redis with real servers: one command for several
//! daemons, and the effective list while Redis is down, invalid or empty.

mod support;

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    process::{Command, ExitCode, Output},
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, TIMEOUT},
    http,
    milter::{MilterClient, Reply},
    opt_in::settings,
    redis::{KEY, PASSWORD, PROGRAMS, RIGHTS, RedisServer},
    trial::needing,
};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("one command serves two daemons", one_command),
        trial("commands edit the hash as they edit the file", commands),
        trial("a server goes and comes back", outage),
        trial("a wrong field leaves the last list in force", wrong_field),
        trial("a user with a password and few rights", password),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, test: fn()) -> Trial {
    needing(name, PROGRAMS, test)
}

const CLIENT: &str = "2001:db8:7::25";

/// The time within which a change has to take effect on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn hash() -> String {
    format!("{KEY}:exempt")
}

/// A configuration whose managed lists are in Redis.
fn config(server: &RedisServer) -> String {
    let url = format!("\"{}\"", server.url());
    let section = server.section_with(&url, ", managed: yes, timeout: 8s");
    let file = server.path("exempt.list");
    fs::write(&file, "# empty\n").expect("our file");
    let file = file.display();
    format!(
        "opt_in: {{{section}}}\nexempt: {{managed_file: {file}}}\n{}",
        settings()
    )
}

fn sixgate(server: &RedisServer, arguments: &[&str]) -> Output {
    let file = server.path("milter.yaml");
    fs::write(&file, config(server)).expect("our file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    command.args(arguments).arg("-c").arg(file).env("TZ", "UTC");
    command.output().expect("the program runs")
}

/// Returns the output of a command; it must succeed.
#[track_caller]
fn printed(server: &RedisServer, arguments: &[&str]) -> String {
    let output = sixgate(server, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn is_exempt(daemon: &Daemon) -> bool {
    let mut mta = MilterClient::open(&daemon.address());
    let client = SocketAddr::new(CLIENT.parse::<IpAddr>().expect("an address"), 25);
    match mta.connect_from("[x]", client) {
        Reply::Accept => true,
        Reply::Continue => false,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn wait_until(daemon: &Daemon, want: bool) -> Duration {
    let start = Instant::now();
    while is_exempt(daemon) != want {
        let log = daemon.log();
        assert!(start.elapsed() < TIMEOUT, "{}", log.text());
        thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

fn one_command() {
    let server = RedisServer::start();
    let hosts = [(); 2].map(|()| Daemon::start(&config(&server)));
    assert!(hosts.iter().all(|host| !is_exempt(host)));
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(30);
    let end = format!("{end:.0}");
    printed(
        &server,
        &[
            "exempt",
            "add",
            "2001:db8:7::/48",
            "--until",
            &end,
            "--comment",
            "why",
        ],
    );
    for host in &hosts {
        let waited = wait_until(host, true);
        eprintln!("added: in force after {} ms", waited.as_millis());
        assert!(waited < SOON, "{waited:?}");
        host.log()
            .wait_for(&["exempt_entry=2001:db8:7::/48 exempt_comment=why"]);
    }
    printed(&server, &["exempt", "remove", "2001:db8:7::/48"]);
    for host in &hosts {
        let waited = wait_until(host, false);
        assert!(waited < SOON, "{waited:?}");
    }
    // It expires automatically, on each host.
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    let end = format!("{end:.0}");
    printed(
        &server,
        &["exempt", "add", "2001:db8:7::/48", "--until", &end],
    );
    for host in &hosts {
        wait_until(host, true);
    }
    for host in &hosts {
        wait_until(host, false);
    }
    assert!(
        server
            .command(&["HGET", &hash(), "2001:db8:7::/48"])
            .starts_with("yes  until=")
    );
}

fn commands() {
    let server = RedisServer::start();
    let add = |arguments: &[&str]| printed(&server, &[&["exempt", "add"], arguments].concat());
    let added = add(&[
        "2001:db8:7::/48",
        "2001:db8:8::25",
        "--comment",
        "ticket 4711",
    ]);
    assert_eq!(
        added,
        "2001:db8:7::/48: added, without an end\n2001:db8:8::25: added, without an end\n"
    );
    let again = add(&["2001:db8:7::/48"]);
    assert_eq!(
        again,
        "2001:db8:7::/48: listed already, without an end (ticket 4711)\n"
    );
    let changed = add(&["2001:db8:7::/48", "--until", "2999-12-31"]);
    assert!(
        changed.contains(": changed, until 3000-01-01 00:00 UTC "),
        "{changed}"
    );
    let status = printed(&server, &["exempt", "status", CLIENT]);
    let want = format!(
        "{CLIENT}: exempt, by 2001:db8:7::/48 in {} of Redis, until ",
        hash()
    );
    assert!(status.starts_with(&want), "{status}");
    let list = printed(&server, &["exempt", "list", "--json"]);
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list[0]["comment"], "ticket 4711");
    assert!(list[0]["file"].is_null());
    let explained = printed(&server, &["explain", "--client", CLIENT]);
    assert!(explained.contains("by exempt-network"), "{explained}");
    // The next edit removes entries that expired long ago.
    let old = "yes until=2020-01-01 # over";
    server.command(&["HSET", &hash(), "2001:db8:9::/48", old]);
    assert_eq!(
        printed(
            &server,
            &["exempt", "remove", "2001:db8:8::25", "2001:db8:8::26"]
        ),
        "2001:db8:8::25: removed\n2001:db8:8::26: not listed\n"
    );
    let fields = server.command(&["HKEYS", &hash()]);
    assert!(
        !fields.contains("2001:db8:9::") && !fields.contains("2001:db8:8::25"),
        "{fields}"
    );
    // The file is not touched.
    let file = fs::read_to_string(server.path("exempt.list")).expect("our file");
    assert_eq!(file, "# empty\n");
}

fn outage() {
    let mut server = RedisServer::start();
    printed(&server, &["exempt", "add", "2001:db8:7::/48"]);
    let daemon = Daemon::start(&config(&server));
    wait_until(&daemon, true);
    server.stop();
    // The last known list stays in force, whatever the daemon notices.
    let output = sixgate(&server, &["exempt", "add", "2001:db8:8::/48"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(is_exempt(&daemon));
    // A daemon that starts now has no list and checks mail as usual.
    let late = Daemon::start(&config(&server));
    late.log().wait_for(&[
        "exempt networks: ",
        "the last known list stays in force (0 entries)",
    ]);
    assert!(!is_exempt(&late));
    assert!(is_exempt(&daemon));
    server.run();
    let waited = wait_until(&late, true);
    eprintln!("found again after {} ms", waited.as_millis());
    assert!(is_exempt(&daemon));
}

fn wrong_field() {
    let server = RedisServer::start();
    printed(&server, &["exempt", "add", "2001:db8:7::/48"]);
    let metrics = http::free_address();
    let config = format!("{}metrics: {{listen: \"{metrics}\"}}\n", config(&server));
    let daemon = Daemon::start(&config);
    wait_until(&daemon, true);
    let change = |words: &[&str]| {
        server.command(words);
        server.command(&["PUBLISH", &format!("{}:changed", hash()), "*"]);
    };
    change(&["HSET", &hash(), "2001:db8:8::1/48", "yes"]);
    let line = daemon
        .log()
        .wait_for(&["exempt networks: ", "2001:db8:8::1/48"]);
    assert!(line.contains("has host bits set"), "{line}");
    assert!(is_exempt(&daemon));
    assert!(
        http::get(metrics, "/metrics")
            .body
            .contains("sixgate_exempt_stale 1\n")
    );
    change(&["HDEL", &hash(), "2001:db8:8::1/48"]);
    let deadline = Instant::now() + TIMEOUT;
    while !http::get(metrics, "/metrics")
        .body
        .contains("sixgate_exempt_stale 0\n")
    {
        assert!(Instant::now() < deadline, "{}", daemon.log().text());
        thread::sleep(Duration::from_millis(50));
    }
    // A missing hash is not an empty list; one that was emptied by edits is.
    change(&["DEL", &hash()]);
    daemon.log().wait_for(&["there is no such hash any more"]);
    assert!(is_exempt(&daemon));
    printed(&server, &["exempt", "add", "2001:db8:9::/48"]);
    wait_until(&daemon, false);
}

fn password() {
    let mut server = RedisServer::new().with_password(RIGHTS);
    server.run();
    assert!(!PASSWORD.is_empty());
    let daemon = Daemon::start(&config(&server));
    printed(&server, &["exempt", "add", "2001:db8:7::/48"]);
    let waited = wait_until(&daemon, true);
    assert!(waited < SOON, "{waited:?}");
}
