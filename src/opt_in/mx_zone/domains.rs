//! The domains that need a host name of their own: the domains in opt-in lists, opted in
//! or not, and those in files that list all domains of a site.

use crate::{
    address::Domain,
    config,
    list_file::{self, ListError},
    opt_in::{
        Sources,
        entry::{Entry, Scope},
        files,
    },
};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

/// Why a file of domains could not be read.
#[derive(Debug)]
pub enum DomainsError {
    /// The file can't be opened.
    Unreadable(String),
    /// The file has a line that is not a domain, or no domain at all.
    Invalid(String),
}

impl std::fmt::Display for DomainsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(complaint) | Self::Invalid(complaint) => f.write_str(complaint),
        }
    }
}

impl std::error::Error for DomainsError {}

/// The collected domains.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    /// In alphabetical order.
    pub domains: BTreeSet<Domain>,
    /// The number of skipped entries for subdomains, which name no domain.
    pub patterns: usize,
}

impl Domains {
    /// Adds the domains of a file, one per line.
    ///
    /// # Errors
    /// Fails if a line is invalid or there is no domain: a failed export would otherwise
    /// look like a site without domains.
    pub fn add_file(&mut self, file: &Path) -> Result<(), DomainsError> {
        let name = file.display();
        let opened = File::open(file).map_err(|error| unreadable(&name.to_string(), &error))?;
        self.add_lines(&name.to_string(), BufReader::new(opened))
    }

    /// Adds domains as [`Domains::add_file`] does, from an open file.
    ///
    /// # Errors
    /// As for [`Domains::add_file`].
    pub fn add_lines(&mut self, name: &str, reader: impl BufRead) -> Result<(), DomainsError> {
        let mut is_empty = true;
        for (line, number) in reader.lines().zip(1..) {
            let wrong = |what: String| DomainsError::Invalid(format!("{name}:{number}: {what}"));
            let line = line.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => wrong("this is not UTF-8".to_owned()),
                _ => unreadable(name, &error),
            })?;
            let text = line.split('#').next().unwrap_or_default().trim();
            if !text.is_empty() {
                self.domains.insert(parse(text).map_err(wrong)?);
                is_empty = false;
            }
        }
        match is_empty {
            true => Err(DomainsError::Invalid(format!(
                "{name}: there is no domain in it"
            ))),
            false => Ok(()),
        }
    }

    /// Adds the domains of the opt-in lists.
    ///
    /// # Errors
    /// Fails if a list can't be read.
    pub fn add_lists(
        &mut self,
        config: &config::OptIn,
        sources: &Sources,
    ) -> Result<(), ListError> {
        config.domains.iter().for_each(|entry| self.add(entry));
        for list in sources.lists() {
            // A managed file that does not exist yet has no entries.
            if list.entries.is_empty() {
                continue;
            }
            for file in list_file::expand(list.paths)? {
                files::each_entry(&file, |line| {
                    self.add(&line.entry);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Adds the domain that an entry names.
    pub fn add(&mut self, entry: &Entry) {
        match entry.scope {
            // A name without a dot is not a mail domain.
            Scope::Itself if entry.domain.parent().is_none() => {}
            Scope::Itself => {
                self.domains.insert(entry.domain.clone());
            }
            Scope::Subdomains => self.patterns += 1,
        }
    }
}

fn unreadable(name: &str, error: &io::Error) -> DomainsError {
    DomainsError::Unreadable(format!("{name}: can't be read: {error}"))
}

fn parse(text: &str) -> Result<Domain, String> {
    let domain =
        Domain::parse(text).map_err(|error| format!("{text:?} is not a valid domain: {error}"))?;
    match domain.parent() {
        Some(_) => Ok(domain),
        None => Err(format!(
            "{text:?} has no dot; write domains such as example.org"
        )),
    }
}
