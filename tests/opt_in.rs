//! Who has opted in, through the real daemon: each kind of entry, the order of
//! the sources, and lists that change while it runs.

mod support;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, TIMEOUT},
    dns::{DnsServer, Zone},
    milter::{Command, MilterClient, Reply},
};
use tempfile::TempDir;

const ZONE: &str = "2001:db8::1  PTR  mail.good.example\n";

/// The time within which a change has to take effect.
const SOON: Duration = Duration::from_secs(2);

/// Margin for a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// The daemon with its lists: `managed.list` and those in the folder `lists`.
struct Fixture {
    daemon: Daemon,
    folder: TempDir,
    _dns: DnsServer,
}

impl Fixture {
    /// With initial files and additional keys of the section `opt_in`.
    fn new(files: &[(&str, &str)], more: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("lists")).expect("a folder");
        for (name, text) in [
            ("managed.list", "# empty\n"),
            ("lists/none.list", "# empty\n"),
        ] {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let dns = DnsServer::start(Zone::parse(ZONE).expect("a zone"));
        let daemon = Daemon::start(&config(folder.path(), dns.address(), more));
        Self {
            daemon,
            folder,
            _dns: dns,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    /// Replaces a file atomically by renaming.
    fn replace(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).expect("a file");
        fs::rename(new, self.path(name)).expect("the same file system");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("a file");
    }

    fn mta(&self) -> Mta {
        Mta::new(&self.daemon)
    }

    /// Waits until each domain has opted in (`true`) or not, and returns the time it took.
    #[track_caller]
    fn wait_until(&self, want: &[(&str, bool)]) -> Duration {
        let start = Instant::now();
        let mut mta = self.mta();
        while !want
            .iter()
            .all(|(domain, yes)| mta.has_opted_in(domain) == *yes)
        {
            let log = self.daemon.log();
            assert!(start.elapsed() < TIMEOUT, "not {want:?}:\n{}", log.text());
            thread::yield_now();
        }
        start.elapsed()
    }

    /// The same, within the documented time.
    #[track_caller]
    fn assert_soon(&self, what: &str, want: &[(&str, bool)]) {
        let waited = self.wait_until(want);
        eprintln!("{what}: in force after {} ms", waited.as_millis());
        assert!(waited < SOON + SLACK, "{what}: {waited:?}");
    }
}

fn config(folder: &Path, dns: SocketAddr, more: &str) -> String {
    let folder = folder.display();
    format!(
        "dns: {{servers: [{dns}], timeout: 1s}}\n\
         opt_in:\n  managed_file: {folder}/managed.list\n  files: [{folder}/lists]\n  {more}\n"
    )
}

/// An MTA with a mail transaction in which any number of recipients is tried.
struct Mta(MilterClient);

impl Mta {
    fn new(daemon: &Daemon) -> Self {
        let mut mta = MilterClient::open(&daemon.address());
        mta.macros(Command::Connect, &[("j", "mx.example")]);
        let client = SocketAddr::new("2001:db8::1".parse::<IpAddr>().expect("an address"), 25);
        assert_eq!(mta.connect_from("[x]", client), Reply::Continue);
        assert_eq!(mta.helo("mail.good.example"), Reply::Continue);
        assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
        Self(mta)
    }

    fn has_opted_in(&mut self, domain: &str) -> bool {
        match self.0.rcpt(&[&format!("<b@{domain}>")]) {
            Reply::Continue => true,
            Reply::Smtp(reply) if reply.starts_with("550 5.2.1 ") => false,
            other => panic!("{domain}: {other:?}"),
        }
    }
}

#[test]
fn every_kind_of_entry_is_understood_in_every_list() {
    let entries = [
        "Exact.Example.",
        "bücher.example",
        ".below.example",
        "!out.below.example",
        "!.deep.below.example",
        "in.deep.below.example",
    ];
    let in_place = entries.map(|entry| format!("\"{entry}\"")).join(", ");
    let in_file = format!(
        "# a list\r\n\n{}  # the last\n",
        entries.join("  # why\r\n")
    );
    let fixtures = [
        Fixture::new(&[("managed.list", &in_file)], ""),
        Fixture::new(&[], &format!("domains: [{in_place}]")),
        Fixture::new(&[("lists/a.list", &in_file)], ""),
    ];
    let table = [
        ("exact.example", true),
        ("EXACT.example.", true),
        ("sub.exact.example", false),
        ("xn--bcher-kva.example", true),
        ("BÜCHER.example", true),
        ("below.example", false),
        ("x.below.example", true),
        ("x.y.below.example", true),
        ("out.below.example", false),
        ("x.out.below.example", true),
        ("deep.below.example", true),
        ("x.deep.below.example", false),
        ("in.deep.below.example", true),
        ("example", false),
        ("[192.0.2.1]", false),
    ];
    for (fixture, source) in fixtures.iter().zip(["managed", "domains", "file"]) {
        let mut mta = fixture.mta();
        for (domain, want) in table {
            assert_eq!(mta.has_opted_in(domain), want, "{source}: {domain}");
        }
        let reject = ["NOQUEUE: reject: ", "[out.below.example]"];
        let line = fixture.daemon.log().wait_for(&reject);
        assert!(line.contains(&format!("opt_in={source} ")), "{line}");
    }
}

#[test]
fn the_first_source_that_knows_a_domain_decides() {
    let fixture = Fixture::new(
        &[
            ("managed.list", "a.example\n!b.example\n.c.example\n"),
            (
                "lists/a.list",
                "!a.example\nb.example\n!x.c.example\n!d.example\n!e.example\n",
            ),
        ],
        "domains: [\"!.c.example\", d.example]\n  default: yes",
    );
    let table = [
        ("a.example", true),
        ("b.example", false),
        ("x.c.example", true),
        ("d.example", true),
        ("e.example", false),
        ("other.example", true),
        ("[192.0.2.1]", false),
    ];
    let mut mta = fixture.mta();
    for (domain, want) in table {
        assert_eq!(mta.has_opted_in(domain), want, "{domain}");
    }
}

#[test]
fn lists_that_change_are_in_force_within_two_seconds() {
    let fixture = Fixture::new(&[("lists/a.list", "a.example\n")], "");
    let mut held = fixture.mta();
    assert!(held.has_opted_in("a.example"));

    fixture.write("lists/a.list", "b.example\n");
    fixture.assert_soon(
        "written in place",
        &[("a.example", false), ("b.example", true)],
    );
    fixture.replace("lists/a.list", "!b.example\nc.example\n");
    fixture.assert_soon("replaced", &[("b.example", false), ("c.example", true)]);
    fixture.replace("lists/b.list", "d.example\n");
    fixture.assert_soon(
        "added to the folder",
        &[("c.example", true), ("d.example", true)],
    );
    fs::rename(fixture.path("lists/b.list"), fixture.path("lists/b.off")).expect("a file");
    fixture.assert_soon(
        "renamed to no list",
        &[("c.example", true), ("d.example", false)],
    );
    fixture.remove("lists/a.list");
    fixture.assert_soon("removed from the folder", &[("c.example", false)]);
    fixture.replace("managed.list", "e.example\n");
    fixture.assert_soon("managed", &[("e.example", true)]);
    fixture.replace("managed.list", "# Empty\n");
    fixture.assert_soon("empty and meant to be", &[("e.example", false)]);

    // An older connection sees the same.
    fixture.replace("managed.list", "f.example\n");
    fixture.assert_soon("seen by all", &[("f.example", true)]);
    assert!(held.has_opted_in("f.example"));
    assert!(!held.has_opted_in("a.example"));
}

#[test]
fn a_list_that_is_wrong_empty_or_gone_leaves_the_last_good_one_in_force() {
    let fixture = Fixture::new(
        &[
            ("managed.list", "m.example\n"),
            ("lists/a.list", "a.example\n"),
        ],
        "",
    );
    let log = fixture.daemon.log();
    let stays = [
        ("m.example", true),
        ("a.example", true),
        ("x.example", false),
    ];
    // How the list becomes invalid, and the logged error.
    type Harm = fn(&Fixture);
    let table: [(Harm, &str); 8] = [
        (
            |fixture| fixture.replace("lists/a.list", "x.example\n\n*.example.org\n"),
            "lists/a.list:3: \"*.example.org\" is not a valid domain",
        ),
        (
            |fixture| fixture.replace("lists/a.list", "x.example\n!x.example\n"),
            "lists/a.list:2: !x.example contradicts x.example of an earlier line",
        ),
        (
            |fixture| fixture.write("lists/a.list", ""),
            "lists/a.list: there is no entry in it",
        ),
        (
            |fixture| fixture.replace("lists/a.list", "x.example\n\u{0}\u{1}\n"),
            "lists/a.list:2: ",
        ),
        (
            |fixture| fixture.replace("managed.list", "# nothing\n"),
            "managed.list: there is no entry in it",
        ),
        (
            |fixture| fixture.remove("managed.list"),
            "managed.list: can't be read: No such file",
        ),
        (
            |fixture| {
                fixture.remove("lists/a.list");
                fixture.remove("lists/none.list");
            },
            "lists: the folder has no *.list in it",
        ),
        (
            |fixture| fs::remove_dir(fixture.path("lists")).expect("a folder"),
            "lists: can't be read: No such file",
        ),
    ];
    for (harm, want) in table {
        harm(&fixture);
        let line = log.wait_for(&[want]);
        assert!(
            line.contains("ERROR") && line.contains("the last good list stays"),
            "{line}"
        );
        fixture.wait_until(&stays);
    }
    // Once for each change, not once for each poll.
    let logged = log
        .lines()
        .iter()
        .filter(|line| line.contains("ERROR"))
        .count();
    assert_eq!(logged, table.len(), "{}", log.text());

    fs::create_dir(fixture.path("lists")).expect("a folder");
    fixture.replace("lists/a.list", "b.example\n");
    fixture.replace("managed.list", "n.example\n");
    fixture.assert_soon(
        "mended",
        &[
            ("a.example", false),
            ("b.example", true),
            ("m.example", false),
            ("n.example", true),
        ],
    );
}

#[test]
fn a_reload_with_a_wrong_list_changes_nothing() {
    let fixture = Fixture::new(&[("lists/a.list", "a.example\n")], "");
    let log = fixture.daemon.log();
    let file = fixture.daemon.config_file();
    let text = fs::read_to_string(&file).expect("the configuration");
    fs::write(&file, text.replace("/lists]", "/other.list]")).expect("the configuration");

    fixture.daemon.reload();
    log.wait_for(&[
        "not reloaded",
        "other.list: can't be read",
        "(named by opt_in.files)",
    ]);
    assert!(fixture.mta().has_opted_in("a.example"));

    fixture.write("other.list", "b.example\nno nsense\n");
    fixture.daemon.reload();
    log.wait_for(&["not reloaded", "other.list:2: "]);
    assert!(fixture.mta().has_opted_in("a.example"));

    fixture.write("other.list", "b.example\n");
    fixture.daemon.reload();
    assert!(fixture.mta().has_opted_in("b.example"));
    assert!(!fixture.mta().has_opted_in("a.example"));
    fixture.replace("other.list", "c.example\n");
    fixture.assert_soon(
        "followed after a reload",
        &[("b.example", false), ("c.example", true)],
    );
}

#[test]
fn a_wrong_list_is_a_wrong_configuration() {
    let table = [
        // entry, error
        (
            None,
            "FOLDER/a.list: can't be read: No such file or directory (os error 2) (named by opt_in.files)\n",
        ),
        (
            Some(""),
            "FOLDER/a.list: there is no entry in it; if that is meant, write the line \"# empty\" (named by opt_in.files)\n",
        ),
        (
            Some("a.example\n# b\nb example\n"),
            "FOLDER/a.list:3: \"b example\" is more than one word; write one entry a line: \
          example.org, .example.org for its subdomains, or !example.org and !.example.org for what has opted out\n",
        ),
        (
            Some("192.0.2.1"),
            "FOLDER/a.list:1: \"192.0.2.1\" is an address, which can't opt in\n",
        ),
    ];
    for (list, want) in table {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().display().to_string();
        if let Some(text) = list {
            fs::write(folder.path().join("a.list"), text).expect("a file");
        }
        let config = folder.path().join("milter.yaml");
        fs::write(&config, format!("opt_in: {{files: {path}/a.list}}\n")).expect("a file");
        for command in ["check-config", "serve"] {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_sixgate"))
                .args([command, "-c"])
                .arg(&config)
                .output()
                .expect("the program runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said, want.replace("FOLDER", &path), "{list:?}");
            assert_eq!(output.status.code(), Some(78), "{list:?}");
        }
    }
}

/// Replaces a list repeatedly while MTAs send mail, and compares every answer with all
/// versions: half of the domains are in all versions, half in none, and two more are added
/// and removed together.
fn replace_under_load(domains: usize, times: usize) {
    let mut common = String::new();
    for n in 0..domains {
        common.push_str(&format!("in-{n}.example\n"));
    }
    let list = |version: usize| format!("{common}v{version}.example\n.v{version}.example\n");
    // A log line for each answer would be too much.
    let fixture = Fixture::new(&[], "default: no\nlog: {level: warn}");
    let put = |version: usize| {
        fs::write(fixture.path("new"), list(version)).expect("a file");
        fs::rename(fixture.path("new"), fixture.path("lists/big.list")).expect("a file system");
        fixture.wait_until(&[(&format!("v{version}.example"), true)])
    };
    put(0);
    let is_over = AtomicBool::new(false);
    let answers = AtomicUsize::new(0);
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        for worker in 0..4 {
            let (fixture, is_over, answers) = (&fixture, &is_over, &answers);
            scope.spawn(move || {
                let mut mta = fixture.mta();
                let mut n = worker;
                while !is_over.load(Ordering::Relaxed) {
                    n = (n * 25_214_903 + 11) % domains;
                    assert!(mta.has_opted_in(&format!("in-{n}.example")), "{n}");
                    assert!(!mta.has_opted_in(&format!("out-{n}.example")), "{n}");
                    answers.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        for version in 1..=times {
            slowest = slowest.max(put(version));
            let mut mta = fixture.mta();
            assert!(!mta.has_opted_in(&format!("v{}.example", version - 1)));
            assert!(mta.has_opted_in(&format!("x.v{version}.example")));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    eprintln!(
        "{domains} domains replaced {times} times: {} answers, none wrong; \
         in force after {} ms at most; {} KiB resident, {} KiB at most",
        answers.into_inner(),
        slowest.as_millis(),
        fixture.daemon.memory(),
        fixture.daemon.peak_memory(),
    );
}

#[test]
fn a_list_is_replaced_under_load_without_a_wrong_answer() {
    replace_under_load(20_000, 3);
}

#[test]
#[ignore = "takes minutes"]
fn a_million_domains_are_replaced_a_hundred_times_without_a_wrong_answer() {
    replace_under_load(1_000_000, 100);
}

#[test]
fn a_list_with_one_entry_is_logged_in_the_singular() {
    let fixture = Fixture::new(&[], "");
    let log = fixture.daemon.log();
    fixture.replace("managed.list", "one.example\n");
    log.wait_for(&["opt_in.managed_file: read again, 1 entry in "]);
    fixture.replace("managed.list", "one.example\ntwo.example\n");
    log.wait_for(&["opt_in.managed_file: read again, 2 entries in "]);
    fixture.replace("managed.list", "one.example\n");
    fixture.wait_until(&[("two.example", false)]);
    fixture.replace("managed.list", "# nothing\n");
    log.wait_for(&[
        "managed.list: there is no entry",
        "stays in force (1 entry)",
    ]);
}
