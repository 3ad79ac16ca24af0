//! The health of a server, and when it is logged.

use std::time::Duration;
use tokio::time::Instant;

/// The minimum interval between log lines about a failing server.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The health of a server according to its last replies.
#[derive(Debug)]
pub(super) struct Health {
    server: String,
    failing: bool,
    last_success: Option<Instant>,
    failure: Option<Failure>,
    last_warning: Option<Instant>,
}

#[derive(Debug)]
struct Failure {
    reason: String,
    logged: bool,
}

impl Health {
    pub(super) fn new(server: String) -> Self {
        Self {
            server,
            failing: false,
            last_success: None,
            failure: None,
            last_warning: None,
        }
    }

    /// Returns whether the server is failing, so that mail should not wait for it.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    pub(super) fn last_success(&self) -> Option<Duration> {
        self.last_success.map(|at| at.elapsed())
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.reason.as_str())
    }

    pub(super) fn succeeded(&mut self) {
        self.failing = false;
        self.last_success = Some(Instant::now());
        if self.failure.take().is_some_and(|failure| failure.logged) {
            tracing::info!("{} answers again", self.server);
        }
    }

    pub(super) fn failed(&mut self, reason: &str) {
        self.failing = true;
        let logged_before = self.failure.take().is_some_and(|failure| failure.logged);
        self.failure = Some(Failure {
            reason: reason.to_owned(),
            logged: self.warn(reason) || logged_before,
        });
    }

    /// Treats a slow server as failing, so that mail does not wait for it, without
    /// reporting a failure.
    pub(super) fn is_slow(&mut self) {
        self.failing = true;
    }

    /// Logs a failure; returns whether the interval allowed it.
    fn warn(&mut self, reason: &str) -> bool {
        let now = Instant::now();
        let due = self.last_warning.is_none_or(|at| now - at >= LOG_INTERVAL);
        if due {
            self.last_warning = Some(now);
            let server = &self.server;
            tracing::warn!(
                "{server} gives no usable answer: {reason}; using cached answers meanwhile"
            );
        }
        due
    }
}
