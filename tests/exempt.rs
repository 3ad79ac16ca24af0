//! `sixgate exempt` and exempt networks through the real daemon: edits and errors, changes
//! in a running daemon, and entries that expire.

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, TIMEOUT},
    dns::{DnsServer, Zone},
    faketime, http,
    milter::{Address, MilterClient, Reply},
    output::{stderr, stdout, with_input},
};
use tempfile::TempDir;

/// The time within which a change has to take effect.
const SOON: Duration = Duration::from_secs(2);

/// Margin for a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// A configuration with its lists, and a DNS server without records.
struct Fixture {
    folder: TempDir,
    dns: DnsServer,
    metrics: SocketAddr,
}

impl Fixture {
    fn new(list: &str) -> Self {
        let fixture = Self {
            folder: TempDir::new().expect("a folder"),
            dns: DnsServer::start(Zone::parse("").expect("a zone")),
            metrics: http::free_address(),
        };
        fixture.write("exempt.list", list);
        fixture.write("milter.yaml", &fixture.config());
        fixture
    }

    fn config(&self) -> String {
        format!(
            "dns: {{servers: [{}], timeout: 1s, attempts: 1}}\n\
             opt_in: {{domains: [contoso.com]}}\n\
             metrics: {{listen: \"{}\"}}\n\
             ipv4_prefixes: [\"64:ff9b::/96\"]\n\
             exempt: {{managed_file: {}, networks: [\"2001:db8:ffff::/48\", 192.0.2.0/24]}}\n",
            self.dns.address(),
            self.metrics,
            self.path("exempt.list").display(),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn list(&self) -> String {
        fs::read_to_string(self.path("exempt.list")).expect("the list")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (verb, rest) = arguments.split_first().expect("a verb");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.args(["exempt", verb, "-c"]);
        command.arg(self.path("milter.yaml")).args(rest);
        command.env("TZ", "UTC");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        with_input(self.command(arguments), input)
    }

    /// Returns its output; it must succeed without a warning.
    #[track_caller]
    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(stderr(&output), "", "{arguments:?}");
        assert!(output.status.success(), "{arguments:?}");
        stdout(&output)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.printed(arguments)).expect("JSON")
    }

    fn metrics(&self) -> String {
        http::get(self.metrics, "/metrics").body
    }
}

/// Whether the whole connection of a client is accepted.
fn is_exempt(address: &Address, client: &str) -> bool {
    let mut mta = MilterClient::open(address);
    let client = SocketAddr::new(client.parse::<IpAddr>().expect("an address"), 25);
    match mta.connect_from("mail.fabrikam.example", client) {
        Reply::Accept => true,
        Reply::Continue => false,
        other => panic!("{client}: {other:?}"),
    }
}

#[track_caller]
fn wait_until(daemon: &Daemon, client: &str, want: bool) -> Duration {
    let start = Instant::now();
    while is_exempt(&daemon.address(), client) != want {
        let log = daemon.log();
        assert!(start.elapsed() < TIMEOUT, "{client}:\n{}", log.text());
        thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

#[test]
fn entries_are_added_listed_and_removed_while_the_daemon_follows() {
    let fixture = Fixture::new("# ours\n");
    fs::remove_file(fixture.path("exempt.list")).expect("a file");
    fixture.write("exempt.list", "# ours\n# empty\n");
    let daemon = Daemon::start(&fixture.config());
    assert!(!is_exempt(&daemon.address(), "2001:db8:7::25"));

    let printed = fixture.printed(&[
        "add",
        "2001:db8:7::/48",
        "--for",
        "14d",
        "--comment",
        "ticket 4711",
    ]);
    assert!(
        printed.starts_with("2001:db8:7::/48: added, until "),
        "{printed}"
    );
    assert!(printed.ends_with(" UTC (in 14 days)\n"), "{printed}");
    let waited = wait_until(&daemon, "2001:db8:7::25", true);
    eprintln!("added: in force after {} ms", waited.as_millis());
    assert!(waited < SOON + SLACK, "{waited:?}");
    assert!(!is_exempt(&daemon.address(), "2001:db8:8::25"));
    let line = daemon.log().wait_for(&["exempt_entry="]);
    let want = "NOQUEUE: accept: rule=exempt-network \
                client=mail.fabrikam.example[2001:db8:7::25] exempt_entry=2001:db8:7::/48 \
                exempt_comment=ticket\\x204711";
    assert!(line.ends_with(want), "{line}");

    let list = fixture.list();
    assert!(
        list.starts_with("# ours\n2001:db8:7::/48  until=20"),
        "{list}"
    );
    assert!(list.trim_end().ends_with(" ticket 4711"), "{list}");
    let again = fixture.printed(&["add", "2001:db8:7::/48", "--until", "2999-12-31"]);
    assert!(
        again.contains(": changed, until 3000-01-01 00:00 UTC "),
        "{again}"
    );
    assert!(again.contains("; it was until "), "{again}");
    let again = fixture.printed(&["add", "2001:DB8:7::/48", "--until", "2999-12-31"]);
    assert!(again.contains(": listed already, "), "{again}");
    assert!(again.ends_with(" (ticket 4711)\n"), "{again}");

    assert_eq!(
        fixture.printed(&["remove", "2001:db8:7::/48"]),
        "2001:db8:7::/48: removed\n"
    );
    assert_eq!(
        fixture.printed(&["remove", "2001:db8:7::/48"]),
        "2001:db8:7::/48: not listed\n"
    );
    assert_eq!(fixture.list(), "# ours\n# empty\n");
    wait_until(&daemon, "2001:db8:7::25", false);
}

#[test]
fn what_is_wrong_is_refused_in_one_line_and_nothing_is_written() {
    let fixture = Fixture::new("2001:db8::/32  # 2024-01-01 first\n");
    let before = fixture.list();
    let table: &[(&[&str], &str)] = &[
        (
            &["add", "192.0.2.1"],
            "192.0.2.1 is IPv4: mail over IPv4 is never checked",
        ),
        (
            &["add", "192.0.2.0/24"],
            "IPv4 is never checked, so there is nothing to exempt",
        ),
        (&["add", "::ffff:192.0.2.1"], "IPv4 is never checked"),
        (
            &["add", "2001:db8::1/48"],
            "has host bits set; write 2001:db8::/48 for the network, or 2001:db8::1 for the",
        ),
        (&["add", "2000::/3"], "exempts a large part of the Internet"),
        (&["add", "::/0"], "exempts a large part of the Internet"),
        (
            &["add", "mail.example.net"],
            "is not an IPv6 network; write one such as",
        ),
        (&["add", "ff02::1"], "not an address that a client can have"),
        (&["add", ""], "an argument is empty"),
        (
            &["add", "2001:db8:1::/48 until=2020-01-01"],
            "is in the past",
        ),
        (
            &["add", "2001:db8:1::/48", "--until", "2020-01-01"],
            "2020-01-01 is in the past",
        ),
        (
            &["add", "2001:db8:1::/48", "--until", "soon"],
            "write 2026-12-12 (that day is",
        ),
        (
            &["add", "2001:db8:1::/48", "--for", "3y"],
            "a number and m, h, d or w, such as 12h",
        ),
        (
            &["add", "2001:db8:1::/48", "--for", "0d"],
            "has passed already",
        ),
        (
            &["add", "2001:db8:1::/48", "--for", "14"],
            "a number and m, h, d or w",
        ),
        (
            &[
                "add",
                "2001:db8:1::/48",
                "--for",
                "14d",
                "--until",
                "2999-01-01",
            ],
            "cannot be used with",
        ),
        (
            &["add", "2001:db8:1::/48 until=2999-01-01", "2001:db8:1::/48"],
            "given twice with",
        ),
        (&["add"], "NETWORK"),
        (&["remove", "2001:db8::1/32"], "has host bits set"),
        (&["status", "mail.example.net"], "is not an address"),
    ];
    for (arguments, want) in table {
        let output = fixture.run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let complaint = stderr(&output);
        assert!(complaint.contains(want), "{arguments:?}: {complaint}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
    let output = fixture.run_with(&["add", "-"], "2001:db8:1::/48\n2001:db8:2::1/48\n");
    assert_eq!(output.status.code(), Some(64));
    let complaint = stderr(&output);
    assert!(
        complaint.starts_with("standard input:2: 2001:db8:2::1/48 has"),
        "{complaint}"
    );
    assert_eq!(fixture.list(), before);

    fixture.printed(&["add", "2a00::/8", "--force", "--until", "2999-01-01"]);
    fixture.printed(&["add", "fd00::/8"]);
}

#[test]
fn networks_that_overlap_or_never_matter_are_warned_of() {
    let fixture = Fixture::new("2001:db8::/32  # 2024-01-01 first\n");
    let by_list = "is already exempt, by 2001:db8::/32 in ";
    let table = [
        ("2001:db8:1::/48", by_list),
        (
            "2001:db8:ffff:1::/64",
            "already exempt, by 2001:db8:ffff::/48 in exempt.networks",
        ),
        ("2001:db8:ffff::/48", "is in exempt.networks, too"),
        ("2001::/16", "contains 2001:db8::/32 and 3 more of the list"),
        ("::1", "has no effect: loopback and link-local"),
        (
            "64:ff9b::/96",
            "has no effect: clients in 64:ff9b::/96 of ipv4_prefixes are IPv4",
        ),
    ];
    for (network, want) in table {
        let output = fixture.run(&["add", network]);
        assert!(output.status.success(), "{network}");
        let warning = stderr(&output);
        assert!(
            warning.starts_with(&format!("warning: {network} ")),
            "{warning}"
        );
        assert!(warning.contains(want), "{network}: {warning}");
        assert_eq!(warning.lines().count(), 1, "{warning}");
    }
    let output = fixture.run(&["remove", "2001:db8:1::/48"]);
    let warning = stderr(&output);
    assert!(
        warning.contains("2001:db8:1::/48 is still exempt, by 2001:db8::/32 in "),
        "{warning}"
    );
}

#[test]
fn the_status_names_the_entry_with_the_longest_prefix() {
    let fixture = Fixture::new(
        "2001:db8::/32  # 2024-01-01 all of them\n\
         2001:db8:7::/48  until=2999-01-01T00:00:00Z  # Fabrikam\n\
         2001:db8:7::25  until=2020-01-01  # over\n",
    );
    let status = fixture.printed(&["status", "2001:db8:7::25"]);
    let file = fixture.path("exempt.list");
    let file = file.display();
    let lines: Vec<&str> = status.lines().collect();
    let want = format!("2001:db8:7::25: exempt, by 2001:db8:7::/48 in {file}:2, until 2999-01-01");
    assert!(
        lines[0].starts_with(&want) && lines[0].ends_with("): Fabrikam"),
        "{status}"
    );
    assert!(
        lines[1].starts_with("    last used: never since "),
        "{status}"
    );
    let over = format!("    also 2001:db8:7::25 in {file}:3, ended 2020-01-02 00:00 UTC (");
    assert!(lines[2].starts_with(&over), "{status}");
    assert_eq!(
        lines[3],
        format!("    also 2001:db8::/32 in {file}:1: all of them")
    );
    assert_eq!(
        fixture.printed(&[
            "status",
            "2001:dead::1",
            "192.0.2.1",
            "::1",
            "64:ff9b::192.0.2.1"
        ]),
        "2001:dead::1: not exempt: its mail is checked\n\
         192.0.2.1: not checked: mail over IPv4 never is\n\
         ::1: exempt, as loopback and link-local addresses always are\n\
         64:ff9b::c000:201: not checked: ipv4_prefixes makes it the IPv4 client 192.0.2.1, and \
         mail over IPv4 is never checked\n"
    );
    let status = fixture.json(&["status", "--json", "2001:db8:7::25", "2001:dead::1"]);
    assert_eq!(status[0]["exempt"], true);
    assert_eq!(status[0]["entry"]["network"], "2001:db8:7::/48");
    assert_eq!(status[0]["others"][0]["state"], "ended");
    assert_eq!(status[1]["exempt"], false);
    assert!(status[1]["entry"].is_null());
}

#[test]
fn a_listed_list_is_read_as_the_same() {
    let fixture = Fixture::new("2001:db8:1::/48  until=2999-01-01T00:00:00Z  # 2024-02-03 why\n");
    let output = fixture.run_with(
        &["add", "-"],
        &fixture.printed(&["list", "--format", "list"]),
    );
    assert!(output.status.success());
    assert!(
        stdout(&output).contains("2001:db8:1::/48: listed already, "),
        "{output:?}"
    );
    let table = fixture.printed(&["list"]);
    assert!(table.starts_with("NETWORK "), "{table}");
    assert!(table.contains("(exempt.networks)\n"), "{table}");
    let entries = fixture.json(&["list", "--json", "--managed"]);
    assert_eq!(entries[0]["comment"], "why");
    assert_eq!(entries[0]["added"], "2024-02-03");
    assert_eq!(entries[0]["line"], 1);
}

#[test]
fn an_entry_ends_by_itself_and_is_dropped_by_an_edit_a_month_later() {
    let fixture = Fixture::new("# empty\n");
    let daemon = Daemon::start(&fixture.config());
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(6);
    fixture.printed(&["add", "2001:db8:7::/48", "--until", &format!("{end:.0}")]);
    wait_until(&daemon, "2001:db8:7::25", true);
    let list = fixture.list();
    wait_until(&daemon, "2001:db8:7::25", false);
    let late = jiff::Timestamp::now().duration_since(end);
    assert!(
        late.as_secs_f64() > -1.1 && late < SLACK.try_into().unwrap(),
        "{late}"
    );
    assert_eq!(fixture.list(), list);
    let entries = fixture.json(&["list", "--json", "--managed"]);
    assert_eq!(entries[0]["state"], "ended");
    assert!(fixture.printed(&["list"]).contains("ended 20"));
    assert!(
        fixture
            .printed(&["list", "--format", "list"])
            .contains("# ended: 2001:db8:7::/48")
    );
    assert!(
        fixture
            .metrics()
            .contains("sixgate_exempt_entries{state=\"ended\"} 1\n")
    );
    let renewed = fixture.printed(&["add", "2001:db8:7::/48", "--for", "1h"]);
    assert!(
        renewed.contains(": renewed, until ") && renewed.contains("; it had ended "),
        "{renewed}"
    );
    wait_until(&daemon, "2001:db8:7::25", true);

    let old = "2001:db8:9::/48  until=2020-01-01T00:00:00Z  # long over\n";
    fixture.write("exempt.list", old);
    fixture.printed(&["add", "2001:db8:7::/48"]);
    assert!(
        !fixture.list().contains("2001:db8:9::"),
        "{}",
        fixture.list()
    );
}

#[test]
fn an_entry_follows_a_clock_that_jumps() {
    let fixture = Fixture::new("2001:db8:7::/48  until=2030-06-01T00:00:00Z\n");
    let clock = fixture.path("clock");
    let set = |time: &str| {
        fs::write(fixture.path("clock.new"), format!("@{time}\n")).expect("a file");
        fs::rename(fixture.path("clock.new"), &clock).expect("the same file system");
    };
    set("2030-05-31 23:00:00");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    command
        .env("LD_PRELOAD", faketime::library())
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        // The times of files do not jump.
        .env("NO_FAKE_STAT", "1")
        .env("TZ", "UTC");
    let daemon = Daemon::start_by(command, &fixture.config());
    for (time, want) in [
        ("2030-05-31 23:00:00", true),
        ("2030-06-01 00:00:01", false),
        ("2030-05-31 23:59:00", true),
        ("2099-01-01 00:00:00", false),
        ("1999-01-01 00:00:00", true),
        ("2030-06-01 12:00:00", false),
    ] {
        set(time);
        wait_until(&daemon, "2001:db8:7::25", want);
    }
    // It never looked like a change of the list.
    assert_eq!(daemon.log().find(&["exempt.managed_file"]), None);
}

#[test]
fn a_list_that_is_wrong_or_gone_leaves_the_last_good_one_in_force() {
    let fixture = Fixture::new("2001:db8:7::/48  # first\n");
    let daemon = Daemon::start(&fixture.config());
    let file = fixture.path("exempt.list");
    let table = [
        (
            "2001:db8:7::/48\n2001:db8:8::1/48\n",
            ":2: 2001:db8:8::1/48 has host bits set",
        ),
        ("192.0.2.1\n", ":1: 192.0.2.1 is IPv4"),
        ("2001:db8::/32 until=never\n", ":1: \"never\" is not a time"),
        (
            "2001:db8::/32\n2001:db8::/32 until=2999-01-01\n",
            ":2: 2001:db8::/32 has another end",
        ),
        ("", ": there is no entry in it"),
    ];
    for (text, want) in table {
        fixture.write("exempt.list", text);
        let printed = format!("exempt.managed_file: {}{want}", file.display());
        let line = daemon.log().wait_for(&[&printed]);
        assert!(
            line.ends_with("; the last good list stays in force (1 entry)"),
            "{line}"
        );
        assert!(is_exempt(&daemon.address(), "2001:db8:7::25"), "{text}");
        assert!(fixture.metrics().contains("sixgate_exempt_stale 1\n"));
        let ready = http::get(fixture.metrics, "/readyz").body;
        assert!(
            ready.contains("note: ") && ready.contains("exempt.list"),
            "{ready}"
        );
        // The daemon would not start with it, and it cannot be edited.
        let mut check = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        check
            .args(["check-config", "-c"])
            .arg(fixture.path("milter.yaml"));
        assert_eq!(
            check.output().expect("it runs").status.code(),
            Some(78),
            "{text}"
        );
    }
    fs::remove_file(&file).expect("a file");
    daemon
        .log()
        .wait_for(&["exempt.list: can't be read", "stays in force"]);
    assert!(is_exempt(&daemon.address(), "2001:db8:7::25"));
    fixture.write("exempt.list", "# empty\n");
    wait_until(&daemon, "2001:db8:7::25", false);
    assert!(fixture.metrics().contains("sixgate_exempt_stale 0\n"));
}

#[test]
fn without_a_managed_list_nothing_but_the_configuration_exempts() {
    let fixture = Fixture::new("");
    fs::remove_file(fixture.path("exempt.list")).expect("a file");
    let config = fixture.config();
    let config = config.replace(
        &format!("managed_file: {}, ", fixture.path("exempt.list").display()),
        "",
    );
    let daemon = Daemon::start(&config);
    let address = daemon.address();
    for (client, want) in [
        ("2001:db8:ffff::1", true),
        ("2001:db8::1", false),
        ("::1", true),
        ("192.0.2.1", true),
    ] {
        assert_eq!(is_exempt(&address, client), want, "{client}");
    }
    // A file that the configuration names must exist.
    let mut check = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    check
        .args(["check-config", "-c"])
        .arg(fixture.path("milter.yaml"));
    let output = check.output().expect("it runs");
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("(named by exempt.managed_file)"),
        "{output:?}"
    );
}

#[test]
fn uses_are_counted_by_entry_and_outlive_the_daemon() {
    let fixture =
        Fixture::new("2001:db8:7::/48  # 2024-01-01 used\n2001:db8:8::/48  # 2024-01-01 never\n");
    let daemon = Daemon::start(&fixture.config());
    for client in [
        "2001:db8:7::1",
        "2001:db8:7::2",
        "2001:db8:ffff::1",
        "::1",
        "192.0.2.1",
    ] {
        assert!(is_exempt(&daemon.address(), client));
    }
    let metrics = fixture.metrics();
    for series in [
        "sixgate_exempt_connections_total{entry=\"2001:db8:7::/48\"} 2\n",
        "sixgate_exempt_connections_total{entry=\"2001:db8:ffff::/48\"} 1\n",
        "sixgate_exempt_entries{state=\"in-force\"} 3\n",
        "sixgate_exempt_entries{state=\"unused\"} 1\n",
        "sixgate_exempt_entries{state=\"ending\"} 0\n",
    ] {
        assert!(metrics.contains(series), "{series}{metrics}");
    }
    assert!(!metrics.contains("entry=\"2001:db8:8::/48\""));
    // Connections of the site's own networks are numerous and logged at debug.
    assert!(daemon.log().find(&["2001:db8:ffff::1"]).is_none());

    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_for_end().success());
    let used = fs::read_to_string(fixture.path("exempt.list.used")).expect("the uses");
    assert!(
        used.contains("2001:db8:7::/48 since=2024-01-01T00:00:00Z used=20"),
        "{used}"
    );
    assert!(!used.contains("2001:db8:8::"), "{used}");
    let entries = fixture.json(&["list", "--json"]);
    let last = |network: &str| {
        let entries = entries.as_array().expect("an array").iter();
        let mut entries = entries.filter(|entry| entry["network"] == network);
        entries.next().expect("an entry")["last_used"].clone()
    };
    assert!(last("2001:db8:7::/48").is_string());
    assert!(last("2001:db8:8::/48").is_null());
    assert!(last("2001:db8:ffff::/48").is_string());

    // The next daemon knows the uses and continues without the file.
    let daemon = Daemon::start(&fixture.config());
    assert!(
        fixture
            .metrics()
            .contains("sixgate_exempt_entries{state=\"unused\"} 1\n")
    );
    drop(daemon);
    fixture.write("exempt.list.used", "nonsense\n\0");
    let daemon = Daemon::start(&fixture.config());
    assert!(
        fixture
            .metrics()
            .contains("sixgate_exempt_entries{state=\"unused\"} 2\n")
    );
    drop(daemon);
}

#[test]
fn a_list_is_edited_under_load_without_a_wrong_answer() {
    let fixture = Fixture::new("2001:db8:7::/48  # stays\n");
    let daemon = Daemon::start(&fixture.config());
    let is_done = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    assert!(is_exempt(&daemon.address(), "2001:db8:7::25"));
                    assert!(!is_exempt(&daemon.address(), "2001:db8:9::25"));
                    asked.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        // Simultaneous editors do not overwrite each other's changes.
        let editors: Vec<_> = (0..4)
            .map(|editor| {
                let fixture = &fixture;
                scope.spawn(move || {
                    for n in 0..10 {
                        let network = format!("2001:db8:1:{editor}{n}::/64");
                        fixture.printed(&["add", &network, "--for", "1d"]);
                    }
                })
            })
            .collect();
        let edited = editors.into_iter().all(|editor| editor.join().is_ok());
        let deadline = Instant::now() + TIMEOUT;
        while !is_exempt(&daemon.address(), "2001:db8:1:39::1") && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        is_done.store(true, Ordering::Relaxed);
        assert!(edited);
    });
    eprintln!(
        "{} connections while 40 entries were added",
        asked.load(Ordering::Relaxed)
    );
    assert_eq!(fixture.list().lines().count(), 41);
    for editor in 0..4 {
        for n in 0..10 {
            let client = format!("2001:db8:1:{editor}{n}::1");
            assert!(is_exempt(&daemon.address(), &client), "{client}");
        }
    }
}

#[test]
#[ignore = "takes a minute"]
fn a_hundred_thousand_networks_come_in_bulk_and_are_found() {
    let fixture = Fixture::new("# empty\n");
    let daemon = Daemon::start(&fixture.config());
    let before = daemon.memory();
    let mut input = String::new();
    for n in 0..100_000_u32 {
        let (high, low) = (n >> 16, n & 0xffff);
        let _ = writeln!(input, "2001:db8:{high:x}:{low:x}::/64  # partner {n}");
    }
    let start = Instant::now();
    let output = fixture.run_with(&["add", "-", "--for", "2w"], &input);
    assert_eq!(stderr(&output), "");
    assert_eq!(stdout(&output), "100000 added\n");
    eprintln!(
        "100,000 networks: added in {} ms",
        start.elapsed().as_millis()
    );
    let again = fixture.run_with(&["add", "-", "--until", "2999-12-31"], &input);
    assert_eq!(stdout(&again), "100000 changed\n");

    wait_until(&daemon, "2001:db8:1:869f::1", true);
    for client in ["2001:db8::1", "2001:db8:0:ffff::1", "2001:db8:1:1::1"] {
        assert!(is_exempt(&daemon.address(), client), "{client}");
    }
    assert!(!is_exempt(&daemon.address(), "2001:db8:1:86a0::1"));
    let grown = daemon.memory().saturating_sub(before) >> 10;
    eprintln!("100,000 networks: {grown} MiB more memory");
    assert!(grown < 150, "{grown} MiB");
    let start = Instant::now();
    let metrics = fixture.metrics();
    eprintln!("a scrape takes {} ms", start.elapsed().as_millis());
    assert!(metrics.contains("sixgate_exempt_entries{state=\"in-force\"} 100001\n"));
    // The number of series is limited.
    for n in 0..300 {
        assert!(is_exempt(
            &daemon.address(),
            &format!("2001:db8:0:{n:x}::1")
        ));
    }
    let metrics = fixture.metrics();
    let series = metrics
        .lines()
        .filter(|l| l.starts_with("sixgate_exempt_connections_total{"));
    assert_eq!(series.count(), 201);
    assert!(metrics.contains("sixgate_exempt_connections_total{entry=\"other\"} "));

    let output = fixture.run_with(&["remove", "-"], &input);
    assert_eq!(stdout(&output), "100000 removed\n");
    wait_until(&daemon, "2001:db8:1:869f::1", false);
    let deadline = Instant::now() + TIMEOUT;
    while fixture.metrics().contains("_total{entry=\"2001:") && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    assert!(!fixture.metrics().contains("_total{entry=\"2001:db8:0:"));
}

#[test]
fn a_list_keeps_its_owner_and_mode_and_may_be_a_link() {
    let fixture = Fixture::new("2001:db8::/32\n");
    let mode = |path: &Path| fs::metadata(path).expect("a file").mode() & 0o7777;
    let file = fixture.path("exempt.list");
    fs::rename(&file, fixture.path("real.list")).expect("the same file system");
    std::os::unix::fs::symlink("real.list", &file).expect("a link");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a file of ours");
    fixture.printed(&["add", "2001:dead::1"]);
    assert!(fs::symlink_metadata(&file).expect("a link").is_symlink());
    assert_eq!(mode(&fixture.path("real.list")), 0o640);
    assert!(fixture.list().contains("2001:dead::1  # 20"));
}

/// Runs another subcommand with the configuration.
fn sixgate(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    command.args(arguments).env("TZ", "UTC");
    command.arg("-c").arg(fixture.path("milter.yaml"));
    command.output().expect("the program runs")
}

#[test]
fn explain_names_the_entry_and_one_that_has_ended() {
    let fixture = Fixture::new(
        "2001:db8:7::/48  until=2999-01-01T00:00:00Z  # 2024-01-01 ticket 4711\n\
         2001:db8:8::/48  until=2020-01-01  # over\n",
    );
    let explain = |client: &str| {
        let output = sixgate(&fixture, &["explain", "--client", client]);
        stdout(&output)
    };
    let file = fixture.path("exempt.list");
    let text = explain("2001:db8:7::25");
    let line = format!(
        "exempt     2001:db8:7::/48 in {}:1, until 2999-01-01 00:00",
        file.display()
    );
    assert!(
        text.contains(&line) && text.contains("): ticket 4711\n"),
        "{text}"
    );
    assert!(
        text.contains("verdict    accept at connect by exempt-network\n"),
        "{text}"
    );
    let text = explain("2001:db8:8::25");
    let line = format!(
        "exempt     2001:db8:8::/48 in {}:2, ended 2020-01-02",
        file.display()
    );
    assert!(text.contains(&line), "{text}");
    assert!(!text.contains("exempt-network"), "{text}");
    assert!(!explain("2001:db8:9::25").contains("exempt "));
    let output = sixgate(
        &fixture,
        &["explain", "--client", "2001:db8:7::25", "--json"],
    );
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(explained["scope"], "exempt");
    assert_eq!(explained["exempt_entry"]["network"], "2001:db8:7::/48");
    assert_eq!(explained["exempt_entry"]["comment"], "ticket 4711");
}

/// What sixgate and Postfix log of two messages of exempt clients and one of a client
/// that is not.
const LOG: &str = "\
2026-11-21T06:00:00+00:00 mx sixgate[1]: NOQUEUE: accept: rule=exempt-network client=mail.fabrikam.example[2001:db8:7::25] exempt_entry=2001:db8:7::/48 exempt_comment=ticket\\x204711
2026-11-21T06:00:00+00:00 mx postfix/smtpd[2]: 4F9D195432C: client=mail.fabrikam.example[2001:db8:7::25]
2026-11-21T06:00:01+00:00 mx postfix/cleanup[3]: 4F9D195432C: message-id=<1@fabrikam.example>
2026-11-21T06:00:01+00:00 mx postfix/qmgr[4]: 4F9D195432C: from=<a@fabrikam.example>, size=500, nrcpt=1 (queue active)
2026-11-21T06:00:02+00:00 mx postfix/lmtp[5]: 4F9D195432C: to=<b@contoso.com>, relay=mx[private/lmtp], delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 Saved)
2026-11-21T07:00:00+00:00 mx sixgate[1]: {\"time\":\"2026-11-21T07:00:00.000Z\",\"level\":\"INFO\",\"event\":\"decision\",\"queue_id\":null,\"action\":\"accept\",\"refused\":false,\"stage\":\"connect\",\"rule\":\"exempt-network\",\"client_name\":\"mail.fabrikam.example\",\"client_address\":\"2001:db8:7::25\",\"seen_as\":null,\"certificate\":null,\"exempt_entry\":\"2001:db8:7::/48\",\"exempt_comment\":\"ticket 4712\"}
2026-11-21T08:00:00+00:00 mx sixgate[1]: NOQUEUE: accept: rule=exempt-network client=unknown[2001:db8:8::25] exempt_entry=2001:db8:8::/48
2026-11-21T08:00:00+00:00 mx postfix/smtpd[2]: 4F9D195432D: client=unknown[2001:db8:9::25]
2026-11-21T08:00:01+00:00 mx postfix/qmgr[4]: 4F9D195432D: from=<a@other.example>, size=500, nrcpt=1 (queue active)
2026-11-21T08:00:02+00:00 mx postfix/lmtp[5]: 4F9D195432D: to=<b@contoso.com>, relay=mx[private/lmtp], delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 Saved)
";

#[test]
fn report_shows_uses_and_what_ends_or_is_not_used() {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(72);
    let fixture = Fixture::new(&format!(
        "2001:db8:7::/48  until={soon:.0}  # 2024-01-01 ticket 4711\n\
         2001:db8:8::/48  # 2024-01-01 forgotten\n2001:db8:a::/48  # 2999-01-01 new\n",
    ));
    let now = jiff::Timestamp::now();
    let used = format!("2001:db8:7::/48 since=2024-01-01T00:00:00Z used={now:.0}\n");
    fixture.write("exempt.list.used", &used);
    fixture.write("mail.log", LOG);
    let log = fixture.path("mail.log");
    let log = log.to_str().expect("UTF-8");
    let text = stdout(&sixgate(&fixture, &["report", log]));
    for want in [
        "1 exemption ends within a week.",
        "1 exemption has not been used for 90 days.",
        "By exemption, most recently used first",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
    let output = sixgate(&fixture, &["report", "--json", log]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let exempt = &report["exempt"];
    let network = |list: &str, index: usize| exempt[list][index]["entry"].clone();
    assert_eq!(network("used", 0), "2001:db8:8::/48");
    assert_eq!(network("used", 1), "2001:db8:7::/48");
    assert_eq!(exempt["used"][1]["connections"], 2);
    assert_eq!(exempt["used"][1]["comment"], "ticket\\x204712");
    assert_eq!(exempt["used"][1]["last"], "2026-11-21T07:00:00Z");
    assert_eq!(network("ending", 0), "2001:db8:7::/48");
    assert_eq!(network("unused", 0), "2001:db8:8::/48");
    assert_eq!(exempt["unused"].as_array().map(Vec::len), Some(1));

    // Without a configuration it knows only the log.
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    let output = command
        .args(["report", "--json", log])
        .output()
        .expect("it runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    if !Path::new("/etc/sixgate/milter.yaml").exists() {
        assert!(report["exempt"]["ending"].is_null());
    }
    assert_eq!(report["exempt"]["used"][0]["connections"], 1);
    let missing = ["report", "-c", "/nonexistent", log];
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    let output = command.args(missing).output().expect("it runs");
    assert_eq!(output.status.code(), Some(66));
}

#[test]
fn trace_names_the_entry_and_its_comment() {
    let folder = TempDir::new().expect("a folder");
    let log = folder.path().join("mail.log");
    fs::write(&log, LOG).expect("a file");
    let trace = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command
            .arg("trace")
            .args(arguments)
            .arg(&log)
            .env("TZ", "UTC");
        command.output().expect("the program runs")
    };
    let text = stdout(&trace(&["--to", "contoso.com"]));
    let want = "the mail server accepted it from mail.fabrikam.example[2001:db8:7::25] (exempt by \
                2001:db8:7::/48: ticket 4711) as 4F9D195432C";
    assert!(text.contains(want), "{text}");
    let advice = "=> Its client is exempt by 2001:db8:7::/48. To check it again: sixgate exempt \
                  remove 2001:db8:7::/48, or take it from exempt.networks.\n";
    assert!(text.contains(advice), "{text}");
    // This does not exempt another client.
    assert!(
        text.contains("from [2001:db8:9::25] as 4F9D195432D"),
        "{text}"
    );
    let output = trace(&["--from", "a@fabrikam.example", "--json"]);
    let traced: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let event = &traced["messages"][0]["events"][0];
    assert_eq!(event["exempt"]["entry"], "2001:db8:7::/48");
}

#[test]
fn doctor_names_what_ends_what_is_unused_and_a_list_that_is_wrong() {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(72);
    let fixture = Fixture::new(&format!(
        "2001:db8:7::/48  until={soon:.0}  # 2024-01-01 in use\n\
         2001:db8:6::/48  until={soon:.0}  # 2024-01-01 not in use\n\
         2001:db8:8::/48  # 2999-01-01 new\n2001:db8:9::/48  until=2020-01-01  # over\n",
    ));
    let now = jiff::Timestamp::now();
    let used = format!("2001:db8:7::/48 since=2024-01-01T00:00:00Z used={now:.0}\n");
    fixture.write("exempt.list.used", &used);
    let doctor = || {
        let output = sixgate(&fixture, &["doctor", "--json"]);
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        let wanted = findings.into_iter().filter(|f| f["check"] == "exemptions");
        let found: Vec<(String, String)> = wanted
            .map(|f| {
                let text = |key: &str| f[key].as_str().expect("a text").to_owned();
                (text("level"), text("seen"))
            })
            .collect();
        found
    };
    let findings = doctor();
    let has = |level: &str, seen: &str| {
        assert!(
            findings.iter().any(|(l, s)| l == level && s.contains(seen)),
            "{seen}: {findings:?}"
        );
    };
    has("ok", "by last use: 2001:db8:7::/48 20");
    has(
        "warning",
        "in use, but exempt for only a few more days: 2001:db8:7::/48 until ",
    );
    has("warning", "not used for 90 days: 2001:db8:6::/48");
    assert!(
        !findings
            .iter()
            .any(|(_, seen)| seen.contains("2001:db8:9::"))
    );
    fixture.write("exempt.list", "nonsense\n");
    let findings = doctor();
    assert!(
        findings
            .iter()
            .any(|(l, s)| l == "problem" && s.contains(":1: \"nonsense\" is"))
    );
}
