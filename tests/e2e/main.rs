//! The gate on real mail servers, end to end: a private Postfix and a private
//! Sendmail ask real daemons, clients speak from IPv6 addresses, a real DNS
//! server answers, and what is delivered is looked at. All dialogues are held
//! with both.
//!
//! The dialogues stand in `dialogues/`, what the DNS knows in `zone`; see
//! `dialogue.rs` for how to read them. `-- demo` shows some instead of testing
//! all.

// `pub` marks what is meant for other modules of this binary.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod credentials;
mod demo;
mod dialogue;
mod messages;
mod mta;
mod namespace;
mod play;
mod postfix;
mod proofs;
mod restarts;
mod sender;
mod sendmail;
mod signer;
mod sink;
mod tap;
mod world;

use dialogue::Dialogue;
use libtest_mimic::{Arguments, Completion, Trial};
use mta::Kind;
use std::{env, process::ExitCode, sync::Arc};

use world::{Ground, World};

/// Files of dialogues, by what they are about.
const DIALOGUES: [(&str, &str); 7] = [
    ("recipients", include_str!("dialogues/recipients.txt")),
    ("reverse-dns", include_str!("dialogues/reverse-dns.txt")),
    ("spf", include_str!("dialogues/spf.txt")),
    ("details", include_str!("dialogues/details.txt")),
    ("dkim", include_str!("dialogues/dkim.txt")),
    ("exemptions", include_str!("dialogues/exemptions.txt")),
    ("sessions", include_str!("dialogues/sessions.txt")),
];

const ZONE: &str = include_str!("zone");

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some("demo") {
        return demonstrate();
    }
    let arguments = Arguments::from_args();
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

/// Why there can be no dialogues; where all are required, why not with all mail
/// servers.
fn obstacle() -> Option<String> {
    let of_a_server = || Kind::ALL.into_iter().find_map(Kind::obstacle);
    namespace::obstacle().or_else(|| of_a_server().filter(|_| namespace::is_required()))
}

fn test(arguments: &Arguments) -> ExitCode {
    namespace::furnish().expect("the namespace can be furnished");
    let ground = Ground::prepare(ZONE).expect("the DNS server starts");
    let present = Kind::ALL
        .into_iter()
        .filter(|kind| kind.obstacle().is_none());
    let worlds: Vec<_> = present
        .map(|kind| Arc::new(World::start(kind, &ground).expect("everything starts")))
        .collect();
    let mut conclusion = libtest_mimic::run(arguments, trials(&worlds));
    for world in worlds {
        for difference in world.unlike_what_was_accepted() {
            eprintln!("{}: delivered unlike accepted: {difference}", world.kind);
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

fn trials(worlds: &[Arc<World>]) -> Vec<Trial> {
    let trials = Kind::ALL.into_iter().map(|kind| {
        match (
            worlds.iter().find(|world| world.kind == kind),
            kind.obstacle(),
        ) {
            (Some(world), _) => trials_with(world),
            (None, reason) => ignored_with(kind, &reason.unwrap_or_default()),
        }
    });
    trials.flatten().collect()
}

fn trials_with(world: &Arc<World>) -> Vec<Trial> {
    let dialogues = (1..).zip(dialogues()).map(|(number, (file, dialogue))| {
        let world = Arc::clone(world);
        let name = format!("{} / {}", world.kind, dialogue.name);
        let hold = move || match can_not_be_held(&dialogue, world.kind) {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => {
                let _shared = world.ground.turn.shared();
                play::play(number, &dialogue, &world)?;
                Ok(Completion::Completed)
            }
        };
        Trial::ignorable_test(name, hold).with_kind(file)
    });
    let proofs = proofs::of(world.kind).map(|(name, proof)| {
        let world = Arc::clone(world);
        let name = format!("{} / {name}", world.kind);
        Trial::test(name, move || Ok(proof(&world)?)).with_kind("proofs")
    });
    dialogues.chain(proofs).collect()
}

fn can_not_be_held(dialogue: &Dialogue, kind: Kind) -> Option<String> {
    let only = dialogue.only.as_ref()?;
    (only.mta != kind.to_string()).then(|| only.reason.clone())
}

fn ignored(reason: &str) -> Vec<Trial> {
    let all = Kind::ALL.into_iter();
    all.flat_map(|kind| ignored_with(kind, reason)).collect()
}

fn ignored_with(kind: Kind, reason: &str) -> Vec<Trial> {
    let dialogues = dialogues().into_iter().map(|(file, d)| (file, d.name));
    let proofs = proofs::of(kind).map(|(name, _)| ("proofs", name.into()));
    let all = dialogues.chain(proofs);
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
