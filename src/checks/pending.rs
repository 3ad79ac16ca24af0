//! A lookup in progress: started before its result is needed, and awaited only when a rule
//! needs it.

use std::{
    future::pending,
    panic::resume_unwind,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};

/// The result of a lookup that may be in progress. Dropping it cancels the lookup.
#[derive(Debug)]
pub struct Pending<T> {
    state: State<T>,
    was_awaited: bool,
}

#[derive(Debug)]
enum State<T> {
    Running(JoinHandle<T>),
    Done(T),
}

impl<T: Send + 'static> Pending<T> {
    /// Starts `work`, which must have a deadline of its own. `record` is called with the
    /// result and the duration, even if the result is never awaited.
    ///
    /// `work` is polled once, which is enough if a cache has the answer. Otherwise it becomes
    /// a task.
    ///
    /// # Panics
    /// If `work` panics at the first poll; see [`Pending::get`].
    pub fn start(record: fn(&T, Duration), work: impl Future<Output = T> + Send + 'static) -> Self {
        let start = Instant::now();
        let mut work = Box::pin(work);
        // No wakeup is lost, because the task polls it again.
        let no_waker = &mut Context::from_waker(Waker::noop());
        let recorded = move |value: T| {
            record(&value, start.elapsed());
            value
        };
        Self {
            state: match work.as_mut().poll(no_waker) {
                Poll::Ready(value) => State::Done(recorded(value)),
                Poll::Pending => State::Running(tokio::spawn(async move { recorded(work.await) })),
            },
            was_awaited: false,
        }
    }

    /// Returns the result, and waits for it if necessary. Cancel safe.
    ///
    /// # Panics
    /// If the work panicked. A defect must not become a DNS failure, which the configuration
    /// may accept: the panic ends the session, and the MTA defers the message.
    pub async fn get(&mut self) -> &T {
        if let State::Running(task) = &mut self.state {
            self.state = match task.await {
                Ok(value) => State::Done(value),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // The runtime is shutting down, together with this task.
                    Err(_cancelled) => pending().await,
                },
            };
        }
        self.was_awaited = true;
        match &self.state {
            State::Done(value) => value,
            State::Running(_) => pending().await,
        }
    }

    /// Returns the result if it was available at the start, for example from a cache, or if
    /// it has been awaited.
    pub fn available(&self) -> Option<&T> {
        match &self.state {
            State::Done(value) => Some(value),
            State::Running(_) => None,
        }
    }

    /// Returns the result if it has been awaited.
    pub fn known(&self) -> Option<&T> {
        self.available().filter(|_| self.was_awaited)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        match &self.state {
            State::Running(task) => task.abort(),
            State::Done(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::ready,
        sync::atomic::{AtomicUsize, Ordering},
    };
    use tokio::{sync::oneshot, task::yield_now};

    async fn later<T>(value: T) -> T {
        yield_now().await;
        value
    }

    #[tokio::test]
    async fn a_result_is_recorded_once_and_known_after_it_was_awaited() {
        static RECORDED: AtomicUsize = AtomicUsize::new(0);
        let count = |_: &i32, _| {
            RECORDED.fetch_add(1, Ordering::Relaxed);
        };
        let at_once = Pending::start(count, ready(7));
        for mut value in [at_once, Pending::start(count, later(7))] {
            assert_eq!(value.known(), None);
            assert_eq!(*value.get().await, 7);
            assert_eq!(*value.get().await, 7);
            assert_eq!(value.known(), Some(&7));
        }
        assert_eq!(RECORDED.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_lookup_runs_without_being_awaited_and_is_cancelled_on_drop() {
        let (sender, receiver) = oneshot::channel();
        let _not_awaited = Pending::start(|_, _| {}, async {
            yield_now().await;
            let _ = sender.send(());
        });
        assert_eq!(receiver.await, Ok(()));
        let (sender, receiver) = oneshot::channel::<()>();
        drop(Pending::start(|_, _| {}, async {
            pending::<()>().await;
            drop(sender);
        }));
        assert!(receiver.await.is_err());
    }

    #[tokio::test]
    #[should_panic = "forced by the test"]
    async fn a_panic_is_not_a_temporary_failure() {
        let work = async {
            yield_now().await;
            panic!("forced by the test")
        };
        let mut value: Pending<()> = Pending::start(|_, _| {}, work);
        value.get().await;
    }
}
