//! The last decisions, in bounded memory.
//!
//! A decision becomes an [`Entry`] where it is made and enters a bounded queue, which never
//! blocks mail; a task moves entries from the queue to the ring ten times a second. If the
//! queue is full, the entry is lost and counted.
//!
//! Values are escaped when they are recorded, as in the log: an entry holds printable ASCII
//! only, so values that a peer chose are harmless wherever they are shown.

mod entry;
mod filter;

pub use entry::{Entry, MAX_ENTRY_BYTES, Signature};
pub use filter::{ClientFilter, DomainFilter, Filter, FilterError, parse_action, parse_rule};

use crate::telemetry::{self, Decision, Exemption, Observed, metrics};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{MissedTickBehavior, interval};

/// The maximum number of entries in the queue. Emptied ten times a second, that is enough for
/// 40,000 decisions per second.
pub const QUEUE: usize = 4096;

/// The interval at which the queue is emptied.
const INTERVAL: Duration = Duration::from_millis(100);

/// The last decisions.
#[derive(Debug)]
pub struct History {
    capacity: usize,
    queue: SyncSender<Entry>,
    store: Mutex<Store>,
}

#[derive(Debug)]
struct Store {
    queue: Receiver<Entry>,
    /// Oldest first, with consecutive numbers.
    entries: VecDeque<Arc<Entry>>,
    next_number: u64,
}

/// One page of a search, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Arc<Entry>>,
    /// The `before` of the next page, if there is one.
    pub next: Option<u64>,
}

impl History {
    /// Creates a history of up to `capacity` decisions.
    pub fn new(capacity: usize) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let store = Store {
            queue: receiver,
            entries: VecDeque::with_capacity(capacity),
            next_number: first_number(),
        };
        Self {
            capacity,
            queue: sender,
            store: Mutex::new(store),
        }
    }

    /// Records every decision of this process from now on. Without capacity nothing is
    /// recorded.
    pub fn start(self: &Arc<Self>) {
        if self.capacity == 0 {
            return;
        }
        let history = Arc::clone(self);
        telemetry::observe(move |observed| match observed {
            Observed::Decision(decision) => history.record(decision),
            Observed::Exemption(exemption) => history.record_exemption(exemption),
        });
        tokio::spawn(empty_queue(Arc::downgrade(self)));
    }

    /// Returns the maximum number of decisions.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Records a decision. Never blocks.
    pub fn record(&self, decision: &Decision<'_>) {
        self.push(Entry::from_decision(decision));
    }

    /// Records mail that was not checked. Never blocks.
    pub fn record_exemption(&self, exemption: &Exemption<'_>) {
        self.push(Entry::from_exemption(exemption));
    }

    fn push(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            metrics::get().status_history_lost.inc();
        }
    }

    /// Returns the number of decisions.
    pub fn len(&self) -> usize {
        self.current().entries.len()
    }

    /// Returns whether there are no decisions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the decision with this number, unless newer ones have replaced it.
    pub fn get(&self, number: u64) -> Option<Arc<Entry>> {
        let store = self.current();
        let oldest = store.entries.front()?.number;
        let place = usize::try_from(number.checked_sub(oldest)?).ok()?;
        store.entries.get(place).cloned()
    }

    /// Returns the newest `limit` decisions that match and have a number below `before`.
    pub fn search(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Page {
        let store = self.current();
        let before = before.unwrap_or(u64::MAX);
        let older = store.entries.iter().rev();
        let mut matches = older.filter(|entry| entry.number < before && filter.matches(entry));
        let entries: Vec<_> = matches.by_ref().take(limit).cloned().collect();
        let next = match matches.next() {
            Some(_) => entries.last().map(|entry| entry.number),
            None => None,
        };
        Page { entries, next }
    }

    /// Returns the store, including everything that is in the queue.
    fn current(&self) -> MutexGuard<'_, Store> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.empty_queue(self.capacity);
        store
    }
}

impl Store {
    fn empty_queue(&mut self, capacity: usize) {
        while let Ok(mut entry) = self.queue.try_recv() {
            entry.number = self.next_number;
            self.next_number += 1;
            if self.entries.len() >= capacity {
                self.entries.pop_front();
            }
            if capacity > 0 {
                self.entries.push_back(Arc::new(entry));
            }
        }
    }
}

/// A number that no earlier process has used, so that a link to a decision never leads to
/// another one after a restart: the time in microseconds.
fn first_number() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(1, |time| u64::try_from(time.as_micros()).unwrap_or(1))
}

async fn empty_queue(history: Weak<History>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match history.upgrade() {
            // A search may hold the lock on the low-priority thread, and this thread serves
            // mail, so it must not wait. The search has emptied the queue at its start.
            Some(history) => {
                if let Ok(mut store) = history.store.try_lock() {
                    store.empty_queue(history.capacity);
                }
            }
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::sample;

    #[test]
    fn the_newest_decisions_are_kept_and_the_others_forgotten() {
        let history = History::new(3);
        let decisions = sample::decisions();
        for _ in 0..5 {
            history.record(&decisions[0]);
        }
        assert_eq!(history.len(), 3);
        let page = history.search(&Filter::default(), None, 10);
        let numbers: Vec<u64> = page.entries.iter().map(|entry| entry.number).collect();
        assert!(numbers.is_sorted_by(|a, b| *a == *b + 1), "{numbers:?}");
        assert_eq!(page.next, None);
        let oldest = numbers[2];
        assert_eq!(history.get(oldest).unwrap().number, oldest);
        for gone in [0, oldest - 1, numbers[0] + 1, u64::MAX] {
            assert!(history.get(gone).is_none(), "{gone}");
        }
    }

    #[test]
    fn pages_follow_each_other_while_decisions_arrive() {
        let history = History::new(100);
        let decisions = sample::decisions();
        for _ in 0..5 {
            history.record(&decisions[0]);
        }
        let first = history.search(&Filter::default(), None, 2);
        history.record(&decisions[1]);
        let second = history.search(&Filter::default(), first.next, 2);
        let third = history.search(&Filter::default(), second.next, 2);
        assert_eq!(third.next, None);
        let pages = [&first, &second, &third];
        let entries = pages.iter().flat_map(|page| &page.entries);
        let numbers: Vec<u64> = entries.map(|entry| entry.number).collect();
        assert_eq!(numbers.len(), 5);
        assert!(numbers.is_sorted_by(|a, b| *a == *b + 1), "{numbers:?}");
    }

    #[test]
    fn what_the_queue_has_no_room_for_is_lost_and_counted() {
        let history = History::new(10);
        let decisions = sample::decisions();
        let lost = &metrics::get().status_history_lost;
        let before = lost.get();
        for _ in 0..QUEUE + 7 {
            history.record(&decisions[0]);
        }
        assert_eq!(lost.get() - before, 7);
        assert_eq!(history.len(), 10);
    }

    #[test]
    fn without_capacity_nothing_is_kept() {
        let history = History::new(0);
        history.record(&sample::decisions()[0]);
        assert!(history.is_empty());
    }
}
