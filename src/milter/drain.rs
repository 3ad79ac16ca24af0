//! An orderly end: no mail transaction begins any more, and those under way are
//! waited for.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// Counts the mail transactions of all connections and knows whether new ones
/// may begin.
#[derive(Debug, Default)]
pub struct Drain {
    transactions: AtomicUsize,
    has_started: AtomicBool,
    start: Notify,
}

/// A mail transaction that an orderly end waits for.
#[derive(Debug)]
pub struct UnderWay(Arc<Drain>);

impl Drain {
    /// Begins a mail transaction; `None` if there is to be no new one.
    pub fn begin(self: &Arc<Self>) -> Option<UnderWay> {
        if self.has_started() {
            return None;
        }
        self.transactions.fetch_add(1, Ordering::Relaxed);
        Some(UnderWay(Arc::clone(self)))
    }

    /// Lets no new mail transaction begin.
    pub fn start(&self) {
        self.has_started.store(true, Ordering::SeqCst);
        self.start.notify_waiters();
    }

    /// Whether [`Drain::start`] was called.
    pub fn has_started(&self) -> bool {
        self.has_started.load(Ordering::SeqCst)
    }

    /// Waits for [`Drain::start`].
    pub async fn started(&self) {
        // Listening first, so that a start in between is not missed.
        let start = self.start.notified();
        if !self.has_started() {
            start.await;
        }
    }

    /// How many mail transactions are under way.
    pub fn under_way(&self) -> usize {
        self.transactions.load(Ordering::Relaxed)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.transactions.fetch_sub(1, Ordering::Relaxed);
    }
}
