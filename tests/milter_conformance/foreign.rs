//! Milter clients that are not ours, each with every mask and every message. They are programs
//! with the same arguments and output (README.md), built by `build-clients.sh`.

use crate::{
    fixture::Fixture,
    mail::{Mail, Want},
    masks::{MASKS, Mask},
    support::milter::Address,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// The client can't make such an offer.
const CAN_NOT: i32 = 77;

struct Client {
    name: &'static str,
    start: fn(&Path) -> Command,
}

const CLIENTS: [Client; 6] = [
    Client {
        name: "libmilter",
        start: |_| Command::new("miltertest"),
    },
    Client {
        name: "go-milter",
        start: |tools| Command::new(tools.join("go-milter-client")),
    },
    Client {
        name: "PyPI miltertest",
        start: |tools| python(tools, "pymiltertest.py"),
    },
    Client {
        name: "kilter.protocol",
        start: |tools| python(tools, "kilter_protocol.py"),
    },
    Client {
        name: "indymilter-test",
        start: |tools| Command::new(tools.join("rust/debug/indymilter-client")),
    },
    Client {
        name: "miltr-client",
        start: |tools| Command::new(tools.join("rust/debug/miltr-client")),
    },
];

fn python(tools: &Path, script: &str) -> Command {
    let mut command = Command::new(tools.join("python/bin/python"));
    command.arg(clients().join(script));
    command
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/milter_conformance/clients")
}

/// What a client says.
#[derive(Debug)]
enum Said {
    Nothing,
    Outcome(String),
    Failed(String),
}

#[test]
#[ignore = "needs the clients that build-clients.sh makes"]
fn no_foreign_client_gets_a_wrong_pass_or_a_wrong_fail() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/milter-clients");
    let fixture = Fixture::new("");
    let folder = TempDir::new().expect("a folder");
    let mut failures = Vec::new();
    let mut table: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for mask in MASKS {
        for client in CLIENTS {
            let cell = cell(
                &fixture,
                &tools,
                folder.path(),
                &client,
                &mask,
                &mut failures,
            );
            table.entry(mask.name).or_default().push(cell);
        }
    }
    let names: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
    println!(
        "| offer | {} |\n|---|{}",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for mask in MASKS {
        println!("| {} | {} |", mask.name, table[mask.name].join(" | "));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// How many of the messages came to what they have to.
fn cell(
    fixture: &Fixture,
    tools: &Path,
    folder: &Path,
    client: &Client,
    mask: &Mask,
    failures: &mut Vec<String>,
) -> String {
    // None of them hands messages over as Stalwart does: its mask is one like others.
    let mask = Mask {
        is_stalwart: false,
        ..*mask
    };
    let (mut right, mut all) = (0, 0);
    for mail in fixture.mails() {
        let context = format!("{}, {}, {}", client.name, mask.name, mail.name);
        match run(fixture, tools, folder, client, &mask, mail) {
            Said::Nothing => return "–".to_owned(),
            // It can't hand this message over as it is.
            Said::Outcome(said) if said == "unable" => continue,
            Said::Outcome(said) if is_right(&said, mail, &mask) => right += 1,
            Said::Outcome(said) => failures.push(format!("{context}: {said}")),
            Said::Failed(why) => failures.push(format!("{context}: {why}")),
        }
        all += 1;
    }
    format!("{right} of {all}")
}

fn is_right(said: &str, mail: &Mail, mask: &Mask) -> bool {
    let last = said.lines().last().unwrap_or_default();
    let count = |word: &str| said.lines().filter(|line| line.starts_with(word)).count();
    match mail.want(mask) {
        Want::Pass(words) => {
            let inserted = said.lines().find(|line| line.starts_with("insert "));
            let removed = usize::from(mail.is_forged && mask.changes_headers());
            last == "continue"
                && inserted.is_some_and(|line| line.contains(words))
                && count("remove") == removed
        }
        // Some do not show what the reply says.
        Want::Refused(words) => {
            let code = words.split(' ').next().unwrap_or_default();
            last == "refused" || last.starts_with("refused") && last.contains(code)
        }
    }
}

fn run(
    fixture: &Fixture,
    tools: &Path,
    folder: &Path,
    client: &Client,
    mask: &Mask,
    mail: &Mail,
) -> Said {
    let Address::Unix(socket) = fixture.daemon.address() else {
        panic!("the daemon listens on a unix socket");
    };
    let file = folder.join("message");
    fs::write(&file, &mail.text).expect("a file");
    let offer = mask.offer;
    let values = [
        ("socket", socket.display().to_string()),
        ("version", offer.version.to_string()),
        ("actions", offer.actions.to_string()),
        ("steps", offer.protocol.to_string()),
        ("sender", mail.sender.to_owned()),
        ("message", file.display().to_string()),
    ];
    let mut command = (client.start)(tools);
    match client.name {
        "libmilter" => {
            for (name, value) in values {
                command.args(["-D", &format!("{name}={value}")]);
            }
            command.arg("-s").arg(clients().join("libmilter.lua"));
        }
        _ => _ = command.args(values.map(|(_, value)| value)),
    }
    let output = command.output().expect("the client starts");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => Said::Outcome(said),
        Some(CAN_NOT) => Said::Nothing,
        _ => {
            let errors = String::from_utf8_lossy(&output.stderr);
            Said::Failed(format!("{said} {}", errors.trim()))
        }
    }
}
