//! The opt-in sources that are queried over the network, through the real daemon: the
//! meaning of each reply, and answers while a server is down.

mod support;

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::Daemon,
    dns::{Data, DnsServer, Zone},
    http,
    opt_in::{
        CLIENT,
        OptIn::{InDoubt, No, Yes},
        ask, assert_answers, opt_in,
    },
    outage::{Source, kill_and_bring_back},
    port::lasting_address,
    socketmap::{Behaviour, Place, SocketmapServer},
};
use tempfile::TempDir;

const STAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// Margin for a busy machine.
const MARGIN: Duration = Duration::from_secs(2);

/// The daemon, where the client has a PTR record.
fn daemon(dns: &DnsServer, opt_in: &str) -> Daemon {
    Daemon::start(&config(dns.address(), opt_in))
}

fn config(dns: SocketAddr, opt_in: &str) -> String {
    format!("opt_in: {{{opt_in}}}\n{}", settings(dns))
}

fn settings(dns: SocketAddr) -> String {
    format!(
        "dns: {{servers: {dns}, timeout: 400ms}}\n\
         limits: {{stage_timeout: {}ms}}\n",
        STAGE_TIMEOUT.as_millis()
    )
}

/// Only the PTR record of the client is kept in a resolver's cache. The zone of
/// the opt-ins exists, though it may be empty.
fn zone(lines: &str) -> Zone {
    let mut zone = without_opt_in_zone();
    for line in ["zone.example TXT \"here\""]
        .into_iter()
        .chain(lines.lines())
    {
        zone.add_line(line).expect("a line");
    }
    zone
}

fn without_opt_in_zone() -> Zone {
    let mut zone = Zone::parse(&format!("{CLIENT} PTR mail.good.example")).expect("a zone");
    zone.set_ttl(0);
    zone
}

const NOTHING_KEPT: &str = "cache: {positive: 0s, negative: 0s}";

#[test]
fn an_address_below_the_zone_is_an_answer_or_a_temporary_failure() {
    let long = format!("{}.example", ["abcdefg"; 29].join("."));
    let dns = DnsServer::start(zone(
        "yes.example.zone.example           A      127.0.0.2
         no.example.zone.example            A      127.0.0.3
         both.example.zone.example          A      127.0.0.2
         both.example.zone.example          A      127.0.0.3
         other.example.zone.example         A      127.0.0.4
         lapsed.example.zone.example        A      192.0.2.1
         refused.example.zone.example       A      127.255.255.254
         alias.example.zone.example         CNAME  yes.example.zone.example
         text.example.zone.example          TXT    \"127.0.0.2\"
         a.b.example.zone.example           A      127.0.0.2
         xn--bcher-kva.example.zone.example A      127.0.0.2
         servfail.example.zone.example      SERVFAIL
         refusing.example.zone.example      REFUSED
         mute.example.zone.example          SILENCE",
    ));
    let daemon = daemon(&dns, "dns_zone: Zone.example.");
    let table = [
        ("yes.example", Yes),
        ("YES.example", Yes),
        ("no.example", No),
        ("both.example", InDoubt),
        ("other.example", InDoubt),
        ("lapsed.example", InDoubt),
        ("refused.example", InDoubt),
        ("alias.example", Yes),
        ("bücher.example", Yes),
        ("a.b.example", Yes),
        // NXDOMAIN and NODATA: the default.
        ("unheard.example", No),
        ("text.example", No),
        ("b.example", No),
        ("sub.yes.example", No),
        // Too long for a DNS query.
        (&long, No),
        ("[192.0.2.1]", No),
        ("servfail.example", InDoubt),
        ("refusing.example", InDoubt),
        ("mute.example", InDoubt),
    ];
    assert_answers(&daemon, &table);
    let log = daemon.log();
    log.wait_for(&["to=<b@no.example>", "rule=not-opted-in", "opt_in=dns-zone"]);
    log.wait_for(&["to=<b@unheard.example>", "opt_in=default"]);
    log.wait_for(&["to=<b@mute.example>", "rule=opt-in-temperror"]);
    // The reason is logged, but not for each message.
    log.wait_for(&[
        "opt_in.dns_zone zone.example gives no usable answer",
        "both opted in",
    ]);
    assert_eq!(log.text().matches("gives no usable answer").count(), 1);
}

/// A record of the client only, besides these.
fn mx_zone(lines: &str) -> Zone {
    let mut zone = without_opt_in_zone();
    for line in lines.lines() {
        zone.add_line(line).expect("a line");
    }
    zone
}

const BY_MX: &str = "mx: {hosts: [mx6.example.net, .in6.example.net], grace: GRACE}";

fn by_mx(grace: &str) -> String {
    format!("{}, {NOTHING_KEPT}", BY_MX.replace("GRACE", grace))
}

#[test]
fn a_domain_opts_in_by_its_own_mx_record() {
    let dns = DnsServer::start(mx_zone(
        "yes.example        MX     10 mx6.example.net
         capitals.example   MX     10 MX6.Example.NET
         second.example     MX     10 mx4.example.net
         second.example     MX     20 mx6.example.net
         below.example      MX     10 contoso-com.in6.example.net
         at.example         MX     10 in6.example.net
         four.example       MX     10 mx4.example.net
         lookalike.example  MX     10 mx6.example.net.evil.example
         null.example       MX     0  .
         text.example       TXT    \"mx6.example.net\"
         alias.example      CNAME  yes.example
         xn--bcher-kva.example MX  10 mx6.example.net
         servfail.example   SERVFAIL
         refusing.example   REFUSED
         mute.example       SILENCE",
    ));
    let daemon = daemon(&dns, &by_mx("0s"));
    let table = [
        ("yes.example", Yes),
        ("YES.example", Yes),
        ("capitals.example", Yes),
        ("second.example", Yes),
        ("below.example", Yes),
        ("alias.example", Yes),
        ("bücher.example", Yes),
        ("at.example", No),
        ("four.example", No),
        ("lookalike.example", No),
        ("null.example", No),
        ("text.example", No),
        ("sub.yes.example", No),
        ("unheard.example", No),
        ("[192.0.2.1]", No),
        ("servfail.example", InDoubt),
        ("refusing.example", InDoubt),
        ("mute.example", InDoubt),
    ];
    assert_answers(&daemon, &table);
    let log = daemon.log();
    // This source never says no, so the next one is queried.
    log.wait_for(&["to=<b@four.example>", "rule=not-opted-in", "opt_in=default"]);
    log.wait_for(&["to=<b@mute.example>", "rule=opt-in-temperror"]);
    log.wait_for(&["opt_in.mx gives no usable answer"]);
}

#[test]
fn a_domain_whose_mx_record_has_moved_away_stays_opted_in_for_the_grace_period() {
    let dns = DnsServer::start(mx_zone("moving.example MX 10 mx6.example.net"));
    let with_grace = |grace: &str| config(dns.address(), &by_mx(grace));
    let daemon = Daemon::start(&with_grace("1h"));
    assert_eq!(opt_in(&daemon, "moving.example"), Yes);
    for moved in [
        "moving.example MX 10 mx4.example.net",
        "other.example MX 10 x.example",
    ] {
        dns.set_zone(mx_zone(moved));
        assert_eq!(opt_in(&daemon, "moving.example"), Yes, "{moved}");
    }
    // A domain that never had the record has no grace period.
    assert_eq!(opt_in(&daemon, "other.example"), No);
    daemon.reload_with(&with_grace("0s"));
    assert_eq!(opt_in(&daemon, "moving.example"), No);
    dns.set_zone(mx_zone("moving.example MX 10 mx6.example.net"));
    assert_eq!(opt_in(&daemon, "moving.example"), Yes);
}

#[test]
fn replies_of_a_socketmap_server_are_answers_or_temporary_failures() {
    let dns = DnsServer::start(zone(""));
    let folder = TempDir::new().expect("a folder");
    let replies = [
        ("map yes.example", "OK yes"),
        ("map one.example", "OK 1"),
        ("map no.example", "OK no"),
        ("map false.example", "OK FALSE"),
        ("map empty.example", "OK "),
        ("map other.example", "OK smtp:[192.0.2.1]"),
        ("map temp.example", "TEMP the database is down"),
        ("map timeout.example", "TIMEOUT "),
        ("map perm.example", "PERM no such map"),
        ("map odd.example", "MAYBE yes"),
    ];
    let unix = Place::Unix(folder.path().join("map.sock"));
    let servers = [
        SocketmapServer::start(&replies),
        SocketmapServer::start_at(&unix, &replies).expect("a socket"),
    ];
    for server in servers {
        let daemon = daemon(&dns, &format!("socketmap: \"{}\"", server.table("map")));
        let table = [
            ("yes.example", Yes),
            ("YES.example.", Yes),
            ("one.example", Yes),
            ("no.example", No),
            ("false.example", No),
            ("unheard.example", No),
            ("empty.example", InDoubt),
            ("other.example", InDoubt),
            ("temp.example", InDoubt),
            ("timeout.example", InDoubt),
            ("perm.example", InDoubt),
            ("odd.example", InDoubt),
        ];
        assert_answers(&daemon, &table);
        let log = daemon.log();
        log.wait_for(&["to=<b@no.example>", "opt_in=socketmap"]);
        log.wait_for(&[
            "opt_in.socketmap",
            "gives no usable answer",
            "write yes or no",
        ]);
        assert_eq!(log.text().matches("gives no usable answer").count(), 1);
    }
}

#[test]
fn a_socketmap_server_that_misbehaves_costs_time_at_most() {
    let dns = DnsServer::start(zone(""));
    let server = SocketmapServer::start(&[("map yes.example", "OK yes")]);
    let socketmap = format!("socketmap: \"{}\"", server.table("map"));
    let daemon = daemon(&dns, &format!("{socketmap}, {NOTHING_KEPT}"));
    let long = format!("100001:OK {},", "y".repeat(99_998)).into_bytes();
    let table = [
        ("hung up", Behaviour::Send(Vec::new())),
        ("cut short", Behaviour::Send(b"6:OK y".to_vec())),
        ("no comma", Behaviour::Send(b"6:OK yesX".to_vec())),
        ("no netstring", Behaviour::Send(b"OK yes\r\n".to_vec())),
        ("too long", Behaviour::Send(long)),
        ("endless", Behaviour::Send(b"9".repeat(1 << 20))),
        ("mute", Behaviour::Silent),
    ];
    for (n, (what, behaviour)) in table.into_iter().enumerate() {
        server.behave(behaviour);
        let (answer, elapsed) = ask(&daemon, &format!("new{n}.example"));
        assert_eq!(answer, InDoubt, "{what}");
        assert!(elapsed < STAGE_TIMEOUT + MARGIN, "{what}: {elapsed:?}");
        server.behave(Behaviour::Answer);
        assert_eq!(opt_in(&daemon, "yes.example"), Yes, "after {what}");
    }
}

#[test]
fn the_domain_is_asked_for_and_then_its_parents_with_a_dot() {
    let dns = DnsServer::start(zone(""));
    let server = SocketmapServer::start(&[
        ("map example.org", "OK no"),
        ("map .example.org", "OK yes"),
        ("map deny.example.org", "OK no"),
        ("map .deny.example.org", "OK no"),
    ]);
    let daemon = daemon(&dns, &format!("socketmap: \"{}\"", server.table("map")));
    let table = [
        ("example.org", No),
        ("a.example.org", Yes),
        ("a.b.example.org", Yes),
        ("deny.example.org", No),
        ("a.deny.example.org", No),
        ("a.example.net", No),
    ];
    assert_answers(&daemon, &table);
    let requests = server.requests();
    let asked = ["map a.example.net", "map .example.net", "map .net"];
    assert_eq!(requests[requests.len() - 3..], asked);
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_first_definite_answer_wins_and_doubt_ends_the_search() {
    let dns = DnsServer::start(zone(
        "listed.example.zone.example    A  127.0.0.3
         zone-yes.example.zone.example  A  127.0.0.2
         zone-no.example.zone.example   A  127.0.0.3
         doubt.example.zone.example     SERVFAIL",
    ));
    let server = SocketmapServer::start(&[
        ("map listed.example", "OK no"),
        ("map zone-yes.example", "OK no"),
        ("map zone-no.example", "OK yes"),
        ("map doubt.example", "OK yes"),
        ("map map-no.example", "OK no"),
    ]);
    let daemon = daemon(
        &dns,
        &format!(
            "default: yes, domains: listed.example, dns_zone: zone.example, socketmap: \"{}\"",
            server.table("map")
        ),
    );
    let table = [
        ("listed.example", Yes),
        ("zone-yes.example", Yes),
        ("zone-no.example", No),
        ("doubt.example", InDoubt),
        ("map-no.example", No),
        ("unheard.example", Yes),
    ];
    assert_answers(&daemon, &table);
    let asked = ["map map-no.example", "map unheard.example", "map .example"];
    assert_eq!(server.requests(), asked);
}

#[test]
fn an_answer_is_asked_for_once() {
    let dns = DnsServer::start(zone("zone-yes.example.zone.example A 127.0.0.2"));
    let server = SocketmapServer::start(&[("map yes.example", "OK yes")]);
    let socketmap = format!("socketmap: \"{}\"", server.table("map"));
    let daemon = daemon(&dns, &format!("dns_zone: zone.example, {socketmap}"));
    for _ in 0..5 {
        assert_eq!(opt_in(&daemon, "yes.example"), Yes);
        assert_eq!(opt_in(&daemon, "unheard.example"), No);
    }
    let asked = ["map yes.example", "map unheard.example", "map .example"];
    assert_eq!(server.requests(), asked);
    let questions = dns.questions();
    let of_zone = questions
        .iter()
        .filter(|(n, _)| n.ends_with("zone.example"));
    // Two domains, each with and without an existing zone.
    assert_eq!(of_zone.count(), 4);
}

#[test]
fn a_zone_that_does_not_exist_leaves_domains_in_doubt_and_not_refused() {
    let dns = DnsServer::start(zone("yes.example.zone.example A 127.0.0.2"));
    let daemon = daemon(&dns, &format!("dns_zone: zone.example, {NOTHING_KEPT}"));
    assert_eq!(opt_in(&daemon, "yes.example"), Yes);
    assert_eq!(opt_in(&daemon, "unheard.example"), No);

    dns.set_zone(without_opt_in_zone());
    let table = [
        ("yes.example", Yes),
        ("unheard.example", No),
        ("new.example", InDoubt),
    ];
    assert_answers(&daemon, &table);
    let log = daemon.log();
    log.wait_for(&[
        "opt_in.dns_zone zone.example gives no usable answer",
        "NXDOMAIN",
    ]);
}

#[test]
fn a_connection_that_the_server_closed_is_opened_anew() {
    let dns = DnsServer::start(zone(""));
    let server = SocketmapServer::start(&[("map yes.example", "OK yes")]);
    let socketmap = format!("socketmap: \"{}\"", server.table("map"));
    let daemon = daemon(&dns, &format!("{socketmap}, {NOTHING_KEPT}"));
    server.behave(Behaviour::AnswerOnce);
    for _ in 0..5 {
        assert_eq!(opt_in(&daemon, "yes.example"), Yes);
    }
    assert_eq!(server.connections(), 5);
    assert!(!daemon.log().text().contains("gives no usable answer"));
}

/// A DNS server with the records that make one domain opted in and the other not.
struct ZoneServer {
    address: SocketAddr,
    records: fn(yes: &str, no: &str) -> Zone,
    running: Option<DnsServer>,
}

impl Source for ZoneServer {
    fn start(&mut self, yes: &str, no: &str) {
        self.kill();
        let started = DnsServer::start_at((self.records)(yes, no), self.address);
        self.running = Some(started.expect("the port is free again"));
    }

    fn kill(&mut self) {
        self.running = None;
    }
}

fn entries_of_a_zone(yes: &str, no: &str) -> Zone {
    let mut records = zone("");
    for (domain, last) in [(yes, 2), (no, 3)] {
        let address = Data::A(Ipv4Addr::new(127, 0, 0, last));
        records.add(format!("{domain}.zone.example"), address);
    }
    records
}

fn mx_records(yes: &str, no: &str) -> Zone {
    let mut records = without_opt_in_zone();
    for (domain, host) in [(yes, "mx6.example.net"), (no, "mx4.example.net")] {
        records.add(domain, Data::Mx(10, host.to_owned()));
    }
    records
}

struct MapServer {
    place: Place,
    running: Option<SocketmapServer>,
}

impl Source for MapServer {
    fn start(&mut self, yes: &str, no: &str) {
        let replies = [
            (format!("map {yes}"), "OK yes"),
            (format!("map {no}"), "OK no"),
        ];
        let replies = replies
            .each_ref()
            .map(|(key, reply)| (key.as_str(), *reply));
        self.kill();
        let started = SocketmapServer::start_at(&self.place, &replies);
        self.running = Some(started.expect("the place is free again"));
    }

    fn kill(&mut self) {
        self.running = None;
    }
}

#[test]
fn while_a_zone_is_down_the_cache_answers_and_its_return_is_noticed_at_once() {
    let address = lasting_address();
    let mut source = ZoneServer {
        address,
        records: entries_of_a_zone,
        running: None,
    };
    kill_and_bring_back(&mut source, "dns_zone: zone.example", &settings(address));
}

#[test]
fn mx_records_that_can_not_be_looked_up_for_a_while_are_served_from_the_cache() {
    let address = lasting_address();
    let mut source = ZoneServer {
        address,
        records: mx_records,
        running: None,
    };
    let opt_in = BY_MX.replace("GRACE", "0s");
    kill_and_bring_back(&mut source, &opt_in, &settings(address));
}

#[test]
fn while_a_socketmap_server_is_down_the_cache_answers_and_its_return_is_noticed_at_once() {
    let dns = DnsServer::start(zone(""));
    let folder = TempDir::new().expect("a folder");
    let unix = Place::Unix(folder.path().join("map.sock"));
    for place in [Place::Inet(lasting_address()), unix] {
        let opt_in = format!("socketmap: {}", place.table("map"));
        let mut source = MapServer {
            place,
            running: None,
        };
        kill_and_bring_back(&mut source, &opt_in, &settings(dns.address()));
    }
}

#[test]
fn an_unresponsive_server_delays_each_message_by_its_own_timeout_alone() {
    const ASKERS: usize = 40;
    let dns = DnsServer::start(zone(""));
    let server = SocketmapServer::start(&[("map known.example", "OK yes")]);
    let socketmap = format!("socketmap: \"{}\"", server.table("map"));
    let daemon = daemon(&dns, &format!("{socketmap}, {NOTHING_KEPT}"));
    assert_eq!(opt_in(&daemon, "known.example"), Yes);
    server.behave(Behaviour::Silent);
    thread::scope(|scope| {
        let askers: Vec<_> = (0..ASKERS)
            .map(|n| format!("new{n}.example"))
            .map(|domain| {
                scope.spawn(|| {
                    let domain = domain;
                    ask(&daemon, &domain)
                })
            })
            .collect();
        for asker in askers {
            let (answer, elapsed) = asker.join().expect("an answer");
            assert_eq!(answer, InDoubt);
            assert!(elapsed < STAGE_TIMEOUT + MARGIN, "{elapsed:?}");
        }
    });
    // The failure is known by now, and cached answers are not delayed.
    let mut times: Vec<_> = (0..9).map(|_| ask(&daemon, "known.example")).collect();
    times.sort_by_key(|(_, elapsed)| *elapsed);
    assert!(times.iter().all(|(answer, _)| *answer == Yes));
    let (_, median) = times[times.len() / 2];
    eprintln!("{ASKERS} askers in time; a known domain in {median:?}");
    assert!(median < STAGE_TIMEOUT / 2, "{median:?}");
    server.behave(Behaviour::Answer);
    assert_eq!(opt_in(&daemon, "other.example"), No);
}

#[test]
fn a_reload_keeps_the_cached_answers_of_the_same_servers() {
    let dns = DnsServer::start(zone("zone-yes.example.zone.example A 127.0.0.2"));
    let server = SocketmapServer::start(&[("map map-yes.example", "OK yes")]);
    let socketmap = format!("socketmap: \"{}\"", server.table("map"));
    let servers = format!("dns_zone: zone.example, {socketmap}");
    let daemon = daemon(&dns, &servers);
    let table = ["zone-yes.example", "map-yes.example"];
    for domain in table {
        assert_eq!(opt_in(&daemon, domain), Yes, "{domain}");
    }
    let asked = server.requests().len();
    dns.set_zone(zone("zone-yes.example.zone.example SERVFAIL"));
    daemon.reload_with(&config(
        dns.address(),
        &format!("{servers}, domains: more.example"),
    ));
    for domain in table {
        assert_eq!(opt_in(&daemon, domain), Yes, "{domain}");
    }
    assert_eq!(server.requests().len(), asked);
    assert_eq!(server.connections(), 1);
    // Others are queried again.
    dns.set_zone(zone("other.example TXT \"here\""));
    let others = format!(
        "dns_zone: other.example, socketmap: \"{}\"",
        server.table("other")
    );
    daemon.reload_with(&config(dns.address(), &others));
    for domain in table {
        assert_eq!(opt_in(&daemon, domain), No, "{domain}");
    }
}

#[test]
fn status_names_the_server_that_answered_or_its_error() {
    let dns = DnsServer::start(zone(
        "zone-yes.example.zone.example  A  127.0.0.2
         wrong.example.zone.example     A  127.0.0.9",
    ));
    let server = SocketmapServer::start(&[
        ("map map-no.example", "OK no"),
        ("map temp.example", "TEMP the database is down"),
    ]);
    let socketmap = format!("socketmap: \"{}\"", server.table("map"));
    let folder = TempDir::new().expect("a folder");
    let managed = folder.path().join("opt-in.list");
    fs::write(&managed, "# empty\n").expect("our file");
    let lists = format!("managed_file: {}", managed.display());
    let sources = format!("{lists}, dns_zone: zone.example, {socketmap}");
    let daemon = daemon(&dns, &sources);
    let status = |domain: &str| {
        let mut status = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        status.args(["opt-in", "status", domain, "-c"]);
        let output = status.arg(daemon.config_file()).output();
        String::from_utf8(output.expect("the program starts").stdout).expect("UTF-8")
    };
    let table = [
        ("zone-yes.example", "yes (dns-zone: it says so)"),
        ("map-no.example", "no (socketmap: it says so)"),
        ("unheard.example", "no (default: no source knows it)"),
        (
            "wrong.example",
            "unknown (dns-zone: no usable answer: wrong.example.zone.example has 127.0.0.9: \
             write 127.0.0.2 for opted in and 127.0.0.3 for opted out)",
        ),
        (
            "temp.example",
            "unknown (socketmap: no usable answer: TEMP the database is down)",
        ),
    ];
    for (domain, want) in table {
        assert_eq!(status(domain), format!("{domain}: {want}\n"));
    }
    server.behave(Behaviour::Silent);
    let mute = status("mute.example");
    assert_eq!(
        mute,
        "mute.example: unknown (socketmap: no usable answer: no answer in time)\n"
    );
    // Many are queried in parallel, and an unresponsive server is abandoned.
    let run = |verb: &str| {
        let input: String = (0..1000).map(|n| format!("mute{n}.example\n")).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.args(["opt-in", verb, "-", "-c"]);
        command
            .arg(daemon.config_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let start = Instant::now();
    let all = run("status");
    let unknown = all
        .lines()
        .filter(|line| line.contains(": unknown (socketmap: "));
    // On a busy machine the zone answers too late for the others.
    assert!(unknown.count() > 100, "{all}");
    assert!(
        all.lines().all(|line| line.contains(": unknown (")),
        "{all}"
    );
    let removed = run("remove");
    assert!(removed.starts_with("1000 not listed\nnow: "), "{removed}");
    assert!(removed.ends_with(" unknown (socketmap)\n"), "{removed}");
    eprintln!("two times 1000 domains: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(60));
    server.behave(Behaviour::Answer);
    let one = run("status").lines().next().map(str::to_owned);
    assert_eq!(
        one.as_deref(),
        Some("mute0.example: no (default: no source knows it)")
    );
}

#[test]
fn metrics_show_the_state_of_the_servers() {
    let dns = DnsServer::start(zone(""));
    let server = SocketmapServer::start(&[("map yes.example", "OK yes")]);
    let socketmap = format!("socketmap: \"{}\"", server.table("map"));
    let address = lasting_address();
    let daemon = Daemon::start(&format!(
        "metrics: {{listen: inet:{address}}}\n{}",
        config(dns.address(), &socketmap)
    ));
    let has_metric = |line: &str| {
        let metrics = http::get(address, "/metrics").body;
        assert!(metrics.contains(&format!("{line}\n")), "{line}: {metrics}");
    };
    assert_eq!(opt_in(&daemon, "yes.example"), Yes);
    has_metric("sixgate_opt_in_domains{source=\"socketmap\"} 1");
    has_metric("sixgate_opt_in_stale{source=\"socketmap\"} 0");
    server.behave(Behaviour::Send(Vec::new()));
    assert_eq!(opt_in(&daemon, "new.example"), InDoubt);
    has_metric("sixgate_opt_in_stale{source=\"socketmap\"} 1");
    let ready = http::get(address, "/readyz").body;
    assert!(ready.contains("note: socketmap: it hung up\n"), "{ready}");
}
