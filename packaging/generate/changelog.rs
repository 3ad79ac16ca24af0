//! Converts CHANGELOG.md to Debian's format (deb-changelog(5)).

use super::date::Date;

const CHANGELOG: &str = include_str!("../../CHANGELOG.md");
const CONTROL: &str = include_str!("../debian/control");

/// The width of the text of a line.
const WIDTH: usize = 74;

/// Writes one entry for each version in CHANGELOG.md; an unreleased one has the date of the
/// sources.
pub fn debian(sources: &Date) -> String {
    let versions = CHANGELOG.split("\n## ").skip(1);
    let entries = versions.map(|version| entry(version, sources));
    entries.collect::<Vec<_>>().join("\n")
}

fn entry(version: &str, sources: &Date) -> String {
    let (heading, body) = version.split_once('\n').unwrap_or((version, ""));
    let (number, released) = heading.split_once(' ').unwrap_or((heading, ""));
    let released = Date::from_iso(released.trim_matches(['(', ')']));
    let date = released.as_ref().unwrap_or(sources).rfc5322();
    let changes: String = changes(body).iter().map(|change| bullet(change)).collect();
    format!(
        "sixgate ({number}) bookworm; urgency=medium\n\n{changes}\n -- {}  {date}\n",
        maintainer()
    )
}

fn maintainer() -> &'static str {
    let line = CONTROL
        .lines()
        .find_map(|line| line.strip_prefix("Maintainer: "));
    line.unwrap_or_default()
}

/// Returns each item on one line, without Markdown markup.
fn changes(body: &str) -> Vec<String> {
    let mut changes: Vec<String> = Vec::new();
    for line in body.lines() {
        match (line.strip_prefix("- "), changes.last_mut()) {
            (Some(first), _) => changes.push(first.to_owned()),
            (None, Some(change)) if line.starts_with("  ") => {
                change.push(' ');
                change.push_str(line.trim());
            }
            (None, _) => {}
        }
    }
    changes
}

fn bullet(change: &str) -> String {
    let mut text = String::new();
    let mut line = String::from("  *");
    for word in change.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = "   ".into();
        }
        line.push(' ');
        line.push_str(word);
    }
    text + &line + "\n"
}
