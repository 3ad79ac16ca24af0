//! The Debian package on a clean Debian 12 that runs systemd and Debian's own
//! chrooted Postfix: installed, attached, upgraded, removed, purged. Beside that
//! what Debian's own piuparts thinks of it.
//!
//! `tests/make-debian.sh` makes the system and builds the package. The system is
//! booted in a container over a copy in memory, in a network of its own with the
//! tests' DNS server; nothing outside is changed.

// `pub` marks what is meant for other modules of this binary.
#![allow(dead_code, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../e2e/client.rs"]
mod client;
#[path = "../e2e/namespace.rs"]
mod namespace;

mod debian;
mod handover;
mod life;
mod piuparts;
mod restart;
mod sandbox;
mod upgrade;

use libtest_mimic::{Arguments, Completion, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, ignored("")).exit_code();
    }
    if namespace::is_inside() {
        namespace::furnish().expect("a furnished namespace");
        return libtest_mimic::run(&arguments, trials()).exit_code();
    }
    match namespace::obstacle().or_else(debian::obstacle) {
        Some(reason) if namespace::is_required() => {
            eprintln!("The package can't be tested: {reason}");
            ExitCode::FAILURE
        }
        Some(reason) => libtest_mimic::run(&arguments, ignored(&reason)).exit_code(),
        None => namespace::run_this_program_inside().expect("a namespace"),
    }
}

const LIFE: &str = "a_package_is_installed_attached_upgraded_removed_and_purged";
const PIUPARTS: &str = "piuparts_finds_nothing_left_behind";

fn trials() -> Vec<Trial> {
    vec![
        Trial::test(LIFE, || Ok(life::of_a_package()?)),
        Trial::test(PIUPARTS, || Ok(piuparts::finds_nothing()?)),
    ]
}

fn ignored(reason: &str) -> Vec<Trial> {
    let ignored = |name| {
        let reason = reason.to_owned();
        Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)))
    };
    [LIFE, PIUPARTS].map(ignored).into()
}
