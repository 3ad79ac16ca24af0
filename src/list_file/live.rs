//! A list that follows its files while the program runs.
//!
//! The files are polled twice a second, and read when they have changed and are stable. A
//! new list replaces the old one atomically; if the files become invalid, empty or
//! missing, the last valid list stays in use and the error is logged. Lookups only read
//! memory.

use super::{Fingerprint, ListError};
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{task::spawn_blocking, time::sleep};

/// The polling interval. A change takes effect once two polls saw the same files, so that
/// a file is not read while it is being written.
const EVERY: Duration = Duration::from_millis(500);

/// The interval at which a persistent error is logged again.
const REMINDER: Duration = Duration::from_secs(60 * 60);

/// The content of a list.
pub(crate) trait Contents: Default + fmt::Debug + Send + Sync + 'static {
    /// Reads files and directories. `old` is the content to be replaced.
    ///
    /// # Errors
    /// Fails at the first error.
    fn read(paths: &[PathBuf], old: &Self) -> Result<Self, ListError>;

    /// Returns the number of entries.
    fn len(&self) -> usize;
}

/// A list, its files, and the outcome of reading them.
#[derive(Debug)]
pub(crate) struct LiveList<L> {
    /// The configuration key that names the files.
    key: &'static str,
    paths: Vec<PathBuf>,
    list: RwLock<Arc<L>>,
    state: Mutex<State>,
    is_followed: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// Whether the files have to exist.
    presence: Presence,
    /// The fingerprint at the last poll.
    seen: Fingerprint,
    /// The fingerprint of the list in use.
    good: Fingerprint,
    /// When the list in use was read.
    read: Instant,
    failure: Option<Failure>,
}

/// Why the list in use differs from the files.
#[derive(Debug)]
struct Failure {
    /// The fingerprint of the invalid files.
    bad: Fingerprint,
    error: ListError,
    /// When the error was last logged.
    logged_at: Instant,
}

/// Whether files have to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// They have to exist.
    Required,
    /// The list is empty until they exist for the first time.
    NotYet,
}

impl<L: Contents> LiveList<L> {
    /// Reads the files for the first time. `key` names them in the log.
    pub(crate) fn open(
        key: &'static str,
        paths: Vec<PathBuf>,
        presence: Presence,
    ) -> Result<Self, ListError> {
        let read = read_until_stable(&paths, presence, &L::default());
        let (good, list) = read.map_err(|error| error.with_key(key))?;
        let state = State {
            presence: presence.after(&good),
            seen: good.clone(),
            good,
            read: Instant::now(),
            failure: None,
        };
        Ok(Self {
            key,
            paths,
            list: RwLock::new(Arc::new(list)),
            state: Mutex::new(state),
            is_followed: AtomicBool::new(false),
        })
    }

    /// Reads the files again even if unchanged. An error leaves the list unchanged.
    pub(crate) fn read_again(&self) -> Result<(), ListError> {
        let read = read_until_stable(&self.paths, self.presence(), &*self.list());
        let (good, list) = read.map_err(|error| error.with_key(self.key))?;
        self.take(good, list);
        Ok(())
    }

    /// Returns the files of the list.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Returns the list in use.
    pub(crate) fn list(&self) -> Arc<L> {
        Arc::clone(&self.current())
    }

    /// Returns the time since the list in use was read.
    pub(crate) fn age(&self) -> Duration {
        self.state().read.elapsed()
    }

    /// Returns why the list in use differs from the files.
    pub(crate) fn error(&self) -> Option<ListError> {
        let state = self.state();
        let failure = state.failure.as_ref();
        failure.map(|failure| failure.error.clone())
    }

    /// Follows the files in the background until the list is dropped. Must be called in a
    /// tokio runtime.
    pub(crate) fn follow(self: &Arc<Self>) {
        if self.paths.is_empty() {
            return;
        }
        if !self.is_followed.swap(true, Ordering::Relaxed) {
            tokio::spawn(follow(Arc::downgrade(self)));
        }
    }

    fn poll(&self) {
        let now = Fingerprint::take(&self.paths);
        match self.should_read(&now) {
            true => self.read_changed(now),
            false => self.log_again(),
        }
    }

    /// Returns whether the files have changed and two polls saw the same files.
    fn should_read(&self, now: &Fingerprint) -> bool {
        let mut state = self.state();
        let is_settled = state.seen == *now;
        state.seen = now.clone();
        let is_known = match &state.failure {
            Some(failure) => failure.bad == *now && !failure.error.is_passing,
            None => state.good == *now,
        };
        is_settled && !is_known
    }

    fn read_changed(&self, now: Fingerprint) {
        let start = Instant::now();
        let read = read(&self.paths, self.presence(), &now, &*self.list());
        if Fingerprint::take(&self.paths) != now {
            // Still being written: a later poll will read it.
            return;
        }
        match read {
            Ok(list) => {
                let (key, entries) = (self.key, entries(list.len()));
                self.take(now, list);
                let elapsed = start.elapsed().as_millis();
                tracing::info!("{key}: read again, {entries} in {elapsed} ms");
            }
            Err(error) => self.fail(now, error),
        }
    }

    fn take(&self, good: Fingerprint, list: L) {
        let old = {
            let mut in_force = self.list.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *in_force, Arc::new(list))
        };
        // Freeing millions of names takes a while, so it happens without the lock.
        drop(old);
        let mut state = self.state();
        state.presence = state.presence.after(&good);
        state.seen = good.clone();
        state.good = good;
        state.read = Instant::now();
        state.failure = None;
    }

    fn fail(&self, bad: Fingerprint, error: ListError) {
        let mut state = self.state();
        let last = state.failure.as_ref();
        if last.is_some_and(|last| last.bad == bad && last.error == error) {
            return;
        }
        self.log(&error);
        let logged_at = Instant::now();
        state.failure = Some(Failure {
            bad,
            error,
            logged_at,
        });
    }

    fn log_again(&self) {
        let mut state = self.state();
        if let Some(failure) = &mut state.failure
            && failure.logged_at.elapsed() >= REMINDER
        {
            self.log(&failure.error);
            failure.logged_at = Instant::now();
        }
    }

    fn log(&self, error: &ListError) {
        let (key, entries) = (self.key, entries(self.current().len()));
        tracing::error!("{key}: {error}; the last good list stays in force ({entries})");
    }

    fn presence(&self) -> Presence {
        self.state().presence
    }

    /// Returns the list in use, locked against replacement.
    pub(crate) fn current(&self) -> RwLockReadGuard<'_, Arc<L>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    /// Requires the files once they have existed.
    fn after(self, read: &Fingerprint) -> Self {
        match read.is_nothing() {
            true => self,
            false => Self::Required,
        }
    }
}

/// Reads files, again if they change meanwhile.
fn read_until_stable<L: Contents>(
    paths: &[PathBuf],
    presence: Presence,
    old: &L,
) -> Result<(Fingerprint, L), ListError> {
    let mut before = Fingerprint::take(paths);
    for _ in 0..ATTEMPTS {
        let list = read(paths, presence, &before, old);
        let after = Fingerprint::take(paths);
        if before == after {
            return list.map(|list| (before, list));
        }
        before = after;
    }
    Err(ListError::keeps_changing(paths))
}

/// The maximum number of attempts while files change.
const ATTEMPTS: usize = 10;

fn read<L: Contents>(
    paths: &[PathBuf],
    presence: Presence,
    seen: &Fingerprint,
    old: &L,
) -> Result<L, ListError> {
    match presence {
        Presence::NotYet if seen.is_nothing() => Ok(L::default()),
        Presence::NotYet | Presence::Required => L::read(paths, old),
    }
}

async fn follow<L: Contents>(list: Weak<LiveList<L>>) {
    loop {
        sleep(EVERY).await;
        let Some(list) = list.upgrade() else { return };
        // The panic hook logs a panic; the next poll tries again.
        let _ = spawn_blocking(move || list.poll()).await;
    }
}

/// Formats the number of entries.
fn entries(count: usize) -> String {
    match count {
        1 => "1 entry".to_owned(),
        _ => format!("{count} entries"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opt_in::list::List;
    use std::fs;

    #[test]
    fn a_file_need_not_be_there_until_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("managed.list");
        let open = |presence| LiveList::<List>::open("key", vec![file.clone()], presence);
        let missing = open(Presence::Required).unwrap_err().to_string();
        assert!(
            missing.ends_with("(os error 2) (named by key)"),
            "{missing}"
        );

        let live = open(Presence::NotYet).unwrap();
        live.read_again().unwrap();
        assert_eq!(live.list().len(), 0);
        fs::write(&file, "a.example\n").unwrap();
        live.read_again().unwrap();
        fs::remove_file(&file).unwrap();
        live.read_again().unwrap_err();
        assert_eq!(live.list().len(), 1);
    }
}
