//! `sixgate opt-in`: manages the list of domains that accept mail over IPv6, and shows the
//! answers of all sources.

mod after_removal;
mod edit;
mod hosts;
mod known_domains;
mod list;
mod listing;
mod mx_zone;
mod requests;
mod status;
mod sync_dns;
mod verdict;
mod warnings;
mod zone;

pub(super) use edit::in_redis;

use crate::{cli::OptInCommand, exit::Failure};

/// Runs the command. Does not notify the daemon, which follows the file.
///
/// # Errors
/// Fails if the configuration, a list or a domain is invalid, or if a file can't be read or
/// written.
pub(super) fn run(command: &OptInCommand) -> Result<(), Failure> {
    match command {
        OptInCommand::Add(arguments) => edit::add(arguments),
        OptInCommand::Deny(arguments) => edit::deny(arguments),
        OptInCommand::Remove(arguments) => edit::remove(arguments),
        OptInCommand::List(arguments) => list::run(arguments),
        OptInCommand::Status(arguments) => status::run(arguments),
        OptInCommand::SyncDns(arguments) => sync_dns::run(arguments),
    }
}
