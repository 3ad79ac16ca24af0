//! Whether a server answers, and what the log says of it.

use std::time::Duration;
use tokio::time::Instant;

/// A server that fails is told of so often at most.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// What is known of a server from its last replies.
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
    told: bool,
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

    /// Whether it is not to be waited for.
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
        if self.failure.take().is_some_and(|failure| failure.told) {
            tracing::info!("{} answers again", self.server);
        }
    }

    pub(super) fn failed(&mut self, reason: &str) {
        self.failing = true;
        let told_before = self.failure.take().is_some_and(|failure| failure.told);
        self.failure = Some(Failure {
            reason: reason.to_owned(),
            told: self.warn(reason) || told_before,
        });
    }

    /// It has not answered yet, which is no failure so far.
    pub(super) fn is_slow(&mut self) {
        self.failing = true;
    }

    /// Whether it was time to say so again.
    fn warn(&mut self, reason: &str) -> bool {
        let now = Instant::now();
        let due = self.last_warning.is_none_or(|at| now - at >= LOG_INTERVAL);
        if due {
            self.last_warning = Some(now);
            let server = &self.server;
            tracing::warn!(
                "{server} can't tell who has opted in: {reason}; what it last said serves meanwhile"
            );
        }
        due
    }
}
