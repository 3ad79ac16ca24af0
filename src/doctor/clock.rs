//! The clock: signatures expire by it (RFC 6376 section 3.5, `t=` and `x=`), and
//! one that is wrong makes good signatures fail.

use super::{
    finding::{Check, Finding},
    program,
};
use std::{
    env, fs,
    path::Path,
    time::{Duration, SystemTime},
};

/// Whether it is right, as far as this machine can tell.
pub(super) async fn check(config: &Path) -> Finding {
    if let Some(newer) = newer_than_now(config) {
        return Finding::problem(
            Check::Clock,
            format!("the clock is behind: {newer} was written later than now"),
            "set it, and have it kept right by chrony or systemd-timesyncd",
        );
    }
    match program::run(
        "timedatectl",
        &["show", "--property=NTPSynchronized", "--value"],
    )
    .await
    {
        Ok(answer) => judge(answer.trim()),
        Err(_no_systemd) => Finding::ok(
            Check::Clock,
            "whether the clock is kept right can't be told from here (timedatectl does not answer)",
        ),
    }
}

fn judge(synchronized: &str) -> Finding {
    match synchronized {
        "yes" => Finding::ok(Check::Clock, "the clock is kept right (NTPSynchronized)"),
        "no" => Finding::warning(
            Check::Clock,
            "the clock is not synchronized: DKIM signatures expire by it",
            "have it kept right: timedatectl set-ntp true, or install chrony",
        ),
        other => Finding::ok(
            Check::Clock,
            format!("whether the clock is kept right can't be told from here ({other:?})"),
        ),
    }
}

/// A file that must be older than now, and is not.
fn newer_than_now(config: &Path) -> Option<String> {
    // File servers have clocks of their own.
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
    fn a_clock_that_nobody_keeps_right_is_told() {
        assert_eq!(judge("yes").level, Level::Ok);
        assert_eq!(judge("no").level, Level::Warning);
        assert_eq!(judge("").level, Level::Ok);
    }

    #[test]
    fn a_clock_behind_its_own_files_is_wrong() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("milter.yaml");
        let written = fs::File::create(&file).unwrap();
        assert_eq!(newer_than_now(&file), None);
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        written.set_modified(tomorrow).unwrap();
        assert_eq!(newer_than_now(&file), Some(file.display().to_string()));
    }
}
