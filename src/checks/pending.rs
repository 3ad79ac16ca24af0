//! A look-up that is under way: started before it is needed, awaited only where a
//! rule needs it.

use std::{
    future::pending,
    panic::resume_unwind,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};

/// A value that is being found out. Dropping it gives the search up.
#[derive(Debug)]
pub struct Pending<T> {
    search: Search<T>,
    was_waited_for: bool,
}

#[derive(Debug)]
enum Search<T> {
    UnderWay(JoinHandle<T>),
    Over(T),
}

impl<T: Send + 'static> Pending<T> {
    /// Starts `work`, which ends in time by itself. `found` hears of the result
    /// and how long it took, whether or not anybody waits for it.
    ///
    /// What a cache knows is there at once; only what is not gets a task of its
    /// own.
    ///
    /// # Panics
    /// When the work does before it waits for anything; see [`Pending::get`].
    pub fn start(found: fn(&T, Duration), work: impl Future<Output = T> + Send + 'static) -> Self {
        let start = Instant::now();
        let mut work = Box::pin(work);
        // Nobody needs waking: the task looks at once again.
        let nobody = &mut Context::from_waker(Waker::noop());
        let tell = move |value: T| {
            found(&value, start.elapsed());
            value
        };
        Self {
            search: match work.as_mut().poll(nobody) {
                Poll::Ready(value) => Search::Over(tell(value)),
                Poll::Pending => Search::UnderWay(tokio::spawn(async move { tell(work.await) })),
            },
            was_waited_for: false,
        }
    }

    /// The value, waiting for it if need be. Cancel safe.
    ///
    /// # Panics
    /// When the work did. A defect is no DNS failure, which may be accepted by
    /// configuration: it ends the session, and the MTA defers the mail.
    pub async fn get(&mut self) -> &T {
        if let Search::UnderWay(task) = &mut self.search {
            self.search = match task.await {
                Ok(value) => Search::Over(value),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // The runtime is being shut down, and with it who waits.
                    Err(_cancelled) => pending().await,
                },
            };
        }
        self.was_waited_for = true;
        match &self.search {
            Search::Over(value) => value,
            Search::UnderWay(_) => pending().await,
        }
    }

    /// The value if it was there when the search began, as what a cache has, or since
    /// somebody waited for it.
    pub fn available(&self) -> Option<&T> {
        match &self.search {
            Search::Over(value) => Some(value),
            Search::UnderWay(_) => None,
        }
    }

    /// The value if somebody waited for it.
    pub fn known(&self) -> Option<&T> {
        self.available().filter(|_| self.was_waited_for)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        match &self.search {
            Search::UnderWay(task) => task.abort(),
            Search::Over(_) => {}
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
    async fn a_result_is_found_once_and_known_to_those_who_waited_for_it() {
        static FOUND: AtomicUsize = AtomicUsize::new(0);
        let count = |_: &i32, _| {
            FOUND.fetch_add(1, Ordering::Relaxed);
        };
        let at_once = Pending::start(count, ready(7));
        for mut value in [at_once, Pending::start(count, later(7))] {
            assert_eq!(value.known(), None);
            assert_eq!(*value.get().await, 7);
            assert_eq!(*value.get().await, 7);
            assert_eq!(value.known(), Some(&7));
        }
        assert_eq!(FOUND.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_search_goes_on_while_nobody_waits_and_ends_with_the_wish() {
        let (told, hears) = oneshot::channel();
        let _unasked = Pending::start(|_, _| {}, async {
            yield_now().await;
            let _ = told.send(());
        });
        assert_eq!(hears.await, Ok(()));
        let (told, hears) = oneshot::channel::<()>();
        drop(Pending::start(|_, _| {}, async {
            pending::<()>().await;
            drop(told);
        }));
        assert!(hears.await.is_err());
    }

    #[tokio::test]
    #[should_panic = "forced by the test"]
    async fn a_defect_is_not_taken_for_doubt() {
        let work = async {
            yield_now().await;
            panic!("forced by the test")
        };
        let mut value: Pending<()> = Pending::start(|_, _| {}, work);
        value.get().await;
    }
}
