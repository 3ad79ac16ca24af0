//! What piuparts says, the program that Debian holds its packages against:
//! installed, removed, installed over what that left, removed and purged, the
//! system is as it was. It changes a copy, in which nothing runs.

use super::debian::{self, Release};
use std::{io, process::Command};

pub fn finds_nothing(release: Release) -> io::Result<()> {
    let package = debian::package().ok_or_else(|| io::Error::other("no package"))?;
    let output = Command::new("piuparts")
        .arg(format!("--distribution={}", release.code_name()))
        .arg("--keep-sources-list")
        .args(["--no-eatmydata", "--install-remove-install"])
        // Debian 13's debconf makes it at any installation by apt.
        .arg("--ignore=/var/cache/debconf/tmp.ci/")
        .arg("--existing-chroot")
        .arg(release.folder())
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
