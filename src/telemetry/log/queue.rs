//! The queue between callers and the thread that writes the log.
//!
//! It is bounded. When it is full, lines are dropped instead of delaying mail. Their
//! number is counted, and logged at most once a minute when lines can be written again.

use super::{events::Message, frame::Frame, limit, target::Target};
use crate::telemetry::metrics;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};
use tracing::Level;

/// The capacity in lines.
pub const MAX_LINES: usize = 8192;

/// The capacity in bytes.
pub const MAX_BYTES: usize = 8 << 20;

/// How long shutdown waits for queued lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the thread sleeps after writing all lines. Waking it costs more than writing
/// a line, so under load one wake-up should serve many lines.
const REST: Duration = Duration::from_millis(2);

pub(super) struct Queue {
    sender: Sender<Item>,
    waiting: Arc<Waiting>,
}

enum Item {
    Line(String),
    /// Acknowledged once everything before it is written.
    Flush(Sender<()>),
}

/// The counters that bound the queue. A bounded channel would allocate its whole capacity
/// at the start.
#[derive(Default)]
struct Waiting {
    lines: AtomicUsize,
    bytes: AtomicUsize,
    /// Lines lost since the loss was last logged.
    lost: AtomicU64,
}

impl Queue {
    /// Starts the thread.
    pub(super) fn start(target: Target, frame: Frame) -> Self {
        let (sender, receiver) = channel();
        let waiting = Arc::<Waiting>::default();
        let mut writer = Writer {
            target,
            frame,
            waiting: Arc::clone(&waiting),
            loss_logged: None,
        };
        let thread = thread::Builder::new().name("log".to_owned());
        if let Err(error) = thread.spawn(move || writer.run(&receiver)) {
            eprintln!("the thread of the log can't be started, so nothing is logged: {error}");
        }
        Self { sender, waiting }
    }

    /// Appends a line without blocking.
    pub(super) fn push(&self, line: String) {
        let length = line.len();
        if !self.waiting.enter(length) {
            return self.waiting.lost();
        }
        // The thread has ended.
        if self.sender.send(Item::Line(line)).is_err() {
            self.waiting.dequeued(1, length);
            self.waiting.lost();
        }
    }

    /// Waits until everything is written, for at most [`FLUSH_TIMEOUT`].
    pub(super) fn flush(&self) {
        let (done, is_done) = channel();
        if self.sender.send(Item::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl Waiting {
    /// Reserves capacity for a line of `length` bytes; returns `false` if there is none.
    fn enter(&self, length: usize) -> bool {
        let lines = self.lines.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(length, Ordering::Relaxed);
        let has_room = lines < MAX_LINES && bytes + length <= MAX_BYTES;
        if !has_room {
            self.dequeued(1, length);
        }
        has_room
    }

    fn dequeued(&self, lines: usize, bytes: usize) {
        self.lines.fetch_sub(lines, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        metrics::get().log_lines_lost.inc();
    }
}

struct Writer {
    target: Target,
    frame: Frame,
    waiting: Arc<Waiting>,
    /// When lost lines were last logged.
    loss_logged: Option<Instant>,
}

/// The lines written at once.
#[derive(Default)]
struct Batch {
    record: String,
    lines: usize,
    /// The caller to notify.
    flush: Option<Sender<()>>,
}

impl Writer {
    fn run(&mut self, receiver: &Receiver<Item>) {
        while let Ok(first) = receiver.recv() {
            let mut next = Some(first);
            while let Some(item) = next {
                let batch = self.collect(item, receiver);
                self.write(&batch);
                if let Some(done) = batch.flush {
                    self.log_lost();
                    // The caller may have timed out.
                    let _ = done.send(());
                }
                next = receiver.try_recv().ok();
            }
            thread::sleep(REST);
        }
    }

    /// Collects a line, and the following ones if the target accepts several at once.
    fn collect(&self, first: Item, receiver: &Receiver<Item>) -> Batch {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(item) = next {
            batch.add(item);
            let is_full = batch.flush.is_some() || !self.target.takes_more(&batch.record);
            next = if is_full {
                None
            } else {
                receiver.try_recv().ok()
            };
        }
        batch
    }

    fn write(&mut self, batch: &Batch) {
        if batch.lines == 0 {
            return;
        }
        let written = self.target.write(batch.record.as_bytes());
        self.waiting.dequeued(batch.lines, batch.record.len());
        match written {
            // Otherwise a slow log would get a line about lost ones with each line it
            // accepts.
            Ok(())
                if self
                    .loss_logged
                    .is_none_or(|at| at.elapsed() >= limit::INTERVAL) =>
            {
                self.log_lost();
            }
            Ok(()) => {}
            Err(_permanent) => (0..batch.lines).for_each(|_| self.waiting.lost()),
        }
    }

    fn log_lost(&mut self) {
        let lost = self.waiting.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        self.loss_logged = Some(Instant::now());
        let text = match lost {
            1 => "1 log line was lost: the log did not take it in time".to_owned(),
            _ => format!("{lost} log lines were lost: the log did not take them in time"),
        };
        let record = self.frame.render(Level::WARN, &Message::new(text));
        let _ = self.target.write(record.as_bytes());
    }
}

impl Batch {
    fn add(&mut self, item: Item) {
        match item {
            Item::Line(line) if self.record.is_empty() => {
                self.record = line;
                self.lines = 1;
            }
            Item::Line(line) => {
                self.record.push_str(&line);
                self.lines += 1;
            }
            Item::Flush(done) => self.flush = Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether there is capacity for exactly one more line of `length` bytes.
    fn has_room_for_one(waiting: &Waiting, length: usize) -> bool {
        waiting.enter(length) && !waiting.enter(length)
    }

    #[test]
    fn lines_wait_up_to_the_bounds_and_make_room_when_they_leave() {
        for (lines, length) in [(MAX_LINES, 1), (8, MAX_BYTES / 8)] {
            let waiting = Waiting::default();
            for _ in 1..lines {
                assert!(waiting.enter(length));
            }
            assert!(has_room_for_one(&waiting, length));
            for _ in 0..3 {
                waiting.dequeued(1, length);
                assert!(has_room_for_one(&waiting, length));
            }
            waiting.dequeued(lines, lines * length);
            assert_eq!(waiting.lines.into_inner(), 0);
            assert_eq!(waiting.bytes.into_inner(), 0);
        }
    }
}
