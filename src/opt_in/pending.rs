//! Pending opt-outs, which wait until an AAAA record has expired from the caches of
//! senders, in a file next to the managed list.
//!
//! While a domain is pending, `sixgate opt-in sync-dns` does not add an AAAA record to
//! its host name, although the domain is still opted in. So an interrupted opt-out can be
//! continued, and another run does not undo it.

use crate::{
    address::Domain,
    list_file::edit::{self, EditError, Edited, Lines},
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// The change to the managed list at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write `!DOMAIN`.
    Deny,
    /// Remove the entry.
    Remove,
    /// Nothing: another source opts the domain out.
    Hold,
}

/// A pending opt-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The change at the end.
    pub action: Action,
    /// When the opt-out takes effect; `None` until sixgate has seen that the AAAA record is
    /// gone.
    pub until: Option<Timestamp>,
    /// The comment for the managed list.
    pub comment: String,
}

/// All pending opt-outs.
pub type OptOuts = BTreeMap<Domain, Pending>;

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Remove => "remove",
            Self::Hold => "hold",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns the path of the file with the pending opt-outs of a managed list.
pub fn file(managed: &Path) -> PathBuf {
    // Next to the list itself, not next to a symbolic link to it.
    let managed = fs::canonicalize(managed).unwrap_or_else(|_| managed.to_owned());
    let mut name = managed.into_os_string();
    name.push(".pending");
    PathBuf::from(name)
}

/// Reads the pending opt-outs.
///
/// # Errors
/// Fails if the file can't be read or is invalid.
pub fn read(managed: &Path) -> Result<OptOuts, EditError> {
    let file = file(managed);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(OptOuts::new()),
        Err(error) => {
            let tried = "read it";
            return Err(EditError::Io { file, tried, error });
        }
    };
    // Validates every line.
    edit::parse::<Editor>(&file, &text)?;
    Ok(text.lines().filter_map(|line| parse(line).ok()?).collect())
}

/// Edits the pending opt-outs, while holding the lock of the managed list and of this
/// file.
///
/// # Errors
/// Fails with an [`EditError`] and leaves the file unchanged.
pub fn edit<T>(managed: &Path, change: impl FnOnce(&mut Editor) -> T) -> Result<T, EditError> {
    edit::edit(&file(managed), change)
}

/// The pending opt-outs, locked for editing.
#[derive(Debug)]
pub struct Editor(Lines<Domain>);

impl Edited for Editor {
    const HEADER: &'static str =
        "# Pending opt-outs, written by \"sixgate opt-in\": domain, action, time.";
    type Key = Domain;

    fn key(line: &str, _before: &Lines<Domain>) -> Result<Option<Domain>, String> {
        Ok(parse(line)?.map(|(domain, _)| domain))
    }

    fn new(lines: Lines<Domain>) -> Self {
        Self(lines)
    }

    fn lines(&self) -> &Lines<Domain> {
        &self.0
    }
}

impl Editor {
    /// Returns the pending opt-out of a domain.
    pub fn get(&self, domain: &Domain) -> Option<Pending> {
        // The line was validated before.
        let (_, pending) = parse(self.0.get(domain)?).ok()??;
        Some(pending)
    }

    /// Adds an opt-out, or replaces the pending one of the domain.
    pub fn set(&mut self, domain: &Domain, pending: &Pending) {
        let until = pending.until.map_or("-".to_owned(), |at| at.to_string());
        let comment = pending.comment.replace(char::is_control, " ");
        let line = format!("{domain} {} {until}  # {comment}", pending.action);
        let line = line.trim_end_matches([' ', '#']).to_owned();
        self.0.set(domain.clone(), line);
    }

    /// Removes an opt-out.
    pub fn remove(&mut self, domain: &Domain) {
        self.0.remove(domain);
    }
}

/// Parses a line; returns `None` for a line without an opt-out.
fn parse(line: &str) -> Result<Option<(Domain, Pending)>, String> {
    let (words, comment) = line.split_once('#').unwrap_or((line, ""));
    let words: Vec<&str> = words.split_whitespace().collect();
    let pending = match words.as_slice() {
        [] => return Ok(None),
        [domain, action, until] => pending(domain, action, until, comment.trim()),
        _ => None,
    };
    let complaint = "this is not a pending opt-out; remove the line and run the command again";
    pending.map(Some).ok_or_else(|| complaint.to_owned())
}

fn pending(domain: &str, action: &str, until: &str, comment: &str) -> Option<(Domain, Pending)> {
    let actions = [Action::Deny, Action::Remove, Action::Hold];
    let pending = Pending {
        action: actions.into_iter().find(|a| a.name() == action)?,
        until: match until {
            "-" => None,
            until => Some(until.parse().ok()?),
        },
        comment: comment.to_owned(),
    };
    Some((Domain::parse(domain).ok()?, pending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_opt_outs_survive_writing_and_reading() {
        let folder = tempfile::tempdir().unwrap();
        let managed = folder.path().join("opt-in.list");
        assert_eq!(read(&managed).unwrap(), OptOuts::new());
        let pending = |action, until: Option<&str>, comment: &str| Pending {
            action,
            until: until.map(|until| until.parse().unwrap()),
            comment: comment.to_owned(),
        };
        let all = [
            ("a.example", pending(Action::Deny, None, "ticket # 7")),
            (
                "b.example",
                pending(Action::Remove, Some("2026-11-28T12:00:00Z"), ""),
            ),
            ("c.example", pending(Action::Hold, None, "")),
        ];
        let all: OptOuts = all
            .map(|(domain, pending)| (Domain::parse(domain).unwrap(), pending))
            .into();
        edit(&managed, |opt_outs| {
            for (domain, pending) in &all {
                opt_outs.set(domain, pending);
            }
        })
        .unwrap();
        assert_eq!(read(&managed).unwrap(), all);
        let first = all.keys().next().unwrap();
        let got = edit(&managed, |opt_outs| {
            let got = opt_outs.get(first);
            opt_outs.remove(first);
            got
        });
        assert_eq!(got.unwrap().as_ref(), all.get(first));
        assert_eq!(read(&managed).unwrap().len(), 2);
    }

    #[test]
    fn a_wrong_line_is_an_error() {
        let file = Path::new("opt-in.list.pending");
        for line in [
            "a.example",
            "a.example deny",
            "a.example drop -",
            "a.example deny soon",
            "a..b deny -",
        ] {
            let text = format!("# x\n{line}\n");
            let error = edit::parse::<Editor>(file, &text).unwrap_err().to_string();
            assert!(
                error.starts_with("opt-in.list.pending:2: this is not"),
                "{error}"
            );
        }
    }
}
