//! The configuration, the lists that it names, the sockets, and how it is told.

use super::fixture::{Fixture, NO_MTA, Shared, examine, free_port};
use crate::support::daemon::Daemon;
use libtest_mimic::Trial;
use std::{fs, net::TcpListener, process::Command, thread};
use tempfile::TempDir;

/// A trial for each.
pub(crate) fn trials() -> Vec<Trial> {
    let fixture = Shared::default();
    let trial = |name: &str, test: fn(&Fixture)| {
        let fixture = fixture.clone();
        Trial::test(name.to_owned(), move || {
            test(&fixture);
            Ok(())
        })
    };
    vec![
        trial(
            "a configuration that is wrong is the only finding",
            wrong_configuration,
        ),
        trial(
            "a configuration that is not there is no input",
            no_configuration,
        ),
        trial(
            "what a configuration may not mean is a warning",
            doubtful_configuration,
        ),
        trial("a socket that answers is told", a_socket_that_answers),
        trial(
            "a socket that nobody serves is told",
            a_socket_that_nobody_serves,
        ),
        trial(
            "a socket of another program is told",
            a_socket_of_another_program,
        ),
        trial("a socket that closes at once is told", a_socket_that_closes),
        trial(
            "for people there is a line a finding and one for what to do",
            for_people,
        ),
        trial("the status page is asked without a token", the_status_page),
        trial("lists are told with their age", lists),
        trial("a list that can't be read is a problem", a_broken_list),
        trial("a server that is asked for opt-ins is tried", servers),
    ]
}

fn wrong_configuration(fixture: &Fixture) {
    let found = fixture.examine("listen: nowhere\n", &[], "");
    assert_eq!(found.exit, Some(78));
    assert_eq!(found.findings.len(), 1);
    assert_eq!(found.findings[0]["check"], "config");
    assert_eq!(found.findings[0]["level"], "problem");
}

fn no_configuration(_: &Fixture) {
    let found = examine("/nonexistent/milter.yaml".as_ref(), &[], "");
    assert_eq!(found.exit, Some(66));
    assert_eq!(found.findings[0]["level"], "problem");
}

fn doubtful_configuration(fixture: &Fixture) {
    let found = fixture.examine(
        "listen: inet:127.0.0.1:{port}\nmode: observe\n",
        &NO_MTA,
        "",
    );
    found.has("config", "warning", "mode: observe refuses nothing");
    found.has("opt-in", "warning", "no domain has opted in");
}

fn a_socket_that_answers(fixture: &Fixture) {
    let found = fixture.examine("listen: \"unix:{queue}/private.sock\"\n", &NO_MTA, "");
    found.has("socket", "ok", "answers the milter negotiation (version 6)");
}

fn a_socket_that_nobody_serves(fixture: &Fixture) {
    let yaml = format!(
        "listen: [\"inet:127.0.0.1:{}\", \"unix:{{queue}}/none.sock\"]\n",
        free_port()
    );
    let found = fixture.examine(&yaml, &NO_MTA, "");
    found.has("socket", "problem", "no process listens");
    found.has("socket", "problem", "none.sock: the socket does not exist");
}

/// Takes one connection and says this.
fn another_program(says: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        std::io::Write::write_all(&mut stream, says).expect("it is read");
        // As a program does that waits for an answer.
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    });
    port
}

fn the_status_page(fixture: &Fixture) {
    if cfg!(not(feature = "status")) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "0123456789abcdef").unwrap();
    let running = |keys: &str| {
        let port = free_port();
        let status = format!("status: {{listen: 127.0.0.1:{port}{keys}}}\n");
        (Daemon::start(&status), port)
    };
    let with_token = format!(", token_file: {}", token.display());
    let (_open, open_port) = running("");
    let (_guarded, guarded_port) = running(&with_token);
    let examine = |port: u16, keys: &str| {
        let status = format!("status: {{listen: 127.0.0.1:{port}{keys}}}\n");
        fixture.examine(&status, &NO_MTA, "")
    };
    let found = examine(open_port, "");
    found.has("status-page", "ok", "answers the users of this machine");
    let found = examine(guarded_port, &with_token);
    found.has("status-page", "ok", "answers with the token only");
    // The file has a token now, but the daemon was started without.
    let found = examine(open_port, &with_token);
    found.has("status-page", "problem", "without a token");
    let found = examine(free_port(), "");
    found.has(
        "status-page",
        "warning",
        "does not answer: Connection refused",
    );
}

fn a_socket_of_another_program(fixture: &Fixture) {
    let port = another_program(b"220 mx.example.org ESMTP\r\n");
    let found = fixture.examine(&format!("listen: inet:127.0.0.1:{port}\n"), &NO_MTA, "");
    found.has("socket", "problem", "not a milter: the answer is");
}

fn a_socket_that_closes(fixture: &Fixture) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || drop(listener.accept()));
    let found = fixture.examine(&format!("listen: inet:127.0.0.1:{port}\n"), &NO_MTA, "");
    found.has(
        "socket",
        "problem",
        "the connection was closed without an answer",
    );
}

fn for_people(fixture: &Fixture) {
    let directory = TempDir::new().expect("a folder");
    let config = directory.path().join("milter.yaml");
    let text = "listen: inet:127.0.0.1:1\ndns: {servers: [\"{dns}\"]}\n";
    fs::write(&config, fixture.fill(text)).expect("a configuration");
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["doctor", "-c"])
        .arg(config)
        .args(NO_MTA)
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let socket = "problem  socket       inet:127.0.0.1:1: no process listens\n                      -> start sixgate";
    assert!(text.contains(socket), "{text}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains(" problems, "),
        "{output:?}"
    );
}

fn lists(fixture: &Fixture) {
    let folder = TempDir::new().expect("a folder");
    let list = folder.path().join("customers.list");
    fs::write(&list, "example.org\n.example.net\n!example.com\n").expect("a list");
    let yaml = format!(
        "listen: inet:127.0.0.1:{{port}}\nopt_in: {{domains: [a.example], files: [{}]}}\n",
        list.display()
    );
    let found = fixture.examine(&yaml, &NO_MTA, "");
    found.has("opt-in", "ok", "domains: 1 entry");
    found.has("opt-in", "ok", "file: 3 entries, changed 0 s ago");
}

fn a_broken_list(fixture: &Fixture) {
    let folder = TempDir::new().expect("a folder");
    let list = folder.path().join("customers.list");
    fs::write(&list, "example.org\nno domain\n").expect("a list");
    let yaml = format!(
        "listen: inet:127.0.0.1:{{port}}\nopt_in: {{files: [{}]}}\n",
        list.display()
    );
    let arguments = [NO_MTA.as_slice(), &["--dns"]].concat();
    let found = fixture.examine(&yaml, &arguments, "");
    found.has("opt-in", "problem", "customers.list:2");
    found.has("domains", "warning", "an opt-in list can't be read");
}

fn servers(fixture: &Fixture) {
    let table = [
        ("up.example", "ok", "dns-zone answers"),
        ("up.example", "ok", "test.up.example has 127.0.0.2"),
        (
            "untested.example",
            "warning",
            "test.untested.example has NXDOMAIN",
        ),
        ("nowhere.example", "problem", "the zone does not exist"),
        ("down.example", "problem", "dns-zone: no usable answer"),
    ];
    for (zone, level, words) in table {
        let yaml = format!("listen: inet:127.0.0.1:{{port}}\nopt_in: {{dns_zone: {zone}}}\n");
        fixture
            .examine(&yaml, &NO_MTA, "")
            .has("opt-in", level, words);
    }
}
