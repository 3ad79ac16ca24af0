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

/// The lowest priority that setpriority(2) knows.
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
    /// When one can't be opened, or would let other hosts in without a token.
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

    /// Records reloads for the page.
    pub fn reloads(&self) -> Reloads {
        Reloads(self.0.as_ref().map(|page| Recorder {
            access: page.access.clone(),
            last_reload: page.last_reload.clone(),
        }))
    }

    /// Answers in the background while this process accepts.
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
        // Their tasks run with those of mail: at the lowest priority they could come too late.
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

    /// Accepts no more, waits for requests in progress for a second at most, and ends the
    /// thread.
    pub async fn finish(mut self) {
        if let Some(requests) = self.0.as_mut().and_then(|page| page.requests.take()) {
            requests.finish().await;
        }
    }
}

/// One thread, which gives way to those of mail.
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
                // Of this thread, not of the process. If a sandbox forbids it, mail and page
                // share the processor equally.
                let _ = setpriority_process(None, NICE);
            })
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// What is opened and spawned while the guard lives belongs to it.
    fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }
}

/// A name such as localhost may have other addresses than those of loopback.
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

/// What the page says about reloads, and who may see it after one.
#[derive(Clone)]
pub struct Reloads(Option<Recorder>);

#[derive(Clone)]
struct Recorder {
    access: watch::Sender<Access>,
    last_reload: watch::Sender<Option<Reload>>,
}

impl Reloads {
    /// Whether other hosts may be let in is decided at the start, so a reload can't take
    /// the token away.
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

    /// Records how a reload ended.
    pub fn record<E: std::fmt::Display>(&self, result: &Result<(), E>) {
        if let Some(recorder) = &self.0 {
            recorder.last_reload.send_replace(Some(Reload {
                time: SystemTime::now(),
                error: result.as_ref().err().map(|error| format!("{error:#}")),
            }));
        }
    }
}
