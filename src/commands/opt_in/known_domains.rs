//! The domains that need a host name of their own: those of the opt-in lists, opted in
//! or not, and those of files that name all domains of a site.

use super::list::{Listing, read_hash};
use crate::{
    address::Domain,
    config::Config,
    exit::{Exit, Failure},
    opt_in::{
        Sources,
        entry::{Entry, Scope},
    },
};
use anyhow::anyhow;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

/// Standard input.
const STDIN: &str = "-";

/// Reads `file`, or else the files of `opt_in.mx_zone.domains`.
pub(super) fn given(config: &Config, file: Option<&Path>) -> Result<BTreeSet<Domain>, Failure> {
    let mut domains = BTreeSet::new();
    match file {
        Some(file) => read(file, &mut domains)?,
        None => {
            let mut files = config.opt_in.mx_zone.domains.iter();
            files.try_for_each(|file| read(file, &mut domains))?;
        }
    }
    Ok(domains)
}

/// Adds the domains of the lists and of the hash in Redis. Other servers can't be asked
/// which domains they know.
pub(super) fn with_those_of_lists(
    config: &Config,
    sources: &Sources,
    given: BTreeSet<Domain>,
) -> Result<Vec<Domain>, Failure> {
    let has_given = !given.is_empty();
    let mut domains = given;
    let mut patterns = 0_usize;
    let mut take = |entry: &Entry| match entry.scope {
        // What has no dot is not a mail domain.
        Scope::Itself if entry.domain.parent().is_none() => {}
        Scope::Itself => {
            domains.insert(entry.domain.clone());
        }
        Scope::Subdomains => patterns += 1,
    };
    if config.opt_in.redis.is_configured() {
        for (entry, _) in read_hash(config)? {
            take(&entry);
        }
    }
    let listed = Listing::new(config, sources, None, false).each(|item| {
        take(item.entry);
        Ok(())
    });
    listed.map_err(|error| Failure::new(Exit::Io, error))?;
    if patterns > 0 && !has_given {
        eprintln!(
            "warning: entries for subdomains ({patterns}) do not name domains; give all domains \
             by --domains or opt_in.mx_zone.domains"
        );
    }
    Ok(domains.into_iter().collect())
}

fn read(file: &Path, domains: &mut BTreeSet<Domain>) -> Result<(), Failure> {
    let is_stdin = file == Path::new(STDIN);
    let name = match is_stdin {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let reader: Box<dyn BufRead> = match is_stdin {
        true => Box::new(io::stdin().lock()),
        false => {
            let opened = File::open(file);
            let opened = opened.map_err(|error| {
                Failure::new(Exit::NoInput, anyhow!("{name}: can't be read: {error}"))
            })?;
            Box::new(BufReader::new(opened))
        }
    };
    let before = domains.len();
    for (line, number) in reader.lines().zip(1..) {
        let wrong = |what: String| Failure::new(Exit::Usage, anyhow!("{name}:{number}: {what}"));
        let line = line.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => wrong("this is not UTF-8".to_owned()),
            _ => Failure::new(Exit::Io, anyhow!("{name}: can't be read: {error}")),
        })?;
        let text = line.split('#').next().unwrap_or_default().trim();
        if !text.is_empty() {
            domains.insert(parse(text).map_err(wrong)?);
        }
    }
    match domains.len() > before {
        true => Ok(()),
        // An export that failed would look like a site without domains.
        false if before == 0 => Err(Failure::new(
            Exit::Usage,
            anyhow!("{name}: there is no domain in it"),
        )),
        false => Ok(()),
    }
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
