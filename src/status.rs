//! The status page and its API (`status.listen`).
//!
//! They run on a thread of their own with the lowest priority, so that mail goes first
//! where both want the processor. What asks the DNS or an opt-in source runs on the
//! threads of mail by [`State::run`], because connections to servers belong to the
//! runtime that opened them.

mod access;
pub mod charts;
pub mod history;
mod server;

pub use access::{Access, Csrf};
pub use server::{Page, Reloads};

use crate::{dns::Dns, milter::drain::Drain, snapshot::Snapshot};
use axum::{Extension, Router, response::Html, routing::get};
use maud::{DOCTYPE, html};
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

/// What pages and API are made from.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    file: PathBuf,
    current: watch::Receiver<Arc<Snapshot<Dns>>>,
    drain: Arc<Drain>,
    started: Instant,
    last_reload: watch::Receiver<Option<Reload>>,
    mail: Handle,
}

/// How the last reload of the configuration ended.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When it was.
    pub time: SystemTime,
    /// Why the old configuration stayed; `None` if the new one is in force.
    pub error: Option<String>,
}

impl State {
    /// The configuration file.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// The configuration in force and the checks made from it.
    pub fn snapshot(&self) -> Arc<Snapshot<Dns>> {
        Arc::clone(&self.0.current.borrow())
    }

    /// Mail transactions in progress, and whether the program ends.
    pub fn drain(&self) -> &Drain {
        &self.0.drain
    }

    /// When this process started.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// How the last reload ended; `None` if there was none.
    pub fn last_reload(&self) -> Option<Reload> {
        self.0.last_reload.borrow().clone()
    }

    /// Runs what asks the DNS or an opt-in source. It ends with the future that this
    /// returns.
    ///
    /// # Errors
    /// If it panics.
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

/// The pages and the API.
fn routes() -> Router<State> {
    Router::new().route("/", get(index))
}

async fn index(Extension(csrf): Extension<Csrf>) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "sixgate" }
            }
            body {
                h1 { "sixgate" }
                @if let Some(form) = csrf.logout_form() { (form) }
            }
        }
    };
    Html(page.into_string())
}
