//! SPF over real DNS: the official RFC 7208 test suite, and cases of our own
//! that it lacks.
//!
//! The official suite (rfc7208-tests.yml) is read from the folder that the environment
//! variable `SIXGATE_VECTORS` names, and is reported as ignored without it. Ours are in
//! spf_suite/cases.yml, in the same format, and in spf_suite/effort.rs if they check DNS
//! queries. Each case is a separate trial, named after its scenario.

mod spf_suite {
    pub(crate) mod effort;
    pub(crate) mod format;
}
mod support;

use libtest_mimic::{Arguments, Trial};
use spf_suite::{effort, format::Scenario};
use std::{env, fs, path::PathBuf, process::ExitCode};
use support::dns::Fault;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = official();
    trials.extend(ours());
    trials.extend(effort::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn official() -> Vec<Trial> {
    let folder = env::var_os("SIXGATE_VECTORS").filter(|folder| !folder.is_empty());
    let Some(folder) = folder else {
        let name = "the official suite (SIXGATE_VECTORS is not set)";
        return vec![Trial::test(name, || Ok(())).with_ignored_flag(true)];
    };
    let path = PathBuf::from(folder).join("rfc7208-tests.yml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut trials = scenarios("rfc7208", &text, Fault::ServFail);
    // TIMEOUT is served as SERVFAIL, which is quick, except in one test.
    let silent = scenarios("rfc7208, in silence", &text, Fault::Silence);
    let chosen = |trial: &Trial| trial.name().ends_with("Record lookup / alltimeout");
    trials.extend(silent.into_iter().filter(chosen));
    trials
}

fn ours() -> Vec<Trial> {
    scenarios("ours", include_str!("spf_suite/cases.yml"), Fault::ServFail)
}

fn scenarios(suite: &str, text: &str, timeout: Fault) -> Vec<Trial> {
    let scenarios = Scenario::read_all(text).into_iter();
    scenarios
        .flat_map(|scenario| scenario.into_trials(suite, timeout))
        .collect()
}
