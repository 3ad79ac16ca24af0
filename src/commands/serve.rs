//! `sixgate serve`: runs the milter in the foreground.
//!
//! Notifies the service manager (sd_notify), reloads the configuration on SIGHUP, hands over
//! to a new process on SIGUSR2, and drains on SIGTERM or SIGINT.

mod lifecycle;
mod no_opt_in;
mod watchdog;

use crate::{
    config::Config,
    deferrals::Deferrals,
    dns::Dns,
    exempt::{self, Exemptions},
    exit::{Exit, Failure},
    list_file::ListError,
    milter::drain::Drain,
    monitor,
    opt_in::Sources,
    server::{
        self, Listeners, Timeouts,
        handover::{Accepting, Predecessor, Program},
        inherited::Inherited,
        open_files,
    },
    snapshot::Snapshot,
    status, telemetry,
};
use anyhow::{Context as _, Result};
use lifecycle::Lifecycle;
use sd_notify::NotifyState;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
};

/// How often a worker takes a task from the runtime's global queue: every second turn. A
/// worker's own queue has room for 256 tasks, and others go to the global one. With tokio's
/// default of 61, some of 256 busy connections waited six times as long as the others;
/// docs/benchmarks.md has the figures.
const GLOBAL_QUEUE_INTERVAL: u32 = 2;

/// Serves until a signal arrives.
///
/// # Errors
/// Fails if the configuration is invalid, or if the system refuses something, such as
/// opening a socket.
pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let mut inherited = Inherited::take().map_err(|error| Failure::new(Exit::Os, error))?;
    let predecessor = inherited.predecessor();
    let served = run_logged(file, inherited, predecessor.as_ref());
    if let (Err(failure), Some(predecessor)) = (&served, &predecessor) {
        predecessor.failed(&failure.error);
    }
    served
}

fn run_logged(
    file: &Path,
    inherited: Inherited,
    predecessor: Option<&Predecessor>,
) -> Result<(), Failure> {
    let config = Config::load_for_host(file)?;
    let log = telemetry::log::init(&config.log);
    let served = start(file, config, inherited, predecessor);
    if let Err(failure) = &served {
        log.log_fatal(&failure.error);
    }
    served
}

fn start(
    file: &Path,
    config: Config,
    mut inherited: Inherited,
    predecessor: Option<&Predecessor>,
) -> Result<(), Failure> {
    let program = Program::of_this_process();
    let sources = Sources::open(&config.opt_in, None)?;
    let exemptions = Exemptions::open(&config, None)?;
    let access = status::Access::open(file, &config)?;
    warn(file, &config, &sources);
    let deferrals = match config.replies.give_up_after {
        Some(_) => inherited_deferrals(&mut inherited),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Os, error))?;
    runtime.block_on(async {
        let snapshot = snapshot(config, sources, exemptions, None, deferrals)
            .map_err(|error| Failure::new(Exit::Unavailable, error))?;
        let served = serve(file, snapshot, access, inherited, predecessor, program).await;
        served.map_err(|error| Failure::new(Exit::Os, error))
    })
}

async fn serve(
    file: &Path,
    snapshot: Arc<Snapshot<Dns>>,
    access: status::Access,
    mut inherited: Inherited,
    predecessor: Option<&Predecessor>,
    program: io::Result<Program>,
) -> Result<()> {
    let config = &snapshot.config;
    open_files::allow(config.limits.connections);
    let limit = i64::try_from(config.limits.connections).unwrap_or(i64::MAX);
    telemetry::metrics::get().connections.limit.set(limit);
    let listeners = server::bind(config, &mut inherited).await?;
    let mut monitored = monitor::bind(&config.metrics.listen, &mut inherited).await?;
    let mut page = status::Page::open(config, access, &mut inherited).await?;
    let timeouts = Timeouts {
        idle_timeout: config.limits.idle_timeout,
        drain_timeout: config.limits.drain_timeout,
    };
    let drain = Arc::new(Drain::with_grace(config.limits.drain_grace));
    let (sender, current) = watch::channel(snapshot);
    let reloader = Reloader {
        file: file.to_owned(),
        sender,
        page: page.reloads(),
    };
    tokio::spawn(telemetry::log::summarize_every_minute());
    tokio::spawn(telemetry::hidden_clients::watch(current.clone()));
    tokio::spawn(monitor::mx_zone::watch(current.clone()));
    tokio::spawn(no_opt_in::watch(current.clone()));
    tokio::spawn(exempt::watch(current.clone()));
    let last_snapshot = current.clone();
    let mut sockets = listeners.passable();
    sockets.extend(monitored.passable());
    sockets.extend(page.passable());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut lifecycle = Lifecycle::new(reloader, program, sockets, predecessor)?;
    if let Some(predecessor) = predecessor {
        take_over(predecessor).await?;
    }
    inherited.close_unused();
    notify(&[NotifyState::Ready]);
    lifecycle.store_sockets();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");

    let accepting = lifecycle.accepting();
    let requests = monitor::serve(
        monitored,
        current.clone(),
        Arc::clone(&drain),
        accepting.clone(),
    );
    page.serve(file, current.clone(), Arc::clone(&drain), accepting.clone());
    // In a task of its own, so that connections start on the worker that accepts them.
    let serving = serve_watched(listeners, current, timeouts, Arc::clone(&drain), accepting);
    let mut serving = tokio::spawn(serving);
    let served = select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        () = lifecycle.run() => None,
        served = &mut serving => Some(served),
    };
    let served = match served {
        // This process has handed over, and its last connection is closed.
        Some(served) => served,
        None => {
            drain.start();
            lifecycle.stopping(timeouts.drain_timeout);
            serving.await
        }
    };
    tokio::join!(requests.finish(), page.finish());
    // If this fails, it failed before and was logged.
    let _ = last_snapshot.borrow().exemptions.record_uses();
    served.context("the server failed")
}

/// Waits until the previous process has stopped accepting.
async fn take_over(predecessor: &Predecessor) -> Result<()> {
    let pid = std::os::unix::process::parent_id();
    let earlier = predecessor.ready().await?;
    telemetry::metrics::get()
        .handovers
        .success
        .inc_by(earlier + 1);
    tracing::info!("taking over from process {pid}");
    Ok(())
}

async fn serve_watched(
    listeners: Listeners,
    current: watch::Receiver<Arc<Snapshot<Dns>>>,
    timeouts: Timeouts,
    drain: Arc<Drain>,
    accepting: watch::Receiver<Accepting>,
) {
    select! {
        () = server::run(listeners, current, timeouts, drain, accepting.clone()) => {}
        never = watchdog::feed(accepting) => match never {},
    }
}

/// Returns the deferred senders of the process that hands over.
fn inherited_deferrals(inherited: &mut Inherited) -> Option<Arc<Deferrals>> {
    match inherited.deferrals()? {
        Ok(deferrals) => {
            tracing::info!(
                senders = deferrals.len(),
                "continues with the senders that were deferred"
            );
            Some(Arc::new(deferrals))
        }
        Err(error) => {
            tracing::warn!("the deferred senders of the previous process are lost: {error}");
            None
        }
    }
}

/// Creates a snapshot that replaces `old`. `deferrals` are those of a process that has
/// handed over.
fn snapshot(
    config: Config,
    sources: Sources,
    exemptions: Exemptions,
    old: Option<&Snapshot<Dns>>,
    deferrals: Option<Arc<Deferrals>>,
) -> Result<Arc<Snapshot<Dns>>> {
    let dns = Dns::waiting_for_servers(&config.dns).context("can't set up the DNS resolver")?;
    let dns = match old {
        Some(old) => dns.inherit_from(old.checks.resolver()),
        None => dns,
    };
    dns.follow();
    sources.follow();
    exemptions.follow();
    let deferrals = deferrals.or_else(|| old?.deferrals.clone());
    let snapshot = Snapshot::new(config, sources, exemptions, dns).inherit_from(deferrals);
    Ok(Arc::new(snapshot))
}

fn warn(file: &Path, config: &Config, sources: &Sources) {
    let warnings = config.warnings().into_iter();
    for warning in warnings.chain(sources.warning().map(str::to_owned)) {
        tracing::warn!("{}: {warning}", file.display());
    }
}

/// Reloads the configuration.
struct Reloader {
    file: PathBuf,
    sender: watch::Sender<Arc<Snapshot<Dns>>>,
    page: status::Reloads,
}

impl Reloader {
    /// Reloads the configuration, and logs and counts the outcome.
    async fn run(&self) {
        let reloads = &telemetry::metrics::get().reloads;
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_no_clock) => notify(&[NotifyState::Reloading]),
        }
        let reloaded = self.reload().await;
        self.page.record(&reloaded);
        match reloaded {
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

    fn deferrals(&self) -> Option<Arc<Deferrals>> {
        self.sender.borrow().deferrals.clone()
    }

    fn handover_timeout(&self) -> Duration {
        self.sender.borrow().config.limits.handover_timeout
    }

    async fn reload(&self) -> Result<()> {
        let config = Config::load_for_host(&self.file)?;
        let access = status::Access::open(&self.file, &config)?;
        let (sources, exemptions) = self.lists(&config).await?;
        self.warn_about_what_needs_a_restart(&config);
        let old = Arc::clone(&self.sender.borrow());
        self.sender
            .send_replace(snapshot(config, sources, exemptions, Some(&old), None)?);
        self.page.set_access(access);
        Ok(())
    }

    /// Reads the lists on a thread of its own, so that connections are served meanwhile.
    async fn lists(&self, config: &Config) -> Result<(Sources, Exemptions)> {
        let config = config.clone();
        let old = Arc::clone(&self.sender.borrow());
        let read = spawn_blocking(move || -> Result<_, ListError> {
            let sources = Sources::open(&config.opt_in, Some(old.checks.opt_in_sources()))?;
            let exemptions = Exemptions::open(&config, Some(&old.exemptions))?;
            Ok((sources, exemptions))
        });
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
            ("status.listen", old.status.listen != new.status.listen),
            ("status.history", old.status.history != new.status.history),
        ];
        for (key, _) in keys.iter().filter(|(_, changed)| *changed) {
            tracing::warn!("{key} has changed, which takes effect at the next start");
        }
    }
}

/// Notifies the service manager, if there is one.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::warn!("can't notify the service manager: {error}");
    }
}
