//! A limit to waiting that costs nothing while nobody waits long.

use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, Sleep, sleep};

/// How long an MTA may leave us waiting, and since when it does.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    deadline: Instant,
    /// Ends at the deadline or before. It is not set anew each time that the
    /// deadline is: the runtime's timers are shared by all connections.
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    /// Begins to wait.
    pub(super) fn new(limit: Duration) -> Self {
        let timer = Box::pin(sleep(limit));
        Self {
            limit,
            deadline: timer.deadline(),
            timer,
        }
    }

    /// Begins to wait anew.
    pub(super) fn renew(&mut self) {
        self.deadline = Instant::now() + self.limit;
    }

    /// Waits until it has been too long; cancel safe.
    pub(super) async fn over(&mut self) {
        loop {
            self.timer.as_mut().await;
            if self.timer.deadline() >= self.deadline {
                return;
            }
            self.timer.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_lasts_from_the_last_renewal() {
        let mut patience = Patience::new(Duration::from_millis(10));
        let first = patience.deadline;
        patience.renew();
        patience.over().await;
        assert!(patience.deadline > first);
        assert!(Instant::now() >= patience.deadline);
    }
}
