//! The command line.

use crate::stream::Address;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// Loads a milter as an MTA does, and measures it.
#[derive(Parser)]
#[command(name = "milter-load")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Makes the keys that messages are signed with, and prints their records.
    Keys { directory: PathBuf },
    /// Prints a signed message, with lines as on Unix.
    Message { keys: PathBuf },
    /// Opens connections, holds them idle until standard input ends.
    Hold(Hold),
    /// Sends messages. Of an option given twice the last counts.
    #[command(args_override_self = true)]
    Run(Box<Run>),
}

#[derive(Args)]
pub struct Hold {
    /// Where the milter listens: unix:/path or inet:address:port.
    #[arg(long)]
    pub milter: Address,
    /// How many connections to open.
    #[arg(long)]
    pub connections: usize,
}

#[derive(Args)]
pub struct Run {
    /// Where the milter listens: unix:/path or inet:address:port.
    #[arg(long)]
    pub milter: Address,
    /// Who sends, to whom, and how it is signed.
    #[arg(long)]
    pub scenario: Scenario,
    /// Connections at a time.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Messages on each connection before it is closed.
    #[arg(long, default_value_t = 1)]
    pub per_connection: usize,
    /// Messages in all, unless --seconds ends it before.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    pub messages: u64,
    /// How long messages are begun.
    #[arg(long, value_parser = seconds, default_value = "86400", hide_default_value = true)]
    pub seconds: Duration,
    /// Messages that are sent however long it takes.
    #[arg(long, default_value_t = 0)]
    pub at_least: u64,
    /// Messages a second; without it the next begins when one is done.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Octets of a message without its signatures.
    #[arg(long, default_value_t = 4096)]
    pub size: usize,
    /// Files with messages to send in place of generated ones.
    #[arg(long)]
    pub message_file: Vec<PathBuf>,
    /// DKIM signatures on each message that has any.
    #[arg(long, default_value_t = 1)]
    pub signatures: usize,
    /// What they are made with.
    #[arg(long, default_value = "rsa")]
    pub algorithm: Algorithm,
    /// The directory that "keys" made.
    #[arg(long)]
    pub keys: PathBuf,
    /// How many different messages to make, each of a domain of its own.
    #[arg(long, default_value_t = 16)]
    pub pool: usize,
    /// How many sender domains take turns.
    #[arg(long, default_value_t = 100)]
    pub senders: u64,
    /// Where the turns begin, so that a second run meets other senders.
    #[arg(long, default_value_t = 0)]
    pub first_sender: u64,
    /// Recipients of each message.
    #[arg(long, default_value_t = 1)]
    pub recipients: usize,
    /// How each message has to end: "accepted", or code and enhanced status.
    #[arg(long, default_value = "accepted")]
    pub expect: String,
    /// What a header field that the milter adds has to contain.
    #[arg(long)]
    pub expect_field: Option<String>,
}

/// Who sends, to whom, and how it is signed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// SPF passes; the message is signed, too.
    SpfPass,
    /// SPF fails, and the signature is good.
    DkimPass,
    /// SPF fails, and nothing is signed.
    Unauthenticated,
    /// The client has no reverse DNS.
    NoPtr,
    /// The recipients' domain has not opted in.
    NotOptedIn,
    /// The client has an IPv4 address.
    Ipv4,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Algorithm {
    Rsa,
    Ed25519,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
