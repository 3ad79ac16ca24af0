//! Counters and histograms for Prometheus.
//!
//! On the mail path a metric costs a few atomic additions: every series is resolved in
//! advance, and there are no locks. Label values are fixed words, so peers cannot create
//! series.

mod series;

use super::{Action, Decision};
use crate::{
    address::{Client, ClientAddr},
    config::Mode,
    policy::{Authentication, Confirmation, Forwarder, OptIn, Ptr, Rule, Stage},
    spf::SpfResult,
};
use prometheus::{
    Encoder, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, TextEncoder,
};
use series::{CheckSeries, Decisions, Make};
use std::{
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use series::{DecisionCounts, HeloSpf, Word};

/// Returns the metrics of this process.
pub fn get() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

/// All metric names as in `/metrics`.
pub const NAMES: [&str; 27] = [
    "sixgate_body_bytes_total",
    "sixgate_build_info",
    "sixgate_check_seconds",
    "sixgate_checks_total",
    "sixgate_clients_hidden",
    "sixgate_config_reloads_total",
    "sixgate_connections",
    "sixgate_connections_limit",
    "sixgate_connections_refused_total",
    "sixgate_decisions_total",
    "sixgate_deferrals_remembered",
    "sixgate_dns_cache_bytes",
    "sixgate_exempt_connections_total",
    "sixgate_exempt_entries",
    "sixgate_exempt_stale",
    "sixgate_forwarder_messages_total",
    "sixgate_handovers_total",
    "sixgate_log_lines_lost_total",
    "sixgate_log_lines_suppressed_total",
    "sixgate_messages_total",
    "sixgate_mx_zone_domains",
    "sixgate_opt_in_age_seconds",
    "sixgate_opt_in_domains",
    "sixgate_opt_in_stale",
    "sixgate_stage_seconds",
    "sixgate_status_history_lost_total",
    "sixgate_status_login_failures_total",
];

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: prometheus::Registry,
    decisions: Decisions,
    messages: Messages,
    stages: Stages,
    /// The completed checks.
    pub checks: Checks,
    /// Bytes of message bodies that MTAs sent to sixgate.
    pub body_bytes: IntCounter,
    /// Messages of known forwarders, by the entry of `exempt.forwarders`.
    forwarder_messages: IntCounterVec,
    /// Milter connections.
    pub connections: Connections,
    /// 1 while a relay appears to hide the addresses of clients.
    pub clients_hidden: IntGauge,
    /// Pairs of sender domain and network whose deferrals are remembered.
    deferrals_remembered: IntGauge,
    /// Domains by whether their host names of `opt_in.mx_zone` match the opt-ins.
    pub mx_zone_domains: IntGaugeVec,
    /// Memory usage of the DNS cache, in bytes.
    pub dns_cache_bytes: IntGauge,
    /// The exempt networks.
    pub exempt: Exempt,
    /// Reloads of the configuration.
    pub reloads: Outcomes,
    /// Handovers to another process.
    pub handovers: Outcomes,
    /// Log lines that were lost.
    pub log_lines_lost: IntCounter,
    /// Log lines that were suppressed because there were too many of their kind.
    pub log_lines_suppressed: IntCounter,
    /// Decisions missing on the status page because its queue was full.
    pub status_history_lost: IntCounter,
    /// Wrong tokens that clients of the status page presented.
    pub status_login_failures: IntCounter,
    /// Number of domains of an opt-in source, by `source`.
    pub opt_in_domains: IntGaugeVec,
    /// Age of its data in seconds, by `source`.
    pub opt_in_age: GaugeVec,
    /// 1 if the source is unreachable or invalid, by `source`.
    pub opt_in_stale: IntGaugeVec,
}

/// The checks, each with its results and durations.
#[derive(Debug)]
pub struct Checks {
    /// Opt-in lookups.
    pub opt_in: CheckSeries<OptIn>,
    /// Lookups of the client's PTR record.
    pub ptr: CheckSeries<Ptr>,
    /// Lookups of the addresses of its names; the time is from connect on.
    pub confirmation: CheckSeries<Confirmation>,
    /// SPF evaluations.
    pub spf: CheckSeries<SpfResult>,
    /// SPF evaluations of the HELO name in addition to the sender.
    pub helo_spf: CheckSeries<HeloSpf>,
    /// Comparisons of clients with the known forwarders.
    pub forwarder: CheckSeries<Forwarder>,
    /// DKIM verifications; the time is that for fetching the keys.
    pub dkim: CheckSeries<Authentication>,
}

/// Milter connections.
#[derive(Debug)]
pub struct Connections {
    /// The number of open connections.
    pub open: IntGauge,
    /// The number of open connections with a mail transaction in progress.
    pub in_transaction: IntGauge,
    /// `limits.connections`.
    pub limit: IntGauge,
    /// Connections closed immediately because of the limit.
    pub over_limit: IntCounter,
    /// Connections closed immediately because `allow_peers` does not include the host.
    pub strangers: IntCounter,
}

/// An open milter connection. Dropping it decrements the gauge.
#[derive(Debug)]
pub struct OpenConnection(());

impl OpenConnection {
    /// Counts a connection.
    pub fn count() -> Self {
        get().connections.open.inc();
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        get().connections.open.dec();
    }
}

/// Exempt networks.
#[derive(Debug)]
pub struct Exempt {
    connections: IntCounterVec,
    /// The number of entries with their own series.
    series: AtomicUsize,
    /// Entries in force.
    pub in_force: IntGauge,
    /// Entries that end within a week.
    pub ending: IntGauge,
    /// Entries in force that were not used for 90 days.
    pub unused: IntGauge,
    /// Ended entries that are still listed.
    pub ended: IntGauge,
    /// 1 if the managed list is invalid, so that the last valid one is used.
    pub stale: IntGauge,
}

/// The maximum number of exempt entries with their own series; the others share one. This
/// bounds the size of a scrape.
const MAX_EXEMPT_SERIES: usize = 200;

/// The `entry` label of the shared series.
const OTHER_ENTRIES: &str = "other";

/// `sixgate_exempt_connections_total` of one entry, while the entry is listed.
#[derive(Debug)]
pub struct ExemptSeries {
    counter: IntCounter,
    /// The `entry` label; `None` for the shared series.
    entry: Option<Box<str>>,
}

impl ExemptSeries {
    /// Counts a connection.
    pub fn inc(&self) {
        self.counter.inc();
    }
}

impl Drop for ExemptSeries {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry {
            let exempt = &get().exempt;
            // The series exists, as only this code removes it.
            let _ = exempt.connections.remove_label_values(&[entry]);
            exempt.series.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Successes and failures of an operation that changes nothing if it fails.
#[derive(Debug)]
pub struct Outcomes {
    /// The number of successes.
    pub success: IntCounter,
    /// The number of failures.
    pub failure: IntCounter,
}

#[derive(Debug)]
struct Messages {
    ipv6: IntCounter,
    ipv4: IntCounter,
    local: IntCounter,
}

/// The stages at which an MTA may have to wait.
#[derive(Debug)]
struct Stages {
    rcpt: Histogram,
    end_of_headers: Histogram,
    end_of_message: Histogram,
}

impl Metrics {
    /// Counts a decision; one about a message also counts the message.
    pub(super) fn decided(&self, decision: &Decision<'_>) {
        let action = decision.action();
        self.decisions.count(action, decision.rule, decision.mode);
        if decision.recipient.is_none() {
            self.messages.count(decision.client);
        }
        if let (Rule::KnownForwarder, Some(forwarder)) = (decision.rule, decision.forwarder) {
            let entry = forwarder.to_string();
            self.forwarder_messages.with_label_values(&[&entry]).inc();
        }
    }

    /// Counts mail that is not checked.
    pub(super) fn exempt(&self, client: &Client, rule: Rule) {
        self.decisions.count(Action::Accept, rule, Mode::Enforce);
        self.messages.count(client);
    }

    /// Returns the decisions since the start, by rule and action.
    pub fn decisions_by_rule(&self) -> DecisionCounts {
        self.decisions.counts()
    }

    /// Returns the number of recipients and messages that a rule has rejected
    /// permanently, without those that were only observed.
    pub fn refused(&self, rule: Rule) -> u64 {
        self.decisions.total(Action::Reject, rule, Mode::Enforce)
    }

    /// Returns the series of an entry of exempt networks.
    pub fn exempt_series(&self, entry: &str) -> ExemptSeries {
        let exempt = &self.exempt;
        let others = exempt.series.fetch_add(1, Ordering::Relaxed);
        let entry = match others < MAX_EXEMPT_SERIES {
            true => Some(entry),
            false => {
                exempt.series.fetch_sub(1, Ordering::Relaxed);
                None
            }
        };
        let label = entry.unwrap_or(OTHER_ENTRIES);
        ExemptSeries {
            counter: exempt.connections.with_label_values(&[label]),
            entry: entry.map(Box::from),
        }
    }

    /// Records the number of senders remembered for `replies.give_up_after`.
    pub fn remembered_deferrals(&self, number: usize) {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.deferrals_remembered.set(number);
    }

    /// Records how long an MTA waited at a stage; at connect and MAIL it never waits.
    pub fn waited(&self, stage: Stage, time: Duration) {
        let histogram = match stage {
            Stage::Connect | Stage::Mail => return,
            Stage::Rcpt => &self.stages.rcpt,
            Stage::EndOfHeaders => &self.stages.end_of_headers,
            Stage::EndOfMessage => &self.stages.end_of_message,
        };
        histogram.observe(time.as_secs_f64());
    }

    /// Returns the exposition text for Prometheus and its media type.
    pub fn text(&self) -> (Vec<u8>, String) {
        let encoder = TextEncoder::new();
        let mut text = Vec::new();
        if let Err(error) = encoder.encode(&self.registry.gather(), &mut text) {
            tracing::error!("metrics can't be written: {error}");
        }
        (text, encoder.format_type().to_owned())
    }
}

impl Messages {
    fn count(&self, client: &Client) {
        match client.addr {
            ClientAddr::V6(_) => self.ipv6.inc(),
            ClientAddr::V4(_) => self.ipv4.inc(),
            ClientAddr::Local => self.local.inc(),
        }
    }
}

impl Metrics {
    fn new() -> Self {
        let make = Make::default();
        build_info(&make);
        Self {
            decisions: Decisions::new(&make),
            messages: messages(&make),
            stages: stages(&make),
            checks: checks(&make),
            body_bytes: make.counter(
                "sixgate_body_bytes_total",
                "Bytes of message bodies that MTAs sent",
            ),
            forwarder_messages: make.counters(
                "sixgate_forwarder_messages_total",
                "Messages that known forwarders brought, by the entry of exempt.forwarders",
                &["forwarder"],
            ),
            connections: connections(&make),
            clients_hidden: make.gauge(
                "sixgate_clients_hidden",
                "1 while nearly all clients seem to come from one private address",
            ),
            deferrals_remembered: make.gauge(
                "sixgate_deferrals_remembered",
                "Sender domains and client networks remembered for replies.give_up_after",
            ),
            dns_cache_bytes: make.gauge(
                "sixgate_dns_cache_bytes",
                "Memory that the DNS cache takes, of dns.cache_bytes",
            ),
            exempt: exempt(&make),
            reloads: outcomes(
                &make,
                "sixgate_config_reloads_total",
                "Configurations read again",
            ),
            handovers: outcomes(
                &make,
                "sixgate_handovers_total",
                "Handovers to another process of the program",
            ),
            log_lines_lost: make.counter(
                "sixgate_log_lines_lost_total",
                "Log lines lost because the log did not take them in time",
            ),
            log_lines_suppressed: make.counter(
                "sixgate_log_lines_suppressed_total",
                "Log lines that were counted only, because peers caused too many alike",
            ),
            status_history_lost: make.counter(
                "sixgate_status_history_lost_total",
                "Decisions that the status page does not show, because they came too fast",
            ),
            status_login_failures: make.counter(
                "sixgate_status_login_failures_total",
                "Wrong tokens that clients of the status page presented",
            ),
            mx_zone_domains: make.gauges(
                "sixgate_mx_zone_domains",
                "Domains by how the AAAA records of their host names go together with the opt-ins",
                "drift",
            ),
            opt_in_domains: make.gauges(
                "sixgate_opt_in_domains",
                "Domains that an opt-in source has",
                "source",
            ),
            opt_in_age: make.real_gauges(
                "sixgate_opt_in_age_seconds",
                "Time since an opt-in source was read or answered",
                "source",
            ),
            opt_in_stale: make.gauges(
                "sixgate_opt_in_stale",
                "1 if an opt-in source is unreachable or invalid, so that its last known data is used",
                "source",
            ),
            registry: make.registry,
        }
    }
}

fn build_info(make: &Make) {
    let info = make.gauges(
        "sixgate_build_info",
        "Always 1; the version of the program",
        "version",
    );
    info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
}

fn messages(make: &Make) -> Messages {
    let family = make.counters(
        "sixgate_messages_total",
        "Messages by the family of the client; where a whole connection is not checked, \
         connections",
        &["family"],
    );
    Messages {
        ipv6: family.with_label_values(&["ipv6"]),
        ipv4: family.with_label_values(&["ipv4"]),
        local: family.with_label_values(&["local"]),
    }
}

fn stages(make: &Make) -> Stages {
    let stage = make.histograms(
        "sixgate_stage_seconds",
        "How long an MTA waited for an answer",
        "stage",
    );
    let of = |name: Stage| stage.with_label_values(&[name.to_string()]);
    Stages {
        rcpt: of(Stage::Rcpt),
        end_of_headers: of(Stage::EndOfHeaders),
        end_of_message: of(Stage::EndOfMessage),
    }
}

fn checks(make: &Make) -> Checks {
    let results = make.counters(
        "sixgate_checks_total",
        "Finished checks by their result",
        &["check", "result"],
    );
    let seconds = make.histograms(
        "sixgate_check_seconds",
        "How long a check took, whether or not anybody waited for it",
        "check",
    );
    Checks {
        opt_in: CheckSeries::new(&results, &seconds),
        ptr: CheckSeries::new(&results, &seconds),
        confirmation: CheckSeries::new(&results, &seconds),
        spf: CheckSeries::new(&results, &seconds),
        helo_spf: CheckSeries::new(&results, &seconds),
        forwarder: CheckSeries::new(&results, &seconds),
        dkim: CheckSeries::new(&results, &seconds),
    }
}

fn connections(make: &Make) -> Connections {
    let states = make.gauges("sixgate_connections", "Milter connections", "state");
    let refused = make.counters(
        "sixgate_connections_refused_total",
        "Milter connections closed at once",
        &["reason"],
    );
    Connections {
        open: states.with_label_values(&["open"]),
        in_transaction: states.with_label_values(&["in-transaction"]),
        limit: make.gauge(
            "sixgate_connections_limit",
            "How many milter connections may be open",
        ),
        over_limit: refused.with_label_values(&["limit"]),
        strangers: refused.with_label_values(&["stranger"]),
    }
}

fn exempt(make: &Make) -> Exempt {
    let entries = make.gauges(
        "sixgate_exempt_entries",
        "Entries of exempt networks; those that are ending or unused are in force, too",
        "state",
    );
    Exempt {
        connections: make.counters(
            "sixgate_exempt_connections_total",
            "Connections that an entry of exempt networks exempts",
            &["entry"],
        ),
        series: AtomicUsize::new(0),
        in_force: entries.with_label_values(&["in-force"]),
        ending: entries.with_label_values(&["ending"]),
        unused: entries.with_label_values(&["unused"]),
        ended: entries.with_label_values(&["ended"]),
        stale: make.gauge(
            "sixgate_exempt_stale",
            "1 if the list of sixgate exempt is invalid, so that the last valid one is used",
        ),
    }
}

fn outcomes(make: &Make, name: &str, help: &str) -> Outcomes {
    let results = make.counters(name, help, &["result"]);
    Outcomes {
        success: results.with_label_values(&["success"]),
        failure: results.with_label_values(&["failure"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_is_listed_and_prometheus_finds_it() {
        let metrics = Metrics::new();
        let forwarder = &metrics.forwarder_messages;
        forwarder.with_label_values(&["spf:alumni.example"]).inc();
        metrics.opt_in_domains.with_label_values(&["file"]).set(1);
        metrics.opt_in_stale.with_label_values(&["file"]).set(0);
        metrics.opt_in_age.with_label_values(&["file"]).set(1.0);
        let states = &metrics.mx_zone_domains;
        states.with_label_values(&["missing-aaaa"]).set(1);
        // Dropping it would remove it from the metrics of the process.
        std::mem::forget(metrics.exempt_series("2001:db8::/32"));
        let (text, media_type) = metrics.text();
        let text = String::from_utf8(text).unwrap();
        let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
        let names: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, BTreeSet::from(NAMES));
        assert!(media_type.starts_with("text/plain"), "{media_type}");
    }

    #[test]
    fn a_series_that_an_alert_needs_is_there_before_its_first_event() {
        let (text, _) = Metrics::new().text();
        let text = String::from_utf8(text).unwrap();
        for series in [
            r#"sixgate_decisions_total{action="defer",mode="enforce",rule="auth-temperror"} 0"#,
            r#"sixgate_decisions_total{action="accept",mode="observe",rule="spf-pass"} 0"#,
            r#"sixgate_checks_total{check="ptr",result="temperror"} 0"#,
            r#"sixgate_checks_total{check="spf",result="softfail"} 0"#,
            r#"sixgate_config_reloads_total{result="failure"} 0"#,
            r#"sixgate_connections_refused_total{reason="limit"} 0"#,
            r#"sixgate_handovers_total{result="failure"} 0"#,
        ] {
            assert!(text.lines().any(|line| line == series), "{series}");
        }
        assert!(!text.contains(r#"action="accept",mode="enforce",rule="no-ptr""#));
    }
}
