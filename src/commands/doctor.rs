//! `sixgate doctor`: prints what [`doctor::examine`] finds, and chooses the exit code.

use crate::{
    cli::Doctor,
    commands,
    config::Config,
    doctor::{self, Finding, Level},
    exit::{Exit, Failure},
};
use anyhow::anyhow;
use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// Examines the installation and prints the findings.
///
/// # Errors
/// When there is a warning or a problem, with the exit code of the worst finding.
pub(super) fn run(arguments: &Doctor) -> Result<(), Failure> {
    let config = match Config::load_for_host(&arguments.config.path) {
        Ok(config) => config,
        Err(error) => {
            print(&[Finding::from(&error)], arguments.json)
                .map_err(|error| Failure::new(Exit::Io, error))?;
            return Err(error.into());
        }
    };
    let runtime = commands::runtime()?;
    let findings = runtime.block_on(doctor::examine(arguments, &config))?;
    print(&findings, arguments.json).map_err(|error| Failure::new(Exit::Io, error))?;
    outcome(&findings)
}

/// Writes the findings to standard output.
fn print(findings: &[Finding], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match json {
        true => {
            serde_json::to_writer_pretty(&mut out, findings)?;
            writeln!(out)?;
        }
        false => out.write_all(text(findings).as_bytes())?,
    }
    out.flush()
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (level, check) = (finding.level, finding.check.name());
        // Writing to a String never fails.
        let _ = writeln!(text, "{level:<8} {check:<12} {}", finding.seen);
        if let Some(todo) = &finding.todo {
            let _ = writeln!(text, "{:<21} -> {todo}", "");
        }
    }
    text
}

/// Chooses the exit code. A warning is EX_TEMPFAIL, which sysexits.h calls "not really an
/// error".
fn outcome(findings: &[Finding]) -> Result<(), Failure> {
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    let (warnings, problems) = (count(Level::Warning), count(Level::Problem));
    let exit = match (warnings, problems) {
        (0, 0) => return Ok(()),
        (_, 0) => Exit::TempFail,
        (_, _) => Exit::Unavailable,
    };
    let (warnings, problems) = (number(warnings, "warning"), number(problems, "problem"));
    Err(Failure::new(exit, anyhow!("{problems}, {warnings}")))
}

fn number(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}
