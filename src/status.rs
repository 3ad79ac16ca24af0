//! The status page and its API (`status.listen`): read-only views of what the daemon does.
//! They change nothing and never delay mail.
//!
//! They run on their own thread with the lowest priority. Whatever queries the DNS or an
//! opt-in source runs on mail's threads by [`State::run`], because connections to servers
//! belong to the runtime that opened them.

mod access;
mod advice;
mod api;
pub mod charts;
mod check;
mod document_head;
mod domain_verdict;
mod health;
pub mod history;
mod overview;
mod pages;
mod parameters;
mod selection;
mod server;
mod visible;

pub use access::{Access, Csrf};
pub use server::{Page, Reloads};

use crate::{dns::Dns, milter::drain::Drain, server::http::Peer, snapshot::Snapshot};
use api::Problem;
use axum::{
    Extension, Router,
    extract::{FromRequestParts, rejection::ExtensionRejection},
    http::{StatusCode, Uri, request::Parts},
    response::IntoResponse,
};
use charts::Charts;
use check::Slots;
use health::Health;
use history::History;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::{AbortHandle, JoinError},
};

/// The data that pages and API show.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    file: PathBuf,
    current: watch::Receiver<Arc<Snapshot<Dns>>>,
    drain: Arc<Drain>,
    started: Instant,
    last_reload: watch::Receiver<Option<Reload>>,
    history: Arc<History>,
    charts: Arc<Charts>,
    health: Health,
    checks: Slots,
    mail: Handle,
}

/// The outcome of the last reload of the configuration.
#[derive(Clone, Debug)]
pub struct Reload {
    /// The time of the reload.
    pub time: SystemTime,
    /// Why the old configuration is still in use; `None` if the new one is.
    pub error: Option<String>,
}

impl State {
    /// Returns the path of the configuration file.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// Returns the configuration in use, with its checks.
    pub fn snapshot(&self) -> Arc<Snapshot<Dns>> {
        Arc::clone(&self.0.current.borrow())
    }

    /// Returns when this process started.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// Returns the outcome of the last reload; `None` if there was none.
    pub fn last_reload(&self) -> Option<Reload> {
        self.0.last_reload.borrow().clone()
    }

    /// Runs a query to the DNS or an opt-in source on mail's threads. Dropping the returned
    /// future aborts it.
    ///
    /// # Errors
    /// If `future` panics.
    pub async fn run<F>(&self, future: F) -> Result<F::Output, JoinError>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = self.0.mail.spawn(future);
        let _guard = AbortOnDrop(task.abort_handle());
        task.await
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The client of a request, as access control has determined it.
struct Visitor {
    /// The address, unless it is a unix socket.
    address: Peer,
    csrf: Csrf,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Extension(client) =
            Extension::<access::Client>::from_request_parts(parts, state).await?;
        let Extension(csrf) = Extension::<Csrf>::from_request_parts(parts, state).await?;
        let address = client.0;
        Ok(Self { address, csrf })
    }
}

/// The pages and the API.
fn routes() -> Router<State> {
    pages::routes()
        .merge(api::routes())
        .fallback(
            async |visitor: Visitor, uri: Uri| match api::is_within(&uri) {
                true => {
                    Problem::new(StatusCode::NOT_FOUND, "there is no such resource").into_response()
                }
                false => pages::not_found(&visitor, &uri),
            },
        )
        .method_not_allowed_fallback(async |visitor: Visitor, uri: Uri| {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let text = "This method is not allowed here.";
            match api::is_within(&uri) {
                true => Problem::new(status, text).into_response(),
                false => pages::error(&visitor, "", status, "Not allowed", text),
            }
        })
}
