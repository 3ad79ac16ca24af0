//! A look-up that is under way: started as soon as its input is known, awaited
//! only where a rule needs it.

use std::{panic::resume_unwind, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

/// A value that is being found out. Dropping it gives the search up.
#[derive(Debug)]
pub struct Pending<T> {
    task: JoinHandle<T>,
    in_doubt: T,
    known: Option<T>,
}

impl<T: Clone + Send + 'static> Pending<T> {
    /// Starts `work`. When it has no result by `deadline`, the result is
    /// `in_doubt`. `found` hears of the result and how long it took, whether or
    /// not anybody waits for it.
    pub fn start(
        deadline: Instant,
        in_doubt: T,
        found: fn(&T, Duration),
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let too_late = in_doubt.clone();
        let start = Instant::now();
        let task = tokio::spawn(async move {
            let result = timeout_at(deadline, work).await.unwrap_or(too_late);
            found(&result, start.elapsed());
            result
        });
        Self {
            task,
            in_doubt,
            known: None,
        }
    }

    /// The value, waiting for it if need be. Cancel safe.
    ///
    /// # Panics
    /// When the work did. A defect is no DNS failure, which may be accepted by
    /// configuration: it ends the session, and the MTA defers the mail.
    pub async fn get(&mut self) -> &T {
        if self.known.is_none() {
            self.known = match (&mut self.task).await {
                Ok(value) => Some(value),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // The runtime is being shut down.
                    Err(_cancelled) => None,
                },
            };
        }
        self.known.as_ref().unwrap_or(&self.in_doubt)
    }

    /// The value if somebody waited for it.
    pub fn known(&self) -> Option<&T> {
        self.known.as_ref()
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
    use std::future::pending;

    fn in_an_hour() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn a_result_is_found_once_and_kept() {
        let mut value = Pending::start(in_an_hour(), 0, |_, _| {}, async { 7 });
        assert_eq!(value.known(), None);
        assert_eq!(*value.get().await, 7);
        assert_eq!(*value.get().await, 7);
        assert_eq!(value.known(), Some(&7));
    }

    #[tokio::test]
    async fn what_is_not_known_by_the_deadline_stays_in_doubt() {
        let mut value = Pending::start(Instant::now(), "in doubt", |_, _| {}, pending());
        assert_eq!(*value.get().await, "in doubt");
    }

    #[tokio::test]
    #[should_panic = "forced by the test"]
    async fn a_defect_is_not_taken_for_doubt() {
        let work = async { panic!("forced by the test") };
        let mut value = Pending::start(in_an_hour(), "in doubt", |_, _| {}, work);
        value.get().await;
    }
}
