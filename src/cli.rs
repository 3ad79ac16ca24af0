//! The command line. Help, completions and the manual page are made of this,
//! so that each is written once.

use clap::{Args, Parser, Subcommand};
use std::{net::IpAddr, path::PathBuf};

/// A milter that refuses anonymous mail over IPv6 unless the recipient's domain
/// has opted in, the client has reverse DNS, and SPF or DKIM passes.
#[derive(Debug, Parser)]
#[command(name = "sixgate", version, disable_help_subcommand = true)]
#[command(max_term_width = 80)]
#[command(
    after_help = "Exit codes are those of sysexits.h: 64 usage, 66 no input, \
    69 unavailable, 71 OS error, 74 I/O error, 78 configuration."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the milter in the foreground
    Serve(Serve),
    /// Say what is wrong with a configuration, or that it is fine
    CheckConfig(CheckConfig),
    /// Tell what the gate would do with a mail, and why
    Explain(Explain),
}

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// The arguments of `check-config`.
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print the effective settings, defaults included
    #[arg(long)]
    pub show: bool,
}

/// The arguments of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The address of the client
    #[arg(long, value_name = "IP")]
    pub client: IpAddr,
    /// The name that it gives at HELO or EHLO
    #[arg(long, value_name = "NAME")]
    pub helo: Option<String>,
    /// The sender; without it the null reverse-path
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "<>",
        hide_default_value = true
    )]
    pub from: String,
    /// A recipient; may be given several times. Without one the mail is judged
    /// as if to a domain that has opted in
    #[arg(long, value_name = "ADDRESS")]
    pub to: Vec<String>,
    /// The message, for DKIM; - is standard input. Without it nothing is signed
    #[arg(long, value_name = "FILE")]
    pub message: Option<PathBuf>,
    /// The client has authenticated by SASL
    #[arg(long)]
    pub authenticated: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The configuration that a command works with.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        default_value = "/etc/sixgate/milter.yaml"
    )]
    pub path: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
