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
    daemon::{Daemon, PATIENCE},
    dns::{DnsServer, Zone},
    milter::{Command, MilterClient, Reply},
};
use tempfile::TempDir;

const ZONE: &str = "2001:db8::1  PTR  mail.good.example\n";

/// How soon a change has to be in force.
const SOON: Duration = Duration::from_secs(2);

/// What a busy machine may add to that.
const SLACK: Duration = Duration::from_secs(3);

/// The daemon with its lists: `managed.list` and those in the folder `lists`.
struct World {
    daemon: Daemon,
    folder: TempDir,
    _dns: DnsServer,
}

impl World {
    /// With files that are there at first, and more of the section `opt_in`.
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

    /// Puts a file in the place of another at once, as careful programs do.
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

    /// Waits until each domain has opted in (`true`) or not, and says how long
    /// that took.
    #[track_caller]
    fn wait_until(&self, want: &[(&str, bool)]) -> Duration {
        let start = Instant::now();
        let mut mta = self.mta();
        while !want
            .iter()
            .all(|(domain, yes)| mta.has_opted_in(domain) == *yes)
        {
            let log = self.daemon.log();
            assert!(start.elapsed() < PATIENCE, "not {want:?}:\n{}", log.text());
            thread::yield_now();
        }
        start.elapsed()
    }

    /// The same, within the time that is promised.
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
    let worlds = [
        World::new(&[("managed.list", &in_file)], ""),
        World::new(&[], &format!("domains: [{in_place}]")),
        World::new(&[("lists/a.list", &in_file)], ""),
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
    for (world, source) in worlds.iter().zip(["managed", "domains", "file"]) {
        let mut mta = world.mta();
        for (domain, want) in table {
            assert_eq!(mta.has_opted_in(domain), want, "{source}: {domain}");
        }
        let told = ["NOQUEUE: reject: ", "[out.below.example]"];
        let line = world.daemon.log().wait_for(&told);
        assert!(line.contains(&format!("opt_in={source} ")), "{line}");
    }
}

#[test]
fn the_first_source_that_knows_a_domain_decides() {
    let world = World::new(
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
    let mut mta = world.mta();
    for (domain, want) in table {
        assert_eq!(mta.has_opted_in(domain), want, "{domain}");
    }
}

#[test]
fn lists_that_change_are_in_force_within_two_seconds() {
    let world = World::new(&[("lists/a.list", "a.example\n")], "");
    let mut held = world.mta();
    assert!(held.has_opted_in("a.example"));

    world.write("lists/a.list", "b.example\n");
    world.assert_soon(
        "written in place",
        &[("a.example", false), ("b.example", true)],
    );
    world.replace("lists/a.list", "!b.example\nc.example\n");
    world.assert_soon("replaced", &[("b.example", false), ("c.example", true)]);
    world.replace("lists/b.list", "d.example\n");
    world.assert_soon(
        "added to the folder",
        &[("c.example", true), ("d.example", true)],
    );
    fs::rename(world.path("lists/b.list"), world.path("lists/b.off")).expect("a file");
    world.assert_soon(
        "renamed to no list",
        &[("c.example", true), ("d.example", false)],
    );
    world.remove("lists/a.list");
    world.assert_soon("removed from the folder", &[("c.example", false)]);
    world.replace("managed.list", "e.example\n");
    world.assert_soon("managed", &[("e.example", true)]);
    world.replace("managed.list", "# Empty\n");
    world.assert_soon("empty and meant to be", &[("e.example", false)]);

    // A connection from before all that sees the same.
    world.replace("managed.list", "f.example\n");
    world.assert_soon("seen by all", &[("f.example", true)]);
    assert!(held.has_opted_in("f.example"));
    assert!(!held.has_opted_in("a.example"));
}

#[test]
fn a_list_that_is_wrong_empty_or_gone_leaves_the_last_good_one_in_force() {
    let world = World::new(
        &[
            ("managed.list", "m.example\n"),
            ("lists/a.list", "a.example\n"),
        ],
        "",
    );
    let log = world.daemon.log();
    let stays = [
        ("m.example", true),
        ("a.example", true),
        ("x.example", false),
    ];
    // How it becomes wrong, and what is said of it.
    type Harm = fn(&World);
    let table: [(Harm, &str); 8] = [
        (
            |world| world.replace("lists/a.list", "x.example\n\n*.example.org\n"),
            "lists/a.list:3: \"*.example.org\" is no domain",
        ),
        (
            |world| world.replace("lists/a.list", "x.example\n!x.example\n"),
            "lists/a.list:2: !x.example contradicts x.example of an earlier line",
        ),
        (
            |world| world.write("lists/a.list", ""),
            "lists/a.list: there is no entry in it",
        ),
        (
            |world| world.replace("lists/a.list", "x.example\n\u{0}\u{1}\n"),
            "lists/a.list:2: ",
        ),
        (
            |world| world.replace("managed.list", "# nothing\n"),
            "managed.list: there is no entry in it",
        ),
        (
            |world| world.remove("managed.list"),
            "managed.list: can't be read: No such file",
        ),
        (
            |world| {
                world.remove("lists/a.list");
                world.remove("lists/none.list");
            },
            "lists: the folder has no *.list in it",
        ),
        (
            |world| fs::remove_dir(world.path("lists")).expect("a folder"),
            "lists: can't be read: No such file",
        ),
    ];
    for (harm, want) in table {
        harm(&world);
        let line = log.wait_for(&[want]);
        assert!(
            line.contains("ERROR") && line.contains("the last good list stays"),
            "{line}"
        );
        world.wait_until(&stays);
    }
    // Once for each change, not once for each look.
    let told = log
        .lines()
        .iter()
        .filter(|line| line.contains("ERROR"))
        .count();
    assert_eq!(told, table.len(), "{}", log.text());

    fs::create_dir(world.path("lists")).expect("a folder");
    world.replace("lists/a.list", "b.example\n");
    world.replace("managed.list", "n.example\n");
    world.assert_soon(
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
    let world = World::new(&[("lists/a.list", "a.example\n")], "");
    let log = world.daemon.log();
    let file = world.daemon.config_file();
    let text = fs::read_to_string(&file).expect("the configuration");
    fs::write(&file, text.replace("/lists]", "/other.list]")).expect("the configuration");

    world.daemon.reload();
    log.wait_for(&[
        "not reloaded",
        "other.list: can't be read",
        "(named by opt_in.files)",
    ]);
    assert!(world.mta().has_opted_in("a.example"));

    world.write("other.list", "b.example\nno nsense\n");
    world.daemon.reload();
    log.wait_for(&["not reloaded", "other.list:2: "]);
    assert!(world.mta().has_opted_in("a.example"));

    world.write("other.list", "b.example\n");
    world.daemon.reload();
    assert!(world.mta().has_opted_in("b.example"));
    assert!(!world.mta().has_opted_in("a.example"));
    world.replace("other.list", "c.example\n");
    world.assert_soon(
        "followed after a reload",
        &[("b.example", false), ("c.example", true)],
    );
}

#[test]
fn a_wrong_list_is_a_wrong_configuration() {
    let table = [
        // what stands in the list, what is said
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

/// Replaces a list again and again while MTAs ask, and holds every answer
/// against what any version says: half of the domains are in all versions, half
/// in none, and two more come and go together.
fn replace_under_load(domains: usize, times: usize) {
    let mut common = String::new();
    for n in 0..domains {
        common.push_str(&format!("in-{n}.example\n"));
    }
    let list = |version: usize| format!("{common}v{version}.example\n.v{version}.example\n");
    // Nobody could hold a line for each answer.
    let world = World::new(&[], "default: no\nlog: {level: warn}");
    let put = |version: usize| {
        fs::write(world.path("new"), list(version)).expect("a file");
        fs::rename(world.path("new"), world.path("lists/big.list")).expect("a file system");
        world.wait_until(&[(&format!("v{version}.example"), true)])
    };
    put(0);
    let is_over = AtomicBool::new(false);
    let answers = AtomicUsize::new(0);
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        for worker in 0..4 {
            let (world, is_over, answers) = (&world, &is_over, &answers);
            scope.spawn(move || {
                let mut mta = world.mta();
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
            let mut mta = world.mta();
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
        world.daemon.memory(),
        world.daemon.peak_memory(),
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
    let world = World::new(&[], "");
    let log = world.daemon.log();
    world.replace("managed.list", "one.example\n");
    log.wait_for(&["opt_in.managed_file: read again, 1 entry in "]);
    world.replace("managed.list", "one.example\ntwo.example\n");
    log.wait_for(&["opt_in.managed_file: read again, 2 entries in "]);
    world.replace("managed.list", "one.example\n");
    world.wait_until(&[("two.example", false)]);
    world.replace("managed.list", "# nothing\n");
    log.wait_for(&[
        "managed.list: there is no entry",
        "stays in force (1 entry)",
    ]);
}
