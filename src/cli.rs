//! The command line, from which `--help`, the completions and the options in the manual
//! pages are generated.

use crate::{
    address::Domain,
    config::{DnsServer, option},
    logs::time,
    trace::{ClientPattern, Mailbox},
};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, value_parser};
use jiff::{SignedDuration, Timestamp, Zoned};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

/// A milter that refuses anonymous mail over IPv6 unless the recipient's domain
/// has opted in, the client has reverse DNS, and SPF or DKIM passes.
#[derive(Debug, Parser)]
#[command(
    name = "sixgate",
    version,
    disable_help_subcommand = true,
    max_term_width = 80
)]
#[command(
    after_help = "Exit codes are those of sysexits.h: 64 usage, 66 no input, \
    69 unavailable, 71 OS error, 74 I/O error, 75 a warning, 78 configuration; \
    1 if trace found no message."
)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the milter in the foreground
    Serve(Serve),
    /// Validate a configuration file
    CheckConfig(CheckConfig),
    /// Explain what sixgate would do with a message, and why
    Explain(Explain),
    /// Manage the list of domains that accept mail over IPv6
    OptIn(OptIn),
    /// Manage the list of networks whose mail is not checked
    Exempt(Exempt),
    /// Summarize decisions from mail logs
    Report(Report),
    /// Follow messages through the logs of sixgate and the MTA
    Trace(Trace),
    /// Ask the running daemon whether it is ready; for containers and load balancers
    Healthcheck(Healthcheck),
    /// Check the installation and suggest fixes
    Doctor(Doctor),
}

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// The arguments of `check-config`.
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print the effective settings, defaults included
    #[arg(long)]
    pub show: bool,
    /// Also look up the SPF records that exempt.forwarders depends on
    #[arg(long)]
    pub dns: bool,
}

/// The arguments of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The configuration to use.
    #[command(flatten)]
    pub config: OptionalConfigFile,
    /// The address of the client
    #[arg(long, value_name = "IP")]
    pub client: IpAddr,
    /// The client's HELO or EHLO name
    #[arg(long, value_name = "NAME")]
    pub helo: Option<String>,
    /// The envelope sender [default: the null reverse-path]
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "<>",
        hide_default_value = true
    )]
    pub from: String,
    /// A recipient; may be given several times [default: one whose domain has
    /// opted in]
    #[arg(long, value_name = "ADDRESS")]
    pub to: Vec<String>,
    /// The message, for DKIM; - is standard input [default: an unsigned message]
    #[arg(long, value_name = "FILE")]
    pub message: Option<PathBuf>,
    /// The client has authenticated by SASL
    #[arg(long)]
    pub authenticated: bool,
    /// The client has a certificate with this common name, which the MTA has verified
    #[arg(long, value_name = "NAME")]
    pub certificate: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `opt-in`.
#[derive(Debug, Args)]
pub struct OptIn {
    /// The command to run.
    #[command(subcommand)]
    pub command: OptInCommand,
}

/// The commands of `opt-in`.
#[derive(Debug, Subcommand)]
pub enum OptInCommand {
    /// Add domains to the managed list; the running daemon reloads it
    Add(OptInAdd),
    /// Opt domains out in the managed list; the running daemon reloads it
    Deny(OptInDeny),
    /// Remove domains from the managed list and print what applies to them then; the
    /// running daemon reloads it
    Remove(OptInRemove),
    /// Print the managed list, opt_in.domains and opt_in.files
    List(OptInList),
    /// Print whether domains have opted in, and which source says so
    Status(OptInStatus),
    /// Update the mail exchangers' host names in the DNS to match the opt-ins
    SyncDns(OptInSyncDns),
}

/// The arguments of `opt-in add`.
#[derive(Debug, Args)]
pub struct OptInAdd {
    /// The entries, and what to do besides.
    #[command(flatten)]
    pub edit: OptInEdit,
    /// A comment for the entry, after the date
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Allow domains without a dot
    #[arg(long)]
    pub force: bool,
}

/// The arguments of `opt-in deny`.
#[derive(Debug, Args)]
#[command(
    after_help = "Writes '!example.org' for example.org and '!.example.org' for \
    .example.org; an entry that opts the same domain in is replaced. To opt it in \
    again: sixgate opt-in add example.org"
)]
pub struct OptInDeny {
    /// The entries, and what to do besides.
    #[command(flatten)]
    pub edit: OptInEdit,
    /// A comment for the entry, after the date
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Allow domains without a dot
    #[arg(long)]
    pub force: bool,
}

/// The arguments of `opt-in remove`.
#[derive(Debug, Args)]
pub struct OptInRemove {
    /// The entries, and what to do besides.
    #[command(flatten)]
    pub edit: OptInEdit,
}

/// What `opt-in add`, `deny` and `remove` have in common.
#[derive(Debug, Args)]
pub struct OptInEdit {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// example.org, .example.org for its subdomains, '!example.org' and
    /// '!.example.org' to opt out; - reads them from standard input, one per line
    #[arg(value_name = "DOMAIN", required = true)]
    pub entries: Vec<String>,
    /// Look up the mail exchangers of all domains, even if there are more than 20
    #[arg(long, conflicts_with = "no_dns")]
    pub dns: bool,
    /// Do not look up mail exchangers
    #[arg(long)]
    pub no_dns: bool,
    /// Also update the AAAA records of the domains' host names (opt_in.mx_zone), in the
    /// order that bounces no mail: an opt-in is listed before its AAAA record is added; an
    /// opt-out is listed when senders no longer have the AAAA record in their caches
    #[arg(long)]
    pub sync_dns: bool,
    /// With --sync-dns, do not wait for caches: the next sixgate opt-in sync-dns lists the
    /// opt-out
    #[arg(long, requires = "sync_dns")]
    pub no_wait: bool,
}

/// The arguments of `opt-in sync-dns`.
#[derive(Debug, Args)]
#[command(
    after_help = "Every known domain has a host name of its own with A records, and with \
    AAAA records only if it has opted in. Differences are sent to the primary server as dynamic \
    updates (RFC 2136), signed with the TSIG key. Only A and AAAA records one label below the \
    suffix are changed.\n\n\
    An AAAA record is added when every daemon knows the opt-in. To opt out, remove the AAAA \
    record first: sixgate opt-in deny --sync-dns for domains of the managed list; for those of \
    other sources --opt-out, then the source. The next run resumes what was interrupted.\n\n\
    Exit codes: 0 done, 64 wrong option, 66 no key file, 69 the server refuses the update, 75 \
    the opt-in of a domain is unknown or the zone keeps changing, 78 wrong configuration or key."
)]
pub struct OptInSyncDns {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print the differences as input for nsupdate, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove the AAAA record of this domain and wait until senders no longer have it
    /// in their caches; after that its source may opt it out. May be given several
    /// times; - reads standard input
    #[arg(long, value_name = "DOMAIN", conflicts_with = "dry_run")]
    pub opt_out: Vec<String>,
    /// Exit without waiting; the next run continues
    #[arg(long)]
    pub no_wait: bool,
    /// Cancel the opt-out of this domain; may be given several times
    #[arg(long, value_name = "DOMAIN", conflicts_with = "dry_run")]
    pub cancel: Vec<String>,
    /// Remove host names with our addresses that belong to no known domain
    #[arg(long)]
    pub prune: bool,
    /// How long after an opt-in an AAAA record is added [default: 3s for lists,
    /// opt_in.cache.positive for servers]
    #[arg(long, value_name = "DURATION", value_parser = option::duration)]
    pub settle: Option<Duration>,
    /// How much longer than the TTL an opt-out waits [default: opt_in.mx_zone.grace]
    #[arg(long, value_name = "DURATION", value_parser = option::duration)]
    pub grace: Option<Duration>,
    /// The zone of host names.
    #[command(flatten)]
    pub mx_zone: MxZoneOptions,
    /// The zone with the host names [default: opt_in.mx_zone.zone, or the suffix]
    #[arg(
        long,
        value_name = "NAME",
        value_parser = option::suffix,
        help_heading = "Host names of mail exchangers"
    )]
    pub zone: Option<Domain>,
    /// Its primary server, such as 192.0.2.53 [default: opt_in.mx_zone.server]
    #[arg(
        long,
        value_name = "ADDRESS",
        value_parser = option::server,
        help_heading = "Host names of mail exchangers"
    )]
    pub server: Option<DnsServer>,
    /// The file with the TSIG key [default: opt_in.mx_zone.key_file]
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Host names of mail exchangers"
    )]
    pub key_file: Option<PathBuf>,
}

/// The arguments of `opt-in list`.
#[derive(Debug, Args)]
pub struct OptInList {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The output format
    #[arg(long, value_enum, default_value = "list")]
    pub format: ListFormat,
    /// Print only the managed list
    #[arg(long)]
    pub managed: bool,
    /// The name of the zone, for its $ORIGIN
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// The zone of host names.
    #[command(flatten)]
    pub mx_zone: MxZoneOptions,
    /// mx-zone: a name server, for a whole zone with SOA and NS records; may be given
    /// several times. Without it, the output is to be included in a zone
    #[arg(
        long,
        value_name = "NAME",
        value_parser = option::suffix,
        help_heading = "Host names of mail exchangers"
    )]
    pub ns: Vec<Domain>,
}

/// The options that describe the zone of host names.
#[derive(Debug, Args)]
#[command(next_help_heading = "Host names of mail exchangers")]
pub struct MxZoneOptions {
    /// The name below which the host names are [default: opt_in.mx_zone.suffix]
    #[arg(long, value_name = "NAME", value_parser = option::suffix)]
    pub suffix: Option<Domain>,
    /// An IPv4 address of the mail servers; may be given several times
    /// [default: opt_in.mx_zone.a]
    #[arg(long, value_name = "IPV4", value_parser = option::a)]
    pub a: Vec<Ipv4Addr>,
    /// An IPv6 address of the mail servers; may be given several times
    /// [default: opt_in.mx_zone.aaaa]
    #[arg(long, value_name = "IPV6", value_parser = option::aaaa)]
    pub aaaa: Vec<Ipv6Addr>,
    /// The TTL of the records, such as 5m [default: opt_in.mx_zone.ttl]
    #[arg(long, value_name = "DURATION", value_parser = option::ttl)]
    pub ttl: Option<Duration>,
    /// A file with more domains than the lists have, one per line; - is standard input
    /// [default: opt_in.mx_zone.domains]
    #[arg(long, value_name = "FILE")]
    pub domains: Option<PathBuf>,
}

/// The output format of `opt-in list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A list in the format of opt_in.files
    List,
    /// A zone file for opt_in.dns_zone (BIND, Knot, NSD, PowerDNS)
    Zone,
    /// The same for rbldnsd, of type dnset
    Rbldnsd,
    /// Records for a host name per domain (contoso-com.mx.example.net): A, and AAAA if
    /// the domain has opted in (docs/rollout.md)
    MxZone,
    /// A JSON array of objects
    Json,
}

/// The arguments of `opt-in status`.
#[derive(Debug, Args)]
pub struct OptInStatus {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The domains; - reads them from standard input, one per line
    #[arg(value_name = "DOMAIN", required = true)]
    pub domains: Vec<String>,
    /// Print a JSON array with one object per domain: domain, verdict (yes, no or
    /// unknown), source, entry, file, line, reason; with opt_in.mx_zone also host, aaaa,
    /// drift (none, missing-aaaa, unexpected-aaaa, no-host or unknown), opt_out_until
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `exempt`.
#[derive(Debug, Args)]
pub struct Exempt {
    /// The command to run.
    #[command(subcommand)]
    pub command: ExemptCommand,
}

/// The commands of `exempt`.
#[derive(Debug, Subcommand)]
pub enum ExemptCommand {
    /// Add networks to the managed list, or change their end; the running daemon reloads it
    Add(ExemptAdd),
    /// Remove networks from the managed list; the running daemon reloads it
    Remove(ExemptRemove),
    /// Print the managed list and exempt.networks, with the last use of each entry
    List(ExemptList),
    /// Print whether addresses are exempt, and by which entry
    Status(ExemptStatus),
}

/// The arguments of `exempt add`.
#[derive(Debug, Args)]
#[command(
    after_help = "An entry that exists already gets the new end, or none; it keeps its comment \
    unless a new one is given. On standard input, entries may have their own end and comment, in \
    the format of the list:\n\n    \
    2001:db8::/32  until=2026-12-12T00:00:00Z  # ticket 4711"
)]
pub struct ExemptAdd {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// 2001:db8::/32 or 2001:db8::1; - reads them from standard input, one per line
    #[arg(value_name = "NETWORK", required = true)]
    pub entries: Vec<String>,
    /// End the exemption after this time: 12h, 14d or 2w
    #[arg(long = "for", value_name = "TIME", value_parser = time_from_now, conflicts_with = "until")]
    pub lasting: Option<SignedDuration>,
    /// End the exemption at this time: 2026-12-12 (after that day), 2026-12-12T10:00, or a
    /// time with a zone such as 2026-12-12T10:00:00Z
    #[arg(long, value_name = "DATE", value_parser = future_time)]
    pub until: Option<Timestamp>,
    /// A comment for the entry, after the date: who asked for it, and why
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Allow networks with a prefix shorter than /16
    #[arg(long)]
    pub force: bool,
}

/// The arguments of `exempt remove`.
#[derive(Debug, Args)]
pub struct ExemptRemove {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// 2001:db8::/32 or 2001:db8::1, as listed; - reads them from standard input, one per
    /// line
    #[arg(value_name = "NETWORK", required = true)]
    pub entries: Vec<String>,
}

/// The arguments of `exempt list`.
#[derive(Debug, Args)]
pub struct ExemptList {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The output format
    #[arg(long, value_enum, default_value = "table")]
    pub format: ExemptFormat,
    /// Print a JSON array of objects, as --format json does
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Print only the managed list
    #[arg(long)]
    pub managed: bool,
}

/// The output format of `exempt list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExemptFormat {
    /// A table, most recently used entries first
    Table,
    /// A list in the format that sixgate exempt add - reads
    List,
    /// A JSON array of objects
    Json,
}

/// The arguments of `exempt status`.
#[derive(Debug, Args)]
pub struct ExemptStatus {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The addresses of clients; - reads them from standard input, one per line
    #[arg(value_name = "ADDRESS", required = true)]
    pub addresses: Vec<String>,
    /// Print a JSON array with one object per address
    #[arg(long)]
    pub json: bool,
}

fn time_from_now(text: &str) -> Result<SignedDuration, String> {
    time::duration(text)
}

fn future_time(text: &str) -> Result<Timestamp, String> {
    time::end(text, &Zoned::now())
}

/// The arguments of `report`.
#[derive(Debug, Args)]
#[command(
    after_help = "WHEN is today, yesterday, 30m, 24h, 7d or 4w (that long ago), 2026-11-14, \
    2026-11-14T10:00, or a time with a zone such as 2026-11-14T10:00:00Z.\n\n\
    Give the MTA's log as well: from its lines the report knows which deferred mail came back \
    over IPv4. Rotated and compressed logs may be given in any order:\n\n    \
    sixgate report --since 7d /var/log/mail.log*"
)]
pub struct Report {
    /// The configuration whose exempt networks are listed.
    #[command(flatten)]
    pub config: ReportConfigFile,
    /// Logs, plain or compressed (gzip, xz, zstd), in any order; - or no file is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Read the entries of sixgate and the MTA in the journal
    #[arg(long)]
    pub journal: bool,
    /// Leave out older lines
    #[arg(long, value_name = "WHEN", value_parser = past_time)]
    pub since: Option<Timestamp>,
    /// Leave out lines from this time on
    #[arg(long, value_name = "WHEN", value_parser = point_in_time)]
    pub until: Option<Timestamp>,
    /// The maximum length of each list
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    /// Print a self-contained HTML page
    #[arg(long, conflicts_with = "json")]
    pub html: bool,
}

/// The arguments of `trace`.
#[derive(Debug, Args)]
#[command(
    after_help = "If several filters are given, an attempt must match all of them. WHEN is as in \
    sixgate report --help: yesterday, 24h, 2026-11-14T10:00.\n\n\
    Give the MTA's log as well, rotated and compressed ones in any order:\n\n    \
    sixgate trace --from user@example.net /var/log/mail.log*\n\n\
    Exit codes: 0 found, 1 nothing found, 64 wrong option, 66, 69 or 74 a log could not be read.",
    override_usage = "sixgate trace FILTER... [OPTIONS] [FILE]..."
)]
#[command(group(ArgGroup::new("filter").required(true).multiple(true)))]
pub struct Trace {
    /// Logs, plain or compressed; - or no file is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Read the journal
    #[arg(long)]
    pub journal: bool,
    /// The envelope sender: user@example.net, example.net for a whole domain, or <>
    #[arg(long, value_name = "ADDRESS", group = "filter")]
    pub from: Option<Mailbox>,
    /// The envelope recipient: an address, or a whole domain
    #[arg(long, value_name = "ADDRESS", group = "filter")]
    pub to: Option<Mailbox>,
    /// The SMTP client: address, network, host name, or .example.net for all names below it
    #[arg(long, value_name = "CLIENT", group = "filter")]
    pub client: Option<ClientPattern>,
    /// The queue ID of the MTA
    #[arg(long, value_name = "ID", group = "filter")]
    pub queue_id: Option<String>,
    /// The Message-ID, with or without angle brackets
    #[arg(long, value_name = "ID", group = "filter")]
    pub message_id: Option<String>,
    /// Find attempts from this time on
    #[arg(long, value_name = "WHEN", value_parser = past_time)]
    pub since: Option<Timestamp>,
    /// Find attempts before this time
    #[arg(long, value_name = "WHEN", value_parser = point_in_time)]
    pub until: Option<Timestamp>,
    /// The maximum number of messages to print, newest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

fn point_in_time(text: &str) -> Result<Timestamp, String> {
    time::parse(text, &Zoned::now())
}

/// Parses a time for `--since`, after which a log can have lines.
fn past_time(text: &str) -> Result<Timestamp, String> {
    let now = Zoned::now();
    let time = time::parse(text, &now)?;
    match time > now.timestamp() {
        true => Err(format!("{time} is in the future")),
        false => Ok(time),
    }
}

/// The arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 no findings, 75 warnings, 69 problems, \
    78 wrong configuration, 66 unreadable configuration.")]
pub struct Doctor {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The folder of Postfix's main.cf; may be given several times [default:
    /// /etc/postfix and its other instances, if they exist]
    #[arg(long, value_name = "DIR")]
    pub postfix_config: Vec<PathBuf>,
    /// The configuration of Sendmail [default: /etc/mail/sendmail.cf, if it exists]
    #[arg(long, value_name = "FILE")]
    pub sendmail_cf: Option<PathBuf>,
    /// A domain whose DNS servers do not answer, to measure how long mail from it is
    /// delayed
    #[arg(long, value_name = "NAME")]
    pub mute: Option<String>,
    /// Look up the MX records of each domain that has opted in, and of the MTA's domains
    #[arg(long)]
    pub dns: bool,
    /// Like --dns, but with the domains in this file, one per line, in place of the
    /// MTA's; - is standard input
    #[arg(long, value_name = "FILE")]
    pub domains: Option<PathBuf>,
    /// Print a JSON array of {check, level, seen, todo}
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `healthcheck`.
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// The configuration to use.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// The default path of the configuration.
pub const DEFAULT_CONFIG: &str = "/etc/sixgate/milter.yaml";

/// The configuration that a command needs.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        default_value = DEFAULT_CONFIG
    )]
    pub path: PathBuf,
}

/// The configuration of a command that only reads its exempt networks.
#[derive(Debug, Args)]
pub struct ReportConfigFile {
    /// The configuration file, for exempt networks that end soon or are unused
    /// [default: /etc/sixgate/milter.yaml, if it exists and can be read]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub path: Option<PathBuf>,
}

/// The configuration of a command that also works without one.
#[derive(Debug, Args)]
pub struct OptionalConfigFile {
    /// The configuration file [default: /etc/sixgate/milter.yaml, or default settings
    /// if it does not exist]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub path: Option<PathBuf>,
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
