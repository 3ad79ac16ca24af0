//! The running daemon: sockets, sessions, reload and shutdown.
//!
//! [`run`] takes the world as arguments, so that a test starts the same thing.

mod listeners;

pub use listeners::{Listeners, bind};

use crate::{dns::Resolve, milter::callbacks, snapshot::Snapshot};
use indymilter::Config;
use std::{io, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Bounds of the milter protocol, which hold until the next start.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time.
    pub connections: usize,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
}

/// Serves MTAs until `shutdown` is done. Connections that begin after a change
/// of `current` work with the new snapshot.
///
/// # Errors
/// When a socket can't accept connections any more.
pub async fn run<R: Resolve>(
    listeners: Listeners,
    current: watch::Receiver<Arc<Snapshot<R>>>,
    bounds: Bounds,
    shutdown: impl Future,
) -> io::Result<()> {
    let config = Config {
        max_connections: bounds.connections,
        connection_timeout: bounds.idle_timeout,
        ..Config::default()
    };
    indymilter::run(listeners, callbacks::callbacks(current), config, shutdown).await
}
