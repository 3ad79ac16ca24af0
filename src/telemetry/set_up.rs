//! Where log lines go: standard error, which a service manager collects.

use crate::config;
use std::{
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Starts logging. Does nothing when a test has started it already.
pub fn init(log: &config::Log) {
    // The configuration holds only filters that can be parsed.
    let filter = EnvFilter::try_new(&log.level).unwrap_or_default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // The journal has times of its own.
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => lines.without_time().with_filter(filter).boxed(),
        None => lines.with_filter(filter).boxed(),
    };
    let _ = tracing_subscriber::registry().with(lines).try_init();
    log_panics();
}

/// Has panics told in the log, one line each, in place of the runtime's way.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| tracing::error!("{}", describe(panic))));
}

/// What is in the message may come from a peer, so it is escaped.
fn describe(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = match panic.location() {
        Some(location) => location.to_string(),
        None => "an unknown place".to_owned(),
    };
    format!(
        "internal error at {place}: {}; what it happened in ends with a temporary failure, the \
         rest goes on",
        message.escape_default()
    )
}
