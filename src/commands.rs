//! The subcommands, one file or directory for each.

mod check_config;
mod doctor;
mod exempt;
pub(crate) mod explain;
mod healthcheck;
mod logs;
mod opt_in;
mod outcomes;
mod report;
mod serve;
mod trace;

use crate::{
    cli::Command,
    exit::{Exit, Failure},
};
use tokio::runtime::{self, Runtime};

/// Runs a subcommand.
///
/// # Errors
/// Returns the exit code and the error message of a command that failed.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(arguments) => serve::run(&arguments.config.path),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::OptIn(arguments) => opt_in::run(&arguments.command),
        Command::Exempt(arguments) => exempt::run(&arguments.command),
        Command::Report(arguments) => report::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
    }
}

/// Creates a runtime for a command that queries servers and ends.
fn runtime() -> Result<Runtime, Failure> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Os, error))
}
