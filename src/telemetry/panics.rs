//! Logs panics.

use super::log::Limit;
use std::panic::{self, PanicHookInfo};

static PANICS: Limit = Limit::errors();

/// Logs panics, one line each, instead of printing them to standard error.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| PANICS.log(describe(panic))));
}

/// Describes a panic. A peer may have chosen parts of the message; the log escapes it.
fn describe(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = match panic.location() {
        Some(location) => location.to_string(),
        None => "an unknown place".to_owned(),
    };
    format!(
        "internal error at {place}: {}; its session ends with a temporary failure, all others \
         continue",
        message.escape_default()
    )
}
