//! An idle timeout that reads the clock and arms its timer only when it has to wait.

use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, Sleep, sleep};

/// The time for which an MTA may send or read nothing.
#[derive(Debug)]
pub(super) struct IdleTimeout {
    limit: Duration,
    /// Set by the first wait: most data is available at once, and then the clock is not
    /// read.
    deadline: Option<Instant>,
    /// Fires at the deadline or before. It is not reset with each new deadline, because all
    /// connections share the runtime's timers.
    timer: Pin<Box<Sleep>>,
}

impl IdleTimeout {
    /// Creates a timeout of `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            deadline: None,
            timer: Box::pin(sleep(limit)),
        }
    }

    /// Restarts the timeout: the time counts from the next wait.
    pub(super) fn restart(&mut self) {
        self.deadline = None;
    }

    /// Waits until the timeout expires. Cancel safe.
    pub(super) async fn expired(&mut self) {
        let limit = self.limit;
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + limit);
        loop {
            self.timer.as_mut().await;
            if self.timer.deadline() >= deadline {
                return;
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    const LIMIT: Duration = Duration::from_secs(10);

    /// Returns whether the timeout has expired.
    fn has_expired(timeout: &mut IdleTimeout) -> bool {
        let expired = pin!(timeout.expired());
        expired
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn it_counts_from_the_first_wait_after_the_last_restart() {
        let mut timeout = IdleTimeout::new(LIMIT);
        assert!(!has_expired(&mut timeout));
        sleep(LIMIT * 9 / 10).await;
        timeout.restart();
        sleep(LIMIT * 9 / 10).await;
        let start = Instant::now();
        assert!(!has_expired(&mut timeout));
        sleep(LIMIT / 2).await;
        timeout.expired().await;
        assert_eq!(start.elapsed(), LIMIT);
    }
}
