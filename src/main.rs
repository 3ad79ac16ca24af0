//! The `sixgate` program: parses the command line, runs the command, and exits with its
//! exit code and error message.

use clap::Parser;
use mimalloc::MiMalloc;
use sixgate::{cli::Cli, commands, exit::Exit};
use std::process::ExitCode;

/// A message takes more than a hundred small allocations, for which glibc's allocator
/// needs twice the time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return print_help_or_usage(&answer),
    };
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{:#}", failure.error);
            failure.exit.into()
        }
    }
}

/// Prints what clap reports as an error: wrong usage, but also `--help` and `--version`.
fn print_help_or_usage(answer: &clap::Error) -> ExitCode {
    match answer.print() {
        Err(_) => Exit::Io.into(),
        Ok(()) if answer.use_stderr() => Exit::Usage.into(),
        Ok(()) => ExitCode::SUCCESS,
    }
}
