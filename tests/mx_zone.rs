//! A host name per domain: the zone that `sixgate opt-in list --format mx-zone` prints,
//! on the name servers of Debian.

mod support;

use libtest_mimic::Arguments;
use serde_json::{Value, json};
use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, ExitCode, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
#[cfg(feature = "redis")]
use support::redis::RedisServer;
use support::{
    daemon::{Daemon, TIMEOUT},
    http,
    name_server::{KEY, Kind, NameServer, empty_zone, write_key},
    output::{stderr, stdout, with_input},
    port::lasting_address,
    programs::trial,
};
use tempfile::TempDir;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests mostly wait for servers, so more of them run than there are cores.
    arguments.test_threads.get_or_insert(4);
    let trials = vec![
        trial("NSD serves the printed zone", &["nsd"], || {
            serves_the_printed_zone(Kind::Nsd);
        }),
        trial("Knot serves the printed zone", &["knotd"], || {
            serves_the_printed_zone(Kind::Knot);
        }),
        trial("BIND serves the printed zone", &["named"], || {
            serves_the_printed_zone(Kind::Bind);
        }),
        trial(
            "host names may be part of a zone",
            &["nsd", "knotd", "named"],
            || {
                for kind in [Kind::Nsd, Kind::Knot, Kind::Bind] {
                    serves_the_included_zone(kind);
                }
            },
        ),
        trial("Knot follows the opt-ins", &["knotd"], || {
            follows_the_opt_ins(Kind::Knot);
        }),
        trial("BIND follows the opt-ins", &["named"], || {
            follows_the_opt_ins(Kind::Bind);
        }),
        trial(
            "Knot: an opt-out waits until senders have forgotten",
            &["knotd"],
            || an_opt_out_waits(Kind::Knot),
        ),
        trial(
            "Knot: an interrupted opt-out is resumed",
            &["knotd"],
            || an_interrupted_opt_out_is_resumed(Kind::Knot),
        ),
        trial("Knot: an interrupted update is resumed", &["knotd"], || {
            an_interrupted_update_is_resumed(Kind::Knot)
        }),
        trial("Knot: two runs at once do no harm", &["knotd"], || {
            two_runs_at_once(Kind::Knot)
        }),
        trial(
            "Knot: what a server refuses is reported",
            &["knotd"],
            || server_refusals_are_reported(Kind::Knot),
        ),
        trial(
            "BIND: an opt-out waits until senders have forgotten",
            &["named"],
            || an_opt_out_waits(Kind::Bind),
        ),
        trial(
            "BIND: an interrupted opt-out is resumed",
            &["named"],
            || an_interrupted_opt_out_is_resumed(Kind::Bind),
        ),
        trial("BIND: an interrupted update is resumed", &["named"], || {
            an_interrupted_update_is_resumed(Kind::Bind)
        }),
        trial("BIND: two runs at once do no harm", &["named"], || {
            two_runs_at_once(Kind::Bind)
        }),
        trial(
            "BIND: what a server refuses is reported",
            &["named"],
            || server_refusals_are_reported(Kind::Bind),
        ),
        trial(
            "other sources opt out with --opt-out",
            &["knotd"],
            other_sources_opt_out,
        ),
        trial(
            "an opt-out can be given up",
            &["knotd"],
            an_opt_out_can_be_cancelled,
        ),
        #[cfg(feature = "redis")]
        trial(
            "a list in Redis opts out in order",
            &["knotd", "redis-server"],
            a_list_in_redis_opts_out,
        ),
        trial("drift is reported", &["knotd"], drift_is_reported),
        trial(
            "keys that are wrong are refused",
            &[],
            wrong_keys_are_refused,
        ),
        trial(
            "the configuration has what the command line has",
            &[],
            options_and_keys_agree,
        ),
        trial("an error is one line", &[], errors_take_one_line),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

const SUFFIX: &str = "mx.example.net";

/// A folder with a configuration and a managed list.
struct Site {
    folder: TempDir,
}

impl Site {
    /// With these keys below `opt_in.mx_zone`.
    fn new(list: &str, mx_zone: &str) -> Self {
        let site = Self {
            folder: TempDir::new().expect("a folder"),
        };
        site.write("managed.list", list);
        let list = site.path("managed.list").display().to_string();
        site.write(
            "milter.yaml",
            &format!(
                "dns: {{servers: 127.0.0.1:9, timeout: 200ms, attempts: 1}}\n\
                 opt_in:\n  managed_file: {list}\n  mx_zone: {{{mx_zone}}}\n"
            ),
        );
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let (verb, rest) = arguments.split_first().expect("a verb");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.args(["opt-in", verb, "-c"]);
        command.arg(self.path("milter.yaml")).args(rest);
        command.current_dir(self.folder.path());
        with_input(command, input)
    }

    /// Returns its output; it must succeed without a warning.
    #[track_caller]
    fn printed(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert_eq!(stderr(&output), "", "{arguments:?}");
        assert!(output.status.success(), "{arguments:?}");
        stdout(&output)
    }
}

const LIST: &str = "\
contoso.com
!fabrikam.com
a-b.example
a.b.example
bücher.example
a-domain-whose-name-is-too-long-for-one-label.with-a-subdomain.example
";

/// Customers, some of which are on no list.
const DOMAINS: &str = "contoso.com\nunheard.example  # a new one\n\na.b.c.example\n";

/// Domain, host name and whether it has opted in.
const HOSTS: [(&str, &str, bool); 8] = [
    ("contoso.com", "contoso-com", true),
    ("fabrikam.com", "fabrikam-com", false),
    ("a-b.example", "a--b-example", true),
    ("a.b.example", "a-b-example", true),
    ("bücher.example", "dom---xn----bcher--kva-example", true),
    (
        "a-domain-whose-name-is-too-long-for-one-label.with-a-subdomain.example",
        "a--domain--whose--name--is--too--long--for---qmalfefijscqvajl",
        true,
    ),
    ("unheard.example", "unheard-example", false),
    ("a.b.c.example", "a-b-c-example", false),
];

const A: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 25), Ipv4Addr::new(192, 0, 2, 26)];
const AAAA: [Ipv6Addr; 1] = [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x25)];

const OPTIONS: [&str; 13] = [
    "list",
    "--format",
    "mx-zone",
    "--suffix",
    SUFFIX,
    "--a",
    "192.0.2.25",
    "--a",
    "192.0.2.26",
    "--aaaa",
    "2001:db8::25",
    "--domains",
    "-",
];

fn serves_the_printed_zone(kind: Kind) {
    let site = Site::new(LIST, "");
    let arguments = [
        OPTIONS.as_slice(),
        &["--ns", "ns1.example.net", "--ns", "ns2.example.net"],
    ];
    let zone = site.printed(&arguments.concat(), DOMAINS);
    let server = NameServer::start(kind, SUFFIX, &zone);
    assert_serves(&server);
}

fn serves_the_included_zone(kind: Kind) {
    let site = Site::new(LIST, "");
    let records = site.printed(&OPTIONS, DOMAINS);
    let zone = format!(
        "$TTL 3600\n{}$INCLUDE mx-hosts\nwww 300 A 192.0.2.80\n",
        empty_zone("example.net")
    );
    let mut server = NameServer::new(kind, "example.net", &zone);
    fs::write(server.file("mx-hosts"), records).expect("a file");
    let absolute = zone.replace("mx-hosts", &server.file("mx-hosts").display().to_string());
    fs::write(server.file("zone"), absolute).expect("a zone");
    server.run();
    assert_serves(&server);
    // The following names are not below the suffix.
    let www = server.addresses("www.example.net");
    assert_eq!(www.0, [Ipv4Addr::new(192, 0, 2, 80)]);
}

#[track_caller]
fn assert_serves(server: &NameServer) {
    assert_serves_but(server, &[]);
}

#[track_caller]
fn assert_serves_but(server: &NameServer, but: &[&str]) {
    for (domain, label, opted_in) in HOSTS {
        if but.contains(&domain) {
            continue;
        }
        let found = server.addresses(&format!("{label}.{SUFFIX}"));
        let aaaa = if opted_in { AAAA.to_vec() } else { Vec::new() };
        assert_eq!(found, (A.to_vec(), aaaa), "{domain} {:?}", server.kind);
    }
}

fn options_and_keys_agree() {
    let by_options = Site::new(LIST, "");
    let zone = by_options.printed(&[OPTIONS.as_slice(), &["--ttl", "90s"]].concat(), DOMAINS);
    assert!(zone.contains("\ncontoso-com 90 A 192.0.2.25\n"), "{zone}");
    let keys = format!(
        "suffix: {SUFFIX}, a: [192.0.2.25, 192.0.2.26], aaaa: \"2001:db8::25\", ttl: 90s, \
         domains: FILE"
    );
    let file = TempDir::new().expect("a folder");
    let file = file.path().join("domains");
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(&file, DOMAINS).expect("a file");
    let by_keys = Site::new(LIST, &keys.replace("FILE", &file.display().to_string()));
    assert_eq!(by_keys.printed(&["list", "--format", "mx-zone"], ""), zone);
}

fn errors_take_one_line() {
    let site = Site::new(LIST, "");
    let with = |more: &[&'static str]| [&OPTIONS, more].concat();
    let without = |option: &str| {
        let place = OPTIONS
            .iter()
            .position(|word| *word == option)
            .expect("it is there");
        [&OPTIONS[..place], &OPTIONS[place + 2..]].concat()
    };
    let table: Vec<(Vec<&str>, &str, i32, &str)> = vec![
        (
            without("--suffix"),
            "",
            64,
            "--suffix or opt_in.mx_zone.suffix is missing",
        ),
        (
            without("--aaaa"),
            "",
            64,
            "--aaaa or opt_in.mx_zone.aaaa is missing",
        ),
        (
            with(&[]),
            "",
            64,
            "standard input: there is no domain in it",
        ),
        (
            with(&[]),
            "a.example\nx y\n",
            64,
            "standard input:2: \"x y\" is not a valid domain: it has a character that no domain name has",
        ),
        (
            with(&[]),
            "localhost\n",
            64,
            "standard input:1: \"localhost\" has no dot; write domains such as example.org",
        ),
        (
            vec!["list", "--suffix", SUFFIX],
            "",
            64,
            "--suffix has no effect without --format mx-zone",
        ),
        (
            with(&["--managed"]),
            "a.example\n",
            64,
            "--managed has no effect with --format mx-zone",
        ),
    ];
    for (arguments, input, code, want) in table {
        let output = site.run(&arguments, input);
        assert_eq!(stderr(&output), format!("{want}\n"), "{arguments:?}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
    let missing = site.run(
        &[&without("--domains")[..], &["--domains", "missing"]].concat(),
        "",
    );
    assert_eq!(missing.status.code(), Some(66));
    // A lookup without an answer must not remove AAAA records.
    let site = Site::new(LIST, "");
    let yaml = fs::read_to_string(site.path("milter.yaml")).expect("ours");
    site.write(
        "milter.yaml",
        &format!("{yaml}  dns_zone: opt-in.example.org\n"),
    );
    let output = site.run(&OPTIONS, DOMAINS);
    let want = "whether a.b.c.example has opted in is unknown: no usable answer: port closed\n";
    assert_eq!(stderr(&output), want);
    assert_eq!(output.status.code(), Some(75));
    assert_eq!(stdout(&output), "");
}

/// A site whose zone is on a name server.
fn site_with(server: &NameServer, list: &str, mx_zone: &str) -> Site {
    let site = Site::new(list, "");
    let key = site.path("key");
    write_key(&key, KEY);
    let keys = format!(
        "suffix: {SUFFIX}, a: [192.0.2.25, 192.0.2.26], aaaa: \"2001:db8::25\", ttl: 1s, \
         grace: 0s, server: \"{}\", key_file: {}, {mx_zone}",
        server.address(),
        key.display()
    );
    let yaml = fs::read_to_string(site.path("milter.yaml")).expect("ours");
    site.write(
        "milter.yaml",
        &yaml.replace("mx_zone: {}", &format!("mx_zone: {{{keys}}}")),
    );
    site
}

const SYNC: [&str; 5] = ["sync-dns", "--settle", "0s", "--domains", "-"];

fn follows_the_opt_ins(kind: Kind) {
    let mut zone = empty_zone(SUFFIX);
    // Records of others stay.
    let not_ours = "contoso-com 300 TXT kept\nwww-static 300 A 192.0.2.80\n\
                    deep.contoso-com 300 AAAA 2001:db8::1\nns1 300 AAAA 2001:db8::53\n";
    zone += not_ours;
    zone += "gone-customer 300 A 192.0.2.25\ngone-customer 300 A 192.0.2.26\n\
             gone-customer 300 AAAA 2001:db8::25\n\
             unheard-example 300 AAAA 2001:db8::25\nfabrikam-com 60 A 192.0.2.1\n\
             a-b-example 300 CNAME www.example.org.\n";
    let server = NameServer::start(kind, SUFFIX, &zone);
    let site = site_with(&server, LIST, "");

    let dry = site.run(&[&SYNC[..], &["--dry-run"]].concat(), DOMAINS);
    let script = stdout(&dry);
    assert!(
        script.contains("\nprereq yxrrset unheard-example.mx.example.net. AAAA 2001:db8::25\n"),
        "{script}"
    );
    assert!(
        script.contains("\nupdate delete unheard-example.mx.example.net. AAAA\n"),
        "{script}"
    );
    assert!(
        script.contains("\nupdate add contoso-com.mx.example.net. 1 AAAA 2001:db8::25\n"),
        "{script}"
    );
    assert_eq!(
        server.addresses("contoso-com.mx.example.net"),
        (vec![], vec![])
    );

    let output = site.run(&SYNC, DOMAINS);
    let alias = "warning: a-b-example.mx.example.net has a CNAME record, so it is not changed\n";
    let stranger = "warning: 1 host names belong to no known domain, such as \
                    gone-customer.mx.example.net; to remove them: --prune\n";
    assert_eq!(stderr(&output), format!("{alias}{stranger}"));
    assert!(output.status.success());
    let said = stdout(&output);
    assert!(
        said.contains("unheard-example.mx.example.net: AAAA removed\n"),
        "{said}"
    );
    assert!(
        said.contains("fabrikam-com.mx.example.net: A changed\n"),
        "{said}"
    );
    assert!(
        said.contains("contoso-com.mx.example.net: AAAA added\n"),
        "{said}"
    );
    assert_serves_but(&server, &["a.b.example"]);
    let again = stdout(&site.run(&SYNC, DOMAINS));
    assert_eq!(again, "no difference in 8 host names\n");

    let pruned = stdout(&site.run(&[&SYNC[..], &["--prune"]].concat(), DOMAINS));
    assert_eq!(
        pruned,
        "gone-customer.mx.example.net: AAAA removed\ngone-customer.mx.example.net: A removed\n"
    );
    let still = [
        ("www-static", vec![Ipv4Addr::new(192, 0, 2, 80)], vec![]),
        (
            "ns1",
            vec![],
            vec!["2001:db8::53".parse().expect("an address")],
        ),
        (
            "deep.contoso-com",
            vec![],
            vec!["2001:db8::1".parse().expect("an address")],
        ),
    ];
    for (label, a, aaaa) in still {
        assert_eq!(
            server.addresses(&format!("{label}.{SUFFIX}")),
            (a, aaaa),
            "{label}"
        );
    }
}

/// A customer that accepts mail over IPv6.
const CONTOSO: &str = "contoso-com.mx.example.net";

impl Site {
    fn spawn(&self, arguments: &[&str]) -> Child {
        let (verb, rest) = arguments.split_first().expect("a verb");
        Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(["opt-in", verb, "-c"])
            .arg(self.path("milter.yaml"))
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    fn managed(&self) -> String {
        fs::read_to_string(self.path("managed.list")).expect("the managed list")
    }

    fn set(&self, from: &str, to: &str) {
        let yaml = fs::read_to_string(self.path("milter.yaml")).expect("ours");
        assert!(yaml.contains(from), "{yaml}");
        self.write("milter.yaml", &yaml.replace(from, to));
    }
}

#[track_caller]
fn wait_until(mut is_so: impl FnMut() -> bool) -> Instant {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never comes");
        thread::sleep(Duration::from_millis(20));
    }
    Instant::now()
}

fn has_aaaa(server: &NameServer) -> bool {
    !server.addresses(CONTOSO).1.is_empty()
}

/// A server whose zone agrees with the list.
fn in_line(kind: Kind) -> (NameServer, Site) {
    let server = NameServer::start(kind, SUFFIX, &empty_zone(SUFFIX));
    let site = site_with(&server, "contoso.com  # a customer\n", "");
    site.printed(&["sync-dns", "--settle", "0s"], "");
    assert!(has_aaaa(&server));
    (server, site)
}

fn an_opt_out_waits(kind: Kind) {
    let (server, site) = in_line(kind);
    site.set("grace: 0s", "grace: 2s");
    let deny = site.spawn(&["deny", "--sync-dns", "--comment", "ticket 7", "contoso.com"]);
    let gone = wait_until(|| !has_aaaa(&server));
    assert!(!site.managed().contains('!'), "{}", site.managed());
    let listed = wait_until(|| site.managed().contains("!contoso.com"));
    // The TTL is 1 s.
    assert!(
        listed - gone > Duration::from_millis(2800),
        "{:?}",
        listed - gone
    );
    let output = deny.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
    let said = stdout(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("{CONTOSO}: AAAA removed"));
    assert!(lines[1].starts_with("waiting until 20"), "{said}");
    assert_eq!(lines[2], "!contoso.com: added");
    assert!(site.managed().contains(" ticket 7\n"), "{}", site.managed());
    // And in the opposite direction.
    let said = site.printed(&["add", "--sync-dns", "contoso.com"], "");
    assert_eq!(
        said,
        format!("contoso.com: changed from !contoso.com\n{CONTOSO}: AAAA added\n")
    );
    let said = site.printed(&["remove", "--sync-dns", "contoso.com"], "");
    assert!(
        said.ends_with("\ncontoso.com: removed\nno difference in 1 host names\n"),
        "{said}"
    );
    assert!(!has_aaaa(&server));
    // No daemon answered yes, so there is no need to wait.
    let said = site.printed(&["deny", "--sync-dns", "contoso.com"], "");
    assert_eq!(said, "!contoso.com: added\nno difference in 1 host names\n");
}

fn an_interrupted_opt_out_is_resumed(kind: Kind) {
    let (server, site) = in_line(kind);
    site.set("grace: 0s", "grace: 3s");
    let mut deny = site.spawn(&["deny", "--sync-dns", "contoso.com"]);
    let gone = wait_until(|| !has_aaaa(&server));
    deny.kill().expect("it waits");
    deny.wait().expect("it ends");
    // A run before the end changes nothing, although the list says yes.
    site.printed(&["sync-dns", "--settle", "0s"], "");
    if gone.elapsed() < Duration::from_secs(3) {
        assert!(!site.managed().contains('!'), "{}", site.managed());
    }
    assert!(!has_aaaa(&server));
    let listed = wait_until(|| {
        site.printed(&["sync-dns", "--settle", "0s"], "");
        assert!(!has_aaaa(&server));
        site.managed().contains("!contoso.com")
    });
    assert!(
        listed - gone > Duration::from_secs(3),
        "{:?}",
        listed - gone
    );
    let pending = fs::read_to_string(site.path("managed.list.pending")).expect("the file");
    assert!(pending.ends_with("\n# empty\n"), "{pending}");
}

/// This many need several updates.
fn customers(number: usize) -> String {
    (0..number)
        .map(|n| format!("customer{n}.example\n"))
        .collect()
}

fn an_interrupted_update_is_resumed(kind: Kind) {
    let server = NameServer::start(kind, SUFFIX, &empty_zone(SUFFIX));
    let site = site_with(&server, "customer0.example\n", "");
    let number = 20_000;
    site.write("managed.list", &customers(number));
    let mut sync = site.spawn(&["sync-dns", "--settle", "0s"]);
    wait_until(|| {
        !server
            .addresses("customer0-example.mx.example.net")
            .0
            .is_empty()
    });
    sync.kill().expect("it works");
    sync.wait().expect("it ends");
    let last = format!("customer{}-example.mx.example.net", number - 1);
    let said = site.printed(&["sync-dns", "--settle", "0s"], "");
    eprintln!("{kind:?}: {said}");
    let (a, aaaa) = server.addresses(&last);
    assert_eq!((a.len(), aaaa.len()), (2, 1));
    let again = site.printed(&["sync-dns"], "");
    assert_eq!(again, format!("no difference in {number} host names\n"));
}

fn two_runs_at_once(kind: Kind) {
    let server = NameServer::start(kind, SUFFIX, &empty_zone(SUFFIX));
    let site = site_with(&server, &customers(3000), "");
    let runs = [(); 2].map(|()| site.spawn(&["sync-dns", "--settle", "0s"]));
    for run in runs {
        let output = run.wait_with_output().expect("it ends");
        let code = output.status.code();
        // Each rereads the zone, at most three times.
        assert!(code == Some(0) || code == Some(75), "{}", stderr(&output));
    }
    site.printed(&["sync-dns", "--settle", "0s"], "");
    let again = site.printed(&["sync-dns"], "");
    assert_eq!(again, "no difference in 3000 host names\n");
}

fn server_refusals_are_reported(kind: Kind) {
    let mut server = NameServer::new(kind, SUFFIX, &empty_zone(SUFFIX));
    server.allows_transfer = false;
    server.run();
    let address = server.address();
    let site = site_with(&server, "contoso.com\n!fabrikam.com\n", "");
    let sync = || site.run(&["sync-dns", "--settle", "0s"], "");
    let unknown = |key: &str| {
        format!("it does not know the key {key}, or the key is not allowed to do this (BADKEY)")
    };
    // Without a transfer.
    let output = sync();
    let code = match kind {
        // Knot 3.4.
        Kind::Knot if stderr(&output).contains("NOTAUTH") => "NOTAUTH".to_owned(),
        // Knot 3.2.
        Kind::Knot => unknown("sixgate-mx"),
        Kind::Bind | Kind::Nsd => "REFUSED".to_owned(),
    };
    let by_name = format!(
        "warning: {address}: it refuses a transfer of the zone: {code}; each name is queried \
         instead, without signatures\n"
    );
    assert_eq!(stderr(&output), by_name);
    assert!(output.status.success());
    assert!(has_aaaa(&server));
    assert_eq!(stdout(&sync()), "no difference in 2 host names\n");

    // Other keys.
    let wrong = KEY.replace("cGp1", "bGp1");
    write_key(&site.path("key"), &wrong);
    site.write("managed.list", "contoso.com\nfabrikam.com\n");
    let output = sync();
    let bad_signature = format!(
        "{address}: the secret of the key sixgate-mx is not the one that it has (BADSIG)\n"
    );
    assert!(
        stderr(&output).ends_with(&bad_signature),
        "{}",
        stderr(&output)
    );
    assert_eq!(output.status.code(), Some(69));
    write_key(&site.path("key"), &KEY.replace("sixgate-mx", "other"));
    let unknown = match code.as_str() {
        "NOTAUTH" => code.clone(),
        _ => unknown("other"),
    };
    let want = format!(
        "warning: {address}: it refuses a transfer of the zone: {unknown}; each name is queried \
         instead, without signatures\n{address}: it refuses an update of the zone: {unknown}"
    );
    assert_fails(&sync(), 69, &want);
    write_key(&site.path("key"), KEY);

    // No updates.
    server.allows_transfer = true;
    server.allows_update = false;
    server.kill();
    server.run();
    site.write("managed.list", "contoso.com\nnew.example\n");
    assert_fails(
        &sync(),
        69,
        &format!("{address}: it refuses an update of the zone: {code}"),
    );

    // Another zone.
    site.set("suffix: mx.example.net", "suffix: mx.example.org");
    let output = sync();
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    site.set("suffix: mx.example.org", "suffix: mx.example.net");

    // No answer at all.
    server.kill();
    assert_fails(&sync(), 69, &format!("{address}: connection refused"));
    let deny = site.run(&["deny", "--sync-dns", "contoso.com"], "");
    assert_fails(&deny, 69, &format!("{address}: connection refused"));
    assert_eq!(site.managed(), "contoso.com\nnew.example\n");
    // It is still pending.
    server.allows_update = true;
    server.run();
    wait_until(|| {
        site.run(&["sync-dns", "--settle", "0s"], "");
        site.managed().contains("!contoso.com")
    });
    assert!(!has_aaaa(&server));
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, want: &str) {
    assert_eq!(stderr(output), format!("{want}\n"));
    assert_eq!(output.status.code(), Some(code));
}

fn other_sources_opt_out() {
    let server = NameServer::start(Kind::Knot, SUFFIX, &empty_zone(SUFFIX));
    let site = site_with(&server, "# empty\n", "");
    // As a database that says yes.
    site.set("opt_in:\n", "opt_in:\n  default: yes\n");
    site.write("domains", "contoso.com\nother.example\n");
    let domains = site.path("domains").display().to_string();
    let sync = ["sync-dns", "--settle", "0s", "--domains", &domains];
    site.printed(&sync, "");
    assert!(has_aaaa(&server));
    let said = site.printed(&[&sync[..], &["--opt-out", "contoso.com"]].concat(), "");
    let forgotten =
        "contoso.com: its AAAA record has expired from caches; opt it out in its source\n";
    assert!(said.contains(forgotten), "{said}");
    assert!(!has_aaaa(&server));
    // It still says yes.
    let said = site.printed(&sync, "");
    assert_eq!(said, format!("{forgotten}no difference in 2 host names\n"));
    assert!(!has_aaaa(&server));
    site.printed(&["deny", "--no-dns", "contoso.com"], "");
    let said = site.printed(&sync, "");
    assert_eq!(
        said,
        "contoso.com: opted out\nno difference in 2 host names\n"
    );
    assert_eq!(site.managed().lines().count(), 1);
}

fn an_opt_out_can_be_cancelled() {
    let (server, site) = in_line(Kind::Knot);
    site.set("grace: 0s", "grace: 1h");
    site.printed(&["deny", "--sync-dns", "--no-wait", "contoso.com"], "");
    assert!(!has_aaaa(&server));
    let said = site.printed(&["add", "--sync-dns", "contoso.com"], "");
    assert_eq!(
        said,
        format!(
            "contoso.com: listed already (a customer)\n\
             contoso.com: its opt-out in progress is canceled\n{CONTOSO}: AAAA added\n"
        )
    );
    site.printed(&["deny", "--sync-dns", "--no-wait", "contoso.com"], "");
    let said = site.printed(
        &["sync-dns", "--settle", "0s", "--cancel", "contoso.com"],
        "",
    );
    assert!(said.ends_with("AAAA added\n"), "{said}");
    assert!(has_aaaa(&server));
    assert_eq!(site.managed(), "contoso.com  # a customer\n");
}

fn wrong_keys_are_refused() {
    let server = NameServer::new(Kind::Knot, SUFFIX, "");
    let site = site_with(&server, LIST, "");
    let key = site.path("key");
    let name = key.display();
    let sync = || site.run(&["sync-dns"], "");
    write_key(
        &key,
        "key \"mx\" {\n  algorithm hmac-md5;\n  secret \"aHVudGVyMg==\";\n};\n",
    );
    let want = format!(
        "{name}:2: the algorithm is not supported; write hmac-sha256, hmac-sha384 or hmac-sha512"
    );
    assert_fails(&sync(), 78, &want);
    write_key(&key, KEY);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("our file");
    let want = format!(
        "warning: every user of this machine can read {name}; chmod 600 {name}\n{}: connection \
         refused",
        server.address()
    );
    assert_fails(&sync(), 69, &want);
    fs::remove_file(&key).expect("our file");
    let want = format!("{name}: can't be read: No such file or directory (os error 2)");
    assert_fails(&sync(), 66, &want);
    let table: [(&[&str], &str); 4] = [
        (
            &["sync-dns", "--zone", "example.org"],
            "--zone: mx.example.net is not in example.org",
        ),
        (
            &["deny", "--sync-dns", ".contoso.com"],
            ".contoso.com: --sync-dns supports domains, not entries for subdomains",
        ),
        (
            &["sync-dns", "--opt-out", "a..b"],
            "\"a..b\" is not a valid domain: it has an empty label (two dots in a row or a leading dot)",
        ),
        (
            &["sync-dns", "--domains", "-"],
            "standard input: there is no domain in it",
        ),
    ];
    write_key(&key, KEY);
    for (arguments, want) in table {
        let want = want.replace(".contoso.com: --sync", "!.contoso.com: --sync");
        assert_fails(&site.run(arguments, ""), 64, &want);
    }
    let bare = Site::new(LIST, "");
    let output = bare.run(&["add", "--sync-dns", "new.example"], "");
    assert_fails(&output, 64, "opt_in.mx_zone.server is missing");
    assert_eq!(bare.managed(), LIST);
}

/// Status, metric, log and doctor.
fn drift_is_reported() {
    let zone = format!(
        "{}contoso-com 1 A 192.0.2.25\nfabrikam-com 1 A 192.0.2.25\n\
         fabrikam-com 1 AAAA 2001:db8::25\nright-example 1 A 192.0.2.25\n\
         right-example 1 AAAA 2001:db8::25\npending-example 1 A 192.0.2.25\n",
        empty_zone(SUFFIX)
    );
    let server = NameServer::start(Kind::Knot, SUFFIX, &zone);
    let list = "contoso.com\n!fabrikam.com\nright.example\npending.example\n";
    let site = site_with(&server, list, "check_interval: 1s");
    site.write(
        "managed.list.pending",
        "pending.example deny 2030-01-01T00:00:00Z\n",
    );
    site.write("domains", "new.example\nright.example\n");
    let domains = site.path("domains").display().to_string();
    site.set(
        "check_interval: 1s",
        &format!("check_interval: 1s, domains: {domains}"),
    );
    site.set(
        "servers: 127.0.0.1:9",
        &format!("servers: {}", server.address()),
    );
    let rows = [
        (
            "contoso.com",
            "yes",
            "contoso-com",
            json!([]),
            "missing-aaaa",
            Value::Null,
        ),
        (
            "fabrikam.com",
            "no",
            "fabrikam-com",
            json!(["2001:db8::25"]),
            "unexpected-aaaa",
            Value::Null,
        ),
        (
            "right.example",
            "yes",
            "right-example",
            json!(["2001:db8::25"]),
            "none",
            Value::Null,
        ),
        (
            "pending.example",
            "yes",
            "pending-example",
            json!([]),
            "none",
            json!("2030-01-01T00:00:00Z"),
        ),
        (
            "new.example",
            "no",
            "new-example",
            json!([]),
            "no-host",
            Value::Null,
        ),
    ];
    let mut asked = vec!["status", "--json"];
    asked.extend(rows.iter().map(|row| row.0));
    let statuses: Value = serde_json::from_str(&site.printed(&asked, "")).expect("JSON");
    for (index, (domain, verdict, label, aaaa, drift, until)) in rows.iter().enumerate() {
        let of = |key: &str| statuses[index][key].clone();
        assert_eq!(of("domain"), *domain);
        assert_eq!(of("verdict"), *verdict, "{domain}");
        assert_eq!(of("host"), format!("{label}.{SUFFIX}"), "{domain}");
        assert_eq!(of("aaaa"), *aaaa, "{domain}");
        assert_eq!(of("drift"), *drift, "{domain}");
        assert_eq!(of("opt_out_until"), *until, "{domain}");
    }
    let text = site.printed(&["status", "fabrikam.com"], "");
    let want = "; fabrikam-com.mx.example.net AAAA: 2001:db8::25; drift: unexpected-aaaa, run \
                sixgate opt-in sync-dns\n";
    assert!(text.ends_with(want), "{text}");

    let yaml = fs::read_to_string(site.path("milter.yaml")).expect("ours");
    let port = lasting_address();
    let daemon = Daemon::start(&format!("metrics: {{listen: \"{port}\"}}\n{yaml}"));
    let metrics = || http::get(port, "/metrics").body;
    let has = |text: &str, drift: &str, number: u32| {
        text.contains(&format!(
            "sixgate_mx_zone_domains{{drift=\"{drift}\"}} {number}\n"
        ))
    };
    wait_until(|| has(&metrics(), "unexpected-aaaa", 1));
    let text = metrics();
    for (drift, number) in [
        ("none", 2),
        ("missing-aaaa", 1),
        ("no-host", 1),
        ("unknown", 0),
    ] {
        assert!(has(&text, drift, number), "{drift}: {text}");
    }
    let log = daemon.log();
    log.wait_for(&[
        "1 host names below mx.example.net have an AAAA record",
        "fabrikam-com.mx",
    ]);
    // The difference is fixed.
    site.printed(&["sync-dns", "--settle", "0s"], "");
    wait_until(|| has(&metrics(), "unexpected-aaaa", 0) && has(&metrics(), "missing-aaaa", 0));
    log.wait_for(&["no host name drifts any more (unexpected-aaaa)"]);
}

/// With `opt_in.redis.managed: yes` the hash is edited, and the order is the same.
#[cfg(feature = "redis")]
fn a_list_in_redis_opts_out() {
    let redis = RedisServer::start();
    redis.fill(&[("contoso.com", "yes")]);
    let url = format!("\"{}\"", redis.url());
    let section = redis.section_with(&url, ", managed: yes, timeout: 8s");
    let server = NameServer::start(Kind::Knot, SUFFIX, &empty_zone(SUFFIX));
    let site = site_with(&server, "# empty\n", "");
    site.set("opt_in:\n", &format!("opt_in:\n  {section}\n"));
    // The hash names the domain.
    site.printed(&["sync-dns", "--settle", "0s"], "");
    assert!(has_aaaa(&server));
    let said = site.printed(&["deny", "--sync-dns", "contoso.com"], "");
    assert!(
        said.starts_with(&format!("{CONTOSO}: AAAA removed\nwaiting until ")),
        "{said}"
    );
    assert!(
        said.ends_with("\n!contoso.com: added\nno difference in 1 host names\n"),
        "{said}"
    );
    assert!(!has_aaaa(&server));
    let value = redis.command(&["HGET", "sixgate:opt-in", "contoso.com"]);
    assert!(value.contains("no  #"), "{value}");
    assert_eq!(site.managed(), "# empty\n");
}
