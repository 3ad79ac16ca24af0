//! Checks the clock. With a wrong one, valid DKIM signatures fail, because they have a
//! start and an expiry (RFC 6376 section 3.5, `t=` and `x=`).

use super::{
    finding::{Check, Finding},
    program,
};
use std::{
    env, fs,
    path::Path,
    time::{Duration, SystemTime},
};

/// Checks the clock against the times of files, and whether it is synchronized.
pub(super) async fn check(config: &Path) -> Finding {
    if let Some(newer) = newer_than_now(config) {
        return Finding::problem(
            Check::Clock,
            format!("the clock is behind: {newer} has a time in the future"),
            "set the clock, and synchronize it with chrony or systemd-timesyncd",
        );
    }
    match program::run(
        "timedatectl",
        &["show", "--property=NTPSynchronized", "--value"],
    )
    .await
    {
        Ok(answer) => finding(answer.trim()),
        Err(_no_systemd) => Finding::ok(
            Check::Clock,
            "unknown whether the clock is synchronized (timedatectl does not answer)",
        ),
    }
}

fn finding(synchronized: &str) -> Finding {
    match synchronized {
        "yes" => Finding::ok(Check::Clock, "the clock is synchronized (NTPSynchronized)"),
        "no" => Finding::warning(
            Check::Clock,
            "the clock is not synchronized: DKIM signatures may seem to be expired",
            "run timedatectl set-ntp true, or install chrony",
        ),
        other => Finding::ok(
            Check::Clock,
            format!("unknown whether the clock is synchronized ({other:?})"),
        ),
    }
}

/// Returns the configuration or the program, if its modification time is in the future.
fn newer_than_now(config: &Path) -> Option<String> {
    // A file server has a clock of its own.
    let soon = SystemTime::now() + Duration::from_secs(60);
    let written = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let program = env::current_exe().ok();
    [Some(config), program.as_deref()]
        .into_iter()
        .flatten()
        .find(|path| written(path).is_ok_and(|written| written > soon))
        .map(|path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn a_clock_without_synchronization_is_a_warning() {
        assert_eq!(finding("yes").level, Level::Ok);
        assert_eq!(finding("no").level, Level::Warning);
        assert_eq!(finding("").level, Level::Ok);
    }

    #[test]
    fn a_clock_behind_its_own_files_is_found() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("milter.yaml");
        let written = fs::File::create(&file).unwrap();
        assert_eq!(newer_than_now(&file), None);
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        written.set_modified(tomorrow).unwrap();
        assert_eq!(newer_than_now(&file), Some(file.display().to_string()));
    }
}
