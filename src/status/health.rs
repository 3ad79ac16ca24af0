//! Health of the DNS servers: each is queried when the page is requested, at most every ten
//! seconds.

use super::State;
use crate::{
    dns::{NoServer, ServerHealth},
    monitor::readiness::unused_address,
};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long an answer holds, however often somebody looks.
const VALIDITY: Duration = Duration::from_secs(10);

/// What each server has answered last.
pub(super) type Servers = Result<Vec<ServerHealth>, NoServer>;

/// What was found last.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: Mutex<Option<(Instant, Servers)>>,
}

impl Health {
    /// How each server is doing.
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
