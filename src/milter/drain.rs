//! An orderly end: no mail transaction begins any more, and those under way are
//! waited for.

use std::sync::Arc;
use tokio::sync::watch;

/// Counts the mail transactions of all connections and knows whether new ones
/// may begin.
#[derive(Debug, Default)]
pub struct Drain {
    transactions: watch::Sender<usize>,
    draining: watch::Sender<bool>,
}

/// A mail transaction that an orderly end waits for.
#[derive(Debug)]
pub struct UnderWay(Arc<Drain>);

impl Drain {
    /// Begins a mail transaction; `None` if there is to be no new one.
    pub fn begin(self: &Arc<Self>) -> Option<UnderWay> {
        if *self.draining.borrow() {
            return None;
        }
        self.transactions.send_modify(|count| *count += 1);
        Some(UnderWay(Arc::clone(self)))
    }

    /// Lets no new mail transaction begin.
    pub fn start(&self) {
        self.draining.send_replace(true);
    }

    /// Whether [`Drain::start`] was called.
    pub fn has_started(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits for [`Drain::start`].
    pub async fn started(self: Arc<Self>) {
        // The sender lives as long as we do.
        let _ = self.draining.subscribe().wait_for(|started| *started).await;
    }

    /// Waits until no mail transaction is under way.
    pub async fn finished(&self) {
        let _ = self
            .transactions
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
    }

    /// How many mail transactions are under way.
    pub fn under_way(&self) -> usize {
        *self.transactions.borrow()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.transactions.send_modify(|count| *count -= 1);
    }
}
