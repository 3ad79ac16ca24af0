//! Edits the managed list, the file behind `sixgate opt-in`.

use super::{
    entry::{Entry, Scope},
    files,
};
use crate::{
    address::Domain,
    list_file::edit::{self, EditError, Edited, Lines},
};
use std::path::Path;

/// The managed list, locked for editing.
#[derive(Debug)]
pub struct Managed {
    lines: Lines<Key>,
    today: String,
}

/// The key of an entry; an entry and its opposite have the same key.
type Key = (Domain, Scope);

/// The outcome of adding an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addition {
    /// The entry is new.
    Added,
    /// The entry exists already, with this comment.
    AlreadyThere(String),
    /// The entry replaced its opposite.
    Turned,
}

/// The outcome of removing an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The entry was removed.
    Removed,
    /// The entry did not exist.
    NotThere,
    /// The entry did not exist, but its opposite does.
    ContraryIsThere,
}

/// Edits the list. Creates a missing file, and writes only if something has changed.
///
/// # Errors
/// Fails with an [`EditError`] and leaves the file unchanged.
pub fn edit<T>(file: &Path, change: impl FnOnce(&mut Managed) -> T) -> Result<T, EditError> {
    edit::edit(file, change)
}

impl Edited for Managed {
    const HEADER: &'static str = "# Domains that take mail over IPv6. \
                                  \"sixgate opt-in\" edits this file, and so may you.";
    type Key = Key;

    fn key(line: &str, before: &Lines<Key>) -> Result<Option<Key>, String> {
        let (Some(entry), _) = files::parse_line(line)? else {
            return Ok(None);
        };
        match before.get(&key(&entry)).map(parsed) {
            Some((Some(listed), _)) if listed != entry => Err(files::contradiction(&entry)),
            Some(_) | None => Ok(Some(key(&entry))),
        }
    }

    fn new(lines: Lines<Key>) -> Self {
        let today = edit::today();
        Self { lines, today }
    }

    fn lines(&self) -> &Lines<Key> {
        &self.lines
    }
}

impl Managed {
    /// Adds an entry with its date and a comment, which may be empty.
    pub fn add(&mut self, entry: &Entry, comment: &str) -> Addition {
        let addition = match self.lines.get(&key(entry)).map(parsed) {
            None => Addition::Added,
            Some((Some(listed), comment)) if listed == *entry => {
                return Addition::AlreadyThere(comment.to_owned());
            }
            Some(_contrary) => Addition::Turned,
        };
        let line = edit::with_comment(entry, &self.today, comment);
        self.lines.set(key(entry), line);
        addition
    }

    /// Removes all lines of an entry.
    pub fn remove(&mut self, entry: &Entry) -> Removal {
        match self.lines.get(&key(entry)).map(parsed) {
            None => Removal::NotThere,
            Some((Some(listed), _)) if listed == *entry => {
                self.lines.remove(&key(entry));
                Removal::Removed
            }
            Some(_) => Removal::ContraryIsThere,
        }
    }
}

fn key(entry: &Entry) -> Key {
    (entry.domain.clone(), entry.scope)
}

/// Returns the entry and the comment of a line that was validated before.
fn parsed(line: &str) -> (Option<Entry>, &str) {
    files::parse_line(line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Managed {
        edit::parse(Path::new("list"), text).unwrap()
    }

    #[test]
    fn comments_order_and_line_breaks_are_kept() {
        let text = "# ours\n\nb.example\t# 2020 first\na.example\n  # indented\nb.example\n";
        let mut managed = parse(text);
        managed.today = "2026-11-21".to_owned();
        let entry = |text: &str| text.parse::<Entry>().unwrap();
        let there = Addition::AlreadyThere("2020 first".to_owned());
        assert_eq!(managed.add(&entry("B.example."), "again"), there);
        assert!(!managed.lines.is_changed());
        assert_eq!(
            managed.add(&entry(".b.example"), "two\nlines"),
            Addition::Added
        );
        assert_eq!(managed.add(&entry("!a.example"), ""), Addition::Turned);
        assert_eq!(
            managed.remove(&entry("a.example")),
            Removal::ContraryIsThere
        );
        assert_eq!(managed.remove(&entry("b.example")), Removal::Removed);
        assert_eq!(managed.remove(&entry("b.example")), Removal::NotThere);
        let want = "# ours\n\n!a.example  # 2026-11-21\n  # indented\n\
                    .b.example  # 2026-11-21 two lines\n";
        assert_eq!(managed.lines.text(), want);
    }

    #[test]
    fn a_list_without_entries_is_marked_as_intentional() {
        let mut managed = parse("# ours\na.example\n");
        managed.remove(&"a.example".parse().unwrap());
        assert_eq!(managed.lines.text(), "# ours\n# empty\n");
        let mut managed = parse(&managed.lines.text());
        managed.today = "2026-11-21".to_owned();
        managed.add(&"a.example".parse().unwrap(), "");
        assert_eq!(managed.lines.text(), "# ours\na.example  # 2026-11-21\n");
    }
}
