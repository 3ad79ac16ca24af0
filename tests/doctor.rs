//! `sixgate doctor`: the real program before a real daemon, a real DNS server, a
//! real Postfix (its configuration read by postconf and postmap) and a real
//! sendmail.cf (made by m4), each set up right and wrong.
//!
//! Each set-up is a trial of its own. Those that need a mail server's programs
//! are reported as ignored where they are not; `SIXGATE_E2E_REQUIRED` makes that
//! a failure.

mod doctor {
    pub(crate) mod configuration;
    pub(crate) mod dns;
    pub(crate) mod fixture;
    pub(crate) mod postfix;
    pub(crate) mod sendmail;
}
mod support;

use doctor::{configuration, dns, postfix, sendmail};
use libtest_mimic::{Arguments, Completion, Trial};
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests mostly wait for timeouts, so more of them run than there are cores.
    arguments.test_threads.get_or_insert(8);
    let mut trials = configuration::trials();
    trials.extend(dns::trials());
    trials.extend(only_without(postfix::obstacle(), postfix::trials()));
    trials.extend(only_without(sendmail::obstacle(), sendmail::trials()));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn only_without(obstacle: Option<&'static str>, trials: Vec<Trial>) -> Vec<Trial> {
    let Some(reason) = obstacle else {
        return trials;
    };
    let required = env::var_os("SIXGATE_E2E_REQUIRED").is_some();
    let ignored = move || match required {
        true => Err(reason.into()),
        false => Ok(Completion::ignored_with(reason)),
    };
    let names = trials.iter().map(|trial| trial.name().to_owned());
    names
        .map(|name| Trial::ignorable_test(name, ignored))
        .collect()
}
