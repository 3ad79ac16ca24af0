//! Graceful drain: new mail transactions are refused with 421, those in progress finish.

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

/// Counts the mail transactions of all connections, and refuses new ones once the drain has
/// started.
#[derive(Debug, Default)]
pub struct Drain {
    /// How long an idle connection stays open after the drain has started.
    grace: Duration,
    transactions: AtomicUsize,
    refused: AtomicUsize,
    has_started: AtomicBool,
    start: Notify,
}

/// A mail transaction in progress, which the drain waits for.
#[derive(Debug)]
pub struct PendingTransaction(Arc<Drain>);

impl Drain {
    /// Creates a drain that has not started. Once it has, connections without a mail
    /// transaction are closed after `grace`, so that a client that keeps its SMTP session
    /// open has time to send MAIL and receive 421. If the connection were closed first, the
    /// MTA would reply 451 for the rest of the session.
    pub fn with_grace(grace: Duration) -> Self {
        Self {
            grace,
            ..Self::default()
        }
    }

    /// Registers a new mail transaction; `None` if the drain has started, and the reply has
    /// to be 421.
    pub fn begin(self: &Arc<Self>) -> Option<PendingTransaction> {
        if self.has_started() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.transactions.fetch_add(1, Ordering::Relaxed);
        Some(PendingTransaction(Arc::clone(self)))
    }

    /// Starts the drain: from now on, new mail transactions are refused.
    pub fn start(&self) {
        self.has_started.store(true, Ordering::SeqCst);
        self.start.notify_waiters();
    }

    /// Returns whether [`Drain::start`] was called.
    pub fn has_started(&self) -> bool {
        self.has_started.load(Ordering::SeqCst)
    }

    /// Waits for [`Drain::start`].
    pub async fn started(&self) {
        // Subscribed before the check, so that a start in between is not missed.
        let start = self.start.notified();
        if !self.has_started() {
            start.await;
        }
    }

    /// Returns the number of mail transactions in progress.
    pub fn pending_transactions(&self) -> usize {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Returns the number of MAIL commands that were refused with 421.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Resolves when the drain starts, which drops the sender.
pub type Draining = oneshot::Receiver<Infallible>;

/// The remaining time of an idle connection during the drain.
#[derive(Debug)]
pub(super) struct Grace {
    draining: Draining,
    period: Duration,
    /// Set when the connection is first idle after the start of the drain. It is never set
    /// again, because there are no later mail transactions.
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

    /// Waits until an idle connection has to be closed: as soon as the drain starts if no MAIL
    /// can follow (`is_accepted`). Cancel safe.
    pub(super) async fn expired(&mut self, is_accepted: bool) {
        if self.timer.is_none() {
            // Always an error, because nothing can be sent.
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
