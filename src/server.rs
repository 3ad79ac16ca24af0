//! The running daemon: sockets, sessions, reload and shutdown.
//!
//! [`run`] takes the world as arguments, so that a test starts the same thing.

mod listeners;
pub mod open_files;

pub use listeners::{Listeners, bind};

use crate::{
    dns::Resolve,
    milter::{
        closed::Closed,
        connection::{Connection, End},
        drain::Drain,
    },
    snapshot::Snapshot,
    telemetry::metrics::OpenConnection,
};
use listeners::Accepted;
use std::{collections::HashMap, convert::Infallible, future::pending, sync::Arc, time::Duration};
use tokio::{
    select,
    sync::{OwnedSemaphorePermit, oneshot, watch},
    task::{Id, JoinSet},
    time::timeout,
};

/// Bounds of the milter protocol, which hold until the next start.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// How long the end waits for mail transactions.
    pub drain_timeout: Duration,
}

/// Serves MTAs until `drain` is started. Then connections without a mail
/// transaction are closed at once, and the others when it ends or the drain
/// time-out is over. Connections whose client comes after a change of `current`
/// work with the new snapshot.
pub async fn run<R: Resolve>(
    listeners: Listeners,
    current: watch::Receiver<Arc<Snapshot<R>>>,
    bounds: Bounds,
    drain: Arc<Drain>,
) {
    let mut listeners = listeners;
    let mut connections = Connections::default();
    loop {
        select! {
            biased;
            () = drain.started() => break,
            () = connections.forget_one() => {}
            Accepted { stream, permit } = listeners.accept() => {
                let (current, drain) = (current.clone(), Arc::clone(&drain));
                connections.begin(permit, |end| {
                    Connection::new(stream, bounds.idle_timeout, end, current, drain).serve()
                });
            }
        }
    }
    drop(listeners);
    connections.end(&drain, bounds.drain_timeout).await;
}

/// The connections that are open, each a task of its own, so that a panic ends
/// one alone.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<Result<(), Closed>>,
    open: HashMap<Id, Open>,
}

/// What an open connection has outside of its task.
struct Open {
    /// Dropped, it tells the connection to end.
    end: Option<oneshot::Sender<Infallible>>,
    /// Its place among the connections that may be open.
    _permit: OwnedSemaphorePermit,
    _counted: OpenConnection,
}

impl Connections {
    fn begin<F>(&mut self, permit: OwnedSemaphorePermit, serve: impl FnOnce(End) -> F)
    where
        F: Future<Output = Result<(), Closed>> + Send + 'static,
    {
        let (tell, end) = oneshot::channel();
        let task = self.tasks.spawn(serve(end));
        let open = Open {
            end: Some(tell),
            _permit: permit,
            _counted: OpenConnection::count(),
        };
        self.open.insert(task.id(), open);
    }

    /// Waits until a connection is closed, and tells why; waits for ever if
    /// there is none.
    async fn forget_one(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, served))) => {
                served.unwrap_or_else(|closed| closed.tell());
                id
            }
            // A panic, which is told where it happens.
            Some(Err(error)) => error.id(),
            None => return pending().await,
        };
        self.open.remove(&id);
    }

    async fn end(mut self, drain: &Drain, patience: Duration) {
        self.open.values_mut().for_each(|open| open.end = None);
        let all_closed = async {
            while !self.tasks.is_empty() {
                self.forget_one().await;
            }
        };
        if timeout(patience, all_closed).await.is_err() {
            tracing::warn!(
                transactions = drain.under_way(),
                "limits.drain_timeout is over: the mail under way is cut off, and the MTA defers it"
            );
            self.tasks.shutdown().await;
        }
    }
}
