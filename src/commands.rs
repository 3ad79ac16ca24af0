//! The subcommands, one file each.

mod check_config;

use crate::{cli::Command, exit::Failure};

/// Does what the command line asks for.
///
/// # Errors
/// When the command fails, with the exit code and the last word.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::CheckConfig(arguments) => check_config::run(&arguments),
    }
}
