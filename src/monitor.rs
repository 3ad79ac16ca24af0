//! What monitoring asks over HTTP: `/metrics` for Prometheus, `/healthz` (the
//! process lives) and `/readyz` (it can judge mail).
//!
//! Nothing here waits for mail and no mail waits for this. Whoever asks learns
//! numbers; nothing that a peer sent, and nothing can be changed.

mod http;
pub mod mx_zone;
mod readiness;

use crate::{
    config::HttpSocket,
    dns::Resolve,
    exempt::Exemptions,
    milter::drain::Drain,
    opt_in,
    server::{
        bind_path,
        handover::{Accepting, Passable},
        inherited::{Inherited, Owner},
    },
    snapshot::Snapshot,
    telemetry::metrics,
};
pub use http::Requests;
use http::{Answer, Listener, TEXT};
use hyper::StatusCode;
use readiness::Readiness;
use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::{UnixListener, lookup_host},
    sync::watch,
};

/// The paths that there are.
pub const PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

/// Opens every address that is not inherited. A name may have several, of which each is
/// opened.
///
/// # Errors
/// When one can't be opened; the text names it.
pub async fn bind(addresses: &[HttpSocket], inherited: &mut Inherited) -> io::Result<Listeners> {
    let mut listeners = Listeners::default();
    for address in addresses {
        let bound = listeners.bind(address, inherited).await;
        bound.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("metrics.listen: can't listen on {address}: {error}"),
            )
        })?;
    }
    Ok(listeners)
}

/// Open sockets.
#[derive(Default)]
pub struct Listeners {
    sockets: Vec<Listener>,
    passable: Passable,
}

impl Listeners {
    async fn bind(&mut self, socket: &HttpSocket, inherited: &mut Inherited) -> io::Result<()> {
        let address = match socket {
            HttpSocket::Unix(path) => return self.bind_unix(path, inherited).await,
            HttpSocket::Inet(address) => address,
        };
        for address in lookup_host((address.host.as_str(), address.port)).await? {
            let (socket, owner) = inherited.bind_tcp(address).await?;
            let socket = Arc::new(socket);
            self.passable.add(&socket, &owner);
            self.sockets.push(Listener::Tcp(socket));
        }
        Ok(())
    }

    /// Every local user may connect, as to a port on loopback; the directory can keep
    /// them out.
    async fn bind_unix(&mut self, path: &Path, inherited: &mut Inherited) -> io::Result<()> {
        let (socket, owner) = match inherited.unix(path) {
            Some((socket, owner)) => (UnixListener::from_std(socket)?, owner),
            None => {
                let socket = bind_path(path).await?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
                (socket, Owner::Us(Some(path.to_owned())))
            }
        };
        let socket = Arc::new(socket);
        self.passable.add(&socket, &owner);
        self.sockets.push(Listener::Unix(socket, owner));
        Ok(())
    }

    /// The sockets, to pass them on while they are open.
    pub fn passable(&mut self) -> Passable {
        std::mem::take(&mut self.passable)
    }
}

/// Answers until the runtime ends, also while the milter drains, but not while another
/// process accepts.
pub fn serve<R: Resolve>(
    listeners: Listeners,
    current: watch::Receiver<Arc<Snapshot<R>>>,
    drain: Arc<Drain>,
    accepting: watch::Receiver<Accepting>,
) -> Requests {
    let monitor = Arc::new(Monitor {
        current,
        drain,
        readiness: Readiness::default(),
    });
    http::serve(listeners.sockets, accepting, move |path| {
        let monitor = Arc::clone(&monitor);
        async move { monitor.answer(&path).await }
    })
}

struct Monitor<R> {
    current: watch::Receiver<Arc<Snapshot<R>>>,
    drain: Arc<Drain>,
    readiness: Readiness,
}

impl<R: Resolve> Monitor<R> {
    async fn answer(&self, path: &str) -> Answer {
        match path {
            "/metrics" => self.metrics(),
            "/healthz" => Answer::new(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready().await,
            _ => Answer::new(StatusCode::NOT_FOUND, format!("{}\n", PATHS.join("\n"))),
        }
    }

    fn metrics(&self) -> Answer {
        let metrics = metrics::get();
        let under_way = i64::try_from(self.drain.under_way()).unwrap_or(i64::MAX);
        metrics.connections.in_transaction.set(under_way);
        for source in self.sources() {
            source.tell(metrics);
        }
        self.exemptions().set_metrics(&metrics.exempt);
        let (text, media_type) = metrics.text();
        Answer {
            status: StatusCode::OK,
            media_type,
            body: text,
        }
    }

    async fn ready(&self) -> Answer {
        if self.drain.has_started() {
            return Answer::new(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
        }
        let snapshot = Arc::clone(&self.current.borrow());
        if let Some(problem) = self.unreachable_since_start() {
            return Answer::new(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n"));
        }
        match self.readiness.problem(&snapshot).await {
            Some(problem) => Answer::new(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
            None => Answer::new(StatusCode::OK, format!("ready\n{}", self.notes())),
        }
    }

    /// A list that can't be read again, or a server that does not answer, does
    /// not keep us from judging: what was known last is in force.
    fn notes(&self) -> String {
        let sources = self.sources().into_iter();
        let errors = sources.filter_map(|source| source.error);
        let exempt = self.exemptions().error();
        let note = |error| format!("note: {error}\n");
        errors.chain(exempt).map(note).collect()
    }

    /// Without an answer from before, a database that fails leaves every domain
    /// unknown.
    fn unreachable_since_start(&self) -> Option<String> {
        self.sources().into_iter().find_map(|source| {
            let never_answered = source.name.is_asked_at_start() && source.age.is_none();
            source.error.filter(|_| never_answered)
        })
    }

    fn exemptions(&self) -> Exemptions {
        self.current.borrow().exemptions.clone()
    }

    fn sources(&self) -> Vec<Source> {
        let snapshot = self.current.borrow();
        let sources = snapshot.checks.opt_in_sources();
        let lists = sources.list_status().into_iter().map(Source::from);
        let servers = sources.server_status().into_iter().map(Source::from);
        lists.chain(servers).collect()
    }
}

/// How an opt-in source does, be it a list or a server.
struct Source {
    name: opt_in::Source,
    domains: usize,
    /// Since it was read, or has answered.
    age: Option<Duration>,
    error: Option<String>,
}

impl From<opt_in::ListStatus> for Source {
    fn from(status: opt_in::ListStatus) -> Self {
        Self {
            name: status.source,
            domains: status.entries,
            age: status.age,
            error: status.error,
        }
    }
}

impl From<opt_in::ServerStatus> for Source {
    fn from(status: opt_in::ServerStatus) -> Self {
        let name = status.source;
        Self {
            name,
            domains: status.domains,
            age: status.age,
            error: status.error.map(|error| format!("{name}: {error}")),
        }
    }
}

impl Source {
    fn tell(&self, metrics: &metrics::Metrics) {
        let label = [self.name.to_string()];
        let domains = i64::try_from(self.domains).unwrap_or(i64::MAX);
        metrics
            .opt_in_domains
            .with_label_values(&label)
            .set(domains);
        if let Some(age) = self.age {
            let seconds = metrics.opt_in_age.with_label_values(&label);
            seconds.set(age.as_secs_f64());
        }
        // What stands in the configuration has neither.
        if self.age.is_some() || self.error.is_some() {
            let stale = metrics.opt_in_stale.with_label_values(&label);
            stale.set(i64::from(self.error.is_some()));
        }
    }
}

impl Answer {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            media_type: TEXT.to_owned(),
            body: text.into().into_bytes(),
        }
    }
}
