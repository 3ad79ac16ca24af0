//! Exempt networks in memory. The longest prefix that contains an address and has not
//! ended wins.

use super::{
    entry::{Comment, Entry, parse_line, show},
    usage::Use,
};
use crate::list_file::{self, ListError, live::Contents};
use ipnet::Ipv6Net;
use jiff::{Timestamp, civil::Date};
use prefix_trie::PrefixMap;
use std::{
    fmt,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The maximum length of a comment in memory, in bytes.
const MAX_COMMENT: usize = 200;

/// Exempt networks, each once.
#[derive(Clone, Default)]
pub struct Table {
    entries: PrefixMap<Ipv6Net, Listed>,
}

/// An entry with its comment and use.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The entry.
    pub entry: Entry,
    /// The line of the file, counted from 1; 0 for the configuration.
    pub line: usize,
    /// The date when it was added, if its comment has one.
    pub added: Option<Date>,
    /// The comment without that date.
    pub comment: Arc<str>,
    /// The use of the entry.
    pub usage: Arc<Use>,
}

impl Table {
    /// Creates a table of networks without an end. `old` is the table that it replaces.
    pub fn of(networks: impl Iterator<Item = Ipv6Net>, old: &Self) -> Self {
        let mut table = Self::default();
        for network in networks {
            let entry = Entry {
                network,
                until: None,
            };
            // A repeated network is one entry.
            let _ = table.insert(entry, Comment::default(), 0, old);
        }
        table
    }

    /// Returns the entry with the longest prefix that exempts an address now.
    pub fn find(&self, ip: Ipv6Addr) -> Option<&Listed> {
        // Reads the clock only if an entry contains the client.
        if self.is_empty() {
            return None;
        }
        let host = Ipv6Net::from(ip);
        let mut covering = self.entries.cover_values(&host).peekable();
        covering.peek()?;
        let now = Timestamp::now();
        covering.filter(|l| l.entry.is_in_force(now)).last()
    }

    /// Returns all entries that contain a network, the shortest prefix first, including
    /// ended ones.
    pub fn covering<'a>(&'a self, network: &'a Ipv6Net) -> impl Iterator<Item = &'a Listed> {
        self.entries.cover_values(network)
    }

    /// Returns the entries within a network, including ended ones.
    pub fn within<'a>(&'a self, network: &Ipv6Net) -> impl Iterator<Item = &'a Listed> {
        self.entries.children(network).map(|(_, listed)| listed)
    }

    /// Returns the entry for exactly this network.
    pub fn get(&self, network: &Ipv6Net) -> Option<&Listed> {
        self.entries.get(network)
    }

    /// Returns the entries in the order of their networks.
    pub fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.entries.values()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Fails if the network is listed with another end.
    pub(super) fn insert(
        &mut self,
        entry: Entry,
        comment: Comment<'_>,
        line: usize,
        old: &Self,
    ) -> Result<(), String> {
        if let Some(listed) = self.get(&entry.network) {
            return match listed.entry.until == entry.until {
                true => Ok(()),
                false => Err(format!(
                    "{} has another end in line {}; remove one of them",
                    show(&entry.network),
                    listed.line
                )),
            };
        }
        let listed = Listed {
            entry,
            line,
            added: comment.added,
            comment: cut(comment.text).into(),
            usage: match old.get(&entry.network) {
                Some(old) => Arc::clone(&old.usage),
                None => Arc::new(Use::new(entry.network, comment.added)),
            },
        };
        self.entries.insert(entry.network, listed);
        Ok(())
    }
}

fn cut(comment: &str) -> &str {
    &comment[..comment.floor_char_boundary(MAX_COMMENT)]
}

impl Contents for Table {
    fn read(paths: &[PathBuf], old: &Self) -> Result<Self, ListError> {
        let mut table = Self::default();
        for file in list_file::expand(paths)? {
            read_file(&file, &mut table, old)?;
        }
        Ok(table)
    }

    fn len(&self) -> usize {
        self.entries.len()
    }
}

fn read_file(file: &Path, table: &mut Table, old: &Table) -> Result<(), ListError> {
    list_file::each_line(file, |line| match line.text {
        "" => Ok(()),
        text => {
            let comment = Comment::parse(line.comment);
            table.insert(text.parse()?, comment, line.number, old)
        }
    })
}

/// Parses the text of a list.
///
/// # Errors
/// Fails at the first invalid line, with its number and what is wrong with it.
pub fn parse(text: &str) -> Result<Table, (usize, String)> {
    let mut table = Table::default();
    for (line, number) in text.lines().zip(1..) {
        let (entry, comment) = parse_line(line).map_err(|complaint| (number, complaint))?;
        if let Some(entry) = entry {
            let inserted = table.insert(entry, comment, number, &Table::default());
            inserted.map_err(|complaint| (number, complaint))?;
        }
    }
    Ok(table)
}

impl fmt::Debug for Table {
    /// Writes only a summary: the table may have many thousands of networks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &Table, ip: &str) -> Option<String> {
        let listed = table.find(ip.parse().unwrap())?;
        Some(show(&listed.entry.network))
    }

    #[test]
    fn the_longest_prefix_that_has_not_ended_is_found() {
        let table = parse(
            "2001:db8::/32\n2001:db8:1::/48 until=2020-01-01T00:00:00Z\n\
             2001:db8:1:2::/64 until=9999-01-01T00:00:00Z\n2001:db8:1:2::3\n\
             2001:db9::/48 until=2020-01-01T00:00:00Z\n",
        )
        .unwrap();
        let want = [
            ("2001:db8::1", Some("2001:db8::/32")),
            ("2001:db8:1::1", Some("2001:db8::/32")),
            ("2001:db8:1:2::1", Some("2001:db8:1:2::/64")),
            ("2001:db8:1:2::3", Some("2001:db8:1:2::3")),
            ("2001:db9::1", None),
            ("2001:dba::1", None),
        ];
        for (ip, want) in want {
            assert_eq!(found(&table, ip).as_deref(), want, "{ip}");
        }
        assert_eq!(found(&Table::default(), "2001:db8::1"), None);
    }

    #[test]
    fn a_network_has_one_end() {
        assert!(parse("2001:db8::/32\n2001:db8:0::/32 # again\n").is_ok());
        let (line, complaint) =
            parse("2001:db8::/32\n2001:db8::/32 until=2026-12-12\n").unwrap_err();
        assert_eq!(
            (line, complaint.contains("line 1")),
            (2, true),
            "{complaint}"
        );
    }

    #[test]
    fn the_memory_of_a_comment_is_bounded() {
        let comment = "\u{e4}".repeat(1000);
        let table = parse(&format!("2001:db8::/32 # x{comment}\n")).unwrap();
        assert_eq!(table.iter().next().unwrap().comment.len(), 199);
    }
}
