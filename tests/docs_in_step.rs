//! Compares the tables of the documentation with the program.

#[path = "support/pages.rs"]
mod pages;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use sixgate::{
    config::Config,
    monitor,
    policy::Rule,
    telemetry::{self, metrics},
};
use std::{collections::BTreeSet, fs, path::Path, process::Command};

const OPERATIONS: &str = include_str!("../docs/operations.md");
const RULES: &str = include_str!("../packaging/prometheus/sixgate.rules.yml");
const DASHBOARD: &str = include_str!("../packaging/grafana/sixgate.json");

/// Returns the first cells of the tables in a section that match `only`.
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
fn logcheck_ignores_every_decision_at_the_default_level() {
    let (_, section) = OPERATIONS
        .split_once("\n## The decision line\n")
        .expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let examples = section
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        // Abbreviated, or logged at debug only.
        .filter(|line| !line.ends_with("...") && !line.contains("rule=ipv4"));
    let log: String = examples
        .map(|line| format!("Nov 21 06:33:30 mx sixgate[123]: {line}\n"))
        .collect();
    assert!(log.contains("exempt_comment="), "{log}");
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("mail.log");
    fs::write(&file, log).unwrap();
    let reported = Command::new("grep")
        .args(["-E", "-v", "-f", "packaging/logcheck/ignore"])
        .arg(file)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&reported.stdout), "");
    // grep exits with 1 if it has selected no line, with 2 after an error.
    assert_eq!(reported.status.code(), Some(1), "{reported:?}");
}

#[test]
fn operations_has_every_field_of_the_objects_in_order() {
    let documented = first_cells("\n## Decisions as JSON and in the journal\n", |_| true);
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
        "{} lines and {} MiB",
        telemetry::log::MAX_LINES,
        telemetry::log::MAX_BYTES >> 20
    );
    let page: Vec<&str> = OPERATIONS.split_whitespace().collect();
    assert!(page.join(" ").contains(&queue), "{queue}");
}

#[test]
fn alerts_and_dashboard_use_existing_metrics_and_rules() {
    for text in [RULES, DASHBOARD] {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let unknown: Vec<&str> = words
            .filter(|word| word.starts_with("sixgate_"))
            .filter(|word| !metrics::NAMES.contains(&word.trim_end_matches("_bucket")))
            .collect();
        assert_eq!(unknown, [""; 0]);
    }
    // The rules that the alerts exclude as not checked.
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

#[test]
fn every_configuration_that_is_shown_is_one() {
    let mut seen = 0;
    for (name, page) in pages() {
        for settings in examples(&page).iter().filter(|text| is_settings(text)) {
            let parsed = Config::parse(settings, &name);
            seen += 1;
            // A program without the feature rejects it.
            let without_sql = !cfg!(feature = "sql") && settings.contains("sql:");
            let without_redis = !cfg!(feature = "redis") && settings.contains("redis:");
            let without_status = !cfg!(feature = "status") && settings.contains("status:");
            if without_sql || without_redis || without_status {
                assert!(parsed.is_err(), "{name}: {settings}");
                continue;
            }
            assert!(parsed.is_ok(), "{name}: {settings}{:?}", parsed.err());
        }
    }
    assert!(seen >= 10, "only {seen} are found");
}

fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &Path| fs::read_to_string(file).expect("a page");
    let pages = pages::pages().into_iter();
    let pages = pages.map(|file| (file.display().to_string(), read(&file)));
    let manual = "packaging/manual/milter.yaml.man".to_owned();
    let of_manual = read(&root.join(&manual));
    let of_manual = of_manual
        .replace(".nf\n", "```yaml\n")
        .replace(".fi\n", "```\n");
    pages.chain([(manual, of_manual)]).collect()
}

/// Returns the paragraphs of all code blocks.
fn examples(page: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut block = None;
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => block = Some(String::new()),
            Event::Text(text) => block.iter_mut().for_each(|block| block.push_str(&text)),
            Event::End(TagEnd::CodeBlock) => {
                let block = block.take().unwrap_or_default();
                examples.extend(block.split("\n\n").map(|part| format!("{part}\n")));
            }
            _ => {}
        }
    }
    examples
}

/// Whether the text starts with a key of milter.yaml.
fn is_settings(text: &str) -> bool {
    let known = include_str!("../milter.yaml.example").lines();
    let keys: BTreeSet<&str> = known
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    let first = text.lines().find(|line| !line.starts_with('#'));
    let key = first.and_then(|line| Some(line.split_once(':')?.0));
    key.is_some_and(|key| !key.contains(' ') && keys.contains(key))
}
