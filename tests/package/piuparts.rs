//! What piuparts says, the program that Debian holds its packages against:
//! installed, removed, installed over what that left, removed and purged, the
//! system is as it was. It changes a copy, in which nothing runs.

use super::debian;
use std::{io, process::Command};

pub fn finds_nothing() -> io::Result<()> {
    let package = debian::package().ok_or_else(|| io::Error::other("no package"))?;
    let output = Command::new("piuparts")
        .args(["--distribution=bookworm", "--keep-sources-list"])
        .args(["--no-eatmydata", "--install-remove-install"])
        .arg("--existing-chroot")
        .arg(debian::folder())
        .arg(package)
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(end_of(&output.stdout))),
    }
}

/// What it found is near the end, before it tidies up.
fn end_of(log: &[u8]) -> String {
    let log = String::from_utf8_lossy(log);
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
