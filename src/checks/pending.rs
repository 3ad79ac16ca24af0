//! A look-up that is under way: started as soon as its input is known, awaited
//! only where a rule needs it.

use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{Instant, timeout_at},
};

/// A value that is being found out. Dropping it gives the search up.
#[derive(Debug)]
pub struct Pending<T> {
    state: State<T>,
    task: AbortHandle,
}

#[derive(Debug)]
enum State<T> {
    Waiting {
        receiver: oneshot::Receiver<T>,
        in_doubt: T,
    },
    Known(T),
}

impl<T: Clone + Send + 'static> Pending<T> {
    /// Starts `work`. When it has no result by `deadline`, or fails, the result
    /// is `in_doubt`.
    pub fn start(
        deadline: Instant,
        in_doubt: T,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let (sender, receiver) = oneshot::channel();
        let too_late = in_doubt.clone();
        let task = tokio::spawn(async move {
            let result = timeout_at(deadline, work).await.unwrap_or(too_late);
            // Nobody waits any more: the mail transaction is over.
            let _ = sender.send(result);
        });
        Self {
            state: State::Waiting { receiver, in_doubt },
            task: task.abort_handle(),
        }
    }

    /// The value, waiting for it if need be. Cancel safe.
    pub async fn get(&mut self) -> &T {
        if let State::Waiting { receiver, in_doubt } = &mut self.state {
            // The sender is gone only if the work panicked.
            let value = receiver.await.unwrap_or_else(|_| in_doubt.clone());
            self.state = State::Known(value);
        }
        match &self.state {
            State::Known(value) => value,
            State::Waiting { in_doubt, .. } => in_doubt,
        }
    }

    /// The value if somebody waited for it.
    pub fn known(&self) -> Option<&T> {
        match &self.state {
            State::Known(value) => Some(value),
            State::Waiting { .. } => None,
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::pending, time::Duration};

    fn in_an_hour() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn a_result_is_found_once_and_kept() {
        let mut value = Pending::start(in_an_hour(), 0, async { 7 });
        assert_eq!(value.known(), None);
        assert_eq!(*value.get().await, 7);
        assert_eq!(*value.get().await, 7);
        assert_eq!(value.known(), Some(&7));
    }

    #[tokio::test]
    async fn what_is_not_known_by_the_deadline_stays_in_doubt() {
        let mut value = Pending::start(Instant::now(), "in doubt", pending());
        assert_eq!(*value.get().await, "in doubt");
    }

    #[tokio::test]
    async fn what_panics_stays_in_doubt() {
        let mut value = Pending::start(in_an_hour(), "in doubt", async {
            panic!("forced by the test")
        });
        assert_eq!(*value.get().await, "in doubt");
    }
}
