//! A limit to waiting that costs nothing while nobody waits long.

use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, Sleep, sleep};

/// How long an MTA may leave us waiting, and since when it does.
#[derive(Debug)]
pub(super) struct IdleTimeout {
    limit: Duration,
    /// Unknown until somebody waits: most of what is awaited is there at once, and the
    /// clock need not be read.
    deadline: Option<Instant>,
    /// Ends at the deadline or before. It is not set anew each time that the
    /// deadline is: the runtime's timers are shared by all connections.
    timer: Pin<Box<Sleep>>,
}

impl IdleTimeout {
    /// Begins to wait.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            deadline: None,
            timer: Box::pin(sleep(limit)),
        }
    }

    /// Begins to wait anew: the limit holds from the next wait on.
    pub(super) fn restart(&mut self) {
        self.deadline = None;
    }

    /// Waits until it has been too long; cancel safe.
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

    /// Whether it has been too long.
    fn has_expired(timeout: &mut IdleTimeout) -> bool {
        let expired = pin!(timeout.expired());
        expired
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn it_lasts_from_the_first_wait_after_the_last_renewal() {
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
