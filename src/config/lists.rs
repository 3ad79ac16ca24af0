//! Values for opt-in lists: entries and paths.

use super::value::Kind;
use crate::opt_in::{
    entry::Entry,
    list::{Insertion, List},
};
use std::path::PathBuf;

/// An entry, as in a list file.
pub(super) struct ListEntry;

impl Kind for ListEntry {
    type Value = Entry;
    const EXPECTED: &'static str = "a domain such as example.org";

    fn parse(text: &str) -> Result<Entry, String> {
        match text {
            "" => Err(format!("nothing is given; write {}", Self::EXPECTED)),
            text => text.parse::<Entry>().map_err(|error| error.to_string()),
        }
    }

    fn show(value: &Entry) -> String {
        value.to_string()
    }

    fn check_list(entries: &[Entry]) -> Result<(), String> {
        let mut list = List::default();
        let contradicts = |entry: &&Entry| list.insert(entry) == Insertion::Contradiction;
        match entries.iter().find(contradicts) {
            Some(entry) => Err(format!(
                "{entry} contradicts {}; remove one of them",
                entry.opposite()
            )),
            None => Ok(()),
        }
    }
}

/// The path of a list.
pub(super) struct ListPath;

impl Kind for ListPath {
    type Value = PathBuf;
    const EXPECTED: &'static str = "an absolute path such as /etc/sixgate/opt-in.list";

    fn parse(text: &str) -> Result<PathBuf, String> {
        match text.starts_with('/') {
            true => Ok(PathBuf::from(text)),
            false => Err(format!(
                "{text:?} is not a valid path; write {}",
                Self::EXPECTED
            )),
        }
    }

    fn show(value: &PathBuf) -> String {
        value.display().to_string()
    }
}
