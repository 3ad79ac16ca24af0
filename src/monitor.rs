//! The monitoring endpoints over HTTP: `/metrics` for Prometheus, `/healthz` (the process
//! runs) and `/readyz` (it can decide mail).
//!
//! Independent of mail processing in both directions. Responses contain numbers and no
//! text that a peer sent, and requests cannot change anything.

pub mod mx_zone;
pub(crate) mod readiness;

use crate::{
    config::HttpSocket,
    dns::Resolve,
    exempt::Exemptions,
    milter::drain::Drain,
    opt_in,
    server::{
        handover::Accepting,
        http::{self, Listeners, Requests},
        inherited::Inherited,
    },
    snapshot::Snapshot,
    telemetry::{log::Limit, metrics},
};
use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
};
use readiness::Readiness;
use std::{io, sync::Arc, time::Duration};
use tokio::sync::watch;

/// All paths.
pub const PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

const TEXT: &str = "text/plain; charset=utf-8";

static SETTINGS: http::Settings = http::Settings {
    key: "metrics.listen",
    max_connections: 16,
    // One timeout for the whole request.
    head_timeout: TIMEOUT,
    timeout: TIMEOUT,
    // Every local user may connect, as to a port on loopback; the directory can keep
    // them out.
    socket_mode: 0o666,
    accept_failures: &FAILURES,
};

const TIMEOUT: Duration = Duration::from_secs(10);

static FAILURES: Limit = Limit::same_text();

/// Opens all sockets that are not inherited.
///
/// # Errors
/// Fails if one can't be opened; the text names it.
pub async fn bind(addresses: &[HttpSocket], inherited: &mut Inherited) -> io::Result<Listeners> {
    http::bind(addresses, inherited, &SETTINGS).await
}

/// Serves requests until the runtime shuts down, also while the milter drains, but not
/// while another process accepts.
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
    http::serve(listeners, accepting, move |request, _peer| {
        let monitor = Arc::clone(&monitor);
        async move {
            let answer = match *request.method() {
                Method::GET | Method::HEAD => monitor.answer(request.uri().path()).await,
                _ => Answer::new(StatusCode::METHOD_NOT_ALLOWED, "use GET\n"),
            };
            answer.into_response()
        }
    })
}

/// A response.
struct Answer {
    status: StatusCode,
    media_type: String,
    body: Vec<u8>,
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
        let pending = i64::try_from(self.drain.pending_transactions()).unwrap_or(i64::MAX);
        metrics.connections.in_transaction.set(pending);
        for source in self.sources() {
            source.set_metrics(metrics);
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

    /// Returns notes about sources that fail while their last known answers are used,
    /// which does not affect readiness.
    fn notes(&self) -> String {
        let sources = self.sources().into_iter();
        let errors = sources.filter_map(|source| source.error);
        let exempt = self.exemptions().error();
        let note = |error| format!("note: {error}\n");
        errors.chain(exempt).map(note).collect()
    }

    /// Returns an error for a server that has failed since the start: without cached
    /// answers, every domain is unknown.
    fn unreachable_since_start(&self) -> Option<String> {
        self.sources().into_iter().find_map(|source| {
            let never_answered = source.name.is_queried_at_start() && source.age.is_none();
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

/// The status of an opt-in source, a list or a server.
struct Source {
    name: opt_in::Source,
    domains: usize,
    /// The time since it was read or has answered.
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
    fn set_metrics(&self, metrics: &metrics::Metrics) {
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
        // Domains in the configuration have neither.
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
    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        if let Ok(media_type) = HeaderValue::try_from(self.media_type) {
            response.headers_mut().insert(CONTENT_TYPE, media_type);
        }
        response
    }
}
