//! Do the tables of the documentation name what the program has?

use sixgate::{
    monitor,
    policy::Rule,
    telemetry::{self, metrics},
};
use std::collections::BTreeSet;

const OPERATIONS: &str = include_str!("../docs/operations.md");
const RULES: &str = include_str!("../packaging/prometheus/sixgate.rules.yml");
const DASHBOARD: &str = include_str!("../packaging/grafana/sixgate.json");

/// The first cells of the tables in a section, of which `only` are looked at.
fn first_cells(heading: &str, only: impl Fn(&&str) -> bool) -> Vec<&'static str> {
    let (_, section) = OPERATIONS.split_once(heading).expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split('`').next());
    cells.filter(only).collect()
}

#[test]
fn operations_has_every_field_of_the_line_in_order() {
    let verbs = ["reject", "reject_warning", "accept"];
    let documented = first_cells("\n## The decision line\n", |cell| !verbs.contains(cell));
    assert_eq!(documented, telemetry::LINE_FIELD_NAMES);
}

#[test]
fn operations_has_every_field_of_the_objects_in_order() {
    let documented = first_cells("\n## The same as JSON and in the journal\n", |_| true);
    assert_eq!(documented, telemetry::FIELD_NAMES);
}

#[test]
fn operations_has_every_metric() {
    let documented = first_cells("\n## Metrics\n", |_| true);
    let documented: BTreeSet<&str> = documented.into_iter().collect();
    assert_eq!(documented, BTreeSet::from(metrics::NAMES));
}

#[test]
fn operations_has_every_path() {
    let documented = first_cells("\n## Health\n", |_| true);
    assert_eq!(documented, &monitor::PATHS[1..]);
    assert!(OPERATIONS.contains("`/metrics`"));
}

#[test]
fn operations_has_every_alert() {
    let alerts = RULES
        .lines()
        .filter_map(|line| line.split_once("- alert: "));
    let missing: Vec<&str> = alerts
        .map(|(_, name)| name)
        .filter(|name| !OPERATIONS.contains(&format!("`{name}`")))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn operations_has_the_bounds_of_the_queue() {
    let queue = format!(
        "{} lines and\n{} MiB",
        telemetry::log::MAX_LINES,
        telemetry::log::MAX_OCTETS >> 20
    );
    assert!(OPERATIONS.contains(&queue), "{queue}");
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_and_rules_that_there_are() {
    for text in [RULES, DASHBOARD] {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let unknown: Vec<&str> = words
            .filter(|word| word.starts_with("sixgate_"))
            .filter(|word| !metrics::NAMES.contains(&word.trim_end_matches("_bucket")))
            .collect();
        assert_eq!(unknown, [""; 0]);
    }
    // What is left out as not checked.
    let unchecked = [
        "local",
        "ipv4",
        "exempt-network",
        "exempt-authenticated",
        "exempt-tls",
    ];
    let rules: Vec<&str> = Rule::ALL[..5].iter().map(|rule| rule.name()).collect();
    assert_eq!(rules, unchecked);
}
