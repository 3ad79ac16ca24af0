//! Where log lines go: standard error, which a service manager collects.

use crate::config;
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// Starts logging. Does nothing when a test has started it already.
pub fn init(log: &config::Log) {
    // The configuration holds only filters that can be parsed.
    let filter = EnvFilter::try_new(&log.level).unwrap_or_default();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // The journal has times of its own.
    let _ = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => lines.without_time().try_init(),
        None => lines.try_init(),
    };
}
