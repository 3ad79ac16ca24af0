//! The sockets and the thread of the status page.

use super::{
    Reload, Shared, State,
    access::{self, Access},
    charts::Charts,
    check::Slots,
    health::Health,
    history::History,
};
use crate::{
    config::Config,
    dns::Dns,
    milter::drain::Drain,
    server::{
        handover::{Accepting, Passable},
        http::{self, Listeners, Requests},
        inherited::Inherited,
    },
    snapshot::Snapshot,
    telemetry::log::Limit,
};
use axum::{Router, body::Body};
use rustix::process::setpriority_process;
use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    runtime::{Builder, EnterGuard, Handle, Runtime},
    sync::watch,
};
use tower_service::Service;

/// The lowest priority of setpriority(2).
const NICE: i32 = 19;

static SETTINGS: http::Settings = http::Settings {
    key: "status.listen",
    max_connections: 64,
    head_timeout: Duration::from_secs(10),
    // Enough for a message of 10 MiB over 2 Mbit/s.
    timeout: Duration::from_secs(60),
    // Mail addresses are personal data.
    socket_mode: 0o660,
    accept_failures: &FAILURES,
};

static FAILURES: Limit = Limit::same_text();

/// The status page; nothing if it is off.
pub struct Page(Option<Serving>);

struct Serving {
    runtime: Background,
    listeners: Option<Listeners>,
    requests: Option<Requests>,
    access: watch::Sender<Access>,
    last_reload: watch::Sender<Option<Reload>>,
}

impl Page {
    /// Opens the sockets that are not inherited.
    ///
    /// # Errors
    /// If a socket can't be opened, or would give other hosts access without a token.
    pub async fn open(
        config: &Config,
        access: Access,
        inherited: &mut Inherited,
    ) -> io::Result<Self> {
        if !config.status.is_on() {
            return Ok(Self(None));
        }
        let runtime = Background::start()?;
        // Sockets belong to the runtime that they are opened in.
        let listeners = {
            let _guard = runtime.enter();
            http::bind(&config.status.listen, inherited, &SETTINGS).await?
        };
        check_addresses(&listeners, &access)?;
        Ok(Self(Some(Serving {
            runtime,
            listeners: Some(listeners),
            requests: None,
            access: watch::Sender::new(access),
            last_reload: watch::Sender::new(None),
        })))
    }

    /// Returns the sockets that can be passed on while they are open.
    pub fn passable(&mut self) -> Passable {
        let listeners = self.0.as_mut().and_then(|page| page.listeners.as_mut());
        listeners.map(Listeners::passable).unwrap_or_default()
    }

    /// Returns the recorder of reloads, for the page.
    pub fn reloads(&self) -> Reloads {
        Reloads(self.0.as_ref().map(|page| Recorder {
            access: page.access.clone(),
            last_reload: page.last_reload.clone(),
        }))
    }

    /// Answers requests in the background while this process accepts connections.
    pub fn serve(
        &mut self,
        file: &Path,
        current: watch::Receiver<Arc<Snapshot<Dns>>>,
        drain: Arc<Drain>,
        accepting: watch::Receiver<Accepting>,
    ) {
        let Some(page) = &mut self.0 else {
            return;
        };
        let Some(listeners) = page.listeners.take() else {
            return;
        };
        // On mail's threads, because at the lowest priority they could be late.
        let history = Arc::new(History::new(current.borrow().config.status.history));
        history.start();
        let charts = Arc::new(Charts::new());
        charts.start();
        let state = State(Arc::new(Shared {
            file: file.to_owned(),
            current,
            drain,
            started: Instant::now(),
            last_reload: page.last_reload.subscribe(),
            history,
            charts,
            health: Health::default(),
            checks: Slots::default(),
            mail: Handle::current(),
        }));
        let routes = access::guard(super::routes(), page.access.subscribe()).with_state(state);
        let _guard = page.runtime.enter();
        page.requests = Some(http::serve(listeners, accepting, move |request, peer| {
            let mut routes: Router = routes.clone();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(access::Client(peer));
            async move {
                // A router is always ready.
                match routes.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        }));
    }

    /// Stops accepting, waits for requests in progress for at most 1 s, and ends the thread.
    pub async fn finish(mut self) {
        if let Some(requests) = self.0.as_mut().and_then(|page| page.requests.take()) {
            requests.finish().await;
        }
    }
}

/// A runtime of one thread with the lowest priority.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        // Dropping it in place would block, which is not allowed in another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Background {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("status")
            .on_thread_start(|| {
                // Applies to this thread, not to the process. If a sandbox forbids it, mail and
                // page share the processor equally.
                let _ = setpriority_process(None, NICE);
            })
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Returns a guard. Sockets opened and tasks spawned while it exists belong to this runtime.
    fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }
}

/// Returns an error if a socket is not on loopback and there is no token: a name such as
/// localhost may resolve to other addresses.
fn check_addresses(listeners: &Listeners, access: &Access) -> io::Result<()> {
    for address in listeners.addresses() {
        let address = address?;
        if !address.to_canonical().is_loopback() && !access.has_token() {
            return Err(io::Error::other(format!(
                "status.listen: {address} is not on loopback; set status.token_file"
            )));
        }
    }
    Ok(())
}

/// The recorder of reloads, which also updates access control.
#[derive(Clone)]
pub struct Reloads(Option<Recorder>);

#[derive(Clone)]
struct Recorder {
    access: watch::Sender<Access>,
    last_reload: watch::Sender<Option<Reload>>,
}

impl Reloads {
    /// Updates access control after a reload. A reload can't remove the token, because sockets
    /// for other hosts are checked at startup only.
    pub fn set_access(&self, access: Access) {
        if let Some(recorder) = &self.0 {
            recorder.access.send_if_modified(|current| {
                let is_allowed = access.has_token() || !current.has_token();
                if is_allowed {
                    *current = access;
                }
                is_allowed
            });
        }
    }

    /// Records the outcome of a reload.
    pub fn record<E: std::fmt::Display>(&self, result: &Result<(), E>) {
        if let Some(recorder) = &self.0 {
            recorder.last_reload.send_replace(Some(Reload {
                time: SystemTime::now(),
                error: result.as_ref().err().map(|error| format!("{error:#}")),
            }));
        }
    }
}
