//! State and decisions of the daemon, for the overview page and `/api/v1/status`.

use super::{State, charts::Chart};
use crate::{
    opt_in,
    policy::Rule,
    telemetry::{
        Action,
        metrics::{self, DecisionCounts},
    },
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// Everything that the overview shows.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    pub(super) version: &'static str,
    pub(super) time: Timestamp,
    pub(super) started: Timestamp,
    pub(super) uptime_seconds: u64,
    /// `enforce` or `observe`.
    pub(super) mode: &'static str,
    /// Whether the process is shutting down and accepts no new mail.
    pub(super) stopping: bool,
    pub(super) configuration: Configuration,
    pub(super) connections: Connections,
    pub(super) dns: Dns,
    pub(super) opt_in: Vec<Source>,
    pub(super) exempt: Exempt,
    pub(super) decisions: Decisions,
    pub(super) history: History,
}

#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    /// When the current configuration was read.
    pub(super) loaded: Timestamp,
    pub(super) file: String,
    pub(super) last_reload: Option<LastReload>,
    pub(super) reloads: u64,
    pub(super) failed_reloads: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct LastReload {
    pub(super) time: Timestamp,
    /// The reason why the old configuration stayed in force.
    pub(super) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Connections {
    pub(super) open: i64,
    pub(super) in_transaction: usize,
    pub(super) limit: usize,
    pub(super) refused_over_limit: u64,
    pub(super) refused_strangers: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Dns {
    pub(super) servers: Vec<Server>,
    /// The reason why there is no server.
    pub(super) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Server {
    pub(super) address: String,
    pub(super) milliseconds: f64,
    /// Whether it is queried with EDNS.
    pub(super) edns: bool,
    /// The reason why it gave no answer.
    pub(super) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Source {
    pub(super) source: String,
    pub(super) domains: usize,
    /// The time since the list was read, or since the server answered.
    pub(super) age_seconds: Option<u64>,
    pub(super) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Exempt {
    pub(super) entries: usize,
    pub(super) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Decisions {
    /// The rules that have decided since the start.
    pub(super) rules: Vec<RuleCounts>,
    pub(super) hour: Intervals,
    pub(super) day: Intervals,
}

#[derive(Debug, Serialize)]
pub(super) struct RuleCounts {
    #[serde(serialize_with = "rule_name")]
    pub(super) rule: Rule,
    #[serde(serialize_with = "action_name")]
    pub(super) action: Action,
    pub(super) hour: u64,
    pub(super) day: u64,
    pub(super) total: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Intervals {
    /// The start of the first interval.
    pub(super) start: Timestamp,
    pub(super) interval_seconds: u64,
    /// The counts of each interval; the last interval is in progress.
    pub(super) accept: Vec<u64>,
    pub(super) defer: Vec<u64>,
    pub(super) reject: Vec<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct History {
    pub(super) kept: usize,
    pub(super) capacity: usize,
    pub(super) lost: u64,
}

fn rule_name<S: serde::Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(rule.name())
}

fn action_name<S: serde::Serializer>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(action.name())
}

impl Overview {
    /// Collects the data of the overview.
    pub(super) async fn new(state: &State) -> Self {
        let snapshot = state.snapshot();
        let shared = &*state.0;
        let metrics = metrics::get();
        let uptime = state.started().elapsed();
        let servers = shared.health.servers(state).await;
        let sources = snapshot.checks.opt_in_sources();
        let lists = sources.list_status().into_iter().map(Source::of_list);
        let server_sources = sources.server_status().into_iter().map(Source::of_server);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            time: Timestamp::now(),
            started: Timestamp::now() - uptime,
            uptime_seconds: uptime.as_secs(),
            mode: snapshot.config.mode.name(),
            stopping: shared.drain.has_started(),
            configuration: Configuration {
                loaded: snapshot.made,
                file: state.file().display().to_string(),
                last_reload: state.last_reload().map(|reload| LastReload {
                    time: timestamp(reload.time),
                    error: reload.error,
                }),
                reloads: metrics.reloads.success.get(),
                failed_reloads: metrics.reloads.failure.get(),
            },
            connections: Connections {
                open: metrics.connections.open.get(),
                in_transaction: shared.drain.pending_transactions(),
                limit: snapshot.config.limits.connections,
                refused_over_limit: metrics.connections.over_limit.get(),
                refused_strangers: metrics.connections.strangers.get(),
            },
            dns: match servers {
                Ok(servers) => Dns {
                    servers: servers.iter().map(Server::of).collect(),
                    error: None,
                },
                Err(problem) => Dns {
                    servers: Vec::new(),
                    error: Some(problem.to_string()),
                },
            },
            opt_in: lists.chain(server_sources).collect(),
            exempt: Exempt {
                entries: snapshot.exemptions.each().count(),
                error: snapshot.exemptions.error(),
            },
            decisions: Decisions::of(&shared.charts.current()),
            history: History {
                kept: shared.history.len(),
                capacity: shared.history.capacity(),
                lost: metrics.status_history_lost.get(),
            },
        }
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Server {
    fn of(health: &crate::dns::ServerHealth) -> Self {
        Self {
            address: health.server.to_string(),
            milliseconds: (health.took.as_secs_f64() * 10_000.0).round() / 10.0,
            edns: !health.refuses_edns,
            error: health.failure.as_ref().map(ToString::to_string),
        }
    }
}

impl Source {
    fn of_list(status: opt_in::ListStatus) -> Self {
        Self {
            source: status.source.to_string(),
            domains: status.entries,
            age_seconds: status.age.as_ref().map(Duration::as_secs),
            error: status.error,
        }
    }

    fn of_server(status: opt_in::ServerStatus) -> Self {
        Self {
            source: status.source.to_string(),
            domains: status.domains,
            age_seconds: status.age.as_ref().map(Duration::as_secs),
            error: status.error,
        }
    }
}

impl Decisions {
    fn of((hour, day): &(Chart, Chart)) -> Self {
        let total = metrics::get().decisions_by_rule();
        let (of_hour, of_day) = (hour.sum(), day.sum());
        let pairs = Rule::ALL
            .into_iter()
            .flat_map(|rule| Action::ALL.map(|action| (rule, action)));
        let counts = pairs.map(|(rule, action)| RuleCounts {
            rule,
            action,
            hour: of_hour.get(rule, action),
            day: of_day.get(rule, action),
            total: total.get(rule, action),
        });
        Self {
            rules: counts.filter(|counts| counts.total > 0).collect(),
            hour: Intervals::of(hour),
            day: Intervals::of(day),
        }
    }
}

/// Counts decisions of checked mail only: on most hosts nearly all clients have IPv4, and would
/// hide everything else.
fn checked(counts: &DecisionCounts, action: Action) -> u64 {
    let rules = Rule::ALL
        .into_iter()
        .filter(|rule| rule.applies_to_checked_mail());
    rules.map(|rule| counts.get(rule, action)).sum()
}

impl Intervals {
    fn of(chart: &Chart) -> Self {
        let of_action = |action| {
            let missing = chart.size - chart.counts.len();
            let known = chart.counts.iter().map(|counts| checked(counts, action));
            std::iter::repeat_n(0, missing).chain(known).collect()
        };
        let interval = SignedDuration::try_from(chart.interval).unwrap_or_default();
        let before = i32::try_from(chart.size - 1).unwrap_or_default();
        Self {
            start: chart.newest_start - interval * before,
            interval_seconds: chart.interval.as_secs(),
            accept: of_action(Action::Accept),
            defer: of_action(Action::Defer),
            reject: of_action(Action::Reject),
        }
    }
}
