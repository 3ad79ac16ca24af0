//! The `sixgate` program: parses the command line, runs the command, and turns
//! its outcome into an exit code and a last word.

use clap::Parser;
use mimalloc::MiMalloc;
use sixgate::{cli::Cli, commands, exit::Exit};
use std::process::ExitCode;

/// A message is more than a hundred small allocations, and glibc's take twice as long.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return help_or_usage(&answer),
    };
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{:#}", failure.error);
            failure.exit.into()
        }
    }
}

/// `--help` and `--version` come as errors that are none.
fn help_or_usage(answer: &clap::Error) -> ExitCode {
    match answer.print() {
        Err(_) => Exit::Io.into(),
        Ok(()) if answer.use_stderr() => Exit::Usage.into(),
        Ok(()) => ExitCode::SUCCESS,
    }
}
