//! The figures of a run, and their JSON form.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A stage of a message at which the milter is waited for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Negotiate,
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    Headers,
    Body,
    EndOfMessage,
    /// The whole message, from the opening of the connection (or from MAIL, if it is not
    /// the first on its connection) to the last reply.
    Message,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Negotiate => "negotiate",
            Self::Connect => "connect",
            Self::Helo => "helo",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::EndOfMessage => "end-of-message",
            Self::Message => "message",
        }
    }
}

/// Counts and durations of a run.
pub struct Figures {
    latency: BTreeMap<Stage, Histogram<u64>>,
    pub messages: u64,
    pub connections: u64,
    pub round_trips: u64,
    pub body_bytes: u64,
    unexpected_fields: u64,
    /// The fields of the first message without the expected one.
    unexpected: Vec<String>,
    outcomes: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    started: Instant,
}

impl Figures {
    pub fn new() -> Self {
        Self {
            latency: BTreeMap::new(),
            messages: 0,
            connections: 0,
            round_trips: 0,
            body_bytes: 0,
            unexpected_fields: 0,
            unexpected: Vec::new(),
            outcomes: BTreeMap::new(),
            errors: BTreeMap::new(),
            started: Instant::now(),
        }
    }

    pub fn record(&mut self, stage: Stage, elapsed: Duration) {
        let histogram = self.latency.entry(stage).or_insert_with(histogram);
        histogram.saturating_record(elapsed.as_micros() as u64);
    }

    pub fn outcome(&mut self, outcome: &str) {
        self.messages += 1;
        count(&mut self.outcomes, outcome);
    }

    pub fn unexpected(&mut self, fields: &[String]) {
        if self.unexpected_fields == 0 {
            self.unexpected = fields.to_vec();
        }
        self.unexpected_fields += 1;
    }

    pub fn error(&mut self, error: &str) {
        count(&mut self.errors, error);
    }

    /// Returns whether every message had the expected outcome.
    pub fn are_as_expected(&self, outcome: &str) -> bool {
        let others = self.outcomes.keys().any(|seen| seen != outcome);
        self.messages > 0 && !others && self.errors.is_empty() && self.unexpected_fields == 0
    }

    pub fn to_json(&self) -> Value {
        let seconds = self.started.elapsed().as_secs_f64();
        let latency: BTreeMap<&str, Value> = self
            .latency
            .iter()
            .map(|(stage, histogram)| (stage.name(), summary(histogram)))
            .collect();
        json!({
            "messages": self.messages,
            "connections": self.connections,
            "seconds": seconds,
            "rate": self.messages as f64 / seconds,
            "round_trips": self.round_trips,
            "body_octets": self.body_bytes,
            "outcomes": self.outcomes,
            "unexpected_fields": self.unexpected_fields,
            "unexpected": self.unexpected,
            "errors": self.errors,
            "milliseconds": latency,
        })
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => drop(counts.insert(name.to_owned(), 1)),
    }
}

/// Returns a histogram of microseconds, up to ten minutes.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds of a histogram")
}

fn summary(histogram: &Histogram<u64>) -> Value {
    let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
    let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
    json!({
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p999": at(0.999),
        "max": milliseconds(histogram.max()),
        "mean": histogram.mean() / 1000.0,
    })
}
