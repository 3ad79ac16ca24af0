//! The gate on a real mail server, end to end: a private Postfix asks real
//! daemons, clients speak from IPv6 addresses, a real DNS server answers, and
//! what is delivered is looked at.
//!
//! The dialogues stand in `dialogues/`, what the DNS knows in `zone`; see
//! `dialogue.rs` for how to read them. `-- demo` shows some instead of testing
//! all.

// `pub` marks what is meant for other modules of this binary.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod demo;
mod dialogue;
mod messages;
mod namespace;
mod play;
mod postfix;
mod proofs;
mod signer;
mod sink;
mod tap;
mod world;

use dialogue::Dialogue;
use libtest_mimic::{Arguments, Completion, Trial};
use std::{env, process::ExitCode, sync::Arc};
use world::World;

/// Files of dialogues, by what they are about.
const DIALOGUES: [(&str, &str); 6] = [
    ("recipients", include_str!("dialogues/recipients.txt")),
    ("reverse-dns", include_str!("dialogues/reverse-dns.txt")),
    ("spf", include_str!("dialogues/spf.txt")),
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
    match namespace::obstacle() {
        Some(reason) if namespace::is_required() => {
            eprintln!("The dialogues with a real mail server can't be held: {reason}");
            ExitCode::FAILURE
        }
        Some(reason) => libtest_mimic::run(&arguments, ignored(&reason)).exit_code(),
        None => namespace::run_this_program_inside().expect("a namespace"),
    }
}

fn test(arguments: &Arguments) -> ExitCode {
    namespace::furnish().expect("the namespace can be furnished");
    let world = Arc::new(World::start(ZONE).expect("everything starts"));
    let mut conclusion = libtest_mimic::run(arguments, trials(&world));
    let differences = world.unlike_what_was_accepted();
    for difference in &differences {
        eprintln!("delivered unlike accepted: {difference}");
    }
    conclusion.num_failed += differences.len() as u64;
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

fn trials(world: &Arc<World>) -> Vec<Trial> {
    let dialogues = (1..).zip(dialogues()).map(|(number, (file, dialogue))| {
        let world = Arc::clone(world);
        Trial::test(dialogue.name.clone(), move || {
            let _shared = world.turn.shared();
            play::play(number, &dialogue, &world)?;
            Ok(())
        })
        .with_kind(file)
    });
    let proofs = proofs::ALL.iter().map(|&(name, proof)| {
        let world = Arc::clone(world);
        Trial::test(name, move || Ok(proof(&world)?)).with_kind("proofs")
    });
    dialogues.chain(proofs).collect()
}

fn ignored(reason: &str) -> Vec<Trial> {
    let dialogues = dialogues().into_iter().map(|(file, d)| (file, d.name));
    let proofs = proofs::ALL
        .iter()
        .map(|(name, _)| ("proofs", (*name).into()));
    let all = dialogues.chain(proofs);
    all.map(|(kind, name)| {
        let reason = reason.to_owned();
        let ignored = move || Ok(Completion::ignored_with(reason));
        Trial::ignorable_test(name, ignored).with_kind(kind)
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
