//! Every command line in README.md, docs/ and the manual does what it is there
//! for: it is run as it is written, on a copy of this machine that is gone
//! afterwards, or [`lines`] says which other test has it run, or why none does.

// `pub` marks what is meant for other modules of this binary.
#![allow(dead_code, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../e2e/namespace.rs"]
mod namespace;

mod documents;
mod lines;
mod room;

use documents::{Document, Line, documents};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use lines::{How, LINES, ZONE, entry};
use room::Room;
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, ExitCode, Output},
    sync::Arc,
};
use support::dns::{DnsServer, Zone};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = namespace::obstacle().or_else(no_promtool);
    let mut trials = trials_of_the_table();
    match obstacle {
        _ if arguments.list => trials.extend(ignored("")),
        Some(reason) if namespace::is_required() => {
            eprintln!("The commands of the documentation can't be run: {reason}");
            return ExitCode::FAILURE;
        }
        Some(reason) => trials.extend(ignored(&reason)),
        None if namespace::is_inside() => trials.extend(trials_of_documents().expect("a room")),
        None => return namespace::run_this_program_inside().expect("a namespace"),
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn no_promtool() -> Option<String> {
    let missing = || Some("run tests/extract-promtool.sh first".to_owned());
    if room::promtool().exists() {
        None
    } else {
        missing()
    }
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
            "tests that are said to run a command have it",
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
    let documents = documents();
    let lines = documents.iter().flat_map(|document| &document.lines);
    let used: Vec<_> = lines
        .filter_map(|line| entry(&line.text))
        .map(|(begin, _)| begin)
        .collect();
    let entries = LINES.iter().map(|(begin, _)| begin);
    let unused = entries
        .filter(|begin| !used.contains(begin))
        .map(ToString::to_string);
    nothing(unused.collect(), "in the table and in no document")
}

fn tests_have_what_is_said() -> Result<(), Failed> {
    let lacks = LINES.iter().filter_map(|(begin, how)| match how {
        How::There(file, words) if !source(file).contains(words) => {
            Some(format!("{begin}: {file}"))
        }
        How::There(..) | How::Run(..) | How::Nowhere(_) => None,
    });
    nothing(lacks.collect(), "not in the file that is said to have it")
}

fn source(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default()
}

/// With `--help` an incomplete one is understood, too, and a wrong one is not.
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

/// One for each document, since its commands may build on one another.
fn trials_of_documents() -> io::Result<Vec<Trial>> {
    namespace::furnish()?;
    let servers = Arc::new(name_servers()?);
    let trial = |(index, document): (usize, Document)| {
        let servers = Arc::clone(&servers);
        Trial::test(document.name.clone(), move || {
            let _servers = servers;
            let room = Room::furnish(&format!("room{index}"))?;
            run_all(&document, &room)
        })
    };
    Ok(with_commands().into_iter().enumerate().map(trial).collect())
}

/// Our own, and that of others, which is asked by its address.
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

fn run_all(document: &Document, room: &Room) -> Result<(), Failed> {
    let (mut run, mut elsewhere, mut nowhere) = (0, 0, 0);
    for line in document.lines.iter().filter(|line| !is_mention(line)) {
        match entry(&line.text).map(|(_, how)| how) {
            Some(How::There(..)) => elsewhere += 1,
            Some(How::Nowhere(_)) => nowhere += 1,
            Some(How::Run(code, words)) => check(line, &room.run(&line.text)?, *code, words)?,
            None => check(line, &room.run(&line.text)?, 0, "")?,
        }
        run += 1;
    }
    run -= elsewhere + nowhere;
    eprintln!(
        "{}: {run} run, {elsewhere} by another test, {nowhere} by none",
        document.name
    );
    Ok(())
}

fn check(line: &Line, output: &Output, code: i32, words: &str) -> Result<(), Failed> {
    let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let is_as_expected = output.status.code() == Some(code) && said.contains(words);
    let panics = errors.contains("internal error");
    match is_as_expected && !panics {
        true => Ok(()),
        false => Err(Failed::from(format!(
            "{}\nwanted {code} and {words:?}, saw {}\n{said}{errors}",
            line.text, output.status
        ))),
    }
}

fn ignored(reason: &str) -> Vec<Trial> {
    let trial = |document: Document| {
        let reason = reason.to_owned();
        let ignored = move || Ok(Completion::ignored_with(reason));
        Trial::ignorable_test(document.name, ignored)
    };
    with_commands().into_iter().map(trial).collect()
}

fn with_commands() -> Vec<Document> {
    let mut documents = documents();
    documents.retain(|document| document.lines.iter().any(|line| !is_mention(line)));
    documents
}
