//! The entries of one source in memory, for lists of millions of domains.
//!
//! All names are in one buffer, and a hash table holds their positions: two allocations
//! for any number of domains, and about ten bytes per domain besides its name. A lookup
//! allocates nothing.

use super::{
    SourceAnswer,
    entry::{Entry, Scope},
};
use crate::address::Domain;
use hashbrown::{HashTable, hash_table};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

/// The entries of one source. The most specific entry for a domain decides: the domain
/// itself before its parents, a near parent before a far one.
#[derive(Clone, Default)]
pub struct List {
    /// For each name its length, its [`NameEntries`] and its bytes.
    names: Vec<u8>,
    /// The position of each name in `names`.
    places: HashTable<u32>,
    hasher: RandomState,
    entries: usize,
    /// Whether parents have to be looked up.
    has_subdomain_entries: bool,
}

/// The outcome of adding an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// The entry is new.
    Added,
    /// The entry exists already.
    Duplicate,
    /// The list has the opposite entry, which stays.
    Contradiction,
    /// The names fill 4 GiB, about 200 million names.
    Full,
}

/// The entries for one name: two bits for each [`Scope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NameEntries(u8);

impl NameEntries {
    const NONE: Self = Self(0);

    fn get(self, scope: Scope) -> Option<bool> {
        match self.0 >> Self::shift(scope) & 0b11 {
            0b00 => None,
            0b10 => Some(false),
            _ => Some(true),
        }
    }

    fn with(self, scope: Scope, opted_in: bool) -> Self {
        let bits = if opted_in { 0b01 } else { 0b10 };
        Self(self.0 | bits << Self::shift(scope))
    }

    fn shift(scope: Scope) -> u8 {
        match scope {
            Scope::Itself => 0,
            Scope::Subdomains => 2,
        }
    }
}

/// The entry that decides about a domain.
#[derive(Clone, Copy)]
struct Match<'a> {
    name: &'a str,
    scope: Scope,
    opted_in: bool,
}

impl List {
    /// Creates a list of the entries of a configuration, which do not contradict each
    /// other.
    pub fn of(entries: &[Entry]) -> Self {
        let mut list = Self::default();
        for entry in entries {
            // If one did, the first would win.
            let _ = list.insert(entry);
        }
        list
    }

    /// Looks up a domain.
    pub fn answer(&self, domain: &Domain) -> SourceAnswer {
        match self.find(domain.as_str()) {
            Some(hit) if hit.opted_in => SourceAnswer::Yes,
            Some(_) => SourceAnswer::No,
            None => SourceAnswer::NoEntry,
        }
    }

    /// Returns the entry that decides about a domain.
    pub fn entry_for(&self, domain: &Domain) -> Option<Entry> {
        self.find(domain.as_str())?.entry(domain)
    }

    /// Returns the entry for those subdomains of a domain that no more specific entry
    /// covers.
    pub fn entry_for_subdomains(&self, domain: &Domain) -> Option<Entry> {
        let name = domain.as_str();
        let own = self.look_up(name, Scope::Subdomains);
        own.or_else(|| self.find_above(name))?.entry(domain)
    }

    /// Adds an entry.
    pub fn insert(&mut self, entry: &Entry) -> Insertion {
        let Some(place) = self.place_or_append(entry.domain.as_str()) else {
            return Insertion::Full;
        };
        let byte = &mut self.names[place as usize + 1];
        let marks = NameEntries(*byte);
        match marks.get(entry.scope) {
            Some(opted_in) if opted_in == entry.opted_in => return Insertion::Duplicate,
            Some(_contrary) => return Insertion::Contradiction,
            None => *byte = marks.with(entry.scope, entry.opted_in).0,
        }
        self.entries += 1;
        self.has_subdomain_entries |= entry.scope == Scope::Subdomains;
        Insertion::Added
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Reserves memory for names of this many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.names.reserve(bytes);
    }

    /// Releases unused reserved memory.
    pub fn shrink_to_fit(&mut self) {
        self.names.shrink_to_fit();
    }

    fn find<'a>(&self, name: &'a str) -> Option<Match<'a>> {
        let own = self.look_up(name, Scope::Itself);
        own.or_else(|| self.find_above(name))
    }

    /// Finds the entry of the nearest parent that covers its subdomains.
    fn find_above<'a>(&self, name: &'a str) -> Option<Match<'a>> {
        if !self.has_subdomain_entries {
            return None;
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(hit) = self.look_up(parent, Scope::Subdomains) {
                return Some(hit);
            }
            rest = parent;
        }
        None
    }

    fn look_up<'a>(&self, name: &'a str, scope: Scope) -> Option<Match<'a>> {
        let hash = self.hasher.hash_one(name.as_bytes());
        let is_it = |&place: &u32| name_at(&self.names, place) == name.as_bytes();
        let place = *self.places.find(hash, is_it)?;
        let opted_in = NameEntries(self.names[place as usize + 1]).get(scope)?;
        Some(Match {
            name,
            scope,
            opted_in,
        })
    }

    /// Returns the position of a name, appended if it is new; `None` if there is no room.
    fn place_or_append(&mut self, name: &str) -> Option<u32> {
        let Self {
            names,
            places,
            hasher,
            ..
        } = self;
        let length = u8::try_from(name.len()).ok()?;
        let end = u32::try_from(names.len()).ok()?;
        let found = places.entry(
            hasher.hash_one(name.as_bytes()),
            |&place| name_at(names, place) == name.as_bytes(),
            |&place| hasher.hash_one(name_at(names, place)),
        );
        match found {
            hash_table::Entry::Occupied(found) => Some(*found.get()),
            hash_table::Entry::Vacant(free) => {
                free.insert(end);
                names.extend([length, NameEntries::NONE.0]);
                names.extend(name.as_bytes());
                Some(end)
            }
        }
    }
}

/// The number of bytes before a name: its length and its marks.
const HEAD: usize = 2;

fn name_at(names: &[u8], place: u32) -> &[u8] {
    let start = place as usize + HEAD;
    &names[start..start + usize::from(names[place as usize])]
}

impl Match<'_> {
    fn entry(self, asked: &Domain) -> Option<Entry> {
        let mut named = [asked.clone()].into_iter().chain(asked.ancestors());
        Some(Entry {
            domain: named.find(|domain| domain.as_str() == self.name)?,
            scope: self.scope,
            opted_in: self.opted_in,
        })
    }
}

impl fmt::Debug for List {
    /// Writes only a summary: the list may have millions of names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> List {
        let mut list = List::default();
        for text in entries {
            assert_eq!(list.insert(&text.parse().unwrap()), Insertion::Added);
        }
        list
    }

    #[test]
    fn the_most_specific_entry_decides() {
        let entries = [
            "example.org",
            "!mail.example.org",
            ".example.org",
            "!.old.example.org",
            "new.old.example.org",
            ".deep.old.example.org",
            "!out.example",
            ".below.example",
            "!.example",
        ];
        let table = [
            // domain, deciding entry
            ("example.org", Some("example.org")),
            ("mail.example.org", Some("!mail.example.org")),
            ("x.mail.example.org", Some(".example.org")),
            ("www.example.org", Some(".example.org")),
            ("a.b.c.example.org", Some(".example.org")),
            ("old.example.org", Some(".example.org")),
            ("x.old.example.org", Some("!.old.example.org")),
            ("new.old.example.org", Some("new.old.example.org")),
            ("x.new.old.example.org", Some("!.old.example.org")),
            ("deep.old.example.org", Some("!.old.example.org")),
            ("x.deep.old.example.org", Some(".deep.old.example.org")),
            ("out.example", Some("!out.example")),
            ("below.example", Some("!.example")),
            ("x.below.example", Some(".below.example")),
            ("other.example", Some("!.example")),
            ("example", None),
            ("org", None),
            ("badexample.org", None),
            ("example.org.uk", None),
        ];
        let list = list(&entries);
        for (domain, want) in table {
            let domain = Domain::parse(domain).unwrap();
            let found = list.entry_for(&domain);
            let found = found.as_ref().map(ToString::to_string);
            assert_eq!(found.as_deref(), want, "{domain}");
            let known = match want {
                Some(entry) if entry.starts_with('!') => SourceAnswer::No,
                Some(_) => SourceAnswer::Yes,
                None => SourceAnswer::NoEntry,
            };
            assert_eq!(list.answer(&domain), known, "{domain}");
        }
    }

    #[test]
    fn an_entry_counts_once_and_its_opposite_is_reported() {
        let mut list = list(&["example.org", ".example.org", "!other.example"]);
        let table = [
            ("example.org", Insertion::Duplicate),
            ("EXAMPLE.org.", Insertion::Duplicate),
            (".example.org", Insertion::Duplicate),
            ("!example.org", Insertion::Contradiction),
            ("!.example.org", Insertion::Contradiction),
            ("other.example", Insertion::Contradiction),
            (".other.example", Insertion::Added),
        ];
        for (entry, want) in table {
            assert_eq!(list.insert(&entry.parse().unwrap()), want, "{entry}");
        }
        assert_eq!(list.len(), 4);
        assert_eq!(
            list.answer(&Domain::parse("example.org").unwrap()),
            SourceAnswer::Yes
        );
    }

    #[test]
    fn subdomains_are_decided_about_at_a_name_or_above_it() {
        let list = list(&[".example.org", "!.old.example.org", "a.example"]);
        let table = [
            ("example.org", Some(".example.org")),
            ("new.example.org", Some(".example.org")),
            ("old.example.org", Some("!.old.example.org")),
            ("a.example", None),
        ];
        for (domain, want) in table {
            let found = list.entry_for_subdomains(&Domain::parse(domain).unwrap());
            let found = found.as_ref().map(ToString::to_string);
            assert_eq!(found.as_deref(), want, "{domain}");
        }
    }

    #[test]
    fn the_longest_names_are_found_among_many() {
        let label = "x".repeat(61);
        let name = |n: usize| format!("{n:05}.{label}.{label}.{label}.{label}").replace(".x", ".y");
        let mut list = List::default();
        for n in 0..20_000 {
            let text = name(n);
            assert_eq!(
                list.insert(&text.parse().unwrap()),
                Insertion::Added,
                "{text}"
            );
        }
        for n in 0..40_000 {
            let known = list.answer(&Domain::parse(&name(n)).unwrap());
            let want = if n < 20_000 {
                SourceAnswer::Yes
            } else {
                SourceAnswer::NoEntry
            };
            assert_eq!(known, want, "{n}");
        }
    }
}
