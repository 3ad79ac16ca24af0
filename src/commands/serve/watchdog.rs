//! Notifies the service manager's watchdog (sd_watchdog_enabled(3)).
//!
//! Runs in the task that accepts connections, and runs an empty task on the workers before
//! each notification. If either hangs, there is no notification, and the service manager
//! restarts the program. This says nothing about whether mail is decided in time.

use crate::server::handover::Accepting;
use sd_notify::NotifyState;
use std::{convert::Infallible, env, future::pending, time::Duration};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// Notifies forever. Does nothing without a watchdog, or while another process accepts
/// connections, whose hang this one would hide.
pub(super) async fn feed(accepting: watch::Receiver<Accepting>) -> Infallible {
    let notify = || {
        if *accepting.borrow() == Accepting::Yes {
            super::notify(&[NotifyState::Watchdog]);
        }
    };
    match watchdog_timeout() {
        Some(timeout) => notify_every(timeout / 2, notify).await,
        None => pending().await,
    }
}

/// Returns the timeout of the watchdog, if there is one.
fn watchdog_timeout() -> Option<Duration> {
    let mut microseconds = 0;
    let watched = match env::var_os("WATCHDOG_PID") {
        Some(_) => sd_notify::watchdog_enabled(false, &mut microseconds),
        // After a handover, the variable has no process id.
        None => {
            let period = env::var("WATCHDOG_USEC")
                .ok()
                .and_then(|text| text.parse().ok());
            microseconds = period.unwrap_or(0);
            period.is_some()
        }
    };
    // Half of the timeout must not be zero.
    (watched && microseconds > 1).then(|| Duration::from_micros(microseconds))
}

async fn notify_every(period: Duration, notify: impl Fn()) -> Infallible {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // An empty task ends as soon as a worker is free.
        let _ = tokio::spawn(async {}).await;
        notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::runtime;

    const PERIOD: Duration = Duration::from_millis(1);

    #[test]
    fn hanging_workers_stop_the_notifications() {
        let workers = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (notify, notified) = mpsc::channel();
        workers.spawn(notify_every(PERIOD, move || notify.send(()).unwrap_or(())));
        notified.recv().unwrap();
        let (busy, is_busy) = mpsc::channel();
        let (free, until_free) = mpsc::channel::<()>();
        workers.spawn(async move {
            busy.send(()).unwrap();
            until_free.recv().unwrap();
        });
        is_busy.recv().unwrap();
        while notified.try_recv().is_ok() {}
        assert!(
            notified.recv_timeout(100 * PERIOD).is_err(),
            "notified while the worker hangs"
        );
        free.send(()).unwrap();
        notified.recv_timeout(Duration::from_secs(60)).unwrap();
        workers.shutdown_background();
    }
}
