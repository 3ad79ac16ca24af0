//! Graceful drain: MAIL is answered 421, and mail transactions in progress finish.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Sleep, sleep},
};

/// Counts the mail transactions of all connections and knows whether new ones
/// may begin.
#[derive(Debug, Default)]
pub struct Drain {
    /// How long an idle connection stays open after the start.
    grace: Duration,
    transactions: AtomicUsize,
    refused: AtomicUsize,
    has_started: AtomicBool,
    start: Notify,
}

/// A mail transaction that an orderly end waits for.
#[derive(Debug)]
pub struct PendingTransaction(Arc<Drain>);

impl Drain {
    /// A drain that has not started. Connections without a mail transaction will be
    /// closed `grace` after the start, so that a client that keeps its SMTP session
    /// has the time to send MAIL and be answered 421. If the connection closed
    /// first, the MTA would answer 451 for the rest of the session.
    pub fn with_grace(grace: Duration) -> Self {
        Self {
            grace,
            ..Self::default()
        }
    }

    /// Begins a mail transaction; `None` if there is to be no new one, and the
    /// client has to be told 421.
    pub fn begin(self: &Arc<Self>) -> Option<PendingTransaction> {
        if self.has_started() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.transactions.fetch_add(1, Ordering::Relaxed);
        Some(PendingTransaction(Arc::clone(self)))
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
    pub fn pending_transactions(&self) -> usize {
        self.transactions.load(Ordering::Relaxed)
    }

    /// How many MAIL commands were answered 421.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Resolves when the daemon drains: when its other half is dropped.
pub type Draining = oneshot::Receiver<Infallible>;

/// The time that an idle connection has left while the daemon drains.
#[derive(Debug)]
pub(super) struct Grace {
    draining: Draining,
    period: Duration,
    /// Set when the connection is first seen idle after the start. A later mail
    /// transaction can't move it, because there is none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Grace {
    pub(super) fn new(draining: Draining, drain: &Drain) -> Self {
        Self {
            draining,
            period: drain.grace,
            timer: None,
        }
    }

    /// Waits until an idle connection has to be closed: at once if no MAIL can come
    /// (`is_accepted`). Cancel safe.
    pub(super) async fn expired(&mut self, is_accepted: bool) {
        if self.timer.is_none() {
            // An error, since nothing can be sent.
            let _dropped = (&mut self.draining).await;
        }
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep(self.period)));
        if !is_accepted {
            timer.await;
        }
    }
}

impl Drop for PendingTransaction {
    fn drop(&mut self) {
        self.0.transactions.fetch_sub(1, Ordering::Relaxed);
    }
}
