//! Limits log lines that a peer can cause, so that a broken or hostile one cannot
//! fill the disk.
//!
//! Each kind of line has a [`Limit`] of its own. The first lines are logged in
//! full; further ones are counted, and [`summarize`], which runs once a minute, logs
//! one line with their number and the text of the last one. After a minute in which
//! nothing was suppressed, lines are logged in full again.

use crate::telemetry::metrics;
use std::{
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{self, MissedTickBehavior, interval_at};
use tracing::Level;

/// The interval at which the number of suppressed lines is logged.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// The number of lines logged in full if each may have another reason.
pub const BURST: u32 = 10;

/// The limit of one kind of log line.
#[derive(Debug)]
pub struct Limit {
    level: Level,
    burst: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The number of lines logged in full.
    logged: u32,
    /// The number of suppressed lines.
    suppressed: u64,
    /// The text of the last suppressed line.
    last: String,
}

/// The limits that have logged a line since their last quiet minute.
static ACTIVE: Mutex<Vec<&Limit>> = Mutex::new(Vec::new());

impl Limit {
    /// Creates a limit for warnings: [`BURST`] lines in full, then one per minute.
    pub const fn warnings() -> Self {
        Self::with(Level::WARN, BURST)
    }

    /// Creates a limit as [`Limit::warnings`] does, for identical lines: one in full.
    pub const fn same_text() -> Self {
        Self::with(Level::WARN, 1)
    }

    /// Creates a limit as [`Limit::warnings`] does, for errors.
    pub const fn errors() -> Self {
        Self::with(Level::ERROR, BURST)
    }

    const fn with(level: Level, burst: u32) -> Self {
        Self {
            level,
            burst,
            state: Mutex::new(State {
                logged: 0,
                suppressed: 0,
                last: String::new(),
            }),
        }
    }

    /// Logs a line, or counts it.
    pub fn log(&'static self, message: impl fmt::Display) {
        // Formatted before the lock: `message` may be slow, or panic.
        let message = message.to_string();
        if let Some(message) = self.admit(message) {
            write(self.level, &message);
        }
    }

    /// Returns the message if it should be logged now.
    pub(super) fn admit(&'static self, message: String) -> Option<String> {
        let mut state = self.state();
        if state.logged < self.burst {
            state.logged += 1;
            if state.logged == 1 {
                drop(state);
                lock(&ACTIVE).push(self);
            }
            return Some(message);
        }
        state.suppressed += 1;
        state.last = message;
        metrics::get().log_lines_suppressed.inc();
        None
    }

    /// Returns the line about lines suppressed since the last call. If there are none,
    /// lines are logged in full again.
    fn summary(&self) -> Option<String> {
        let mut state = self.state();
        match mem::take(&mut state.suppressed) {
            0 => {
                state.logged = 0;
                None
            }
            suppressed => {
                let last = mem::take(&mut state.last);
                let lines = if suppressed == 1 { "line" } else { "lines" };
                Some(format!(
                    "{suppressed} similar log {lines} suppressed within a minute; the last one: \
                     {last}"
                ))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Logs how many lines were suppressed, by kind.
pub(super) fn summarize() {
    let active = mem::take(&mut *lock(&ACTIVE));
    for limit in active {
        // Logged outside of the lock, because a line of a library goes through its limit.
        if let Some(summary) = limit.summary() {
            write(limit.level, &summary);
            lock(&ACTIVE).push(limit);
        }
    }
}

/// Logs once a minute how many lines were suppressed.
pub async fn summarize_every_minute() {
    // `interval` would fire immediately, when the first lines are not a minute old yet.
    let mut minutes = interval_at(time::Instant::now() + INTERVAL, INTERVAL);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        minutes.tick().await;
        summarize();
    }
}

fn write(level: Level, message: &str) {
    match level {
        Level::ERROR => tracing::error!("{message}"),
        _ => tracing::warn!("{message}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_logged(limit: &'static Limit, text: &str) -> bool {
        limit.admit(text.to_owned()).is_some()
    }

    #[test]
    fn after_the_first_lines_each_minute_has_one_with_the_number_of_the_others() {
        static LIMIT: Limit = Limit::with(Level::WARN, 2);
        assert!(is_logged(&LIMIT, "a") && is_logged(&LIMIT, "b"));
        assert_eq!(
            LIMIT.summary(),
            None,
            "nothing was suppressed in this minute"
        );

        assert!(is_logged(&LIMIT, "c") && is_logged(&LIMIT, "d"));
        for text in ["e", "f", "g"] {
            assert!(!is_logged(&LIMIT, text), "{text}");
        }
        let summary = |lines: &str, last: &str| {
            Some(format!(
                "{lines} suppressed within a minute; the last one: {last}"
            ))
        };
        assert_eq!(LIMIT.summary(), summary("3 similar log lines", "g"));

        assert!(!is_logged(&LIMIT, "h"), "the flood goes on");
        assert_eq!(LIMIT.summary(), summary("1 similar log line", "h"));

        assert_eq!(LIMIT.summary(), None, "a quiet minute");
        assert!(is_logged(&LIMIT, "i"));
    }
}
