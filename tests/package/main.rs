//! The Debian package on a clean Debian 12 and 13 that run systemd, with Debian's own
//! chrooted Postfix and with Sendmail: installed, attached, upgraded, removed, purged.
//! Debian's piuparts checks it too.
//!
//! `tests/make-debian.sh` creates the systems and builds the package. A system boots in a
//! container on a copy in memory, in its own network with the tests' DNS server; nothing
//! outside is changed.
//!
//! Debian 13 takes as long as Debian 12 and rarely differs, so it runs only in
//! `tests/extended.sh`. A package that is built on Debian 13 needs its C library and cannot
//! be installed on Debian 12, so on such a machine only Debian 13 is tested.

// `pub` marks what is meant for other modules of this binary.
#![allow(dead_code, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../e2e/client.rs"]
mod client;
#[path = "../e2e/namespace.rs"]
mod namespace;

mod container;
mod debian;
mod handover;
mod lifecycle;
mod piuparts;
mod repository;
mod restart;
mod sandbox;
mod sendmail;
mod upgrade;

use debian::Release;
use libtest_mimic::{Arguments, Completion, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, ignored("")).exit_code();
    }
    if namespace::is_inside() {
        namespace::prepare().expect("a prepared namespace");
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

/// A name without the release, and the test.
type Test = (&'static str, fn(Release) -> lifecycle::Outcome);

const TESTS: [Test; 3] = [
    (
        "a_package_is_installed_attached_upgraded_removed_and_purged_with_postfix",
        lifecycle::with_postfix,
    ),
    (
        "a_package_is_installed_attached_upgraded_and_purged_with_sendmail",
        sendmail::lifecycle_with_sendmail,
    ),
    (
        "piuparts_finds_nothing_left_behind",
        piuparts::finds_nothing,
    ),
];

/// Only in `tests/extended.sh`, on both releases.
const REPOSITORY: Test = (
    "a_signed_repository_serves_installations_and_upgrades",
    repository::serves_installations_and_upgrades,
);

const IMAGE: &str = "a_container_image_refuses_and_accepts_mail_beside_postfix";

fn trials() -> Vec<Trial> {
    let trial = |release: Release, (name, test): Test| {
        Trial::test(name_on(name, release), move || Ok(test(release)?))
            .with_ignored_flag(release != Release::of_the_package())
    };
    let releases = Release::ALL.into_iter();
    let trials = releases.flat_map(|release| TESTS.map(|test| trial(release, test)));
    let image = Trial::test(IMAGE, || {
        Ok(container::lifecycle_of_an_image(Release::Thirteen)?)
    });
    let repositories = Release::ALL.map(|release| trial(release, REPOSITORY));
    let extended = repositories.into_iter().chain([image]);
    trials
        .chain(extended.map(|trial| trial.with_ignored_flag(true)))
        .collect()
}

fn ignored(reason: &str) -> Vec<Trial> {
    let ignored = |name| {
        let reason = reason.to_owned();
        Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)))
    };
    let releases = Release::ALL.into_iter();
    let names = releases.flat_map(|release| TESTS.map(|(name, _)| name_on(name, release)));
    let repositories = Release::ALL.map(|release| name_on(REPOSITORY.0, release));
    let names = names.chain(repositories).chain([IMAGE.to_owned()]);
    names.map(ignored).collect()
}

fn name_on(name: &str, release: Release) -> String {
    format!("{name}_on_debian_{}", release.number())
}
