//! Tells the service manager that we are alive, as often as it wants to hear it
//! (sd_watchdog_enabled(3)).
//!
//! Belongs into the task that accepts connections, and sends a task of its own
//! through the workers before each word. When either hangs the word is not said,
//! and the service manager starts the program anew. It says nothing of mail.

use crate::server::handover::Accepting;
use sd_notify::NotifyState;
use std::{convert::Infallible, env, future::pending, time::Duration};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// Goes on for ever; does nothing where nobody watches, and while another process
/// accepts, which must not be thought alive because this one is.
pub(super) async fn feed(accepting: watch::Receiver<Accepting>) -> Infallible {
    let tell = || {
        if *accepting.borrow() == Accepting::Yes {
            super::notify(&[NotifyState::Watchdog]);
        }
    };
    match watchdog_timeout() {
        Some(timeout) => notify_every(timeout / 2, tell).await,
        None => pending().await,
    }
}

/// How long the service manager waits for a word.
fn watchdog_timeout() -> Option<Duration> {
    let mut microseconds = 0;
    let watched = match env::var_os("WATCHDOG_PID") {
        Some(_) => sd_notify::watchdog_enabled(false, &mut microseconds),
        // After a handover: it is meant for whoever has it.
        None => {
            let period = env::var("WATCHDOG_USEC")
                .ok()
                .and_then(|text| text.parse().ok());
            microseconds = period.unwrap_or(0);
            period.is_some()
        }
    };
    // Of nothing no half can be waited for.
    (watched && microseconds > 1).then(|| Duration::from_micros(microseconds))
}

async fn notify_every(period: Duration, tell: impl Fn()) -> Infallible {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // It can't panic and nothing aborts it, so it ends when a worker is free.
        let _ = tokio::spawn(async {}).await;
        tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::runtime;

    const PERIOD: Duration = Duration::from_millis(1);

    #[test]
    fn workers_that_hang_silence_it() {
        let workers = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (tell, told) = mpsc::channel();
        workers.spawn(notify_every(PERIOD, move || tell.send(()).unwrap_or(())));
        told.recv().unwrap();
        let (busy, is_busy) = mpsc::channel();
        let (free, until_free) = mpsc::channel::<()>();
        workers.spawn(async move {
            busy.send(()).unwrap();
            until_free.recv().unwrap();
        });
        is_busy.recv().unwrap();
        while told.try_recv().is_ok() {}
        assert!(told.recv_timeout(100 * PERIOD).is_err(), "all is not well");
        free.send(()).unwrap();
        told.recv_timeout(Duration::from_secs(60)).unwrap();
        workers.shutdown_background();
    }
}
