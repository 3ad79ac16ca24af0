//! Collects the domains that need a host name: from the lists, the hash in Redis, and files.

use super::listing::read_hash;
use crate::{
    address::Domain,
    config::Config,
    exit::{Exit, Failure},
    opt_in::{
        Sources,
        mx_zone::{Domains, DomainsError},
    },
};
use std::{io, path::Path};

/// Reads `file`, otherwise the files of `opt_in.mx_zone.domains`.
pub(super) fn given(config: &Config, file: Option<&Path>) -> Result<Domains, Failure> {
    let mut domains = Domains::default();
    let failed = |error: DomainsError| {
        let exit = match error {
            DomainsError::Unreadable(_) => Exit::NoInput,
            DomainsError::Invalid(_) => Exit::Usage,
        };
        Failure::new(exit, error)
    };
    match file {
        Some(file) if file == Path::new("-") => {
            domains.add_lines("standard input", io::stdin().lock())
        }
        Some(file) => domains.add_file(file),
        None => {
            let mut files = config.opt_in.mx_zone.domains.iter();
            files.try_for_each(|file| domains.add_file(file))
        }
    }
    .map_err(failed)?;
    Ok(domains)
}

/// Adds the domains of the lists and of the hash in Redis. Other servers can't list their
/// domains.
pub(super) fn with_those_of_lists(
    config: &Config,
    sources: &Sources,
    given: Domains,
) -> Result<Vec<Domain>, Failure> {
    let has_given = !given.domains.is_empty();
    let mut domains = given;
    domains.add_lists(&config.opt_in, sources)?;
    if config.opt_in.redis.is_configured() {
        let hash = read_hash(config)?;
        hash.iter().for_each(|(entry, _)| domains.add(entry));
    }
    if domains.patterns > 0 && !has_given {
        eprintln!(
            "warning: entries for subdomains ({}) do not name domains; list all domains with \
             --domains or opt_in.mx_zone.domains",
            domains.patterns
        );
    }
    Ok(domains.domains.into_iter().collect())
}
