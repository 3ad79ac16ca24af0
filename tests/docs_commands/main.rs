//! Runs every command line in README.md, docs/ and the manual as it is written, on a
//! temporary copy of this machine. For the others `table.txt` names the file that covers
//! them, or the reason why none does. The contents of that file are not verified.

// `pub` marks what is meant for other modules of this binary.
#![allow(dead_code, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../e2e/namespace.rs"]
mod namespace;
#[path = "../support/pages.rs"]
mod pages;

mod documents;
mod files;
mod sandbox;
mod table;

use documents::{Document, Line, documents};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use sandbox::Sandbox;
use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
};
use support::dns::{DnsServer, Zone};
use table::{How, Table};

/// The zone of the name servers that commands query.
const ZONE: &str = r#"
2001:db8::25          PTR  mail.example.org
mail.example.org      AAAA 2001:db8::25
ns1.example.org       A    127.0.0.1
example.org           TXT  "v=spf1 mx ip6:2001:db8::25 -all"
sel._domainkey.example.org TXT "v=DKIM1; p=AAAA"
contoso.com           MX   10 mx.contoso.com
mx.contoso.com        AAAA 2001:db8::26
test.opt-in.example.org A  127.0.0.2
"#;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = namespace::obstacle().or_else(sandbox::obstacle);
    let mut trials = trials_of_the_table();
    match obstacle {
        _ if arguments.list => trials.extend(ignored("")),
        Some(reason) if namespace::is_required() => {
            eprintln!("The commands of the documentation can't be run: {reason}");
            return ExitCode::FAILURE;
        }
        Some(reason) => trials.extend(ignored(&reason)),
        None if namespace::is_inside() => trials.extend(trials_of_documents().expect("a sandbox")),
        None => return namespace::run_this_program_inside().expect("a namespace"),
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials_of_the_table() -> Vec<Trial> {
    type Test = fn() -> Result<(), Failed>;
    let tests: [(&str, Test); 4] = [
        (
            "every line of a block is a command or an example",
            no_line_is_unknown,
        ),
        (
            "every entry of the table is that of a line",
            no_entry_is_of_no_line,
        ),
        (
            "the test that table.txt names runs the command",
            tests_have_what_is_said,
        ),
        (
            "every sixgate command in a paragraph is understood",
            mentions_are_understood,
        ),
    ];
    tests.map(|(name, test)| Trial::test(name, test)).into()
}

fn no_line_is_unknown() -> Result<(), Failed> {
    let documents = documents();
    let unknown = documents.iter().flat_map(|document| {
        let place = |line| format!("{}: {line}", document.name);
        document.unknown.iter().map(place)
    });
    nothing(
        unknown.collect(),
        "neither a command of PROGRAMS nor an example",
    )
}

fn no_entry_is_of_no_line() -> Result<(), Failed> {
    let (documents, table) = (documents(), Table::read());
    let lines = documents.iter().flat_map(|document| &document.lines);
    let used = lines.filter_map(|line| table.entry(&line.text));
    let used: Vec<&str> = used.map(|entry| entry.begin).collect();
    let begins = table.entries().iter().map(|entry| entry.begin);
    let unused = begins.filter(|begin| !used.contains(begin));
    nothing(
        unused.map(str::to_owned).collect(),
        "in the table and in no document",
    )
}

fn tests_have_what_is_said() -> Result<(), Failed> {
    let table = Table::read();
    let lacking = table.entries().iter().filter_map(|entry| match entry.how {
        How::There(file, words) if !source(file).contains(words) => Some(entry.begin.to_owned()),
        How::There(..) | How::Ends(..) | How::Makes(..) | How::Nowhere(_) => None,
    });
    nothing(lacking.collect(), "not in the test that table.txt names")
}

fn source(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default()
}

/// With `--help`, clap accepts an incomplete command line and rejects a wrong one.
fn mentions_are_understood() -> Result<(), Failed> {
    let documents = documents();
    let lines = documents.iter().flat_map(|document| &document.lines);
    let wrong = lines.filter(|line| is_mention(line)).filter(|line| {
        let words = line
            .text
            .split_whitespace()
            .skip(1)
            .filter(|word| *word != "-");
        let mut sixgate = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        let output = sixgate.args(words).arg("--help").output();
        !output.is_ok_and(|output| output.status.success())
    });
    nothing(
        wrong.map(|line| line.text.clone()).collect(),
        "not understood",
    )
}

fn is_mention(line: &Line) -> bool {
    line.is_in_a_paragraph && line.text.starts_with("sixgate ")
}

fn nothing(found: Vec<String>, what: &str) -> Result<(), Failed> {
    match found.is_empty() {
        true => Ok(()),
        false => Err(Failed::from(format!("{what}:\n{}", found.join("\n")))),
    }
}

/// One trial for each document, because its commands may depend on each other.
fn trials_of_documents() -> io::Result<Vec<Trial>> {
    namespace::prepare()?;
    let servers = Arc::new(name_servers()?);
    let trial = |(index, document): (usize, Document)| {
        let servers = Arc::clone(&servers);
        Trial::test(document.name.clone(), move || {
            let _servers = servers;
            let sandbox = Sandbox::create(&format!("sandbox{index}"))?;
            run_all(&document, &sandbox)
        })
    };
    let trials = with_commands().into_iter().enumerate().map(trial);
    let settings = Trial::test(SETTINGS, settings_are_of_postfix);
    Ok(trials.chain([settings]).collect())
}

const SETTINGS: &str = "every setting of main.cf that is shown is one";

/// Values in the same format.
const OF_EXIM: [&str; 2] = ["disable_ipv6", "ignore_target_hosts"];

fn settings_are_of_postfix() -> Result<(), Failed> {
    let documents = documents();
    let settings = documents.iter().flat_map(|document| &document.settings);
    let settings: BTreeSet<&String> = settings
        .filter(|name| !OF_EXIM.contains(&name.as_str()))
        .collect();
    assert!(
        settings.contains(&"smtpd_milters".to_owned()),
        "{settings:?}"
    );
    let sandbox = Sandbox::create("settings")?;
    let mut unknown = Vec::new();
    for name in settings {
        let output = sandbox.run(&format!("postconf -d '{name}'"))?;
        unknown.extend((!output.stderr.is_empty()).then(|| name.clone()));
    }
    nothing(unknown, "not settings of Postfix")
}

/// Our own name server, and a public one that commands query by its address.
fn name_servers() -> io::Result<[DnsServer; 2]> {
    let others = Ipv4Addr::new(9, 9, 9, 9);
    let network = format!("{others}/32");
    namespace::run("ip", &["route", "add", "local", &network, "dev", "lo"])?;
    let start = |address: Ipv4Addr| {
        let zone = Zone::parse(ZONE).map_err(io::Error::other)?;
        DnsServer::start_at(zone, (IpAddr::from(address), 53).into())
    };
    Ok([start(Ipv4Addr::LOCALHOST)?, start(others)?])
}

fn run_all(document: &Document, sandbox: &Sandbox) -> Result<(), Failed> {
    let (table, mut run, mut elsewhere, mut nowhere) = (Table::read(), 0, 0, 0);
    for line in document.lines.iter().filter(|line| !is_mention(line)) {
        let line = line.text.as_str();
        match table.entry(line).map(|entry| &entry.how) {
            Some(How::There(..)) => elsewhere += 1,
            Some(How::Nowhere(_)) => nowhere += 1,
            how => {
                sandbox.prepare(line)?;
                check(line, sandbox, how)?;
                run += 1;
            }
        }
    }
    let name = &document.name;
    eprintln!("{name}: {run} run, {elsewhere} found elsewhere, {nowhere} nowhere");
    Ok(())
}

fn check(line: &str, sandbox: &Sandbox, how: Option<&How>) -> Result<(), Failed> {
    if let Some(How::Makes(file, words)) = how
        && sandbox.has(file, words)
    {
        return Err(Failed::from(format!("{line}: {file} has {words} before")));
    }
    let output = sandbox.run(line)?;
    let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let (code, is_there) = match how {
        Some(How::Ends(code, words)) => (*code, said.contains(words)),
        Some(How::Makes(file, words)) => (0, sandbox.has(file, words)),
        Some(How::There(..) | How::Nowhere(_)) | None => (0, true),
    };
    let is_broken = errors.contains("internal error");
    match output.status.code() == Some(code) && is_there && !is_broken {
        true => Ok(()),
        false => Err(Failed::from(format!(
            "{line}: {}, not as the table has it\n{said}{errors}",
            output.status
        ))),
    }
}

fn ignored(reason: &str) -> Vec<Trial> {
    let names = with_commands().into_iter().map(|document| document.name);
    let trial = |name| {
        let reason = reason.to_owned();
        let ignored = move || Ok(Completion::ignored_with(reason));
        Trial::ignorable_test(name, ignored)
    };
    names.chain([SETTINGS.to_owned()]).map(trial).collect()
}

fn with_commands() -> Vec<Document> {
    let mut documents = documents();
    documents.retain(|document| document.lines.iter().any(|line| !is_mention(line)));
    documents
}
