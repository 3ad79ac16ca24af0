//! `sixgate exempt`: manages the list of networks whose mail is not checked.

mod edit;
mod list;
mod requests;
mod status;
mod warnings;

use crate::{
    cli::ExemptCommand, commands::opt_in::in_redis, config::Config, exempt::Exemptions,
    exit::Failure,
};

/// Runs the command. Does not notify the daemon, which follows the file.
///
/// # Errors
/// Fails if the configuration, the list or a network is invalid, or if a file can't be read
/// or written.
pub(super) fn run(command: &ExemptCommand) -> Result<(), Failure> {
    match command {
        ExemptCommand::Add(arguments) => edit::add(arguments),
        ExemptCommand::Remove(arguments) => edit::remove(arguments),
        ExemptCommand::List(arguments) => list::run(arguments),
        ExemptCommand::Status(arguments) => status::run(arguments),
    }
}

/// Reads the lists, including one in Redis.
fn open(config: &Config) -> Result<Exemptions, Failure> {
    let exemptions = Exemptions::open(config, None)?;
    if exemptions.is_in_redis() {
        in_redis(async || exemptions.load().await)?;
    }
    Ok(exemptions)
}
