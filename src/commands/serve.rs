//! `sixgate serve`: runs the milter in the foreground.
//!
//! Tells the service manager what goes on (sd_notify), reads the configuration
//! again at SIGHUP and ends at SIGTERM or SIGINT.

mod watchdog;

use crate::{
    config::Config,
    dns::Dns,
    exit::{Exit, Failure},
    milter::drain::Drain,
    monitor,
    opt_in::Sources,
    server::{self, Bounds, Listeners, open_files},
    snapshot::Snapshot,
    telemetry,
};
use anyhow::{Context as _, Result};
use sd_notify::NotifyState;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
};

/// One turn in so many is that of the tasks for which a thread's queue of 256 has
/// no room. At the runtime's own 61 some of 256 connections that were all at work
/// waited six times as long as the others; docs/benchmarks.md has the figures.
const TURN_OF_THE_LATE: u32 = 2;

/// Serves until a signal ends it.
///
/// # Errors
/// When the configuration is wrong, or the system does not let us run: a socket
/// can't be opened, for example.
pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = Config::load_for_host(file)?;
    let log = telemetry::log::init(&config.log);
    let served = start(file, config);
    if let Err(failure) = &served {
        log.last_word(&failure.error);
    }
    served
}

fn start(file: &Path, config: Config) -> Result<(), Failure> {
    let sources = Sources::open(&config.opt_in, None)?;
    warn(file, &config, &sources);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .global_queue_interval(TURN_OF_THE_LATE)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Os, error))?;
    runtime.block_on(async {
        let snapshot = snapshot(config, sources, None)
            .map_err(|error| Failure::new(Exit::Unavailable, error))?;
        let served = serve(file, snapshot).await;
        served.map_err(|error| Failure::new(Exit::Os, error))
    })
}

async fn serve(file: &Path, snapshot: Arc<Snapshot<Dns>>) -> Result<()> {
    let config = &snapshot.config;
    open_files::allow(config.limits.connections);
    let limit = i64::try_from(config.limits.connections).unwrap_or(i64::MAX);
    telemetry::metrics::get().connections.limit.set(limit);
    let listeners = server::bind(config).await?;
    let monitored = monitor::bind(&config.metrics.listen).await?;
    let bounds = Bounds {
        idle_timeout: config.limits.idle_timeout,
        drain_timeout: config.limits.drain_timeout,
    };
    let drain = Arc::new(Drain::with_grace(config.limits.drain_grace));
    let (sender, current) = watch::channel(snapshot);
    let reloader = Reloader {
        file: file.to_owned(),
        sender,
        hangup: signal(SignalKind::hangup())?,
    };
    monitor::serve(monitored, current.clone(), Arc::clone(&drain));
    run_until_signal(listeners, current, bounds, reloader, drain).await
}

async fn run_until_signal(
    listeners: Listeners,
    current: watch::Receiver<Arc<Snapshot<Dns>>>,
    bounds: Bounds,
    mut reloader: Reloader,
    drain: Arc<Drain>,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    notify(&[NotifyState::Ready]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    let until_signal = async {
        select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = reloader.run() => {}
        }
        drain.start();
        notify(&[NotifyState::Stopping, patience_with(bounds)]);
        tracing::info!("stopping");
        Ok(())
    };
    // A task of its own, for connections to begin where they are accepted.
    let serving = tokio::spawn(serve_watched(
        listeners,
        current,
        bounds,
        Arc::clone(&drain),
    ));
    let serving = async { serving.await.context("the server failed") };
    tokio::try_join!(until_signal, serving)?;
    Ok(())
}

async fn serve_watched(
    listeners: Listeners,
    current: watch::Receiver<Arc<Snapshot<Dns>>>,
    bounds: Bounds,
    drain: Arc<Drain>,
) {
    select! {
        () = server::run(listeners, current, bounds, drain) => {}
        never = watchdog::feed() => match never {},
    }
}

/// Asks the service manager not to kill us while mail under way may still end.
fn patience_with(bounds: Bounds) -> NotifyState<'static> {
    let patience = bounds.drain_timeout + Duration::from_secs(15);
    NotifyState::ExtendTimeoutUsec(u32::try_from(patience.as_micros()).unwrap_or(u32::MAX))
}

/// A new snapshot; `old` is what it will replace.
fn snapshot(
    config: Config,
    sources: Sources,
    old: Option<&Snapshot<Dns>>,
) -> Result<Arc<Snapshot<Dns>>> {
    let dns = Dns::waiting_for_servers(&config.dns).context("can't set the DNS resolver up")?;
    let dns = match old {
        Some(old) => dns.succeeding(old.checks.resolver()),
        None => dns,
    };
    dns.follow();
    sources.follow();
    Ok(Arc::new(Snapshot::new(config, sources, dns)))
}

fn warn(file: &Path, config: &Config, sources: &Sources) {
    let warnings = config.warnings().into_iter();
    for warning in warnings.chain(sources.warning().map(str::to_owned)) {
        tracing::warn!("{}: {warning}", file.display());
    }
}

/// Reads the configuration again at SIGHUP.
struct Reloader {
    file: PathBuf,
    sender: watch::Sender<Arc<Snapshot<Dns>>>,
    hangup: Signal,
}

impl Reloader {
    async fn run(&mut self) {
        let reloads = &telemetry::metrics::get().reloads;
        while let Some(()) = self.hangup.recv().await {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => notify(&[NotifyState::Reloading, now]),
                Err(_no_clock) => notify(&[NotifyState::Reloading]),
            }
            match self.reload().await {
                Ok(()) => {
                    reloads.success.inc();
                    tracing::info!("configuration reloaded");
                }
                Err(error) => {
                    reloads.failure.inc();
                    tracing::error!("configuration not reloaded, the old one stays: {error:#}");
                }
            }
            notify(&[NotifyState::Ready]);
        }
    }

    async fn reload(&self) -> Result<()> {
        let config = Config::load_for_host(&self.file)?;
        let sources = self.sources(&config).await?;
        self.warn_about_what_needs_a_restart(&config);
        let old = Arc::clone(&self.sender.borrow());
        self.sender
            .send_replace(snapshot(config, sources, Some(&old))?);
        Ok(())
    }

    /// Reads the lists where nobody waits: connections are served meanwhile.
    async fn sources(&self, config: &Config) -> Result<Sources> {
        let config = config.opt_in.clone();
        let old = self.sender.borrow().checks.opt_in_sources().clone();
        let read = spawn_blocking(move || Sources::open(&config, Some(&old)));
        Ok(read.await??)
    }

    fn warn_about_what_needs_a_restart(&self, new: &Config) {
        let current = self.sender.borrow();
        let old = &current.config;
        let keys = [
            ("listen", old.listen != new.listen),
            ("socket_mode", old.socket_mode != new.socket_mode),
            ("socket_group", old.socket_group != new.socket_group),
            ("allow_peers", old.allow_peers != new.allow_peers),
            (
                "limits.connections",
                old.limits.connections != new.limits.connections,
            ),
            (
                "limits.idle_timeout",
                old.limits.idle_timeout != new.limits.idle_timeout,
            ),
            (
                "limits.drain_timeout",
                old.limits.drain_timeout != new.limits.drain_timeout,
            ),
            (
                "limits.drain_grace",
                old.limits.drain_grace != new.limits.drain_grace,
            ),
            ("log.format", old.log.format != new.log.format),
            ("log.level", old.log.level != new.log.level),
            ("log.target", old.log.target != new.log.target),
            ("metrics.listen", old.metrics != new.metrics),
        ];
        for (key, _) in keys.iter().filter(|(_, changed)| *changed) {
            tracing::warn!("{key} has changed, which takes effect at the next start");
        }
    }
}

/// Tells the service manager, if there is one that listens.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::warn!("can't notify the service manager: {error}");
    }
}
