//! Reads opt-in lists from files.

use super::{
    entry::{Entry, EntryError},
    list::{Insertion, List},
};
use crate::list_file::{self, ListError, Location, RawLine};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Reads files, and the `*.list` files of directories, as one list.
///
/// # Errors
/// Fails at the first file that can't be read or has no entry, and at the first line that
/// is invalid or contradicts an earlier one.
pub fn read(paths: &[PathBuf]) -> Result<List, ListError> {
    let mut list = List::default();
    for file in list_file::expand(paths)? {
        each_entry(&file, |line| add(&mut list, &line.entry))?;
    }
    list.shrink_to_fit();
    Ok(list)
}

/// Finds the first line of each entry that is a key of `wanted`. Reads each file only
/// once.
pub fn locate(paths: &[PathBuf], wanted: &mut HashMap<Entry, Option<Location>>) {
    // A list that can't be read any more has no locations.
    for file in list_file::expand(paths).unwrap_or_default() {
        let _ = each_entry(&file, |line| {
            if let Some(location @ None) = wanted.get_mut(&line.entry) {
                *location = Some(Location {
                    file: file.clone(),
                    line: line.number,
                    comment: line.comment.to_owned(),
                });
            }
            Ok(())
        });
    }
}

/// A line with an entry.
#[derive(Debug)]
pub struct Line<'a> {
    /// The line number, counted from 1.
    pub number: usize,
    /// The entry.
    pub entry: Entry,
    /// The text after the `#`; empty if there is none.
    pub comment: &'a str,
}

/// Calls `visit` for each entry of one file, in order.
///
/// # Errors
/// Fails as [`read`] does, and with the errors of `visit`.
pub fn each_entry(
    file: &Path,
    mut visit: impl FnMut(Line<'_>) -> Result<(), String>,
) -> Result<(), ListError> {
    list_file::each_line(file, |line| {
        let RawLine {
            number, comment, ..
        } = line;
        match parse_text(line.text)? {
            Some(entry) => visit(Line {
                number,
                entry,
                comment,
            }),
            None => Ok(()),
        }
    })
}

/// Parses a line into its entry and comment; both may be missing.
///
/// # Errors
/// Fails with a part of a line for people if the entry is invalid.
pub fn parse_line(line: &str) -> Result<(Option<Entry>, &str), String> {
    let (text, comment) = list_file::split(line);
    Ok((parse_text(text)?, comment))
}

fn parse_text(text: &str) -> Result<Option<Entry>, String> {
    match text {
        "" => Ok(None),
        text => {
            let entry: Result<Entry, EntryError> = text.parse();
            entry.map(Some).map_err(|error| error.to_string())
        }
    }
}

fn add(list: &mut List, entry: &Entry) -> Result<(), String> {
    match list.insert(entry) {
        Insertion::Added | Insertion::Duplicate => Ok(()),
        Insertion::Contradiction => Err(contradiction(entry)),
        Insertion::Full => Err("the list has more domains than fit in memory".to_owned()),
    }
}

pub(super) fn contradiction(entry: &Entry) -> String {
    let contrary = entry.opposite();
    format!("{entry} contradicts {contrary} of an earlier line; remove one of them")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_list_is_read_in_every_guise() {
        let long_comment = format!("a.example # {}", "x".repeat(4000));
        let table: [(&[u8], Result<usize, &str>); 14] = [
            (b"a.example", Ok(1)),
            (b"a.example\nb.example\n", Ok(2)),
            (b"a.example\r\n\r\nb.example\r\n", Ok(2)),
            (b"\xef\xbb\xbfa.example\n", Ok(1)),
            (b"\ta.example \n  # b.example\n#c.example", Ok(1)),
            (b"a.example\na.example\n", Ok(1)),
            (long_comment.as_bytes(), Ok(1)),
            (b"# empty\n", Ok(0)),
            (b"# ours\n  # Empty \n", Ok(0)),
            (b"# empty domains\n", Err("list: there is no entry")),
            (b"", Err("list: there is no entry")),
            (b"a.example\0", Err("list:1: ")),
            (b"# b\xfccher\n", Err("list:1: this is not UTF-8")),
            (&[b'x'; 5000], Err("list:1: the line has more than")),
        ];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        for (bytes, want) in table {
            fs::write(&file, bytes).unwrap();
            let text = bytes.escape_ascii();
            match (read(std::slice::from_ref(&file)), want) {
                (Ok(list), Ok(entries)) => assert_eq!(list.len(), entries, "{text}"),
                (Err(error), Err(want)) => {
                    assert!(error.to_string().contains(want), "{text}: {error}");
                }
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
