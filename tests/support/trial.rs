//! Tests that need optional programs.

use super::database::program;
use libtest_mimic::{Completion, Failed, Trial};
use std::env;

/// Returns a test that is ignored if a program is missing, unless all are required.
pub fn needing(
    name: &str,
    programs: &'static [&'static str],
    test: impl FnOnce() + Send + 'static,
) -> Trial {
    let missing = programs.iter().find(|name| program(name).is_none());
    let missing = missing.map(|name| format!("there is no {name}"));
    Trial::ignorable_test(name, move || match missing {
        Some(reason) if env::var_os("SIXGATE_E2E_REQUIRED").is_some() => Err(Failed::from(reason)),
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => {
            test();
            Ok(Completion::Completed)
        }
    })
}
