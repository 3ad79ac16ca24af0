//! The entries of all lists as one list: those of the managed file or hash, of
//! `opt_in.domains` and of `opt_in.files`.

use super::edit::in_redis;
use crate::{
    config::Config,
    exit::Failure,
    list_file,
    opt_in::{
        Source, SourceList, Sources,
        entry::{Entry, Scope},
        files,
        list::List,
        redis,
    },
};
use std::{io, path::Path, sync::Arc};

/// The entries of several lists as one list, without entries that an earlier list overrides.
pub(super) struct Listing<'a> {
    config: &'a Config,
    lists: Vec<SourceList<'a>>,
    /// The entries of the hash that replaces the managed file (`opt_in.redis.managed`).
    hash: Vec<(Entry, String)>,
}

/// An entry and its origin.
pub(super) struct Item<'a> {
    pub(super) source: Source,
    pub(super) entry: &'a Entry,
    /// `None` for the configuration.
    pub(super) file: Option<&'a Path>,
    pub(super) comment: &'a str,
}

impl<'a> Listing<'a> {
    pub(super) fn new(
        config: &'a Config,
        sources: &'a Sources,
        hash: Option<Vec<(Entry, String)>>,
        managed_alone: bool,
    ) -> Self {
        let mut lists = Vec::from(sources.lists());
        if let Some(hash) = &hash {
            let mut entries = List::default();
            for (entry, _) in hash {
                entries.insert(entry);
            }
            let of_hash = SourceList {
                source: Source::Redis,
                entries: Arc::new(entries),
                paths: &[],
            };
            // The hash is looked up first.
            lists.insert(0, of_hash);
        }
        if managed_alone {
            lists.retain(|list| matches!(list.source, Source::Managed | Source::Redis));
        }
        Self {
            config,
            lists,
            hash: hash.unwrap_or_default(),
        }
    }

    /// Calls `visit` for each entry, in the order of the files.
    pub(super) fn each(&self, mut visit: impl FnMut(Item<'_>) -> io::Result<()>) -> io::Result<()> {
        for (index, list) in self.lists.iter().enumerate() {
            let earlier = &self.lists[..index];
            let mut visit = |item: Item<'_>| match is_decided(earlier, item.entry) {
                true => Ok(()),
                false => visit(item),
            };
            match list.source {
                Source::Domains => self.config.opt_in.domains.iter().try_for_each(|entry| {
                    visit(Item {
                        source: Source::Domains,
                        entry,
                        file: None,
                        comment: "",
                    })
                })?,
                Source::Redis => self.hash.iter().try_for_each(|(entry, comment)| {
                    visit(Item {
                        source: Source::Redis,
                        entry,
                        file: None,
                        comment,
                    })
                })?,
                source => each_in_files(source, list, &mut visit)?,
            }
        }
        Ok(())
    }
}

/// Reads the hash, and warns about invalid entries.
pub(super) fn read_hash(config: &Config) -> Result<Vec<(Entry, String)>, Failure> {
    let redis = &config.opt_in.redis;
    let key = &redis.key;
    match in_redis(async || redis::edit::list(redis).await)? {
        Some(listing) => {
            for wrong in listing.wrong {
                eprintln!("warning: {key}: {wrong}");
            }
            Ok(listing.entries)
        }
        None => {
            eprintln!("warning: there is no hash {key}, or it is empty");
            Ok(Vec::new())
        }
    }
}

fn each_in_files(
    source: Source,
    list: &SourceList<'_>,
    mut visit: impl FnMut(Item<'_>) -> io::Result<()>,
) -> io::Result<()> {
    if list.entries.is_empty() {
        return Ok(());
    }
    for file in list_file::expand(list.paths).map_err(io::Error::other)? {
        let visited = files::each_entry(&file, |line| {
            let item = Item {
                source,
                entry: &line.entry,
                file: Some(&file),
                comment: line.comment,
            };
            visit(item).map_err(|error| error.to_string())
        });
        visited.map_err(io::Error::other)?;
    }
    Ok(())
}

/// Returns whether an earlier list decides for everything that an entry covers.
fn is_decided(earlier: &[SourceList<'_>], entry: &Entry) -> bool {
    let decides = |list: &List| match entry.scope {
        Scope::Itself => list.entry_for(&entry.domain).is_some(),
        Scope::Subdomains => list.entry_for_subdomains(&entry.domain).is_some(),
    };
    earlier.iter().any(|list| decides(&list.entries))
}
