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
    logged: Option<Instant>,
}

#[derive(Debug)]
struct Failure {
    reason: String,
    since: Instant,
}

impl Health {
    pub(super) fn new(server: String) -> Self {
        Self {
            server,
            failing: false,
            last_success: None,
            failure: None,
            logged: None,
        }
    }

    /// Whether it is not to be waited for.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    pub(super) fn last_success(&self) -> Option<Duration> {
        self.last_success.map(|at| at.elapsed())
    }

    pub(super) fn failure(&self) -> Option<(String, Duration)> {
        let failure = self.failure.as_ref()?;
        Some((failure.reason.clone(), failure.since.elapsed()))
    }

    pub(super) fn succeeded(&mut self) {
        self.failing = false;
        self.last_success = Some(Instant::now());
        if self.failure.take().is_some() && self.logged.take().is_some() {
            tracing::info!("{} answers again", self.server);
        }
    }

    pub(super) fn failed(&mut self, reason: &str) {
        self.failing = true;
        let now = Instant::now();
        let since = self.failure.as_ref().map_or(now, |failure| failure.since);
        let reason = reason.to_owned();
        self.failure = Some(Failure { reason, since });
        self.log(now);
    }

    /// It has not answered yet, which is no failure so far.
    pub(super) fn is_slow(&mut self) {
        self.failing = true;
    }

    fn log(&mut self, now: Instant) {
        if self.logged.is_some_and(|at| now - at < LOG_INTERVAL) {
            return;
        }
        self.logged = Some(now);
        if let Some(failure) = &self.failure {
            tracing::warn!(
                "{} can't tell who has opted in: {}; what it last said serves meanwhile",
                self.server,
                failure.reason
            );
        }
    }
}
