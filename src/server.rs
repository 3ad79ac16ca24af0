//! The running daemon: sockets, sessions, reload and shutdown.
//!
//! [`run`] takes the world as arguments, so that a test starts the same thing.

mod listeners;
pub mod open_files;

pub use listeners::{Listeners, bind};

use crate::{
    dns::Resolve,
    milter::{callbacks, drain::Drain},
    snapshot::Snapshot,
};
use indymilter::Config;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    select,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

/// Bounds of the milter protocol, which hold until the next start.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// How long the end waits for mail transactions.
    pub drain_timeout: Duration,
}

/// Serves MTAs until `drain` is started, and then until no mail transaction is
/// under way or the drain time-out is over. Connections that begin after a
/// change of `current` work with the new snapshot.
///
/// # Errors
/// When the sockets can't accept connections any more.
pub async fn run<R: Resolve>(
    listeners: Listeners,
    current: watch::Receiver<Arc<Snapshot<R>>>,
    bounds: Bounds,
    drain: Arc<Drain>,
) -> io::Result<()> {
    let listeners = listeners.until(Arc::clone(&drain).started());
    let callbacks = callbacks::callbacks(current, Arc::clone(&drain));
    let config = Config {
        // The listeners have a limit of their own, which tells when it is
        // reached; the library's lets connections wait in silence.
        max_connections: Semaphore::MAX_PERMITS,
        connection_timeout: bounds.idle_timeout,
        ..Config::default()
    };
    let shutdown = async {
        Arc::clone(&drain).started().await;
        wait_for_transactions(&drain, bounds.drain_timeout).await;
    };
    let served = indymilter::run(listeners, callbacks, config, shutdown);
    select! {
        served = served => served,
        () = hung(&drain, bounds.drain_timeout + GRACE) => Ok(()),
    }
}

/// How long sessions may take to end once they are told to. One that waits for
/// an MTA which does not read would hold us for its idle time-out.
const GRACE: Duration = Duration::from_secs(5);

async fn hung(drain: &Arc<Drain>, patience: Duration) {
    Arc::clone(drain).started().await;
    sleep(patience).await;
    tracing::warn!("connections of MTAs that do not answer are cut off");
}

async fn wait_for_transactions(drain: &Drain, patience: Duration) {
    if timeout(patience, drain.finished()).await.is_err() {
        tracing::warn!(
            transactions = drain.under_way(),
            "limits.drain_timeout is over: the mail under way is cut off, and the MTA defers it"
        );
    }
}
