//! The milter server: accepts connections, runs each in a task, and drains them.
//!
//! [`run`] takes everything it needs as arguments, so that tests start the real server.

pub mod handover;
pub mod http;
pub mod inherited;
mod listeners;
pub mod open_files;

pub use listeners::{Listeners, bind};

use crate::{
    dns::Resolve,
    milter::{
        connection::Connection,
        drain::{Drain, Draining},
        error::ConnectionError,
    },
    snapshot::Snapshot,
    telemetry::metrics::OpenConnection,
};
use handover::Accepting;
use listeners::Accepted;
use std::{collections::HashMap, convert::Infallible, future::pending, sync::Arc, time::Duration};
use tokio::{
    select,
    sync::{OwnedSemaphorePermit, oneshot, watch},
    task::{Id, JoinSet},
    time::timeout,
};

/// Timeouts of the milter server, which a reload does not change.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// How long an MTA may send or read nothing (`limits.idle_timeout`).
    pub idle_timeout: Duration,
    /// How long the drain waits for mail transactions (`limits.drain_timeout`).
    pub drain_timeout: Duration,
}

/// Serves MTAs until `drain` is started. Then MAIL is answered with 421. Connections without
/// a mail transaction are closed after the grace period, the others when theirs has ended
/// and no MAIL follows, and all of them after the drain timeout. A connection uses the
/// snapshot that is in `current` when its client connects.
///
/// While another process accepts connections, as `accepting` says, open connections are
/// served. Returns when the last one is closed.
pub async fn run<R: Resolve>(
    listeners: Listeners,
    current: watch::Receiver<Arc<Snapshot<R>>>,
    timeouts: Timeouts,
    drain: Arc<Drain>,
    mut accepting: watch::Receiver<Accepting>,
) {
    let mut listeners = Some(listeners);
    let mut connections = Connections::default();
    let serve = |stream, draining| {
        let (current, drain) = (current.clone(), Arc::clone(&drain));
        Connection::new(stream, timeouts.idle_timeout, draining, current, drain).serve()
    };
    loop {
        let state = *accepting.borrow_and_update();
        if let Some(listeners) = &mut listeners {
            listeners.set_handed_over(state != Accepting::Yes);
        }
        if state == Accepting::Ended {
            listeners = None;
        }
        if state != Accepting::Yes && connections.open.is_empty() {
            break;
        }
        let accept = async {
            match &mut listeners {
                Some(listeners) if state == Accepting::Yes => listeners.accept().await,
                Some(_) | None => pending().await,
            }
        };
        select! {
            biased;
            () = drain.started() => break,
            Ok(()) = accepting.changed() => {}
            () = connections.next_closed() => {}
            Accepted { stream, permit } = accept => {
                connections.begin(permit, |draining| serve(stream, draining));
            }
        }
    }
    let is_handed_over = *accepting.borrow() != Accepting::Yes;
    if let Some(mut listeners) = listeners {
        listeners.set_handed_over(is_handed_over);
        if !is_handed_over {
            for Accepted { stream, permit } in listeners.close().await {
                connections.begin(permit, |draining| serve(stream, draining));
            }
        }
    }
    connections.end(&drain, timeouts.drain_timeout).await;
}

/// The open connections. Each one is a task, so that a panic ends only one of them.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<Result<(), ConnectionError>>,
    open: HashMap<Id, Open>,
}

/// The part of an open connection outside of its task.
struct Open {
    /// Dropped to tell the connection that the drain has started.
    serving: Option<oneshot::Sender<Infallible>>,
    /// Counts towards `limits.connections`.
    _permit: OwnedSemaphorePermit,
    _counted: OpenConnection,
}

impl Connections {
    fn begin<F>(&mut self, permit: OwnedSemaphorePermit, serve: impl FnOnce(Draining) -> F)
    where
        F: Future<Output = Result<(), ConnectionError>> + Send + 'static,
    {
        let (serving, draining) = oneshot::channel();
        let task = self.tasks.spawn(serve(draining));
        let open = Open {
            serving: Some(serving),
            _permit: permit,
            _counted: OpenConnection::count(),
        };
        self.open.insert(task.id(), open);
    }

    /// Waits until a connection is closed, and logs the reason. Never returns if there is
    /// none.
    async fn next_closed(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, served))) => {
                served.unwrap_or_else(|closed| closed.log());
                id
            }
            // A panic, which is logged where it happens.
            Some(Err(error)) => error.id(),
            None => return pending().await,
        };
        self.open.remove(&id);
    }

    async fn end(mut self, drain: &Drain, limit: Duration) {
        self.open.values_mut().for_each(|open| open.serving = None);
        let all_closed = async {
            while !self.tasks.is_empty() {
                self.next_closed().await;
            }
        };
        if timeout(limit, all_closed).await.is_err() {
            let transactions = drain.pending_transactions();
            if transactions > 0 {
                tracing::warn!(
                    transactions,
                    "limits.drain_timeout has expired: mail transactions in progress are \
                     aborted, and the MTA defers them"
                );
            }
            self.tasks.shutdown().await;
        }
        tracing::info!(
            told_421 = drain.refused(),
            "all milter connections are closed"
        );
    }
}
