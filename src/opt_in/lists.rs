//! The opt-in sources that are lists in memory, in the order in which they are searched:
//! the managed file, `opt_in.domains` and `opt_in.files`.

use super::{Answer, Source, entry::Entry, files, list::List};
use crate::{
    address::Domain,
    config,
    list_file::{
        ListError, Location,
        live::{Contents, LiveList, Presence},
    },
};
use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The lists of one configuration. Clones share the lists.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    managed: Arc<LiveList<List>>,
    domains: Arc<List>,
    files: Arc<LiveList<List>>,
}

/// The status of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListStatus {
    /// The source of the list.
    pub source: Source,
    /// The number of entries.
    pub entries: usize,
    /// The time since it was read; `None` for a list in the configuration.
    pub age: Option<Duration>,
    /// Why the last valid list is in use instead of the current files, if it is.
    pub error: Option<String>,
}

/// The entry of a list that decides about a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The entry.
    pub entry: Entry,
    /// Where the entry is; `None` for the configuration.
    pub location: Option<Location>,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            None => write!(f, "{} in opt_in.domains", self.entry),
            Some(Location {
                file,
                line,
                comment,
            }) => {
                write!(f, "{} in {}:{line}", self.entry, file.display())?;
                match comment.as_str() {
                    "" => Ok(()),
                    comment => write!(f, " ({comment})"),
                }
            }
        }
    }
}

/// The list of one source.
#[derive(Clone, Debug)]
pub struct SourceList<'a> {
    /// The source of the list.
    pub source: Source,
    /// The current entries.
    pub entries: Arc<List>,
    /// The files and directories of the list; none for the configuration.
    pub paths: &'a [PathBuf],
}

impl<'a> SourceList<'a> {
    fn followed(source: Source, list: &'a LiveList<List>) -> Self {
        Self {
            source,
            entries: list.list(),
            paths: list.paths(),
        }
    }
}

impl Lists {
    /// Reads the lists. A list that `previous` has under the same name is read again and
    /// shared with it.
    pub(super) fn open(config: &config::OptIn, previous: Option<&Self>) -> Result<Self, ListError> {
        let managed = match config.redis.managed {
            // The Redis hash replaces it.
            true => Vec::new(),
            false => vec![config.managed_file.clone()],
        };
        let files = config.files.clone();
        Ok(Self {
            managed: match previous.map(|old| &old.managed) {
                Some(old) if *old.paths() == managed => read_again(old)?,
                Some(_) | None => open("opt_in.managed_file", managed, config::MANAGED_FILE)?,
            },
            files: match previous.map(|old| &old.files) {
                Some(old) if *old.paths() == files => read_again(old)?,
                Some(_) | None => open("opt_in.files", files, config::LISTS_FOLDER)?,
            },
            domains: Arc::new(List::of(&config.domains)),
        })
    }

    /// Returns whether all lists are empty.
    pub(super) fn are_empty(&self) -> bool {
        self.each().iter().all(|list| list.entries.is_empty())
    }

    /// Returns the status of each list, in the order in which they are searched.
    pub(super) fn status(&self) -> Vec<ListStatus> {
        let domains = ListStatus {
            source: Source::Domains,
            entries: self.domains.len(),
            age: None,
            error: None,
        };
        let managed = ListStatus::of(Source::Managed, &self.managed);
        vec![managed, domains, ListStatus::of(Source::File, &self.files)]
    }

    /// Follows the files in the background. Must be called in a tokio runtime.
    pub(super) fn follow(&self) {
        self.managed.follow();
        self.files.follow();
    }

    /// Returns the answer of the first list that has an entry for the domain.
    pub(super) fn answer(&self, domain: &Domain) -> Option<Answer> {
        Answer::of(self.managed.current().answer(domain), Source::Managed)
            .or_else(|| Answer::of(self.domains.answer(domain), Source::Domains))
            .or_else(|| Answer::of(self.files.current().answer(domain), Source::File))
    }

    /// Returns for each domain the entry that decides about it, if there is one. Reads
    /// each file once, to find the positions of the entries.
    pub(super) fn listed(&self, domains: &[Domain]) -> Vec<Option<Listed>> {
        let lists = self.each();
        let deciding = |domain: &Domain| {
            let answer = self.answer(domain)?;
            let index = lists.iter().position(|list| list.source == answer.source)?;
            Some((index, lists[index].entries.entry_for(domain)?))
        };
        let deciding: Vec<Option<(usize, Entry)>> = domains.iter().map(deciding).collect();
        let mut locations: [HashMap<Entry, Option<Location>>; 3] = Default::default();
        for (index, entry) in deciding.iter().flatten() {
            locations[*index].insert(entry.clone(), None);
        }
        for (list, wanted) in lists.iter().zip(&mut locations) {
            if !wanted.is_empty() {
                files::locate(list.paths, wanted);
            }
        }
        let listed = |(index, entry): (usize, Entry)| Listed {
            location: locations[index].get(&entry).cloned().flatten(),
            entry,
        };
        deciding
            .into_iter()
            .map(|found| found.map(listed))
            .collect()
    }

    /// Returns the lists, in the order in which they are searched.
    pub(super) fn each(&self) -> [SourceList<'_>; 3] {
        let domains = SourceList {
            source: Source::Domains,
            entries: Arc::clone(&self.domains),
            paths: &[],
        };
        [
            SourceList::followed(Source::Managed, &self.managed),
            domains,
            SourceList::followed(Source::File, &self.files),
        ]
    }
}

impl Contents for List {
    fn read(paths: &[PathBuf], _old: &Self) -> Result<Self, ListError> {
        files::read(paths)
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// Opens a list for the first time. The file may be missing if its path is the default.
fn open(
    key: &'static str,
    paths: Vec<PathBuf>,
    default: &str,
) -> Result<Arc<LiveList<List>>, ListError> {
    let presence = match paths == [Path::new(default)] {
        true => Presence::NotYet,
        false => Presence::Required,
    };
    LiveList::open(key, paths, presence).map(Arc::new)
}

fn read_again(list: &Arc<LiveList<List>>) -> Result<Arc<LiveList<List>>, ListError> {
    list.read_again()?;
    Ok(Arc::clone(list))
}

impl ListStatus {
    fn of(source: Source, live: &LiveList<List>) -> Self {
        Self {
            source,
            entries: live.list().len(),
            age: Some(live.age()),
            error: live.error().map(|error| error.to_string()),
        }
    }
}
