//! Third-party opt-in servers with the real daemon: NSD and rbldnsd with the zone that
//! `sixgate opt-in list` makes, set up as docs/fleet.md says, and the SQLite example that
//! is in it. Postfix's own client queries the same data.

mod support;

use libtest_mimic::Arguments;
use nix::{
    sys::signal::{Signal, kill},
    unistd::geteuid,
};
use sixgate::config::Config;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};
#[cfg(feature = "sql")]
use support::database;
use support::{
    daemon::{Daemon, TIMEOUT},
    dns::{DnsServer, Zone},
    opt_in::{
        CLIENT,
        OptIn::{self, No, Yes},
        opt_in,
    },
    outage::{Source, kill_and_bring_back},
    port::lasting_address,
    programs::{Program, command, trial},
    socketmap::SocketmapServer,
};
use tempfile::TempDir;

const FLEET: &str = include_str!("../docs/fleet.md");

const ZONE: &str = "opt-in.example.org";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("the settings of the manual are settings", &[], || {
            for settings in blocks("yaml") {
                let without = |feature: bool, section: &str| !feature && settings.contains(section);
                if without(cfg!(feature = "sql"), "sql:")
                    || without(cfg!(feature = "redis"), "redis:")
                {
                    continue;
                }
                Config::parse(&settings, "docs/fleet.md").expect("settings");
            }
        }),
        trial("NSD goes and comes back", &["nsd"], || outage_of(Kind::Nsd)),
        trial("rbldnsd goes and comes back", &["rbldnsd"], || {
            outage_of(Kind::Rbldnsd)
        }),
        #[cfg(feature = "sql")]
        trial(
            "PostgreSQL goes and comes back",
            database::Engine::Postgres.programs(),
            || {
                outage_of_database(database::Engine::Postgres);
            },
        ),
        #[cfg(feature = "sql")]
        trial(
            "MariaDB goes and comes back",
            database::Engine::MariaDb.programs(),
            || {
                outage_of_database(database::Engine::MariaDb);
            },
        ),
        #[cfg(feature = "sql")]
        trial(
            "a SQLite file goes and comes back",
            database::Engine::Sqlite.programs(),
            || {
                outage_of_database(database::Engine::Sqlite);
            },
        ),
        trial(
            "zones say what the list says that they are made of",
            &["nsd", "rbldnsd"],
            zones_match_the_list,
        ),
        trial(
            "a secondary has the changes of the primary",
            &["nsd"],
            a_secondary_has_the_changes_of_the_primary,
        ),
        trial(
            "the SQLite example goes and comes back",
            &["python3"],
            outage_of_the_example,
        ),
        trial(
            "the SQLite example answers from the table of the manual",
            &["python3", "postmap"],
            the_example_answers_from_its_table,
        ),
        trial(
            "Postfix and sixgate get the same answers from a socketmap server",
            &["postmap"],
            postfix_hears_the_same,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

#[derive(Clone, Copy)]
enum Kind {
    Nsd,
    Rbldnsd,
}

/// A name server with a zone generated from a list.
struct NameServer {
    kind: Kind,
    folder: TempDir,
    port: u16,
    running: Option<Program>,
}

impl NameServer {
    fn new(kind: Kind) -> Self {
        // rbldnsd drops root privileges.
        let readable = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(readable).tempdir();
        Self {
            kind,
            folder: folder.expect("a folder"),
            port: lasting_address().port(),
            running: None,
        }
    }

    fn serving(kind: Kind, list: &str) -> Self {
        let mut server = Self::new(kind);
        server.serve(list);
        server
    }

    /// Restarts with the entries of a list.
    fn serve(&mut self, list: &str) {
        self.running = None;
        self.write_zone(list);
        self.running = Some(match self.kind {
            Kind::Nsd => self.start_nsd(&block("/etc/nsd/nsd.conf.d/opt-in.conf")),
            Kind::Rbldnsd => self.start_rbldnsd(),
        });
    }

    fn write_zone(&self, list: &str) {
        let file = self.folder.path().join("opt-in.list");
        fs::write(&file, list).expect("a list");
        let format = match self.kind {
            Kind::Nsd => ["--format", "zone", "--zone", ZONE].as_slice(),
            Kind::Rbldnsd => &["--format", "rbldnsd"],
        };
        fs::write(self.zone_file(), self.listed(format)).expect("a zone");
    }

    /// Returns the output of the documented `opt-in list` command.
    fn listed(&self, format: &[&str]) -> Vec<u8> {
        assert!(FLEET.contains(&format!("sixgate opt-in list {} > ", format.join(" "))));
        let list = self.folder.path().join("opt-in.list");
        let config = self.folder.path().join("milter.yaml");
        let yaml = format!("opt_in: {{managed_file: {}}}\n", list.display());
        fs::write(&config, yaml).expect("a configuration");
        let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(["opt-in", "list", "-c"])
            .arg(config)
            .args(format)
            .output()
            .expect("the program starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    fn zone_file(&self) -> PathBuf {
        self.folder.path().join(format!("{ZONE}.zone"))
    }

    fn start_nsd(&self, zone: &str) -> Program {
        let folder = self.folder.path().display();
        let config = self.folder.path().join("nsd.conf");
        let server = format!(
            "server:\n  ip-address: 127.0.0.1@{}\n  server-count: 1\n  username: \"\"\n  \
             database: \"\"\n  zonesdir: {folder}\n  xfrdir: {folder}\n  \
             pidfile: {folder}/pid\n  xfrdfile: {folder}/xfrd.state\n  \
             zonelistfile: {folder}/zone.list\n  xfrd-reload-timeout: 0\n\
             remote-control:\n  control-enable: no\n",
            self.port
        );
        fs::write(&config, server + zone).expect("a configuration");
        let mut nsd = command("nsd");
        nsd.arg("-d").arg("-c").arg(config);
        Program::start(nsd, "nsd started")
    }

    fn start_rbldnsd(&self) -> Program {
        let line = block("rbldnsd serves it with")
            .replace("127.0.0.1/5300", &format!("127.0.0.1/{}", self.port))
            .replace(
                "/var/lib/sixgate/opt-in.rbldnsd",
                &self.zone_file().display().to_string(),
            );
        let mut words = line.split_whitespace();
        let mut rbldnsd = command(words.next().expect("a command"));
        // It refuses to run as root.
        rbldnsd.args(geteuid().is_root().then_some("-unobody"));
        rbldnsd.args(words);
        Program::start(rbldnsd, "started (")
    }
}

impl Source for NameServer {
    fn start(&mut self, yes: &str, no: &str) {
        self.serve(&format!("{yes}\n!{no}\n"));
    }

    fn kill(&mut self) {
        self.running = None;
    }
}

/// Returns the first code block after the first line with these words.
fn block(words: &str) -> String {
    let mut lines = FLEET.lines().skip_while(|line| !line.contains(words));
    let start = lines.by_ref().find(|line| line.starts_with("```"));
    assert!(start.is_some(), "docs/fleet.md has no block behind {words}");
    let lines = lines.take_while(|line| !line.starts_with("```"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Returns all code blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = FLEET.split(&opening).skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once("```"));
    let blocks: Vec<_> = blocks.map(|(block, _)| block.to_owned()).collect();
    assert!(!blocks.is_empty(), "docs/fleet.md has no {language}");
    blocks
}

/// A daemon that queries a name server which has only the zone. It needs no other DNS,
/// because a missing PTR record is accepted.
fn settings(port: u16, timeout: &str) -> String {
    format!(
        "on_dns_failure: accept\n\
         dns: {{servers: 127.0.0.1:{port}, cache_bytes: 0, timeout: {timeout}, attempts: 1}}\n"
    )
}

/// Long enough for a busy machine.
const LONG: &str = "7s";

fn outage_of(kind: Kind) {
    let mut server = NameServer::new(kind);
    let settings = settings(server.port, "500ms");
    kill_and_bring_back(&mut server, &format!("dns_zone: {ZONE}"), &settings);
}

#[cfg(feature = "sql")]
fn outage_of_database(engine: database::Engine) {
    let mut database = database::Database::with_table(engine);
    let section = database.section(database::QUERY);
    // No PTR record is looked up.
    let settings = settings(lasting_address().port(), "500ms");
    kill_and_bring_back(&mut database, &section, &settings);
}

const LIST: &str = "\
contoso.com
.contoso.com
!legacy.contoso.com
!.lab.contoso.com
fine.lab.contoso.com
.example.net
!deep.down.example.net
a.b.c.example.org
bücher.example
";

fn zones_match_the_list() {
    let domains = [
        ("contoso.com", Yes),
        ("a.contoso.com", Yes),
        ("a.b.contoso.com", Yes),
        ("legacy.contoso.com", No),
        ("a.legacy.contoso.com", Yes),
        ("lab.contoso.com", Yes),
        ("a.lab.contoso.com", No),
        ("fine.lab.contoso.com", Yes),
        ("a.fine.lab.contoso.com", No),
        ("example.net", No),
        ("down.example.net", Yes),
        ("a.down.example.net", Yes),
        ("deep.down.example.net", No),
        ("a.deep.down.example.net", Yes),
        ("a.b.c.example.org", Yes),
        ("b.c.example.org", No),
        ("c.example.org", No),
        ("xn--bcher-kva.example", Yes),
        ("com", No),
        ("unheard.example", No),
    ];
    let servers = [Kind::Nsd, Kind::Rbldnsd].map(|kind| NameServer::serving(kind, LIST));
    let list = servers[0].folder.path().join("opt-in.list");
    let by_list = Daemon::start(&format!(
        "opt_in: {{files: {}}}\n{}",
        list.display(),
        settings(servers[0].port, LONG)
    ));
    let [by_nsd, by_rbldnsd] = servers.each_ref().map(|server| {
        let settings = settings(server.port, LONG);
        Daemon::start(&format!("opt_in: {{dns_zone: {ZONE}}}\n{settings}"))
    });
    for (domain, want) in domains {
        let said = [&by_list, &by_nsd, &by_rbldnsd].map(|daemon| opt_in(daemon, domain));
        assert_eq!(said, [want; 3], "{domain}");
    }
}

fn a_secondary_has_the_changes_of_the_primary() {
    let mut primary = NameServer::new(Kind::Nsd);
    let mut secondary = NameServer::new(Kind::Nsd);
    let ours = |block: &str| {
        block
            .replace("notify: 192.0.2.25", "notify: 127.0.0.1@SECONDARY")
            .replace("AXFR 192.0.2.1", "AXFR 127.0.0.1@PRIMARY")
            .replace(
                "allow-notify: 127.0.0.1@SECONDARY",
                "allow-notify: 127.0.0.1",
            )
            .replace("192.0.2.25", "127.0.0.1")
            .replace("192.0.2.1", "127.0.0.1")
            .replace("SECONDARY", &secondary.port.to_string())
            .replace("PRIMARY", &primary.port.to_string())
    };
    let [of_primary, of_secondary] =
        ["On the primary", "On each MX"].map(|words| ours(&block(words)));
    primary.write_zone("a.example\n");
    primary.running = Some(primary.start_nsd(&of_primary));
    secondary.running = Some(secondary.start_nsd(&of_secondary));
    let cache = "cache: {positive: 0s, negative: 0s, stale: 0s}";
    let settings = settings(secondary.port, LONG);
    let daemon = Daemon::start(&format!(
        "opt_in: {{dns_zone: {ZONE}, {cache}}}\n{settings}"
    ));
    wait_for(&daemon, "a.example", Yes);
    assert_eq!(opt_in(&daemon, "b.example"), No);

    let start = Instant::now();
    let running = primary.running.as_ref().expect("it runs");
    let before = fs::read(primary.zone_file()).expect("a zone");
    // The serial number is in seconds.
    while soa(&fs::read(primary.zone_file()).expect("a zone")) == soa(&before) {
        primary.write_zone("a.example\nb.example\n");
    }
    kill(running.pid(), Signal::SIGHUP).expect("it runs");
    wait_for(&daemon, "b.example", Yes);
    eprintln!("on the secondary after {} ms", start.elapsed().as_millis());
}

fn soa(zone: &[u8]) -> String {
    let zone = String::from_utf8_lossy(zone);
    let soa = zone.lines().find(|line| line.contains(" SOA "));
    soa.expect("a SOA record").to_owned()
}

fn wait_for(daemon: &Daemon, domain: &str, want: OptIn) {
    let deadline = Instant::now() + TIMEOUT;
    while opt_in(daemon, domain) != want {
        assert!(Instant::now() < deadline, "{domain} is never {want:?}");
    }
}

/// The example with a database created by the documented statements.
struct Example {
    folder: TempDir,
    port: u16,
    running: Option<Program>,
}

impl Example {
    fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a folder"),
            port: lasting_address().port(),
            running: None,
        }
    }

    fn table(&self) -> String {
        format!("inet:127.0.0.1:{}:opt-in", self.port)
    }

    fn execute(&self, sql: &str) {
        let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
        let database = self.folder.path().join("opt-in.db");
        let mut python = command("python3");
        python.arg("-c").arg(script).arg(database).arg(sql);
        assert!(python.status().expect("python starts").success(), "{sql}");
    }

    fn run(&mut self) {
        self.running = None;
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples");
        let mut python = command("python3");
        python
            .arg(example.join("socketmap-sqlite.py"))
            .arg(self.folder.path().join("opt-in.db"))
            .arg(self.port.to_string());
        self.running = Some(Program::start(python, "answering on"));
    }
}

impl Source for Example {
    fn start(&mut self, yes: &str, no: &str) {
        let schema = block("SQLite makes the table");
        self.execute(&schema);
        self.execute(&format!(
            "DELETE FROM opt_in; INSERT INTO opt_in VALUES ('{yes}', TRUE), ('{no}', FALSE)"
        ));
        self.run();
    }

    fn kill(&mut self) {
        self.running = None;
    }
}

/// A name server that knows the client.
fn dns() -> DnsServer {
    DnsServer::start(Zone::parse(&format!("{CLIENT} PTR mail.good.example")).expect("a zone"))
}

fn with(dns: &DnsServer) -> String {
    format!("dns: {{servers: {}}}\n", dns.address())
}

fn outage_of_the_example() {
    let (mut example, dns) = (Example::new(), dns());
    let opt_in = format!("socketmap: {}", example.table());
    kill_and_bring_back(&mut example, &opt_in, &with(&dns));
}

fn the_example_answers_from_its_table() {
    let (mut example, dns) = (Example::new(), dns());
    example.execute(&block("SQLite makes the table"));
    example.run();
    let table = example.table();
    let daemon = Daemon::start(&format!("opt_in: {{socketmap: {table}}}\n{}", with(&dns)));
    let rows = [
        ("contoso.com", Some("yes"), Yes),
        ("mail.contoso.com", None, Yes),
        (".contoso.com", Some("yes"), No),
        ("legacy.contoso.com", Some("no"), No),
        ("unheard.example", None, No),
    ];
    for (key, of_postfix, of_sixgate) in rows {
        assert_eq!(postmap(key, &table).as_deref(), of_postfix, "{key}");
        if !key.starts_with('.') {
            assert_eq!(opt_in(&daemon, key), of_sixgate, "{key}");
        }
    }
    example.execute("UPDATE opt_in SET ipv6 = TRUE WHERE domain = 'legacy.contoso.com'");
    assert_eq!(
        postmap("legacy.contoso.com", &table).as_deref(),
        Some("yes")
    );
}

/// What Postfix finds; `None` if there is no entry.
fn postmap(key: &str, table: &str) -> Option<String> {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("main.cf"), "").expect("a configuration");
    let mut postmap = command("postmap");
    postmap.arg("-c").arg(folder.path());
    postmap.args(["-q", key, &format!("socketmap:{table}")]);
    let output = postmap.output().expect("postmap starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.is_empty(), "{key}: {error}");
    let found = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    output.status.success().then_some(found)
}

fn postfix_hears_the_same() {
    let server = SocketmapServer::start(&[
        ("map yes.example", "OK yes"),
        ("map no.example", "OK no"),
        ("map .sub.example", "OK yes"),
    ]);
    let (table, dns) = (server.table("map"), dns());
    let daemon = Daemon::start(&format!("opt_in: {{socketmap: {table}}}\n{}", with(&dns)));
    let rows = [
        ("yes.example", Some("yes"), Yes),
        ("no.example", Some("no"), No),
        ("unheard.example", None, No),
    ];
    for (domain, of_postfix, of_sixgate) in rows {
        assert_eq!(postmap(domain, &table).as_deref(), of_postfix, "{domain}");
        let before = server.requests().len();
        assert_eq!(opt_in(&daemon, domain), of_sixgate, "{domain}");
        // The first request is the same, byte for byte.
        let requests = server.requests();
        assert_eq!(requests[before], requests[before - 1]);
    }
}
