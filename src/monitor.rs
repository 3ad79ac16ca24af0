//! What monitoring asks over HTTP: `/metrics` for Prometheus, `/healthz` (the
//! process lives) and `/readyz` (it can judge mail).
//!
//! Nothing here waits for mail and no mail waits for this. Whoever asks learns
//! numbers; nothing that a peer sent, and nothing can be changed.

mod http;
mod readiness;

use crate::{
    config::HostPort, dns::Resolve, milter::drain::Drain, opt_in, snapshot::Snapshot,
    telemetry::metrics,
};
use http::{Answer, TEXT};
use hyper::StatusCode;
use readiness::Readiness;
use std::{io, sync::Arc};
use tokio::{
    net::{TcpListener, lookup_host},
    sync::watch,
};

/// The paths that there are.
pub const PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

/// Opens every address. A name may have several, of which each is opened.
///
/// # Errors
/// When one can't be opened; the text names it.
pub async fn bind(addresses: &[HostPort]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let bound = bind_one(address).await;
        listeners.extend(bound.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("metrics.listen: can't listen on {address}: {error}"),
            )
        })?);
    }
    Ok(listeners)
}

async fn bind_one(address: &HostPort) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in lookup_host((address.host.as_str(), address.port)).await? {
        listeners.push(TcpListener::bind(address).await?);
    }
    Ok(listeners)
}

/// Answers until the runtime ends, also while the milter drains.
pub fn serve<R: Resolve>(
    listeners: Vec<TcpListener>,
    current: watch::Receiver<Arc<Snapshot<R>>>,
    drain: Arc<Drain>,
) {
    let monitor = Arc::new(Monitor {
        current,
        drain,
        readiness: Readiness::default(),
    });
    http::serve(listeners, move |path| {
        let monitor = Arc::clone(&monitor);
        async move { monitor.answer(&path).await }
    });
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
        for status in self.lists() {
            tell(metrics, &status);
        }
        for status in self.servers() {
            tell_server(metrics, &status);
        }
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
        match self.readiness.problem(&snapshot).await {
            Some(problem) => Answer::new(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
            None => Answer::new(StatusCode::OK, format!("ready\n{}", self.notes())),
        }
    }

    /// A list that can't be read again does not keep us from judging: the one
    /// that was read last is in force.
    fn notes(&self) -> String {
        let lists = self.lists().into_iter();
        let note = |status: opt_in::ListStatus| Some(format!("note: {}\n", status.error?));
        let servers = self.servers().into_iter();
        let of_server = |status: opt_in::ServerStatus| {
            Some(format!(
                "note: {} can't tell: {}\n",
                status.source, status.error?
            ))
        };
        let lists = lists.filter_map(note);
        lists.chain(servers.filter_map(of_server)).collect()
    }

    fn lists(&self) -> Vec<opt_in::ListStatus> {
        self.current.borrow().checks.opt_in_sources().list_status()
    }

    fn servers(&self) -> Vec<opt_in::ServerStatus> {
        let current = self.current.borrow();
        current.checks.opt_in_sources().server_status()
    }
}

fn tell(metrics: &metrics::Metrics, status: &opt_in::ListStatus) {
    let source = [status.source.to_string()];
    let entries = i64::try_from(status.entries).unwrap_or(i64::MAX);
    metrics
        .opt_in_domains
        .with_label_values(&source)
        .set(entries);
    if let Some(age) = status.age {
        let stale = i64::from(status.error.is_some());
        metrics.opt_in_stale.with_label_values(&source).set(stale);
        let seconds = age.as_secs_f64();
        metrics.opt_in_age.with_label_values(&source).set(seconds);
    }
}

fn tell_server(metrics: &metrics::Metrics, status: &opt_in::ServerStatus) {
    let source = [status.source.to_string()];
    let domains = i64::try_from(status.domains).unwrap_or(i64::MAX);
    metrics
        .opt_in_domains
        .with_label_values(&source)
        .set(domains);
    let stale = i64::from(status.error.is_some());
    metrics.opt_in_stale.with_label_values(&source).set(stale);
    if let Some(age) = status.age {
        let seconds = age.as_secs_f64();
        metrics.opt_in_age.with_label_values(&source).set(seconds);
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
