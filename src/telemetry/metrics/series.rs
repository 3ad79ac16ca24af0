//! Series, resolved in advance, and their creation.

use crate::{
    config::Mode,
    policy::{Authentication, Confirmation, Forwarder, OptIn, Ptr, Rule},
    spf::SpfResult,
    telemetry::Action,
};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, core::Collector,
};
use std::{marker::PhantomData, sync::OnceLock, time::Duration};

/// The histogram buckets in seconds, from a cached answer to beyond every timeout.
const BUCKETS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0,
];

/// `sixgate_decisions_total`.
#[derive(Debug)]
pub(super) struct Decisions {
    family: IntCounterVec,
    /// The series by rule, action and mode. A replaced reply can change the action of a
    /// rule; such a series is created with its first event.
    series: Vec<OnceLock<IntCounter>>,
}

const MODES: [Mode; 2] = [Mode::Enforce, Mode::Observe];

impl Decisions {
    pub(super) fn new(make: &Make) -> Self {
        let family = make.counters(
            "sixgate_decisions_total",
            "Decisions on recipients and messages, also those that observe mode does not carry out",
            &["action", "rule", "mode"],
        );
        let number = Rule::ALL.len() * Action::ALL.len() * MODES.len();
        let series = (0..number).map(|_| OnceLock::new()).collect();
        let decisions = Self { family, series };
        decisions.make_usual();
        decisions
    }

    pub(super) fn count(&self, action: Action, rule: Rule, mode: Mode) {
        if let Some(series) = self.series(action, rule, mode) {
            series.inc();
        }
    }

    pub(super) fn total(&self, action: Action, rule: Rule, mode: Mode) -> u64 {
        self.series(action, rule, mode).map_or(0, IntCounter::get)
    }

    pub(super) fn counts(&self) -> DecisionCounts {
        let mut counts = DecisionCounts::default();
        for (row, series) in self.series.chunks(MODES.len()).enumerate() {
            let made = series.iter().filter_map(OnceLock::get);
            let (rule, action) = (row / Action::ALL.len(), row % Action::ALL.len());
            counts.0[rule][action] = made.map(IntCounter::get).sum();
        }
        counts
    }

    fn make_usual(&self) {
        for rule in Rule::ALL {
            for &action in usual_actions(rule) {
                for mode in MODES {
                    self.series(action, rule, mode);
                }
            }
        }
    }

    fn series(&self, action: Action, rule: Rule, mode: Mode) -> Option<&IntCounter> {
        let row = rule as usize * Action::ALL.len() + action as usize;
        let slot = self.series.get(row * MODES.len() + mode as usize)?;
        Some(slot.get_or_init(|| {
            let labels = [action.name(), rule.name(), mode.name()];
            self.family.with_label_values(&labels)
        }))
    }
}

/// Numbers of decisions by rule and action, enforced or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecisionCounts([[u64; Action::ALL.len()]; Rule::ALL.len()]);

impl DecisionCounts {
    /// Returns the number for a rule and an action.
    pub fn get(&self, rule: Rule, action: Action) -> u64 {
        self.0[rule as usize][action as usize]
    }

    /// Adds the difference of two other counts.
    pub fn add_difference(&mut self, later: &Self, earlier: &Self) {
        for rule in 0..Rule::ALL.len() {
            for action in 0..Action::ALL.len() {
                let came = later.0[rule][action].saturating_sub(earlier.0[rule][action]);
                self.0[rule][action] += came;
            }
        }
    }

    /// Sets the number of one rule and action.
    pub fn set(&mut self, rule: Rule, action: Action, number: u64) {
        self.0[rule as usize][action as usize] = number;
    }
}

/// Returns the actions of a rule with the default replies.
fn usual_actions(rule: Rule) -> &'static [Action] {
    match rule {
        Rule::Local
        | Rule::Ipv4
        | Rule::ExemptNetwork
        | Rule::ExemptAuthenticated
        | Rule::ExemptTls
        | Rule::SpfPass
        | Rule::KnownForwarder
        | Rule::DkimPass => &[Action::Accept],
        Rule::NotOptedIn => &[Action::Reject],
        Rule::OptInTemperror
        | Rule::NoPtr
        | Rule::PtrTemperror
        | Rule::PtrUnconfirmed
        | Rule::Unauthenticated => &[Action::Defer],
        Rule::AuthTemperror => &[Action::Accept, Action::Defer],
    }
}

/// The result of a check, as a label.
pub trait Word: Copy + 'static {
    /// The name of the check.
    const CHECK: &'static str;
    /// All results, in the order of declaration.
    const WORDS: &'static [&'static str];

    /// Returns its index in [`Word::WORDS`].
    fn place(self) -> usize;
}

/// `sixgate_checks_total` and `sixgate_check_seconds` of one check.
#[derive(Debug)]
pub struct CheckSeries<W> {
    /// The counters by result.
    results: Vec<IntCounter>,
    seconds: Histogram,
    of: PhantomData<fn(W)>,
}

impl<W: Word> CheckSeries<W> {
    pub(super) fn new(results: &IntCounterVec, seconds: &HistogramVec) -> Self {
        let words = W::WORDS.iter();
        let result = |word: &&str| results.with_label_values(&[W::CHECK, word]);
        Self {
            results: words.map(result).collect(),
            seconds: seconds.with_label_values(&[W::CHECK]),
            of: PhantomData,
        }
    }

    /// Counts a result of the check.
    pub fn result(&self, result: W) {
        if let Some(counter) = self.results.get(result.place()) {
            counter.inc();
        }
    }

    /// Records the duration of the check.
    pub fn took(&self, time: Duration) {
        self.seconds.observe(time.as_secs_f64());
    }
}

impl Word for OptIn {
    const CHECK: &'static str = "opt-in";
    const WORDS: &'static [&'static str] = &["yes", "no", "temperror"];

    fn place(self) -> usize {
        self as usize
    }
}

impl Word for Ptr {
    const CHECK: &'static str = "ptr";
    const WORDS: &'static [&'static str] = &["found", "none", "temperror"];

    fn place(self) -> usize {
        self as usize
    }
}

impl Word for Confirmation {
    const CHECK: &'static str = "confirmation";
    const WORDS: &'static [&'static str] = &["confirmed", "unconfirmed", "temperror"];

    fn place(self) -> usize {
        self as usize
    }
}

impl Word for Forwarder {
    const CHECK: &'static str = "forwarder";
    const WORDS: &'static [&'static str] = &["known", "unknown", "temperror"];

    fn place(self) -> usize {
        self as usize
    }
}

impl Word for SpfResult {
    const CHECK: &'static str = "spf";
    const WORDS: &'static [&'static str] = &[
        "pass",
        "fail",
        "softfail",
        "neutral",
        "none",
        "temperror",
        "permerror",
    ];

    fn place(self) -> usize {
        self as usize
    }
}

/// The SPF result of a HELO name, evaluated in addition to the sender.
#[derive(Clone, Copy, Debug)]
pub struct HeloSpf(pub SpfResult);

impl Word for HeloSpf {
    const CHECK: &'static str = "helo-spf";
    const WORDS: &'static [&'static str] = SpfResult::WORDS;

    fn place(self) -> usize {
        self.0.place()
    }
}

impl Word for Authentication {
    const CHECK: &'static str = "dkim";
    const WORDS: &'static [&'static str] = &["pass", "fail", "temperror"];

    fn place(self) -> usize {
        self as usize
    }
}

/// Creates and registers metrics.
#[derive(Default)]
pub(super) struct Make {
    pub(super) registry: Registry,
}

#[expect(clippy::expect_used, reason = "constants, which a test makes")]
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("names and labels are well formed")
}

impl Make {
    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.registered(made(IntCounter::new(name, help)))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.registered(made(IntCounterVec::new(Opts::new(name, help), labels)))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.registered(made(IntGauge::new(name, help)))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.registered(made(IntGaugeVec::new(Opts::new(name, help), &[label])))
    }

    pub(super) fn real_gauges(&self, name: &str, help: &str, label: &str) -> GaugeVec {
        self.registered(made(GaugeVec::new(Opts::new(name, help), &[label])))
    }

    pub(super) fn histograms(&self, name: &str, help: &str, label: &str) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.registered(made(HistogramVec::new(opts, &[label])))
    }

    fn registered<M: Collector + Clone + 'static>(&self, metric: M) -> M {
        made(self.registry.register(Box::new(metric.clone())));
        metric
    }
}
