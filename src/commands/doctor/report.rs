//! The findings as people and programs read them, and the exit code they make.

use super::finding::{Finding, Level};
use crate::exit::{Exit, Failure};
use anyhow::anyhow;
use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// Writes the findings to standard output.
pub(super) fn print(findings: &[Finding], json: bool) -> io::Result<()> {
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
        // Nothing fails that writes to a String.
        let _ = writeln!(text, "{level:<8} {check:<12} {}", finding.seen);
        if let Some(todo) = &finding.todo {
            let _ = writeln!(text, "{:<21} -> {todo}", "");
        }
    }
    text
}

/// How the command ends. sysexits.h says of EX_TEMPFAIL that it is "not really
/// an error", which is what a warning is.
pub(super) fn outcome(findings: &[Finding]) -> Result<(), Failure> {
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
