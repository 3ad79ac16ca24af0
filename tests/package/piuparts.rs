//! Runs piuparts, Debian's program for checking packages: after installing, removing,
//! installing again, removing and purging the package, the system is unchanged. It works on
//! a copy in which no services run.

use super::debian::{self, Release};
use std::{io, process::Command};

pub fn finds_nothing(release: Release) -> io::Result<()> {
    let package = debian::package().ok_or_else(|| io::Error::other("no package"))?;
    let output = Command::new("piuparts")
        .arg(format!("--distribution={}", release.code_name()))
        .arg("--keep-sources-list")
        .args(["--no-eatmydata", "--install-remove-install"])
        // Debian 13's debconf creates it at any installation with apt.
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

/// Its findings are near the end, before the cleanup.
fn end_of(log: &[u8]) -> String {
    let log = String::from_utf8_lossy(log);
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
