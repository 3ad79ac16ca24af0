//! `opt_in.redis` with real servers of Redis: the meaning of fields; answers while the
//! server is down, slow, frozen, misconfigured, emptied or restarted under load; edits by
//! `sixgate opt-in`, and the time until the daemons of other hosts apply them.

mod support;

use libtest_mimic::{Arguments, Trial};
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, TIMEOUT},
    http,
    opt_in::{
        Commands, NO_CACHE,
        OptIn::{InDoubt, No, Yes},
        ask, daemon, opt_in, settings, wait_for,
    },
    outage::{self, domains_of_load, kill_and_bring_back, restart_under_load},
    output::{stderr, stdout},
    port::lasting_address,
    redis::{KEY, PASSWORD, PROGRAMS, RIGHTS, RedisCluster, RedisServer},
    trial::needing,
};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests mostly wait for servers, so more of them run than there are cores.
    arguments.test_threads.get_or_insert(4);
    let trials = vec![
        trial("fields are answers", fields_are_answers),
        trial("a server goes and comes back", outage),
        trial(
            "a server behind a unix socket goes and comes back",
            outage_of_unix_socket,
        ),
        trial(
            "a server with TLS and a password goes and comes back",
            outage_of_tls,
        ),
        trial("a cluster goes and comes back", outage_of_cluster),
        trial("a frozen server blocks no mail", frozen),
        trial("a slow server is waited for up to the timeout", slow),
        trial("a server is restarted under load", restarted_under_load),
        trial("a lost hash is not an empty list", lost_hash),
        trial("replies of another protocol are not answers", wrong_answers),
        trial("a replica serves while the primary is gone", failover),
        trial("unreachable at the start", unreachable_at_the_start),
        trial(
            "an edit counts on other hosts at once",
            edits_on_other_hosts,
        ),
        trial(
            "an edit counts on other hosts of a cluster at once",
            edits_in_a_cluster,
        ),
        trial(
            "a lost subscription is not a lost edit",
            edits_without_subscription,
        ),
        trial("commands edit the hash as they edit the file", commands),
        trial("100,000 domains at once", bulk),
        trial(
            "the hash takes the place of the managed file",
            in_place_of_the_file,
        ),
        trial("a wrong configuration is one line", wrong_configuration),
        trial(
            "the examples of the manual do what it says",
            examples_of_the_manual,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, test: fn()) -> Trial {
    needing(name, PROGRAMS, test)
}

/// Every message causes a query, and a busy machine has time.
fn asking(server: &RedisServer) -> Daemon {
    daemon(&patient(server))
}

fn patient(server: &RedisServer) -> String {
    server.section_with(&format!("\"{}\"", server.url()), ", timeout: 8s")
}

fn fields_are_answers() {
    let server = RedisServer::start();
    server.fill(&[
        ("yes.example", "yes"),
        ("capitals.example", " YES "),
        ("no.example", "no"),
        ("comment.example", "yes  # 2026-11-28 a customer"),
        ("number.example", "1"),
        ("empty.example", ""),
        ("only-comment.example", "# yes"),
        ("xn--bcher-kva.example", "yes"),
        (".below.example", "yes"),
        ("out.below.example", "no#for now"),
        (".out.below.example", "no"),
        ("in.out.below.example", "yes"),
        (".odd.example", "maybe"),
        ("sure.odd.example", "yes"),
    ]);
    let table = [
        ("yes.example", Yes),
        ("YES.example", Yes),
        ("capitals.example", Yes),
        ("no.example", No),
        ("comment.example", Yes),
        ("number.example", InDoubt),
        ("empty.example", InDoubt),
        ("only-comment.example", InDoubt),
        ("bücher.example", Yes),
        ("below.example", No),
        ("a.below.example", Yes),
        ("a.b.below.example", Yes),
        ("out.below.example", No),
        ("a.out.below.example", No),
        ("in.out.below.example", Yes),
        ("a.in.out.below.example", No),
        ("odd.example", No),
        ("a.odd.example", InDoubt),
        ("sure.odd.example", Yes),
        ("unheard.example", No),
        ("[192.0.2.1]", No),
    ];
    let by_redis = asking(&server);
    // The answers of a list with the same entries.
    let list = server.path("opt-in.list");
    let entries = "yes.example\ncapitals.example\n!no.example\ncomment.example # x\n\
                   bücher.example\n.below.example\n!out.below.example\n!.out.below.example\n\
                   in.out.below.example\nsure.odd.example\n";
    fs::write(&list, entries).expect("our file");
    let by_list = daemon(&format!("files: {}", list.display()));
    for (domain, want) in table {
        assert_eq!(opt_in(&by_redis, domain), want, "{domain}");
        if want != InDoubt {
            assert_eq!(opt_in(&by_list, domain), want, "{domain} by a list");
        }
    }
    let log = by_redis.log();
    log.wait_for(&["to=<b@no.example>", "rule=not-opted-in", "opt_in=redis"]);
    log.wait_for(&[
        "opt_in.redis redis://127.0.0.1",
        "in the field number.example of sixgate:opt-in is not allowed here; write yes or no",
    ]);
}

fn outage() {
    let mut server = RedisServer::start();
    let section = patient(&server);
    kill_and_bring_back(&mut server, &section, &settings());
}

fn outage_of_unix_socket() {
    let mut server = RedisServer::start();
    let url = format!("\"redis+unix://{}\"", server.socket().display());
    let section = server.section_with(&url, ", timeout: 8s");
    kill_and_bring_back(&mut server, &section, &settings());
}

fn outage_of_tls() {
    let mut server = RedisServer::new().with_tls().with_password(RIGHTS);
    server.run();
    let section = patient(&server);
    kill_and_bring_back(&mut server, &section, &settings());
}

fn outage_of_cluster() {
    let mut cluster = RedisCluster::start();
    let section = cluster.section(", timeout: 8s");
    kill_and_bring_back(&mut cluster, &section, &settings());
}

fn frozen() {
    let server = RedisServer::start();
    server.fill(&[("a.example", "yes"), ("b.example", "no")]);
    let url = format!("\"{}\"", server.url());
    let daemon = daemon(&server.section_with(&url, ", timeout: 1s"));
    outage::frozen(&daemon, Duration::from_secs(4), |is| server.freeze(is));
    daemon.log().wait_for(&["no answer within 1s"]);
}

fn slow() {
    let server = RedisServer::start();
    server.fill(&[("a.example", "yes"), ("b.example", "yes")]);
    let url = format!("\"{}\"", server.url());
    let daemon = daemon(&server.section_with(&url, ", timeout: 2s"));
    wait_for(&daemon, "a.example", Yes);
    let sleeping = |seconds: &'static str, domain: &str| {
        thread::scope(|scope| {
            scope.spawn(|| server.command(&["DEBUG", "SLEEP", seconds]));
            thread::sleep(Duration::from_millis(100));
            ask(&daemon, domain)
        })
    };
    let (answer, took) = sleeping("0.8", "b.example");
    assert_eq!(answer, Yes);
    assert!(took > Duration::from_millis(300), "{took:?}");
    let (answer, took) = sleeping("6", "c.example");
    assert_eq!(answer, InDoubt);
    assert!(took < Duration::from_secs(5), "{took:?}");
    daemon.log().wait_for(&["no answer within 2s"]);
    wait_for(&daemon, "c.example", No);
}

fn restarted_under_load() {
    let mut server = RedisServer::start();
    server.fill_with(domains_of_load());
    let daemon = asking(&server);
    restart_under_load(&daemon, |is_up| match is_up {
        true => server.run(),
        false => server.stop(),
    });
}

fn lost_hash() {
    let server = RedisServer::start();
    let entries = [
        ("a.example", "yes"),
        ("b.example", "no"),
        ("c.example", "yes"),
    ];
    server.fill(&entries);
    let daemon = asking(&server);
    let all = ["a.example", "b.example", "c.example", "unlisted.example"];
    let answers = || all.map(|domain| opt_in(&daemon, domain));
    assert_eq!(answers(), [Yes, No, Yes, No]);
    // A removed domain is out, because the others still exist.
    server.command(&["HDEL", KEY, "c.example"]);
    wait_for(&daemon, "c.example", No);
    let table: [(&str, &[&str]); 4] = [
        ("deleted", &["DEL", KEY]),
        ("renamed", &["RENAME", KEY, "elsewhere"]),
        ("all databases flushed", &["FLUSHALL"]),
        ("expired", &["PEXPIRE", KEY, "1"]),
    ];
    for (what, damage) in table {
        server.command(damage);
        let new = format!("{}.example", what.replace(' ', "-"));
        wait_for(&daemon, &new, InDoubt);
        assert_eq!(answers(), [Yes, No, No, No], "{what}");
        let line = "there is no hash sixgate:opt-in, or it is empty";
        daemon.log().wait_for(&[line]);
        server.fill(&entries[..2]);
        wait_for(&daemon, &new, No);
        assert_eq!(answers(), [Yes, No, No, No], "after {what}");
    }
    server.command(&["SET", KEY, "a text"]);
    wait_for(&daemon, "wrongtype.example", InDoubt);
    assert_eq!(answers(), [Yes, No, No, No]);
    server.fill(&entries);
    wait_for(&daemon, "c.example", Yes);
}

/// A server that sends the same reply to every command.
fn saying(answer: &'static [u8]) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serve = move || {
        // Ends with the test.
        for client in listener.incoming() {
            let Ok(mut client) = client else { continue };
            thread::spawn(move || {
                let mut request = [0; 4096];
                while client.read(&mut request).is_ok_and(|length| length > 0)
                    && client.write_all(answer).is_ok()
                {}
            });
        }
    };
    (port, thread::spawn(serve))
}

fn wrong_answers() {
    let table: [(&str, &[u8]); 9] = [
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("an odd number", b"$99999999999999999999\r\n"),
        ("another length", b"*1\r\n$3\r\nyes\r\n"),
        ("no list", b"$3\r\nyes\r\n"),
        (
            "LOADING",
            b"-LOADING Redis is loading the dataset in memory\r\n",
        ),
        ("MASTERDOWN", b"-MASTERDOWN Link with MASTER is down\r\n"),
        ("CLUSTERDOWN", b"-CLUSTERDOWN The cluster is down\r\n"),
        ("MOVED", b"-MOVED 3999 127.0.0.1:6381\r\n"),
        ("silence", b""),
    ];
    for (what, answer) in table {
        let (port, _server) = saying(answer);
        let section = format!("redis: {{url: \"redis://127.0.0.1:{port}\", timeout: 1s}}");
        let daemon = daemon(&section);
        for domain in ["a.example", "b.example"] {
            let (answer, took) = ask(&daemon, domain);
            assert_eq!(answer, InDoubt, "{what}");
            assert!(took < Duration::from_secs(6), "{what}: {took:?}");
        }
        let line = daemon.log().wait_for(&["gives no usable answer"]);
        eprintln!("{what}: {line}");
        assert!(!line.contains('\r'), "{line}");
    }
}

fn failover() {
    let mut primary = RedisServer::start();
    primary.fill(&[("a.example", "yes")]);
    let replica = RedisServer::replica_of(&primary);
    let urls = format!("[{}, {}]", primary.url(), replica.url());
    let section = primary.section_with(&urls, ", managed: yes, timeout: 1s");
    let daemon = daemon(&section);
    wait_for(&daemon, "a.example", Yes);
    primary.freeze(true);
    wait_for(&daemon, "unheard.example", No);
    outage::answered_within(Duration::from_secs(1), &daemon, No, |n| {
        format!("other{n}.example")
    });
    primary.freeze(false);
    primary.stop();
    wait_for(&daemon, "unheard3.example", No);
    // The replica accepts no edits until it is the primary.
    let commands = Commands::new(&section);
    let output = commands.run(&["opt-in", "add", "--no-dns", "b.example"], "");
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("opt_in.redis: ") && said.contains("READONLY"),
        "{said}"
    );
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    let output = commands.run(&["opt-in", "add", "--no-dns", "b.example"], "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    wait_for(&daemon, "b.example", Yes);
}

fn unreachable_at_the_start() {
    let mut server = RedisServer::new().with_password(RIGHTS);
    let monitor = http::free_address();
    let daemon = Daemon::start(&format!(
        "opt_in: {{{}, {NO_CACHE}}}\nmetrics: {{listen: \"inet:{monitor}\"}}\n{}",
        patient(&server),
        settings()
    ));
    assert_eq!(opt_in(&daemon, "a.example"), InDoubt);
    let ready = || http::get(monitor, "/readyz");
    assert_eq!(ready().status, 503);
    assert!(ready().body.contains("redis: "), "{}", ready().body);
    let line = daemon
        .log()
        .wait_for(&["opt_in.redis redis://sixgate@127.0.0.1:"]);
    assert!(line.contains("gives no usable answer"), "{line}");
    let metric = |line: &str| {
        let metrics = http::get(monitor, "/metrics").body;
        assert!(metrics.contains(line), "{metrics}");
    };
    metric("sixgate_opt_in_stale{source=\"redis\"} 1");
    server.run();
    server.fill(&[("a.example", "yes")]);
    // Without mail.
    let deadline = Instant::now() + TIMEOUT;
    while ready().body.contains("redis: ") {
        assert!(Instant::now() < deadline, "{}", ready().body);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(opt_in(&daemon, "a.example"), Yes);
    metric("sixgate_opt_in_stale{source=\"redis\"} 0");
    assert!(!daemon.log().text().contains(PASSWORD));
}

/// Answers are cached for long, so that only a notification changes them.
fn keeping(section: &str) -> Daemon {
    let cache = "cache: {positive: 1h, negative: 1h}";
    Daemon::start(&format!("opt_in: {{{section}, {cache}}}\n{}", settings()))
}

fn run(commands: &Commands, verb: &str, entry: &str) {
    let mut arguments = vec!["opt-in", verb, entry];
    arguments.extend((verb != "list").then_some("--no-dns"));
    let output = commands.run(&arguments, "");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// Edits on one host take effect in the daemon of another. Returns the time from the end of
/// the command.
fn edits_are_seen(section: &str) {
    let here = keeping(section);
    let there = keeping(section);
    let commands = Commands::new(section);
    let table = [
        ("add", "first.example", "first.example", Yes),
        ("add", "a.example", "a.example", Yes),
        ("deny", "a.example", "a.example", No),
        ("remove", "!a.example", "a.example", No),
        ("add", ".b.example", "x.y.b.example", Yes),
        ("deny", "y.b.example", "y.b.example", No),
        ("remove", ".b.example", "x.y.b.example", No),
    ];
    // Each is cached with another answer.
    for domain in ["a.example", "x.y.b.example", "y.b.example"] {
        for daemon in [&here, &there] {
            opt_in(daemon, domain);
        }
    }
    for (verb, entry, domain, want) in table {
        run(&commands, verb, entry);
        let start = Instant::now();
        // Unless they are notified, their caches keep the old answer for an hour.
        for daemon in [&here, &there] {
            wait_for(daemon, domain, want);
        }
        let took = start.elapsed();
        eprintln!("{verb} {entry}: {domain} is {want:?} on both hosts after {took:?}");
    }
}

fn edits_on_other_hosts() {
    let mut server = RedisServer::new().with_password(RIGHTS);
    server.run();
    let url = format!("\"{}\"", server.url());
    edits_are_seen(&server.section_with(&url, ", managed: yes, timeout: 8s"));
    // By hand, with keyspace notifications.
    server.command(&["CONFIG", "SET", "notify-keyspace-events", "Kh"]);
    let daemon = keeping(&patient(&server));
    assert_eq!(opt_in(&daemon, "hand.example"), No);
    server.command(&["HSET", KEY, "hand.example", "yes"]);
    wait_for(&daemon, "hand.example", Yes);
}

fn edits_in_a_cluster() {
    let cluster = RedisCluster::start();
    edits_are_seen(&cluster.section(", managed: yes, timeout: 8s"));
}

/// Changes while the subscription is lost take effect when it is restored.
fn edits_without_subscription() {
    let server = RedisServer::start();
    server.fill(&[("a.example", "yes")]);
    let daemon = keeping(&patient(&server));
    wait_for(&daemon, "a.example", Yes);
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    server.command(&["HSET", KEY, "a.example", "no"]);
    wait_for(&daemon, "a.example", No);
    daemon
        .log()
        .wait_for(&["changes of sixgate:opt-in are not announced"]);
    daemon
        .log()
        .wait_for(&["changes of sixgate:opt-in are announced again"]);
}

fn commands() {
    let server = RedisServer::start();
    let section = server.section_with(
        &format!("\"{}\"", server.url()),
        ", managed: yes, timeout: 8s",
    );
    let commands = Commands::new(&section);
    let said = |arguments: &[&str], input: &str| {
        let output = commands.run(arguments, input);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let add = |arguments: &[&str], input: &str| {
        said(&[&["opt-in", "add", "--no-dns"], arguments].concat(), input)
    };
    let output = commands.run(&["opt-in", "add", "--no-dns", "first.example"], "");
    let warned = stderr(&output);
    assert!(
        warned.starts_with("warning: the hash sixgate:opt-in did not exist and was created; "),
        "{warned}"
    );
    let removed = said(&["opt-in", "remove", "--no-dns", "first.example"], "");
    assert!(removed.starts_with("first.example: removed\n"), "{removed}");
    assert_eq!(
        add(&["a.example", "bücher.example"], ""),
        "a.example: added\nxn--bcher-kva.example: added\n"
    );
    let today = server
        .command(&["HGET", KEY, "a.example"])
        .replace("yes  # ", "");
    assert_eq!(today.len(), 10, "{today}");
    assert_eq!(
        add(&["A.example."], ""),
        format!("a.example: listed already ({today})\n")
    );
    // The input is the lines of the file, with comments; a domain that occurs twice is
    // added once.
    let input = "c.example  # since 2020\n!.c.example\n\nc.example # again\n";
    assert_eq!(
        add(&["-"], input),
        format!(
            "c.example: added\n!.c.example: added\nc.example: listed already ({today} since 2020)\n"
        )
        .replace("since 2020)", "again)")
    );
    assert_eq!(
        server.command(&["HGET", KEY, "c.example"]),
        format!("yes  # {today} since 2020")
    );
    assert_eq!(
        server.command(&["HGET", KEY, ".c.example"]),
        format!("no  # {today}")
    );
    let denied = said(
        &[
            "opt-in",
            "deny",
            "--no-dns",
            "--comment",
            "moved\naway",
            "a.example",
        ],
        "",
    );
    assert_eq!(denied, "!a.example: changed from a.example\n");
    let list = said(&["opt-in", "list"], "");
    let want = format!(
        "# redis\n!.c.example  # {today}\n!a.example  # {today} moved away\n\
         c.example  # {today} since 2020\nxn--bcher-kva.example  # {today}\n"
    );
    assert_eq!(list, want);
    // The printed list can be parsed as a list.
    let other = Commands::new(&format!(
        "managed_file: {}",
        server.path("copy.list").display()
    ));
    fs::write(server.path("copy.list"), &list).expect("our file");
    let copied = stdout(&other.run(&["opt-in", "list"], ""));
    assert_eq!(
        copied.lines().skip(1).collect::<Vec<_>>(),
        list.lines().skip(1).collect::<Vec<_>>()
    );
    let json: serde_json::Value =
        serde_json::from_str(&said(&["opt-in", "list", "--format", "json"], "")).expect("JSON");
    assert_eq!(json[0]["source"], "redis");
    assert_eq!(json[0]["entry"], "!.c.example");

    let status = said(
        &["opt-in", "status", "a.example", "c.example", "x.c.example"],
        "",
    );
    assert_eq!(
        status,
        "a.example: no (redis: it says so)\nc.example: yes (redis: it says so)\n\
         x.c.example: no (redis: it says so)\n"
    );
    let remove = |entry: &str| said(&["opt-in", "remove", "--no-dns", entry], "");
    let removed = remove("a.example");
    assert_eq!(
        removed,
        "a.example: not listed, but !a.example is\nnow a.example: no (redis: it says so)\n"
    );
    for entry in [
        "!a.example",
        "c.example",
        "!.c.example",
        "xn--bcher-kva.example",
    ] {
        let removed = remove(entry);
        assert!(
            removed.starts_with(&format!("{entry}: removed\nnow ")),
            "{removed}"
        );
        assert!(
            removed.contains("no (default: no source knows it)"),
            "{removed}"
        );
    }
    // The last domain is removed, and the list still exists.
    assert_eq!(said(&["opt-in", "list"], ""), "# empty\n");
    let daemon = asking(&server);
    assert_eq!(opt_in(&daemon, "a.example"), No);
    assert!(remove("a.example").starts_with("a.example: not listed\n"));
    // Invalid fields that others wrote are reported.
    server.command(&["HSET", KEY, "Wrong.Example", "yes", "odd.example", "maybe"]);
    let output = commands.run(&["opt-in", "list"], "");
    let warned = stderr(&output);
    assert!(
        warned.contains("\"Wrong.Example\" is never found; write wrong.example"),
        "{warned}"
    );
    assert!(
        warned.contains("\"maybe\" of odd.example is not allowed here; write yes or no"),
        "{warned}"
    );
    assert_eq!(
        add(&["odd.example"], ""),
        "odd.example: changed from !odd.example\n"
    );
}

fn bulk() {
    const DOMAINS: usize = 100_000;
    let server = RedisServer::start();
    let section = server.section_with(
        &format!("\"{}\"", server.url()),
        ", managed: yes, timeout: 8s",
    );
    let commands = Commands::new(&section);
    let input: String = (0..DOMAINS)
        .map(|n| format!("customer{n}.example  # contract {n}\n"))
        .collect();
    for (verb, want) in [
        ("add", "100000 added\n"),
        ("add", "100000 listed already\n"),
        ("deny", "100000 changed\n"),
    ] {
        let start = Instant::now();
        let output = commands.run(&["opt-in", verb, "-"], &input);
        eprintln!("{verb} of {DOMAINS} domains: {:?}", start.elapsed());
        assert_eq!(stdout(&output), want, "{}", stderr(&output));
    }
    assert_eq!(server.command(&["HLEN", KEY]), (DOMAINS + 1).to_string());
    let start = Instant::now();
    let output = commands.run(&["opt-in", "list"], "");
    eprintln!("list of {DOMAINS} domains: {:?}", start.elapsed());
    assert_eq!(stdout(&output).lines().count(), DOMAINS + 1);
}

fn in_place_of_the_file() {
    let server = RedisServer::start();
    server.fill(&[("a.example", "no"), ("b.example", "yes")]);
    let file = server.path("managed.list");
    fs::write(&file, "a.example\nc.example\n").expect("our file");
    let section = |managed: &str| {
        let redis = server.section_with(&format!("\"{}\"", server.url()), managed);
        format!(
            "{redis}, managed_file: {}, domains: [a.example, \"!b.example\"]",
            file.display()
        )
    };
    let lists_first = daemon(&section(", timeout: 8s"));
    let hash_first = daemon(&section(", managed: yes, timeout: 8s"));
    let table = [
        ("a.example", Yes, No),
        ("b.example", No, Yes),
        ("c.example", Yes, No),
    ];
    for (domain, by_lists, by_hash) in table {
        assert_eq!(opt_in(&lists_first, domain), by_lists, "{domain}");
        assert_eq!(opt_in(&hash_first, domain), by_hash, "{domain}");
    }
    let commands = Commands::new("{}");
    let yaml = format!("opt_in: {{{}}}\n", section(", managed: yes"));
    fs::write(commands.file(), yaml).expect("our file");
    let warned = stderr(&commands.run(&["check-config"], ""));
    let want = format!(
        "opt_in.managed_file: {} is not read, because",
        file.display()
    );
    assert!(warned.contains(&want), "{warned}");
}

fn wrong_configuration() {
    let mut server = RedisServer::new().with_password(RIGHTS);
    server.run();
    let commands = Commands::new(&patient(&server));
    let place = |key: &str| format!("{}:2: opt_in.redis.{key}: ", commands.file().display());
    let doctor = || stdout(&commands.run(&["doctor"], ""));

    // Not there yet.
    let output = commands.run(&["check-config"], "");
    assert_eq!(output.status.code(), Some(0));
    let said = stderr(&output);
    assert!(
        said.contains("opt_in.redis.key: there is no hash sixgate:opt-in"),
        "{said}"
    );
    assert!(
        doctor().contains("there is no hash sixgate:opt-in, or it is empty"),
        "{}",
        doctor()
    );
    server.fill(&[("a.example", "yes")]);
    assert_eq!(stderr(&commands.run(&["check-config"], "")), "");
    assert!(doctor().contains("has the hash"), "{}", doctor());
    let shown = commands.run(&["check-config", "--show"], "");
    assert!(stdout(&shown).contains("  redis:\n"), "{}", stdout(&shown));
    assert!(!stdout(&shown).contains(PASSWORD));

    // A key of the wrong type.
    server.command(&["DEL", KEY]);
    server.command(&["LPUSH", KEY, "a.example"]);
    let output = commands.run(&["check-config"], "");
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    assert!(
        said.starts_with(
            &(place("key") + "sixgate:opt-in is not a hash but a key of another type")
        ),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(doctor().contains("is not a hash"), "{}", doctor());
    server.command(&["DEL", KEY]);
    server.fill(&[("a.example", "yes")]);

    let file = server.password_file();
    let set_mode =
        |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("ours");
    set_mode(0o644);
    let warned = stderr(&commands.run(&["check-config"], ""));
    assert!(
        warned.contains("opt_in.redis.password_file: every user of this machine can read"),
        "{warned}"
    );
    set_mode(0o600);
    for (text, want) in [
        ("wrong\n", "does not let us in"),
        ("", "has an empty first line"),
    ] {
        fs::write(&file, text).expect("our file");
        let output = commands.run(&["check-config"], "");
        assert_eq!(output.status.code(), Some(0));
        let warned = stderr(&output);
        assert!(
            warned.contains("can't be queried, so the key was not checked: "),
            "{warned}"
        );
        assert!(warned.contains(want), "{warned}");
        assert_eq!(warned.lines().count(), 1, "{warned}");
    }
    // A systemd credential.
    fs::write(&file, format!("{PASSWORD}\n")).expect("our file");
    let name = file.display().to_string();
    commands.configure(&patient(&server).replace(&name, "$CREDENTIALS_DIRECTORY/password"));
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["check-config", "-c"])
        .arg(commands.file())
        .env("CREDENTIALS_DIRECTORY", file.parent().expect("a folder"))
        .output()
        .expect("the program starts");
    assert_eq!(stderr(&output), "");

    let closed = lasting_address();
    let table = [
        (
            "redis: {url: \"memcached://host\"}",
            "the scheme \"memcached\" is unknown",
        ),
        (
            "redis: {url: \"redis://sixgate:hunter2@host\"}",
            "a password does not belong in the URL",
        ),
        ("redis: {key: other}", "it is missing beside key"),
        ("redis: {managed: yes}", "it is missing beside managed"),
        (
            "redis: {url: \"unix:///run/redis.sock\", cluster: yes}",
            "has no unix socket",
        ),
        (
            "redis: {url: \"redis://host/1\", cluster: yes}",
            "has the database 0 only",
        ),
    ];
    for (section, want) in table {
        commands.configure(section);
        let output = commands.run(&["check-config"], "");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(
            said.starts_with(&place("url")) || said.contains(":2: "),
            "{said}"
        );
        assert!(said.contains(want) && !said.contains("hunter2"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    commands.configure(&format!("redis: {{url: \"redis://{closed}\"}}"));
    let warned = stderr(&commands.run(&["check-config"], ""));
    assert!(
        warned.contains("opt_in.redis.url: redis://127.0.0.1:") && warned.contains("refused"),
        "{warned}"
    );
    let status = commands.run(&["opt-in", "status", "a.example"], "");
    assert!(
        stdout(&status).starts_with("a.example: unknown (redis: no usable answer: "),
        "{}",
        stdout(&status)
    );
}

const FLEET: &str = include_str!("../docs/fleet.md");

/// Returns the code block after the first line with these words.
fn block(words: &str) -> &'static str {
    let (_, behind) = FLEET.split_once(words).expect(words);
    let (_, block) = behind.split_once("```").expect("a block");
    let (_, block) = block.split_once('\n').expect("a language");
    block.split_once("```").expect("its end").0
}

fn examples_of_the_manual() {
    // The permissions are those that the other tests use.
    let rights = block("The user of sixgate needs these permissions");
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let documented = words(rights);
    assert_eq!(documented[..4], ["user", "sixgate", "on", ">PASSWORD"]);
    assert_eq!(documented[4..], words(RIGHTS));

    let replicas_user = "user replica on >a-long-secret +psync +replconf +ping";
    let mut primary = RedisServer::new().with_password(RIGHTS);
    primary.add_user(replicas_user);
    primary.run();
    let of_replica = block("`redis.conf` of each MX has:").replace(
        "redis.example.net 6379",
        &format!("127.0.0.1 {}", primary.port),
    );
    let mut replica = RedisServer::new().with_password(RIGHTS);
    for line in of_replica
        .lines()
        .filter(|line| !line.starts_with("unixsocket "))
    {
        let (option, value) = line.split_once(' ').expect("an option");
        replica = replica.with(&[&format!("--{option}"), value]);
    }
    replica.run();
    replica.wait_for_primary();

    let yaml = block("`list` work on this hash instead of the managed file:")
        .replace(
            "/run/redis/redis-server.sock",
            &format!("{}?user=sixgate", replica.socket().display()),
        )
        .replace("rediss://sixgate@redis.example.net", &primary.url())
        .replace(
            "/etc/sixgate/redis-password",
            &primary.password_file().display().to_string(),
        )
        .replace("managed: yes", "managed: yes\n    timeout: 8s");
    let cache = "  cache: {positive: 1h, negative: 1h}\n";
    let daemon = Daemon::start(&format!("{yaml}{cache}{}", settings()));
    let commands = Commands::new("{}");
    fs::write(commands.file(), &yaml).expect("our file");
    let folder = primary.path("work");
    fs::create_dir(&folder).expect("a folder");
    let shell = |lines: &str| {
        let ours = format!(
            "sixgate() {{ '{}' \"$@\" --no-dns -c '{}'; }}\n\
             redis-cli() {{ command redis-cli -e -s '{}' --user admin --pass any \
             --no-auth-warning \"$@\"; }}\n{lines}",
            env!("CARGO_BIN_EXE_sixgate"),
            commands.file().display(),
            primary.socket().display()
        );
        // Only bash allows a hyphen in the name of a function.
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", &ours]).current_dir(&folder).output();
        output.expect("bash starts")
    };
    let add = block("    managed: yes\n```\n");
    assert!(add.starts_with("sixgate opt-in add contoso.com"), "{add}");
    let output = shell(add);
    assert_eq!(
        stdout(&output),
        "contoso.com: added\n",
        "{}",
        stderr(&output)
    );
    wait_for(&daemon, "contoso.com", Yes);
    let value = primary.command(&["HGET", KEY, "contoso.com"]);
    assert!(
        value.starts_with("yes  # 20") && value.ends_with(" contract 4711"),
        "{value}"
    );
    let today = &value[7..17];
    assert!(
        FLEET.contains(&format!("`{}`", value.replace(today, "2026-11-28"))),
        "{value}"
    );

    let list = primary.path("opt-in.list");
    fs::write(&list, "fine.example  # a customer\n!out.example\n").expect("our file");
    let moved = block("To import the entries of a managed file")
        .replace("/var/lib/sixgate/opt-in.list", &list.display().to_string());
    assert_eq!(
        stdout(&shell(&moved)),
        "fine.example: added\n!out.example: added\n"
    );
    wait_for(&daemon, "fine.example", Yes);
    let value = primary.command(&["HGET", KEY, "fine.example"]);
    assert!(value.ends_with(" a customer"), "{value}");

    // Each is cached as not listed.
    for domain in ["fabrikam.com", "hand.example", "filled.example"] {
        assert_eq!(opt_in(&daemon, domain), No, "{domain}");
    }
    let published = shell(block("with names or with `*` for all:"));
    assert!(published.status.success(), "{}", stderr(&published));
    wait_for(&daemon, "fabrikam.com", Yes);
    let notify = block("Or let each server announce every change of the key");
    let words: Vec<&str> = notify.split_whitespace().skip(1).collect();
    replica.command(&words);
    primary.command(&["HSET", KEY, "hand.example", "yes"]);
    wait_for(&daemon, "hand.example", Yes);
    replica.command(&["CONFIG", "SET", "notify-keyspace-events", ""]);

    let fill = block("braces keep both on one node of a cluster:");
    fs::write(
        folder.join("domains.txt"),
        "filled.example\n.filled.example\n",
    )
    .expect("our file");
    let filled = shell(fill);
    assert!(filled.status.success(), "{}", stderr(&filled));
    for (domain, want) in [
        ("filled.example", Yes),
        ("a.filled.example", Yes),
        ("contoso.com", No),
    ] {
        wait_for(&daemon, domain, want);
    }
    fs::write(folder.join("domains.txt"), "").expect("our file");
    shell(fill);
    assert_eq!(primary.command(&["HLEN", KEY]), "2");
    let marked = shell(block(
        "If you fill a hash that may have no domain, add this field too:",
    ));
    assert!(marked.status.success(), "{}", stderr(&marked));
    primary.command(&["HDEL", KEY, "filled.example", ".filled.example"]);
    primary.command(&["PUBLISH", "sixgate:opt-in:changed", "*"]);
    wait_for(&daemon, "filled.example", No);

    // The replica alone still answers.
    primary.stop();
    outage::answered_within(Duration::from_secs(2), &daemon, No, |n| {
        format!("unheard{n}.example")
    });
    // A server that has lost its data is skipped.
    primary.run();
    primary.fill(&[("a.example", "yes")]);
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    replica.command(&["FLUSHALL"]);
    wait_for(&daemon, "a.example", Yes);
}
