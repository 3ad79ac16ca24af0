//! The domains that Postfix accepts mail for: in main.cf, in files and in tables that can
//! be listed.

use super::{Candidates, first_word};
use crate::doctor::{
    postfix::{Instance, words},
    program,
};
use std::fs;

/// The parameters with domains (ADDRESS_CLASS_README).
const PARAMETERS: [&str; 4] = [
    "mydestination",
    "relay_domains",
    "virtual_alias_domains",
    "virtual_mailbox_domains",
];

/// Adds the domains of an instance to the candidates.
pub(super) async fn gather(instance: &Instance, candidates: &mut Candidates) {
    for parameter in PARAMETERS {
        for item in words(instance.main(parameter)) {
            take(instance, item, candidates).await;
        }
    }
}

/// Adds a domain, or the domains of a file or table (postconf(5), relay_domains).
async fn take(instance: &Instance, item: &str, candidates: &mut Candidates) {
    match item.split_once(':') {
        Some(("static" | "inline", _)) => {}
        Some(_) => take_table(instance, item, candidates).await,
        None if item.starts_with('/') => take_file(item, candidates),
        None => candidates.take(item),
    }
}

fn take_file(file: &str, candidates: &mut Candidates) {
    match fs::read_to_string(file) {
        Ok(text) => text
            .lines()
            .filter_map(first_word)
            .for_each(|name| candidates.take(name)),
        Err(error) => candidates.not_read(file, error),
    }
}

/// Adds the keys of a table that are domains.
async fn take_table(instance: &Instance, table: &str, candidates: &mut Candidates) {
    let table_name = table.strip_prefix("proxy:").unwrap_or(table);
    let question = ["-c", &instance.directory, "-s", table_name];
    match program::run("postmap", &question).await {
        Ok(lines) => lines
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .for_each(|key| candidates.take(key)),
        Err(failure) => candidates.not_read(table, failure),
    }
}
