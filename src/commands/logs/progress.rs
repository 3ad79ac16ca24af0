//! Shows the progress of reading, on a terminal only.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// The delay before the bar is shown.
const DELAY: Duration = Duration::from_millis(300);

/// The interval at which the bar is updated.
const INTERVAL: Duration = Duration::from_millis(100);

/// The width of the bar in characters.
const WIDTH: u64 = 30;

pub(super) struct Progress {
    /// The number of bytes; 0 if unknown.
    total: u64,
    begin: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            begin: Instant::now(),
            shown: None,
            is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Updates the bar.
    pub(super) fn show(&mut self, so_far: u64) {
        let is_due = match self.shown {
            None => self.begin.elapsed() > DELAY,
            Some(shown) => shown.elapsed() > INTERVAL,
        };
        if self.is_terminal && is_due {
            self.shown = Some(Instant::now());
            let _ = write!(io::stderr(), "\r\x1b[K{}", self.bar(so_far));
        }
    }

    /// Removes the bar before other output.
    pub(super) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn bar(&self, so_far: u64) -> String {
        let rate = so_far as f64 / 1e6 / self.begin.elapsed().as_secs_f64();
        let read = so_far / 1_000_000;
        if self.total == 0 {
            return format!("{read} MB, {rate:.0} MB/s");
        }
        let done = (so_far.min(self.total) * WIDTH / self.total) as usize;
        let left = WIDTH as usize - done;
        let percent = so_far.min(self.total) * 100 / self.total;
        format!(
            "[{}{}] {percent:3} %, {read} of {} MB, {rate:.0} MB/s",
            "#".repeat(done),
            " ".repeat(left),
            self.total / 1_000_000
        )
    }
}
