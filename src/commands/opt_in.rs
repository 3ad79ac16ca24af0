//! `sixgate opt-in`: manages the list of domains that take mail over IPv6, and
//! tells what all sources say.

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

/// Does what was asked for. The daemon is not told: it follows the file.
///
/// # Errors
/// When the configuration, a list or a domain is wrong, or a file can't be read
/// or written.
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
