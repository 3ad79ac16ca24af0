//! The command line.

use crate::stream::Address;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// Puts load on a milter, as an MTA does, and measures it
#[derive(Parser)]
#[command(name = "milter-load")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Generate the keys that messages are signed with, and print their records
    Keys { directory: PathBuf },
    /// Print a signed message with Unix line breaks
    Message { keys: PathBuf },
    /// Open connections and keep them idle until standard input ends
    Hold(Hold),
    /// Send messages. If an option is given twice, the last one applies
    #[command(args_override_self = true)]
    Run(Box<Run>),
}

#[derive(Args)]
pub struct Hold {
    /// The milter's socket: unix:/path or inet:address:port
    #[arg(long)]
    pub milter: Address,
    /// The number of connections to open
    #[arg(long)]
    pub connections: usize,
}

#[derive(Args)]
pub struct Run {
    /// The milter's socket: unix:/path or inet:address:port
    #[arg(long)]
    pub milter: Address,
    /// The client, the envelope and the signatures
    #[arg(long)]
    pub scenario: Scenario,
    /// The number of simultaneous connections
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// The number of messages on each connection
    #[arg(long, default_value_t = 1)]
    pub per_connection: usize,
    /// The total number of messages, unless --seconds ends the run before
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    pub messages: u64,
    /// How long new messages are started
    #[arg(long, value_parser = seconds, default_value = "86400", hide_default_value = true)]
    pub seconds: Duration,
    /// The minimum number of messages, even if they take longer than --seconds
    #[arg(long, default_value_t = 0)]
    pub at_least: u64,
    /// Messages per second [default: a message starts when the previous one is done]
    #[arg(long)]
    pub rate: Option<f64>,
    /// The size of a message in bytes, without its signatures
    #[arg(long, default_value_t = 4096)]
    pub size: usize,
    /// Files with messages to send instead of generated ones
    #[arg(long)]
    pub message_file: Vec<PathBuf>,
    /// The number of DKIM signatures on each signed message
    #[arg(long, default_value_t = 1)]
    pub signatures: usize,
    /// The algorithm of the signatures
    #[arg(long, default_value = "rsa")]
    pub algorithm: Algorithm,
    /// The directory that the command keys has written
    #[arg(long)]
    pub keys: PathBuf,
    /// The number of different messages, each signed by a domain of its own
    #[arg(long, default_value_t = 16)]
    pub pool: usize,
    /// The number of sender domains, which alternate
    #[arg(long, default_value_t = 100)]
    pub senders: u64,
    /// The number of the first sender domain, so that a second run has other senders
    #[arg(long, default_value_t = 0)]
    pub first_sender: u64,
    /// The number of recipients of each message
    #[arg(long, default_value_t = 1)]
    pub recipients: usize,
    /// The expected outcome: "accepted", or code and enhanced status code
    #[arg(long, default_value = "accepted")]
    pub expect: String,
    /// Text that a header field added by the milter has to contain
    #[arg(long)]
    pub expect_field: Option<String>,
}

/// The client, the envelope and the signatures.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// SPF passes, and the message is signed too.
    SpfPass,
    /// SPF fails, and the signature is valid.
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
