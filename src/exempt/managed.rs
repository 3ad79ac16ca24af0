//! Edits the list that `sixgate exempt` manages.

use super::entry::{Comment, Entry, parse_line, show};
use crate::list_file::edit::{self, EditError, Edited, Lines};
use ipnet::Ipv6Net;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;

/// How long an ended entry stays in the list, so that it remains visible. The next edit
/// after that removes it.
pub const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The managed list, locked for editing.
#[derive(Debug)]
pub struct Managed {
    lines: Lines<Ipv6Net>,
    now: Timestamp,
    today: String,
}

/// The outcome of adding an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addition {
    /// The entry is new.
    Added,
    /// The entry exists already with the same end, and this comment.
    AlreadyThere(String),
    /// The entry had another end or comment.
    Changed(Entry),
    /// The entry had ended.
    Renewed(Entry),
}

/// The outcome of removing an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The entry was removed.
    Removed,
    /// The entry did not exist.
    NotThere,
}

/// Edits the list. Creates a missing file, and writes only if something has changed.
///
/// # Errors
/// Fails with an [`EditError`] and leaves the file unchanged.
pub fn edit<T>(file: &Path, change: impl FnOnce(&mut Managed) -> T) -> Result<T, EditError> {
    edit::edit(file, change)
}

impl Edited for Managed {
    const HEADER: &'static str = "# IPv6 networks whose mail is not checked. \
                                  \"sixgate exempt\" edits this file, and so may you.";
    type Key = Ipv6Net;

    fn key(line: &str, before: &Lines<Ipv6Net>) -> Result<Option<Ipv6Net>, String> {
        let (Some(entry), _) = parse_line(line)? else {
            return Ok(None);
        };
        match before.get(&entry.network).map(parsed) {
            Some((Some(listed), _)) if listed != entry => Err(format!(
                "{} has another end in an earlier line; remove one of them",
                show(&entry.network)
            )),
            Some(_) | None => Ok(Some(entry.network)),
        }
    }

    fn new(lines: Lines<Ipv6Net>) -> Self {
        let mut managed = Self {
            lines,
            now: Timestamp::now(),
            today: edit::today(),
        };
        managed.remove_expired();
        managed
    }

    fn lines(&self) -> &Lines<Ipv6Net> {
        &self.lines
    }
}

impl Managed {
    /// Adds or changes an entry, with its date. Without a comment, an existing entry
    /// keeps its own.
    pub fn add(&mut self, entry: &Entry, comment: Option<&str>) -> Addition {
        let listed = self.lines.get(&entry.network).map(parsed);
        let listed = listed.and_then(|(listed, comment)| Some((listed?, comment)));
        let (addition, comment) = set(listed, entry, comment, self.now);
        if let Addition::AlreadyThere(_) = addition {
            return addition;
        }
        let line = edit::with_comment(entry, &self.today, &comment);
        self.lines.set(entry.network, line);
        addition
    }

    /// Removes all lines of an entry.
    pub fn remove(&mut self, network: &Ipv6Net) -> Removal {
        match self.lines.get(network) {
            Some(_) => {
                self.lines.remove(network);
                Removal::Removed
            }
            None => Removal::NotThere,
        }
    }

    /// Removes entries that ended long ago.
    fn remove_expired(&mut self) {
        let is_old = |network: &&Ipv6Net| {
            let (entry, _) = self.lines.get(network).map(parsed).unwrap_or_default();
            let until = entry.and_then(|entry| entry.until);
            until.is_some_and(|until| self.now.duration_since(until) > KEPT)
        };
        let old: Vec<Ipv6Net> = self.lines.keys().filter(is_old).copied().collect();
        for network in old {
            self.lines.remove(&network);
        }
    }
}

/// Returns the outcome of setting an entry in place of `listed`, and its new comment.
pub(super) fn set(
    listed: Option<(Entry, Comment<'_>)>,
    entry: &Entry,
    comment: Option<&str>,
    now: Timestamp,
) -> (Addition, String) {
    let comment = comment.map(|comment| comment.replace(char::is_control, " "));
    let comment = comment.as_deref().map(str::trim);
    let Some((listed, before)) = listed else {
        return (Addition::Added, comment.unwrap_or_default().to_owned());
    };
    let same_comment = comment.is_none_or(|comment| comment == before.text);
    let addition = match listed.is_in_force(now) {
        true if listed == *entry && same_comment => Addition::AlreadyThere(before.text.to_owned()),
        true => Addition::Changed(listed),
        false => Addition::Renewed(listed),
    };
    (addition, comment.unwrap_or(before.text).to_owned())
}

/// Returns the entry and the comment of a line that was validated before.
fn parsed(line: &str) -> (Option<Entry>, Comment<'_>) {
    parse_line(line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Managed {
        let mut managed: Managed = edit::parse(Path::new("list"), text).unwrap();
        managed.today = "2026-11-28".to_owned();
        managed
    }

    #[test]
    fn entries_are_set_and_their_comments_kept() {
        let text = "# ours\n2001:db8::/32  # 2020-01-01 first\n2001:db8:1::/48\n";
        let mut managed = list(text);
        let entry = |text: &str| text.parse::<Entry>().unwrap();
        let there = Addition::AlreadyThere("first".to_owned());
        assert_eq!(managed.add(&entry("2001:db8::/32"), None), there);
        assert_eq!(managed.add(&entry("2001:db8::/32"), Some("first ")), there);
        assert_eq!(managed.lines.text(), text);

        let later = entry("2001:db8::/32 until=9000-01-01T00:00:00Z");
        let changed = Addition::Changed(entry("2001:db8::/32"));
        assert_eq!(managed.add(&later, None), changed);
        assert_eq!(managed.add(&later, None), there);
        assert_eq!(
            managed.add(&entry("2001:db8::1"), Some("two\nlines")),
            Addition::Added
        );
        let network = entry("2001:db8:1::/48").network;
        assert_eq!(managed.remove(&network), Removal::Removed);
        assert_eq!(managed.remove(&network), Removal::NotThere);
        let want = "# ours\n2001:db8::/32  until=9000-01-01T00:00:00Z  # 2026-11-28 first\n\
                    2001:db8::1  # 2026-11-28 two lines\n";
        assert_eq!(managed.lines.text(), want);
    }

    #[test]
    fn ended_entries_are_kept_for_a_month_and_can_be_renewed() {
        let ended = |days: i64| Timestamp::now() - SignedDuration::from_hours(days * 24);
        let old = format!("2001:db8::/32  until={:.0}\n", ended(31));
        let recent = format!("2001:db8:1::/48  until={:.0}  # why\n", ended(29));
        let mut managed = list(&(old + &recent));
        assert!(managed.lines.is_changed());
        assert_eq!(managed.lines.text(), recent);
        let again: Entry = "2001:db8:1::/48".parse().unwrap();
        assert!(matches!(managed.add(&again, None), Addition::Renewed(_)));
        assert_eq!(managed.lines.text(), "2001:db8:1::/48  # 2026-11-28 why\n");
    }

    #[test]
    fn two_ends_of_one_network_are_an_error() {
        let text = "2001:db8::/32\n2001:db8::/32 until=2026-12-12\n";
        let error = edit::parse::<Managed>(Path::new("list"), text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "list:2: 2001:db8::/32 has another end in an earlier line; remove one of them"
        );
    }
}
