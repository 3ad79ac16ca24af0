//! Programs of the machine, such as postconf, asked with a deadline.
//!
//! Nothing is handed to a shell, and nothing is changed by what is asked.

use std::{
    env,
    ffi::OsStr,
    fmt,
    io::{self, Write},
    process::Stdio,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// A large table may take postmap seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Folders that the PATH of users other than root may lack.
const SYSTEM_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";

/// Why a program gave no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no such program.
    Missing,
    /// It ended with an error, or not at all; in its own words.
    Failed(String),
    /// It ended with an error and said nothing.
    NoMessage,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such program"),
            Self::Failed(words) => f.write_str(words),
            Self::NoMessage => f.write_str("it failed"),
        }
    }
}

/// What a program writes to standard output.
pub(super) async fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
) -> Result<String, Failure> {
    run_with_input(program, arguments, "").await
}

/// As [`run`], with something to read on standard input. It must fit into a
/// pipe, which holds 64 KiB.
pub(super) async fn run_with_input<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    input: &str,
) -> Result<String, Failure> {
    let path = env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", format!("{path}:{SYSTEM_FOLDERS}"))
        .env("LC_ALL", "C")
        .stdin(stdin(input)?)
        .kill_on_drop(true);
    match timeout(TIMEOUT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Ok(output)) => Err(error_message(&output.stderr)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(Failure::Missing),
        Ok(Err(error)) => Err(Failure::Failed(error.to_string())),
        Err(_too_late) => Err(Failure::Failed(format!("no answer in {TIMEOUT:?}"))),
    }
}

fn stdin(input: &str) -> Result<Stdio, Failure> {
    if input.is_empty() {
        return Ok(Stdio::null());
    }
    let pipe = io::pipe().and_then(|(reader, mut writer)| {
        writer.write_all(input.as_bytes())?;
        Ok(reader)
    });
    match pipe {
        Ok(reader) => Ok(reader.into()),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

fn error_message(stderr: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(stderr);
    match text.lines().last() {
        Some(words) => Failure::Failed(words.to_owned()),
        None => Failure::NoMessage,
    }
}
