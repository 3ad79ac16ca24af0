//! One entry of an opt-in list, as a postmaster writes it.

use crate::address::{Domain, DomainError};
use std::{fmt, str::FromStr};

/// An entry: the opt-in or opt-out of a domain or of its subdomains.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The domain of the entry.
    pub domain: Domain,
    /// Whether the entry is about the domain or its subdomains.
    pub scope: Scope,
    /// `false` if the entry begins with `!`.
    pub opted_in: bool,
}

/// The scope of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `example.org`: the domain alone.
    Itself,
    /// `.example.org`: all its subdomains, and not the domain.
    Subdomains,
}

/// Why a text is not a valid entry. `Display` writes a part of a line that says what to
/// write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryError {
    text: String,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NoDomain(DomainError),
    SeveralWords,
    Address,
}

impl FromStr for Entry {
    type Err = EntryError;

    /// Parses an entry. Accepts upper case, U-labels and a trailing dot.
    fn from_str(text: &str) -> Result<Self, EntryError> {
        Self::parse(text).map_err(|why| EntryError {
            text: text.to_owned(),
            why,
        })
    }
}

impl Entry {
    /// Creates the entry of a domain that has opted in.
    pub fn opt_in(domain: Domain) -> Self {
        Self {
            domain,
            scope: Scope::Itself,
            opted_in: true,
        }
    }

    /// Returns the opposite entry.
    pub fn opposite(&self) -> Self {
        Self {
            opted_in: !self.opted_in,
            ..self.clone()
        }
    }

    fn parse(text: &str) -> Result<Self, Why> {
        let (opted_in, name) = match text.strip_prefix('!') {
            Some(name) => (false, name),
            None => (true, text),
        };
        let (scope, name) = match name.strip_prefix('.') {
            Some(name) => (Scope::Subdomains, name),
            None => (Scope::Itself, name),
        };
        Ok(Self {
            domain: parse_domain(name)?,
            scope,
            opted_in,
        })
    }
}

fn parse_domain(name: &str) -> Result<Domain, Why> {
    if name.contains(char::is_whitespace) {
        return Err(Why::SeveralWords);
    }
    let domain = Domain::parse(name).map_err(|error| match name.contains("::") {
        true => Why::Address,
        false => Why::NoDomain(error),
    })?;
    // No top-level domain is a number (RFC 3696 section 2).
    let top_level = domain.as_str().rsplit('.').next().unwrap_or_default();
    match top_level.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(Why::Address),
        false => Ok(domain),
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.opted_in { "" } else { "!" };
        let below = match self.scope {
            Scope::Itself => "",
            Scope::Subdomains => ".",
        };
        write!(f, "{not}{below}{}", self.domain)
    }
}

/// The forms of an entry, for messages.
const FORMS: &str = "example.org, .example.org for its subdomains, \
                     or !example.org and !.example.org for what has opted out";

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match self.why {
            Why::Address => write!(f, "{text:?} is an address, which can't opt in"),
            Why::SeveralWords => write!(f, "{text:?} is more than one word")
                .and_then(|()| write!(f, "; write one entry a line: {FORMS}")),
            Why::NoDomain(error) => match self.suggestion() {
                Some(entry) => write!(f, "{text:?} is not a valid domain: {error}; write {entry}"),
                None => write!(f, "{text:?} is not a valid domain: {error}; write {FORMS}"),
            },
        }
    }
}

impl std::error::Error for EntryError {}

impl EntryError {
    /// Returns the entry that was probably meant by an address, a wildcard or a URL.
    fn suggestion(&self) -> Option<Entry> {
        let text = self.text.rsplit_once('@').map_or(&*self.text, |(_, d)| d);
        let text = text.replacen("*.", ".", 1).replacen("..", ".", 1);
        Entry::parse(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_entry_is_one_entry() {
        let table = [
            ("example.org", "example.org"),
            ("EXAMPLE.Org.", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            (".Example.ORG.", ".example.org"),
            ("!example.org", "!example.org"),
            ("!.BÜCHER.example", "!.xn--bcher-kva.example"),
            ("under_score.example", "under_score.example"),
            ("localhost", "localhost"),
        ];
        for (text, want) in table {
            let entry: Entry = text.parse().unwrap();
            assert_eq!(entry.to_string(), want, "{text}");
            assert_eq!(want.parse(), Ok(entry), "{text}");
        }
    }

    #[test]
    fn invalid_entries_are_refused_with_a_suggestion() {
        let table = [
            ("*.example.org", "write .example.org"),
            ("!*.example.org", "write !.example.org"),
            ("user@example.org", "write example.org"),
            ("@example.org", "write example.org"),
            ("..example.org", "write .example.org"),
            ("", "it is empty"),
            (".", "it is empty"),
            ("!", "it is empty"),
            ("!!example.org", "write example.org, .example.org"),
            ("example..org..", "empty label"),
            ("example.org OK", "one entry a line"),
            ("! example.org", "one entry a line"),
            ("192.0.2.1", "is an address"),
            ("!192.0.2.1", "is an address"),
            ("2001:db8::1", "is an address"),
            ("[192.0.2.1]", "a character that no domain name has"),
            (
                "https://example.org/",
                "a character that no domain name has",
            ),
        ];
        for (text, want) in table {
            let error = text.parse::<Entry>().unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
