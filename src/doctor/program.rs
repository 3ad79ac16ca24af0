//! Runs programs such as postconf, with a timeout and without a shell.

use std::{
    env,
    ffi::OsStr,
    fmt,
    io::{self, Write},
    process::Stdio,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// postmap may take seconds for a large table.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Directories that the PATH of users other than root may lack.
const SYSTEM_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";

/// Why a program failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no such program.
    Missing,
    /// It failed or timed out; with the error message.
    Failed(String),
    /// It failed without an error message.
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

/// Runs a program and returns its standard output.
pub(super) async fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
) -> Result<String, Failure> {
    run_with_input(program, arguments, "").await
}

/// Runs a program as [`run`] does, with `input` as its standard input, which must fit into a
/// pipe (64 KiB).
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
