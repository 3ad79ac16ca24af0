//! `sixgate opt-in`: the real program on real files, with a daemon that follows
//! them and a DNS server that knows mail exchangers.

mod support;

use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, TIMEOUT},
    dns::{DnsServer, Zone},
    milter::{MilterClient, Reply},
    output::{stderr, stdout, with_input},
};
use tempfile::TempDir;

const ZONE: &str = "\
both.example        MX         10 mx4.both.example\n\
both.example        MX         20 mx6.both.example\n\
mx4.both.example    A          192.0.2.1\n\
mx6.both.example    AAAA       2001:db8::6\n\
four.example        MX         10 mx.four.example\n\
mx.four.example     A          192.0.2.1\n\
itself.example      AAAA       2001:db8::7\n\
none.example        MX         0 .\n\
broken.example      SERVFAIL\n";

/// A configuration with a managed list, a list, and a DNS server.
struct Fixture {
    folder: TempDir,
    dns: DnsServer,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            folder: TempDir::new().expect("a folder"),
            dns: DnsServer::start(Zone::parse(ZONE).expect("a zone")),
        };
        fixture.write(
            "managed.list",
            "# ours\n\nold.example  # 2024-01-01 by hand\n",
        );
        fixture.write("a.list", "listed.example  # a customer\n.below.example\n");
        fixture.write("milter.yaml", &fixture.config());
        fixture
    }

    fn config(&self) -> String {
        format!(
            "dns: {{servers: [{}], timeout: 1s, attempts: 1}}\n\
             opt_in: {{managed_file: {}, files: {}, domains: [\"!.out.below.example\"]}}\n",
            self.dns.address(),
            self.path("managed.list").display(),
            self.path("a.list").display(),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn managed(&self) -> String {
        fs::read_to_string(self.path("managed.list")).expect("the managed list")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (verb, rest) = arguments.split_first().expect("a verb");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.args(["opt-in", verb, "-c"]);
        command.arg(self.path("milter.yaml")).args(rest);
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
}

#[test]
fn the_managed_list_keeps_its_comments_its_order_and_its_mode() {
    let fixture = Fixture::new();
    let mode = |mode| PermissionsExt::from_mode(mode);
    fs::set_permissions(fixture.path("managed.list"), mode(0o640)).expect("our file");
    let table: [(&[&str], &str); 7] = [
        (
            &["add", "New.Example.", "!bücher.example"],
            "new.example: added\n!xn--bcher-kva.example: added\n",
        ),
        (
            &["add", "--comment", "ticket\n7", ".new.example"],
            ".new.example: added\n",
        ),
        (
            &["add", "old.example"],
            "old.example: listed already (2024-01-01 by hand)\n",
        ),
        (
            &["add", "xn--bcher-kva.example"],
            "xn--bcher-kva.example: changed from !xn--bcher-kva.example\n",
        ),
        (
            &["remove", "old.example"],
            "old.example: removed\nnow old.example: no (default: no source knows it)\n",
        ),
        (
            &["remove", "old.example"],
            "old.example: not listed\nnow old.example: no (default: no source knows it)\n",
        ),
        (&["add", "--force", "localhost"], "localhost: added\n"),
    ];
    for (arguments, want) in table {
        let arguments = [arguments, &["--no-dns"]].concat();
        assert_eq!(fixture.printed(&arguments), want, "{arguments:?}");
    }
    let managed = fixture.managed();
    let lines: Vec<&str> = managed.lines().collect();
    let today = lines[2].rsplit(' ').next().unwrap_or_default();
    assert!(today.len() == 10 && today.starts_with("20"), "{managed}");
    let want = format!(
        "# ours\n\nnew.example  # {today}\nxn--bcher-kva.example  # {today}\n\
         .new.example  # {today} ticket 7\nlocalhost  # {today}\n"
    );
    assert_eq!(managed, want);
    let metadata = fs::metadata(fixture.path("managed.list")).expect("the managed list");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    let left: Vec<_> = fs::read_dir(fixture.folder.path())
        .expect("our folder")
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_list_that_is_not_there_is_made_and_a_link_is_followed() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.path("managed.list")).expect("a file");
    assert_eq!(
        fixture.printed(&["add", "a.example", "--no-dns"]),
        "a.example: added\n"
    );
    assert!(
        fixture
            .managed()
            .starts_with("# Domains that take mail over IPv6.")
    );

    fs::rename(fixture.path("managed.list"), fixture.path("real.list")).expect("a file");
    symlink(fixture.path("real.list"), fixture.path("managed.list")).expect("a link");
    assert_eq!(
        fixture.printed(&["remove", "a.example", "--no-dns"]),
        "a.example: removed\nnow a.example: no (default: no source knows it)\n"
    );
    assert!(fixture.path("managed.list").is_symlink());
    assert!(
        fixture.managed().ends_with("# empty\n"),
        "{}",
        fixture.managed()
    );
}

#[test]
fn nonsense_is_refused_before_anything_is_written() {
    let fixture = Fixture::new();
    let before = fixture.managed();
    let table: [(&[&str], &str); 8] = [
        (
            &["good.example", "192.0.2.1"],
            "\"192.0.2.1\" is an address, which can't opt in",
        ),
        (
            &["2001:db8::1"],
            "\"2001:db8::1\" is an address, which can't opt in",
        ),
        (
            &["good.example", "com"],
            "com is a domain without a dot; if that is intended, use --force",
        ),
        (
            &["!.com"],
            "!.com is a domain without a dot; if that is intended, use --force",
        ),
        (&["user@a.example"], "write a.example"),
        (&["*.a.example"], "write .a.example"),
        (
            &["a.example", "!A.example"],
            "!a.example contradicts a.example; remove one of them",
        ),
        (&[""], "it is empty"),
    ];
    for (domains, want) in table {
        let output = fixture.run(&[&["add", "--no-dns"], domains].concat());
        assert!(
            stderr(&output).contains(want),
            "{domains:?}: {}",
            stderr(&output)
        );
        assert_eq!(output.status.code(), Some(64), "{domains:?}");
        assert_eq!(stdout(&output), "", "{domains:?}");
    }
    let output = fixture.run_with(&["add", "-"], "good.example\n\nnot good\n");
    assert!(stderr(&output).starts_with("standard input:3: \"not good\" is more than one word"));
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(fixture.managed(), before);

    fixture.write("managed.list", "a.example\nnot good\n");
    let output = fixture.run(&["add", "--no-dns", "b.example"]);
    assert!(
        stderr(&output).contains("managed.list:2: \"not good\""),
        "{}",
        stderr(&output)
    );
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(fixture.managed(), "a.example\nnot good\n");
}

#[test]
fn a_hundred_thousand_domains_come_by_standard_input() {
    let fixture = Fixture::new();
    let domains: String = (0..100_000)
        .map(|n| format!("customer-{n}.example # {n}\n"))
        .collect();
    for (verb, want) in [
        ("add", "100000 added\n"),
        ("add", "100000 listed already\n"),
        ("deny", "100000 changed\n"),
        ("deny", "100000 listed already\n"),
        ("add", "100000 changed\n"),
        ("remove", "100000 removed\nnow: 100000 no (default)\n"),
    ] {
        let start = Instant::now();
        let output = fixture.run_with(&[verb, "-"], &domains);
        eprintln!("{verb}: {} ms", start.elapsed().as_millis());
        assert_eq!(stdout(&output), want);
        assert_eq!(stderr(&output), "");
        let lines = fixture.managed().lines().count();
        assert_eq!(lines, if verb == "remove" { 3 } else { 100_003 });
    }
    let start = Instant::now();
    let status = stdout(&fixture.run_with(&["status", "-"], &domains));
    eprintln!("status: {} ms", start.elapsed().as_millis());
    assert_eq!(status.lines().count(), 100_000);
    assert!(status.ends_with("customer-99999.example: no (default: no source knows it)\n"));
}

#[test]
fn editors_take_turns() {
    let fixture = Fixture::new();
    thread::scope(|scope| {
        for n in 0..8 {
            let fixture = &fixture;
            scope.spawn(move || {
                for m in 0..4 {
                    fixture.printed(&["add", "--no-dns", &format!("a{n}-{m}.example")]);
                }
            });
        }
    });
    let managed = fixture.managed();
    assert_eq!(managed.lines().count(), 3 + 8 * 4, "{managed}");
}

#[test]
fn mail_exchangers_that_do_not_fit_are_warned_of() {
    let fixture = Fixture::new();
    let table: [(&str, &str, &str); 10] = [
        ("add", "both.example", ""),
        (
            "remove",
            "both.example",
            "warning: both.example: its mail exchanger mx6.both.example (2001:db8::6) has an \
             AAAA record, so mail that arrives over IPv6 is refused with 550; use one without\n",
        ),
        (
            "add",
            "four.example",
            "warning: four.example: no mail arrives over IPv6 until one of its mail exchangers \
             has an AAAA record: mx.four.example\n",
        ),
        ("remove", "four.example", ""),
        (
            "add",
            "!itself.example",
            "warning: itself.example: its mail exchanger itself.example (2001:db8::7) has an \
             AAAA record, so mail that arrives over IPv6 is refused with 550; use one without\n",
        ),
        (
            "add",
            "none.example",
            "warning: none.example: it accepts no mail (null MX)\n",
        ),
        (
            "add",
            "gone.example",
            "warning: gone.example: it does not exist in the DNS\n",
        ),
        (
            "add",
            "broken.example",
            "warning: broken.example: its mail exchangers can't be looked up now: MX: SERVFAIL\n",
        ),
        // The entry did not exist, and nothing has changed.
        ("remove", "itself.example", ""),
        // The hosts of its subdomains are unknown.
        ("add", ".four.example", ""),
    ];
    for (verb, domain, want) in table {
        let output = fixture.run(&[verb, domain]);
        assert_eq!(stderr(&output), want, "{verb} {domain}");
        assert!(output.status.success(), "{verb} {domain}");
    }
    fixture.dns.forget_questions();
    let many: Vec<String> = (0..21).map(|n| format!("many-{n}.example")).collect();
    let many = many.join("\n");
    assert_eq!(stderr(&fixture.run_with(&["add", "-"], &many)), "");
    assert!(fixture.dns.questions().is_empty());
    let warned = stderr(&fixture.run_with(&["add", "--dns", "-"], &many));
    assert_eq!(warned.lines().count(), 21, "{warned}");
}

#[test]
fn deny_writes_opt_outs_as_add_writes_opt_ins() {
    let fixture = Fixture::new();
    let steps: [(&[&str], &str); 7] = [
        (
            &["deny", "old.example", "Bücher.example.", ".sub.example"],
            "!old.example: changed from old.example\n!xn--bcher-kva.example: added\n\
             !.sub.example: added\n",
        ),
        (
            &["deny", "--comment", "ticket 7", "listed.example"],
            "!listed.example: added\n",
        ),
        (
            &["deny", "listed.example"],
            "!listed.example: listed already (DATE ticket 7)\n",
        ),
        (
            &["add", "xn--bcher-kva.example"],
            "xn--bcher-kva.example: changed from !xn--bcher-kva.example\n",
        ),
        (&["deny", "--force", "localhost"], "!localhost: added\n"),
        (
            &["remove", "!localhost"],
            "!localhost: removed\nnow localhost: no (default: no source knows it)\n",
        ),
        (
            &["status", "listed.example"],
            "listed.example: no (managed: !listed.example in FILE:6 (DATE ticket 7))\n",
        ),
    ];
    let file = fixture.path("managed.list").display().to_string();
    for (arguments, want) in steps {
        let no_dns: &[&str] = if arguments[0] == "status" {
            &[]
        } else {
            &["--no-dns"]
        };
        let printed = fixture.printed(&[arguments, no_dns].concat());
        let want = want
            .replace("DATE", &today(&fixture))
            .replace("FILE", &file);
        assert_eq!(printed, want, "{arguments:?}");
    }
    let want = "# ours\n\n!old.example  # DATE\nxn--bcher-kva.example  # DATE\n\
                !.sub.example  # DATE\n!listed.example  # DATE ticket 7\n";
    assert_eq!(fixture.managed(), want.replace("DATE", &today(&fixture)));

    let output = fixture.run_with(
        &["deny", "--no-dns", "-"],
        "one.example # first\ntwo.example\n",
    );
    assert_eq!(
        stdout(&output),
        "!one.example: added\n!two.example: added\n"
    );
    let one = format!("!one.example  # {} first\n", today(&fixture));
    assert!(fixture.managed().contains(&one), "{}", fixture.managed());
}

/// The date of the last line that has one.
fn today(fixture: &Fixture) -> String {
    let managed = fixture.managed();
    let mut dates = managed
        .split_whitespace()
        .filter(|word| word.len() == 10 && word.starts_with("20") && word.as_bytes()[4] == b'-');
    dates.next_back().unwrap_or_default().to_owned()
}

#[test]
fn deny_rejects_invalid_domains_and_existing_opt_outs() {
    let fixture = Fixture::new();
    let before = fixture.managed();
    let table: [(&[&str], &str); 4] = [
        (
            &["good.example", "!a.example"],
            "!a.example is an opt-out already; use a.example",
        ),
        (
            &["com"],
            "!com is a domain without a dot; if that is intended, use --force",
        ),
        (&["user@a.example"], "write a.example"),
        (&["*.a.example"], "write .a.example"),
    ];
    for (domains, want) in table {
        let output = fixture.run(&[&["deny", "--no-dns"], domains].concat());
        assert!(
            stderr(&output).contains(want),
            "{domains:?}: {}",
            stderr(&output)
        );
        assert_eq!(output.status.code(), Some(64), "{domains:?}");
        assert_eq!(stdout(&output), "", "{domains:?}");
    }
    assert_eq!(fixture.managed(), before);
}

#[test]
fn remove_prints_what_applies_then_and_warns_of_domains_that_are_still_opted_in() {
    let fixture = Fixture::new();
    let list = fixture.path("a.list").display().to_string();
    let managed = fixture.path("managed.list").display().to_string();
    let deny = "to opt out: sixgate opt-in deny";
    let by_list = format!("(file: listed.example in {list}:1 (a customer))");
    let below = format!("(file: .below.example in {list}:2)");
    let out_below = "(domains: !.out.below.example in opt_in.domains)";
    let table = [
        (
            "listed.example",
            format!("listed.example: not listed\nnow listed.example: yes {by_list}\n"),
            format!("warning: listed.example is still opted in {by_list}; {deny} listed.example\n"),
        ),
        (
            ".below.example",
            format!(".below.example: not listed\nnow subdomains of below.example: yes {below}\n"),
            format!(
                "warning: subdomains of below.example are still opted in {below}; \
                 {deny} .below.example\n"
            ),
        ),
        (
            ".out.below.example",
            format!(
                ".out.below.example: not listed\n\
                 now subdomains of out.below.example: no {out_below}\n"
            ),
            String::new(),
        ),
        (
            "!old.example",
            format!(
                "!old.example: not listed, but old.example is\n\
                 now old.example: yes (managed: old.example in {managed}:3 (2024-01-01 by hand))\n"
            ),
            // Removing an opt-out leaves the domain opted in.
            String::new(),
        ),
    ];
    for (entry, want, warning) in table {
        let output = fixture.run(&["remove", "--no-dns", entry]);
        assert_eq!(stdout(&output), want, "{entry}");
        assert_eq!(stderr(&output), warning, "{entry}");
        assert!(output.status.success(), "{entry}");
    }
    // With opt-in by default, the domain is still opted in without the entry.
    fixture.write(
        "milter.yaml",
        &fixture
            .config()
            .replace("opt_in: {", "opt_in: {default: yes, "),
    );
    let output = fixture.run(&["remove", "--no-dns", "old.example"]);
    let by_default = "(default: no source knows it, and opt_in.default is yes)";
    let want = format!("old.example: removed\nnow old.example: yes {by_default}\n");
    assert_eq!(stdout(&output), want);
    let want = format!("warning: old.example is still opted in {by_default}; {deny} old.example\n");
    assert_eq!(stderr(&output), want);
    let many: String = (0..30).map(|n| format!("d{n}.example\n")).collect();
    let output = fixture.run_with(&["remove", "-"], &many);
    assert_eq!(stdout(&output), "30 not listed\nnow: 30 yes (default)\n");
    assert_eq!(
        stderr(&output),
        "warning: 30 of them are still opted in, such as d0.example; to opt out: \
         sixgate opt-in deny, to see why: sixgate opt-in status\n"
    );
    // The list has been changed when another one turns out to be unreadable.
    fs::remove_file(fixture.path("a.list")).expect("our file");
    let output = fixture.run(&["remove", "--no-dns", "gone.example"]);
    assert_eq!(stdout(&output), "gone.example: not listed\n");
    let warning = stderr(&output);
    assert!(
        warning.starts_with("warning: what applies now is unknown: "),
        "{warning}"
    );
    assert!(warning.contains("a.list: can't be read"), "{warning}");
}

#[test]
fn status_names_the_deciding_source_and_line() {
    let fixture = Fixture::new();
    let (managed, list) = (fixture.path("managed.list"), fixture.path("a.list"));
    let (managed, list) = (managed.display(), list.display());
    let printed = fixture.printed(&[
        "status",
        "Old.Example",
        "x.below.example",
        "x.out.below.example",
        "no.example",
    ]);
    let want = format!(
        "old.example: yes (managed: old.example in {managed}:3 (2024-01-01 by hand))\n\
         x.below.example: yes (file: .below.example in {list}:2)\n\
         x.out.below.example: no (domains: !.out.below.example in opt_in.domains)\n\
         no.example: no (default: no source knows it)\n"
    );
    assert_eq!(printed, want);
    let printed: Value =
        serde_json::from_str(&fixture.printed(&["status", "--json", "listed.example"]))
            .expect("JSON");
    let want = json!([{
        "domain": "listed.example", "verdict": "yes", "opt_in": "yes", "source": "file", "entry": "listed.example",
        "file": format!("{list}"), "line": 1, "reason": format!("listed.example in {list}:1 (a customer)"),
    }]);
    assert_eq!(printed, want);
    let output = fixture.run(&["status", "a@b.example"]);
    assert_eq!(output.status.code(), Some(64));

    let input = "old.example # ours\n\nx.below.example\n";
    let output = fixture.run_with(&["status", "--json", "no.example", "-"], input);
    let printed: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let verdicts = printed.as_array().expect("an array").iter();
    let verdicts: Vec<_> = verdicts
        .map(|o| (&o["domain"], &o["verdict"], &o["source"], &o["entry"]))
        .map(|(domain, verdict, source, entry)| json!([domain, verdict, source, entry]))
        .collect();
    let want = [
        json!(["no.example", "no", "default", null]),
        json!(["old.example", "yes", "managed", "old.example"]),
        json!(["x.below.example", "yes", "file", ".below.example"]),
    ];
    assert_eq!(verdicts, want);
    let output = fixture.run_with(&["status", "-"], "a.example\nnot good\n");
    let complaint = "standard input:2: \"not good\" is not a valid domain";
    assert!(
        stderr(&output).starts_with(complaint),
        "{}",
        stderr(&output)
    );
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(stdout(&output), "");
}

#[test]
fn lists_are_printed_as_one_equivalent_list() {
    let fixture = Fixture::new();
    fixture.write("managed.list", "a.example # 2024-01-01\n!.b.example\n");
    fixture.write(
        "a.list",
        "!a.example\nx.b.example\n.below.example\n!no.below.example\n",
    );
    let (managed, list) = (fixture.path("managed.list"), fixture.path("a.list"));
    let (managed, list) = (managed.display(), list.display());
    let want = format!(
        "# managed: {managed}\na.example  # 2024-01-01\n!.b.example\n# domains\n\
         !.out.below.example\n# file: {list}\n.below.example\n!no.below.example\n"
    );
    assert_eq!(fixture.printed(&["list"]), want);
    let managed_alone = fixture.printed(&["list", "--managed"]);
    assert!(want.starts_with(&managed_alone), "{managed_alone}");
    let json: Value =
        serde_json::from_str(&fixture.printed(&["list", "--format", "json"])).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(5));
    assert_eq!(json[4]["entry"], "!no.below.example");
    assert_eq!(json[4]["opt_in"], "no");
    fixture.write("managed.list", "# empty\n");
    assert_eq!(fixture.printed(&["list", "--managed"]), "# empty\n");
    assert_eq!(
        fixture.printed(&["list", "--managed", "--format", "json"]),
        "[]\n"
    );
}

#[test]
fn in_a_zone_every_name_below_a_wildcard_says_what_the_wildcard_does() {
    let fixture = Fixture::new();
    fixture.write(
        "managed.list",
        "a.example\n!out.example\na.example\n.w.example\n!x.y.w.example\n!.v.w.example\n",
    );
    fixture.write("a.list", "# empty\n");
    let zone = fixture.printed(&[
        "list",
        "--managed",
        "--format",
        "zone",
        "--zone",
        "Optin.Example",
    ]);
    let mut lines = zone.lines();
    assert_eq!(lines.next(), Some("$ORIGIN optin.example."));
    assert_eq!(lines.next(), Some("$TTL 300"));
    let soa = lines.next().unwrap_or_default();
    assert!(
        soa.starts_with("@ SOA localhost. root.localhost. "),
        "{soa}"
    );
    let want = [
        "@ NS localhost.",
        "test A 127.0.0.2",
        "a.example A 127.0.0.2",
        "out.example A 127.0.0.3",
        "*.w.example A 127.0.0.2",
        "x.y.w.example A 127.0.0.3",
        "*.x.y.w.example A 127.0.0.2",
        "y.w.example A 127.0.0.2",
        "*.y.w.example A 127.0.0.2",
        "v.w.example A 127.0.0.2",
        "*.v.w.example A 127.0.0.3",
    ];
    assert_eq!(lines.collect::<Vec<_>>(), want);
    let rbldnsd = fixture.printed(&["list", "--managed", "--format", "rbldnsd"]);
    for line in [
        "a.example :127.0.0.2:",
        "*.w.example :127.0.0.2:",
        "*.v.w.example :127.0.0.3:",
    ] {
        assert!(rbldnsd.lines().any(|other| other == line), "{rbldnsd}");
    }
}

#[test]
fn the_running_daemon_follows() {
    let fixture = Fixture::new();
    let daemon = Daemon::start(&fixture.config());
    let steps: [(&[&str], &str, bool); 5] = [
        (&["add", "new.example"], "new.example", true),
        (&["deny", "new.example"], "new.example", false),
        (&["add", "new.example"], "new.example", true),
        (&["deny", "listed.example"], "listed.example", false),
        (&["remove", "!listed.example"], "listed.example", true),
    ];
    for (arguments, domain, want) in steps {
        fixture.printed(&[arguments, &["--no-dns"]].concat());
        let start = Instant::now();
        let mut mta = mta(&daemon);
        while has_opted_in(&mut mta, domain) != want {
            assert!(
                start.elapsed() < TIMEOUT,
                "{arguments:?}: {}",
                daemon.log().text()
            );
            thread::yield_now();
        }
        eprintln!(
            "{arguments:?}: in force after {} ms",
            start.elapsed().as_millis()
        );
        // Two seconds are documented; the rest is for a busy machine.
        assert!(start.elapsed() < Duration::from_secs(5), "{arguments:?}");
    }
}

fn mta(daemon: &Daemon) -> MilterClient {
    let mut mta = MilterClient::open(&daemon.address());
    let client: SocketAddr = "[2001:db8::1]:25".parse().expect("an address");
    assert_eq!(mta.connect_from("[x]", client), Reply::Continue);
    assert_eq!(mta.helo("mail.example"), Reply::Continue);
    assert_eq!(mta.mail(&["<a@mail.example>"]), Reply::Continue);
    mta
}

/// The client has no PTR record, which is looked up only after the opt-in.
fn has_opted_in(mta: &mut MilterClient, domain: &str) -> bool {
    match mta.rcpt(&[&format!("<b@{domain}>")]) {
        Reply::Smtp(reply) if reply.starts_with("450 4.7.25 ") => true,
        Reply::Smtp(reply) if reply.starts_with("550 5.2.1 ") => false,
        other => panic!("{domain}: {other:?}"),
    }
}
