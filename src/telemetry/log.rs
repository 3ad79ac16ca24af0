//! The log: lines are formatted by the caller and written by a separate thread, so that a
//! slow or failed log never delays mail.
//!
//! Format, target and level are fixed at the start; a reload does not change them.

mod events;
mod frame;
mod journal;
mod limit;
mod queue;
mod target;

pub use limit::{BURST, INTERVAL, Limit, summarize_every_minute};
pub use queue::{MAX_BYTES, MAX_LINES};

use super::{
    Decision, Exemption, TARGET,
    decision_fields::{self, Fields},
    decision_line, panics,
};
use crate::config;
use events::Events;
use frame::{Frame, LogRecord};
use queue::Queue;
use std::sync::OnceLock;
use target::Target;
use tracing::{Dispatch, Level, dispatcher};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    frame: Frame,
    queue: Queue,
    /// Whether the level includes decisions.
    decisions: bool,
    exemptions: bool,
    /// Whether the target is not the same as standard error.
    is_elsewhere: bool,
}

/// The running log. Dropping it waits briefly until all lines are written.
#[derive(Debug)]
#[must_use = "lines that are not yet written are lost without it"]
pub struct Logging(());

impl Logging {
    /// Logs the error that ends the program, unless the log is standard error, where it
    /// is printed anyway.
    pub fn log_fatal(&self, error: &anyhow::Error) {
        if LOG.get().is_some_and(|log| log.is_elsewhere) {
            tracing::error!("{error:#}");
        }
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(log) = LOG.get() {
            limit::summarize();
            log.queue.flush();
        }
    }
}

/// Starts logging. Does nothing if it was started already.
pub fn init(config: &config::Log) -> Logging {
    LOG.get_or_init(|| start(config));
    panics::log_panics();
    Logging(())
}

fn start(config: &config::Log) -> Log {
    // The configuration only accepts valid filters.
    let filter = || EnvFilter::try_new(&config.level).unwrap_or_default();
    let target = Target::of(config.target);
    let frame = Frame::new(config.format, target.record_format());
    let is_elsewhere = target.is_elsewhere();
    let (decisions, exemptions) = enabled_lines(filter());
    let log = Log {
        frame,
        queue: Queue::start(target, frame),
        decisions,
        exemptions,
        is_elsewhere,
    };
    let events = tracing_subscriber::registry().with(Events.with_filter(filter()));
    let _ = events.try_init();
    log
}

/// Returns whether the filter includes decisions, and mail that is not checked. Evaluated
/// once, because decisions do not pass through tracing.
fn enabled_lines(filter: EnvFilter) -> (bool, bool) {
    let asked = Dispatch::new(Registry::default().with(filter));
    dispatcher::with_default(&asked, || {
        (
            tracing::enabled!(target: TARGET, Level::INFO),
            tracing::enabled!(target: TARGET, Level::DEBUG),
        )
    })
}

impl Log {
    fn write(&self, level: Level, record: &impl LogRecord) {
        self.queue.push(self.frame.render(level, record));
    }
}

/// Logs a decision.
pub(super) fn write_decision(decision: &Decision<'_>) {
    if let Some(log) = LOG.get().filter(|log| log.decisions) {
        log.write(Level::INFO, decision);
    }
}

/// Logs mail that is not checked.
pub(super) fn write_exemption(exemption: &Exemption<'_>) {
    let Some(log) = LOG.get() else {
        return;
    };
    let (is_logged, level) = match exemption.is_notable() {
        true => (log.decisions, Level::INFO),
        false => (log.exemptions, Level::DEBUG),
    };
    if is_logged {
        log.write(level, exemption);
    }
}

impl LogRecord for Decision<'_> {
    fn text(&self, line: &mut String) {
        decision_line::render(line, self);
    }

    fn fields(&self, fields: &mut impl Fields) {
        decision_fields::write_decision(self, fields);
    }
}

impl LogRecord for Exemption<'_> {
    fn text(&self, line: &mut String) {
        decision_line::render_exempt(line, self);
    }

    fn fields(&self, fields: &mut impl Fields) {
        decision_fields::write_exemption(self, fields);
    }
}
