//! Health of the DNS servers: each is queried when the page is requested, at most every ten
//! seconds.

use super::State;
use crate::{
    dns::{NoServer, ServerHealth},
    monitor::readiness::unused_address,
};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long results are reused, however often the page is requested.
const VALIDITY: Duration = Duration::from_secs(10);

/// The result of each server.
pub(super) type Servers = Result<Vec<ServerHealth>, NoServer>;

/// The last results, and when they were obtained.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: Mutex<Option<(Instant, Servers)>>,
}

impl Health {
    /// Returns the health of each server.
    pub(super) async fn servers(&self, state: &State) -> Servers {
        let mut last = self.last.lock().await;
        match &*last {
            Some((time, servers)) if time.elapsed() < VALIDITY => servers.clone(),
            Some(_) | None => {
                let snapshot = state.snapshot();
                let servers = state.run(async move {
                    let address = unused_address().into();
                    snapshot.checks.resolver().check_servers(address).await
                });
                let servers = servers
                    .await
                    .unwrap_or_else(|panic| Err(NoServer::unchecked(&panic)));
                *last = Some((Instant::now(), servers.clone()));
                servers
            }
        }
    }
}
