//! Counts of decisions over the last hour and the last day.
//!
//! They are differences between two readings of the metrics, so they cost mail nothing, need
//! no history, and add up to the metrics.

use crate::telemetry::metrics::{self, DecisionCounts};
use jiff::Timestamp;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::time;

/// The delay after the start of a minute until the metrics are read, so that a timer that fires
/// early does not read them in the previous minute.
const MARGIN: Duration = Duration::from_millis(5);

/// The charts of this process.
#[derive(Debug)]
pub struct Charts {
    start: Instant,
    /// The wall clock at `start`, past a full interval of the day.
    offset: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    last: DecisionCounts,
    hour: Chart,
    day: Chart,
}

/// A chart: the decisions of each of the last intervals, oldest first. The last interval is in
/// progress.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The length of an interval.
    pub interval: Duration,
    /// The maximum number of intervals.
    pub size: usize,
    /// The start of the newest interval.
    pub newest_start: Timestamp,
    /// The counts of each interval.
    pub counts: VecDeque<DecisionCounts>,
    /// The number of the newest interval.
    newest: u64,
}

impl Chart {
    fn new(interval: Duration, size: usize) -> Self {
        Self {
            interval,
            size,
            newest_start: Timestamp::UNIX_EPOCH,
            counts: VecDeque::from([DecisionCounts::default()]),
            newest: 0,
        }
    }

    /// Returns the sum of all intervals.
    pub fn sum(&self) -> DecisionCounts {
        let mut sum = DecisionCounts::default();
        for counts in &self.counts {
            sum.add_difference(counts, &DecisionCounts::default());
        }
        sum
    }

    /// Advances to the interval at this time.
    fn advance(&mut self, time: Duration) {
        let now = number(time, self.interval);
        let passed = now.saturating_sub(self.newest);
        self.newest = self.newest.max(now);
        for _ in 0..passed.min(self.size as u64) {
            if self.counts.len() == self.size {
                self.counts.pop_front();
            }
            self.counts.push_back(DecisionCounts::default());
        }
    }

    fn add(&mut self, later: &DecisionCounts, earlier: &DecisionCounts) {
        if let Some(newest) = self.counts.back_mut() {
            newest.add_difference(later, earlier);
        }
    }
}

fn number(time: Duration, interval: Duration) -> u64 {
    u64::try_from(time.as_nanos() / interval.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the elapsed part of the interval at this time.
fn past(time: Duration, interval: Duration) -> Duration {
    let past = time.as_nanos() % interval.as_nanos();
    Duration::from_nanos(u64::try_from(past).unwrap_or_default())
}

const MINUTE: Duration = Duration::from_secs(60);
const QUARTER_HOUR: Duration = Duration::from_secs(15 * 60);

impl Charts {
    /// Creates charts that count from now on.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let offset = past(now.unwrap_or_default(), QUARTER_HOUR);
        Self::beginning(offset, metrics::get().decisions_by_rule())
    }

    fn beginning(offset: Duration, counts: DecisionCounts) -> Self {
        let mut inner = Inner {
            last: counts,
            hour: Chart::new(MINUTE, 60),
            day: Chart::new(QUARTER_HOUR, 96),
        };
        inner.hour.newest = number(offset, MINUTE);
        inner.day.newest = number(offset, QUARTER_HOUR);
        Self {
            start: Instant::now(),
            offset,
            inner: Mutex::new(inner),
        }
    }

    /// Starts a task that reads the metrics every minute.
    pub fn start(self: &Arc<Self>) {
        let charts = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(charts) = charts.upgrade() {
                charts.sample();
                let left = charts.until_next_minute();
                drop(charts);
                time::sleep(left).await;
            }
        });
    }

    /// Returns the charts of the last hour, by minute, and of the last day, by quarter of an
    /// hour.
    pub fn current(&self) -> (Chart, Chart) {
        self.sample();
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut hour, mut day) = (inner.hour.clone(), inner.day.clone());
        drop(inner);
        let time = self.start.elapsed() + self.offset;
        for chart in [&mut hour, &mut day] {
            chart.newest_start = Timestamp::now() - past(time, chart.interval);
        }
        (hour, day)
    }

    fn sample(&self) {
        self.update(self.start.elapsed(), metrics::get().decisions_by_rule());
    }

    /// Adds the decisions since the last reading to the interval of that reading, since there
    /// is a reading at the start of each interval.
    fn update(&self, elapsed: Duration, counts: DecisionCounts) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { last, hour, day } = &mut *inner;
        for chart in [hour, day] {
            chart.add(&counts, last);
            chart.advance(elapsed + self.offset);
        }
        *last = counts;
    }

    fn until_next_minute(&self) -> Duration {
        MINUTE - past(self.start.elapsed() + self.offset, MINUTE) + MARGIN
    }
}

impl Default for Charts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::Rule, telemetry::Action};

    fn counts(number: u64) -> DecisionCounts {
        let mut counts = DecisionCounts::default();
        counts.set(Rule::SpfPass, Action::Accept, number);
        counts
    }

    fn numbers(chart: &Chart) -> Vec<u64> {
        let counts = chart.counts.iter();
        counts
            .map(|c| c.get(Rule::SpfPass, Action::Accept))
            .collect()
    }

    #[test]
    fn what_came_is_in_the_interval_in_which_it_came() {
        // 14 minutes and 50 seconds past the hour.
        let charts = Charts::beginning(Duration::from_secs(890), counts(7));
        let at = |seconds, number| charts.update(Duration::from_secs(seconds), counts(number));
        at(5, 9);
        at(10, 12);
        at(69, 13);
        at(70, 13);
        at(130, 20);
        at(250, 20);
        let inner = charts.inner.lock().unwrap();
        assert_eq!(numbers(&inner.hour), [5, 1, 7, 0, 0, 0]);
        assert_eq!(numbers(&inner.day), [5, 8]);
    }

    #[test]
    fn a_chart_keeps_an_hour_and_one_keeps_a_day() {
        let charts = Charts::beginning(Duration::ZERO, counts(0));
        for minute in 0..=3000 {
            charts.update(Duration::from_secs(60 * minute), counts(minute));
        }
        let inner = charts.inner.lock().unwrap();
        let mut want = [1; 60];
        want[59] = 0;
        assert_eq!(numbers(&inner.hour), want);
        let mut want = [15; 96];
        want[95] = 0;
        assert_eq!(numbers(&inner.day), want);
        drop(inner);
        charts.update(Duration::from_secs(60 * 3000 + 7 * 86_400), counts(3000));
        let inner = charts.inner.lock().unwrap();
        for chart in [&inner.hour, &inner.day] {
            assert_eq!(numbers(chart), vec![0; chart.size]);
        }
    }
}
