//! The domains that Sendmail accepts mail for: those of class w, of relay-domains and of
//! virtual hosts.

use super::{Candidates, first_word};
use crate::doctor::sendmail::Cf;
use std::{fs, io};

/// Adds the domains to the candidates. Missing files are ignored, as Sendmail does.
pub(super) fn gather(cf: &Cf, candidates: &mut Candidates) {
    cf.domains.iter().for_each(|name| candidates.take(name));
    for file in &cf.domain_files {
        match fs::read_to_string(file) {
            Ok(text) => text
                .lines()
                .filter_map(first_word)
                .for_each(|name| candidates.take(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => candidates.not_read(file, error),
        }
    }
}
