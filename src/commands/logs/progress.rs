//! How far the reading is, on a terminal only.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// What is over sooner needs no bar.
const DELAY: Duration = Duration::from_millis(300);

/// How often the bar moves.
const INTERVAL: Duration = Duration::from_millis(100);

/// Characters of the bar.
const WIDTH: u64 = 30;

pub(super) struct Progress {
    /// Octets; 0 if it can't be known.
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

    /// So many octets were read.
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

    /// Before anything else is said.
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
