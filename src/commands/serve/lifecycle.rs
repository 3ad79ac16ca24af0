//! Signals: SIGHUP reloads the configuration, SIGUSR2 hands over to a new process. After a
//! handover, this process serves its connections for up to `limits.handover_timeout`.

use super::{Reloader, notify};
use crate::{
    server::handover::{Accepting, Ended, Passable, Predecessor, Program, Successor},
    telemetry::metrics,
};
use anyhow::{Result, anyhow};
use nix::{
    sys::signal::{Signal::SIGHUP, kill},
    unistd::Pid,
};
use sd_notify::NotifyState;
use std::{future::pending, io, pin::pin, process, time::Duration};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{Instant, sleep_until},
};

pub(super) struct Lifecycle<'a> {
    reloader: Reloader,
    reload: Signal,
    hand_over: Signal,
    program: io::Result<Program>,
    sockets: Passable,
    accepting: watch::Sender<Accepting>,
    predecessor: Option<&'a Predecessor>,
    successor: Option<Successor>,
    /// When this process starts to drain after a handover.
    end: Option<Instant>,
}

impl<'a> Lifecycle<'a> {
    /// Starts handling the signals.
    pub(super) fn new(
        reloader: Reloader,
        program: io::Result<Program>,
        sockets: Passable,
        predecessor: Option<&'a Predecessor>,
    ) -> io::Result<Self> {
        Ok(Self {
            reloader,
            reload: signal(SignalKind::hangup())?,
            hand_over: signal(SignalKind::user_defined2())?,
            program,
            sockets,
            accepting: watch::Sender::new(Accepting::Yes),
            predecessor,
            successor: None,
            end: None,
        })
    }

    /// Returns whether this process accepts connections, and its changes.
    pub(super) fn accepting(&self) -> watch::Receiver<Accepting> {
        self.accepting.subscribe()
    }

    /// Asks systemd to keep the sockets over a restart.
    pub(super) fn store_sockets(&self) {
        if let Err(error) = self.sockets.store() {
            tracing::warn!("the service manager can't keep sockets over a restart: {error}");
        }
    }

    /// Handles signals until `limits.handover_timeout` has passed after a handover. If dropped
    /// while a new process is starting, kills that process.
    pub(super) async fn run(&mut self) {
        loop {
            select! {
                Some(()) = self.reload.recv() => self.reload().await,
                Some(()) = self.hand_over.recv() => self.hand_over().await,
                ended = ended(&mut self.successor) => self.successor_ended(&ended),
                () = until(self.end) => {
                    tracing::info!("limits.handover_timeout is over");
                    return;
                }
            }
        }
    }

    /// Announces the drain to the service manager and to the previous process.
    pub(super) fn stopping(&self, drain_timeout: Duration) {
        tracing::info!("stopping");
        // After a handover, the service continues.
        if *self.accepting.borrow() == Accepting::Yes {
            notify(&[NotifyState::Stopping, extended_timeout(drain_timeout)]);
        }
        if let Some(predecessor) = self.predecessor {
            predecessor.released();
        }
    }

    async fn reload(&self) {
        let Some(successor) = &self.successor else {
            return self.reloader.run().await;
        };
        let pid = successor.pid();
        tracing::info!("SIGHUP is passed on to process {pid}, which has taken over");
        // The process was not waited for, so its id can't belong to another one.
        let sent = i32::try_from(pid).map(|pid| kill(Pid::from_raw(pid), SIGHUP));
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!("process {pid} could not be signalled");
        }
    }

    async fn hand_over(&mut self) {
        if let Some(successor) = &self.successor {
            let pid = successor.pid();
            tracing::warn!("SIGUSR2 is ignored: process {pid} has taken over; send it there");
            return;
        }
        match self.start_successor().await {
            Ok(successor) => self.hand_over_to(successor).await,
            Err(error) => {
                metrics::get().handovers.failure.inc();
                tracing::error!("no handover, this process continues: {error:#}");
            }
        }
    }

    async fn start_successor(&mut self) -> Result<Successor> {
        let program = self.program.as_ref();
        let program = program.map_err(|error| anyhow!("the program is unknown: {error}"))?;
        tracing::info!("handover: starting {}", program.path().display());
        let deferrals = self.reloader.deferrals();
        let mut starting = pin!(Successor::start(program, &self.sockets, deferrals));
        loop {
            select! {
                started = &mut starting => return started,
                Some(()) = self.hand_over.recv() => {
                    tracing::warn!("SIGUSR2 is ignored: a handover is in progress");
                }
            }
        }
    }

    async fn hand_over_to(&mut self, mut successor: Successor) {
        self.accepting.send_replace(Accepting::Paused);
        let pid = successor.pid();
        // Before that process notifies: the service manager accepts messages from the main
        // process only.
        notify(&[NotifyState::MainPid(pid)]);
        let metrics = metrics::get();
        successor.go(metrics.handovers.success.get()).await;
        if let Some(predecessor) = self.predecessor {
            predecessor.released();
        }
        let timeout = self.reloader.handover_timeout();
        self.end = Some(Instant::now() + timeout);
        self.successor = Some(successor);
        tracing::info!(
            connections = metrics.connections.open.get(),
            "handed over to process {pid}; open connections are served for up to {} s",
            timeout.as_secs()
        );
    }

    fn successor_ended(&mut self, ended: &Ended) {
        match ended {
            Ended::Released => _ = self.accepting.send_replace(Accepting::Ended),
            Ended::Crashed(how) => {
                let pid = self.successor.take().map_or(0, |successor| successor.pid());
                self.end = None;
                metrics::get().handovers.failure.inc();
                notify(&[NotifyState::MainPid(process::id()), NotifyState::Watchdog]);
                self.accepting.send_replace(Accepting::Yes);
                tracing::error!(
                    "process {pid}, which had taken over, has crashed ({how}): this process \
                     accepts connections again"
                );
            }
        }
    }
}

async fn ended(successor: &mut Option<Successor>) -> Ended {
    match successor {
        Some(successor) => successor.ended().await,
        None => pending().await,
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

/// Asks the service manager to wait for the drain before it kills this process.
fn extended_timeout(drain_timeout: Duration) -> NotifyState<'static> {
    let timeout = drain_timeout + Duration::from_secs(15);
    NotifyState::ExtendTimeoutUsec(u32::try_from(timeout.as_micros()).unwrap_or(u32::MAX))
}
