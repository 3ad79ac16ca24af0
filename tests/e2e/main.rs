//! End-to-end tests with real mail servers: a private Postfix and a private Sendmail query
//! real daemons, clients connect from IPv6 addresses, a real DNS server answers, and
//! deliveries are checked. All dialogues run with both.
//!
//! The dialogues are in `dialogues/`, the DNS records in `zone`; `dialogue.rs` describes
//! the format. `-- demo` shows some instead of testing all.

// `pub` marks what is meant for other modules of this binary.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod credentials;
mod demo;
mod dialogue;
mod fixture;
mod forwarder;
mod hidden_clients;
mod host_names;
mod kept_sessions;
mod managed_exemptions;
mod messages;
mod mta;
mod namespace;
mod other_milter;
mod play;
mod postfix;
mod proxy_header;
mod release;
mod restarts;
mod scenarios;
mod sender;
mod sendmail;
mod signer;
mod sink;
mod tap;

use dialogue::Dialogue;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use mta::{Kind, Program};
use release::Release;
use std::{env, process::ExitCode, sync::Arc};

use fixture::{Fixture, SharedSetup};

/// Files of dialogues by subject.
const DIALOGUES: [(&str, &str); 11] = [
    ("recipients", include_str!("dialogues/recipients.txt")),
    ("reverse-dns", include_str!("dialogues/reverse-dns.txt")),
    ("spf", include_str!("dialogues/spf.txt")),
    ("details", include_str!("dialogues/details.txt")),
    ("dkim", include_str!("dialogues/dkim.txt")),
    ("exemptions", include_str!("dialogues/exemptions.txt")),
    ("forwarders", include_str!("dialogues/forwarders.txt")),
    ("roll-out", include_str!("dialogues/roll-out.txt")),
    ("sessions", include_str!("dialogues/sessions.txt")),
    ("transfer", include_str!("dialogues/transfer.txt")),
    (
        "other-software",
        include_str!("dialogues/other-software.txt"),
    ),
];

const ZONE: &str = include_str!("zone");

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some("demo") {
        return demonstrate();
    }
    let mut arguments = Arguments::from_args();
    // The tests mostly wait for timeouts and daemons, so more of them run than there are cores.
    arguments.test_threads.get_or_insert(4);
    if arguments.list {
        return libtest_mimic::run(&arguments, ignored("")).exit_code();
    }
    if namespace::is_inside() {
        return test(&arguments);
    }
    match obstacle() {
        Some(reason) if namespace::is_required() => {
            eprintln!("The dialogues with real mail servers can't be held: {reason}");
            ExitCode::FAILURE
        }
        Some(reason) => libtest_mimic::run(&arguments, ignored(&reason)).exit_code(),
        None => namespace::run_this_program_inside().expect("a namespace"),
    }
}

/// Returns the reason if no dialogue can run or, where all are required, not with all mail
/// servers.
fn obstacle() -> Option<String> {
    let of_a_server = || Kind::ALL.into_iter().find_map(Kind::obstacle);
    namespace::obstacle().or_else(|| of_a_server().filter(|_| namespace::is_required()))
}

fn test(arguments: &Arguments) -> ExitCode {
    namespace::prepare().expect("the namespace can be prepared");
    let setup = SharedSetup::prepare(ZONE).expect("the DNS server starts");
    let present = Kind::ALL
        .into_iter()
        .filter(|kind| kind.obstacle().is_none());
    for release in Release::ALL.into_iter().filter(|r| r.obstacle().is_none()) {
        release.prepare().expect("the root can be prepared");
    }
    let fixtures: Vec<_> = present
        .map(|kind| Arc::new(Fixture::start(kind, &setup).expect("everything starts")))
        .collect();
    let mut conclusion = libtest_mimic::run(arguments, trials(&fixtures));
    for fixture in fixtures {
        for difference in fixture.unlike_what_was_accepted() {
            eprintln!("{}: delivered unlike accepted: {difference}", fixture.kind);
            conclusion.num_failed += 1;
        }
    }
    conclusion.exit_code()
}

fn demonstrate() -> ExitCode {
    match namespace::obstacle() {
        _ if namespace::is_inside() => demo::show(&dialogues(), ZONE),
        None => namespace::run_this_program_inside().expect("a namespace"),
        Some(reason) => {
            eprintln!("The demonstration {reason}.");
            ExitCode::FAILURE
        }
    }
}

fn trials(fixtures: &[Arc<Fixture>]) -> Vec<Trial> {
    let trials = Kind::ALL.into_iter().map(|kind| {
        match (
            fixtures.iter().find(|fixture| fixture.kind == kind),
            kind.obstacle(),
        ) {
            (Some(fixture), _) => trials_with(fixture),
            (None, reason) => ignored_with(kind, &reason.unwrap_or_default()),
        }
    });
    let fixtures = fixtures.to_vec();
    let documented = Trial::ignorable_test(DOCUMENTED, move || match fixtures.len() {
        count if count == Kind::ALL.len() && own_release_differs() => {
            versions_are_documented(&fixtures)?;
            Ok(Completion::Completed)
        }
        _ => Ok(Completion::ignored_with(
            "needs the mail servers of two releases",
        )),
    });
    trials.flatten().chain([documented]).collect()
}

const DOCUMENTED: &str = "the documentation names the versions that are tested";

/// Whether this machine is not a Debian 13, whose mail servers are tested in any case.
fn own_release_differs() -> bool {
    let [own, other] = Release::ALL.map(|release| release.title().ok());
    own.is_some() && own != other
}

/// The documentation names exactly the versions that are tested. Runs only if all mail
/// servers are present.
fn versions_are_documented(fixtures: &[Arc<Fixture>]) -> Result<(), Failed> {
    let dialogues = dialogues();
    let documents = [
        (Program::Postfix, include_str!("../../docs/postfix.md")),
        (Program::Sendmail, include_str!("../../docs/sendmail.md")),
    ];
    for (program, document) in documents {
        let mut tested = Vec::new();
        for fixture in fixtures
            .iter()
            .filter(|fixture| fixture.kind.program == program)
        {
            let (version, release) = (fixture.mta.version()?, fixture.kind.release.title()?);
            let held =
                |(_, dialogue): &&(_, Dialogue)| can_not_be_held(dialogue, fixture.kind).is_none();
            let (held, all) = (dialogues.iter().filter(held).count(), dialogues.len());
            eprintln!("{program} {version} ({release}): {held} of {all} dialogues");
            let numbers: Vec<&str> = version.split('.').take(2).collect();
            tested.push(format!("{} ({release})", numbers.join(".")));
        }
        let sentence = format!("tested end to end with {}.", tested.join(" and "));
        if !document.contains(&sentence) {
            return Err(format!("docs/{program}.md does not say {sentence:?}").into());
        }
    }
    Ok(())
}

fn trials_with(fixture: &Arc<Fixture>) -> Vec<Trial> {
    let dialogues = (1..).zip(dialogues()).map(|(number, (file, dialogue))| {
        let fixture = Arc::clone(fixture);
        let name = format!("{} / {}", fixture.kind, dialogue.name);
        let hold = move || match can_not_be_held(&dialogue, fixture.kind) {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => {
                let _shared = fixture.setup.turn.shared();
                play::play(number, &dialogue, &fixture)?;
                Ok(Completion::Completed)
            }
        };
        Trial::ignorable_test(name, hold).with_kind(file)
    });
    let scenarios = scenarios::of(fixture.kind).filter(|_| !namespace::has_complete_results());
    let scenarios = scenarios.map(|(name, scenario)| {
        let fixture = Arc::clone(fixture);
        let name_here = format!("{} / {name}", fixture.kind);
        let run = move || match scenarios::obstacle(name) {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => {
                scenario(&fixture)?;
                Ok(Completion::Completed)
            }
        };
        Trial::ignorable_test(name_here, run).with_kind("scenarios")
    });
    dialogues.chain(scenarios).collect()
}

fn can_not_be_held(dialogue: &Dialogue, kind: Kind) -> Option<String> {
    let only = dialogue.only.as_ref()?;
    (only.mta != kind.program.to_string()).then(|| only.reason.clone())
}

fn ignored(reason: &str) -> Vec<Trial> {
    let all = Kind::ALL.into_iter();
    let reason_here = reason.to_owned();
    let documented = move || Ok(Completion::ignored_with(reason_here));
    all.flat_map(|kind| ignored_with(kind, reason))
        .chain([Trial::ignorable_test(DOCUMENTED, documented)])
        .collect()
}

fn ignored_with(kind: Kind, reason: &str) -> Vec<Trial> {
    let dialogues = dialogues().into_iter().map(|(file, d)| (file, d.name));
    let scenarios = scenarios::of(kind).map(|(name, _)| ("scenarios", name.into()));
    let all = dialogues.chain(scenarios);
    all.map(|(file, name)| {
        let reason = reason.to_owned();
        let ignored = move || Ok(Completion::ignored_with(reason));
        Trial::ignorable_test(format!("{kind} / {name}"), ignored).with_kind(file)
    })
    .collect()
}

fn dialogues() -> Vec<(&'static str, Dialogue)> {
    let mut all = Vec::new();
    for (file, text) in DIALOGUES {
        let dialogues = Dialogue::parse(text).unwrap_or_else(|e| panic!("{file}.txt: {e}"));
        all.extend(dialogues.into_iter().map(|dialogue| (file, dialogue)));
    }
    all
}
