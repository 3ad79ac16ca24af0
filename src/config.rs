//! The configuration: parsed, validated, and with every default applied.
//!
//! `raw` reads the file and is the only user of the YAML library. The `with` attribute of
//! a field names the type that parses and validates its value. The rest of the program
//! relies on that and validates nothing again.

mod addresses;
mod certificates;
mod choices;
mod dns_server;
mod enforcement;
mod error;
mod forwarders;
mod host;
mod host_pattern;
mod lists;
mod numbers;
mod opt_in;
mod opt_in_mx;
mod opt_in_mx_zone;
mod opt_in_servers;
mod prefixes;
mod raw;
mod redis;
mod replies;
mod section;
mod sockets;
mod sql;
mod status;
mod suggestion;
mod syntax;
mod value;
mod warnings;

pub use dns_server::DnsServer;
pub use error::ConfigError;
pub use forwarders::{Forwarders, MAX_SPF_OF};
pub use host::group_id;
pub use host_pattern::HostPattern;
pub use opt_in::{LISTS_FOLDER, MANAGED_FILE, OptIn, OptInCache, Socketmap, SocketmapServer};
pub use opt_in_mx::OptInMx;
pub use opt_in_mx_zone::{MxZone, option};
pub use redis::{REDIS_KEY, Redis, RedisPlace, RedisTls, RedisUrl};
pub use sql::{Sql, SqlEngine, SqlUrl};
pub use status::Status;

use crate::{enforcement::EnforceShare, opt_in::entry::Entry, policy, reply::Replies};
use choices::{Word, YesNo};
use dns_server::DnsServerAddress;
use ipnet::IpNet;
use numbers::{Number, RsaBits, Size, StageTimeout, Timeout, Wait};
use replies::{AuthservId, LogFilter};
use serde::{Deserialize, Serialize};
use sockets::HttpAddress;
use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};
use value::{List, Optional, Scalar};

/// The content of milter.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Milter sockets. The default is `inet:127.0.0.1:8894`.
    pub listen: Vec<Socket>,
    /// The permission bits of unix sockets. The default is `0660`.
    pub socket_mode: u32,
    /// The group of unix sockets. The default is the group of the process.
    pub socket_group: Option<String>,
    /// The networks from which MTAs may connect over TCP, besides loopback. Empty, the
    /// default, allows all.
    pub allow_peers: Vec<IpNet>,
    /// Whether to refuse mail. The default is [`Mode::Enforce`].
    pub mode: Mode,
    /// Recipient domains in observe mode, whatever `mode` is. The default is none.
    pub observe_domains: Vec<Entry>,
    /// Rules in observe mode. The default is none.
    pub observe_rules: Vec<policy::Rule>,
    /// The share of client networks whose mail is refused; the others are in observe mode.
    /// The default is all of them.
    pub enforce_share: EnforceShare,
    /// The key of the hash that selects these networks. The default is the same for all
    /// installations.
    pub enforce_share_key: Option<String>,
    /// The opt-in sources.
    pub opt_in: OptIn,
    /// `exempt.managed_file`: the list that `sixgate exempt` edits. The default is
    /// [`EXEMPT_FILE`].
    pub exempt_file: PathBuf,
    /// `ipv4_prefixes`, `exempt`, `reverse_dns` and `on_dns_failure`.
    pub policy: policy::Settings,
    /// `exempt.forwarders`
    pub forwarders: Forwarders,
    /// The texts of the replies.
    pub replies: Replies,
    /// The Authentication-Results field.
    pub authentication_results: AuthenticationResults,
    /// The DNS servers and cache.
    pub dns: Dns,
    /// Limits of RFC 7208 section 4.6.4.
    pub spf: Spf,
    /// Limits of DKIM verification.
    pub dkim: Dkim,
    /// Limits on what one MTA or sender can use.
    pub limits: Limits,
    /// The format and the target of the log.
    pub log: Log,
    /// The HTTP server for metrics and health.
    pub metrics: Metrics,
    /// The status page.
    pub status: Status,
}

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] if the file does not exist or can't be read, else
    /// [`ConfigError::Invalid`] with the first error in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, &path.display().to_string())
    }

    /// Reads a file and checks that what it names exists on this machine: the folders of
    /// unix sockets and their group. Opens and changes nothing.
    ///
    /// # Errors
    /// Those of [`Config::load`], and [`ConfigError::Invalid`] for what is missing on
    /// this machine.
    pub fn load_for_host(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let file = path.display().to_string();
        let config = Self::parse(&text, &file)?;
        raw::check_host(&text, &file)?;
        Ok(config)
    }

    /// Parses the text of a file. `file` is its name in errors.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the first error in it.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        raw::parse(text, file)
    }

    /// Returns the error for a key that a server rejects, such as `query` in the section
    /// `opt_in.sql`, with its line in the file.
    pub fn section_error(path: &Path, section: &str, key: &str, complaint: &str) -> ConfigError {
        let text = fs::read_to_string(path).unwrap_or_default();
        raw::section_error(&text, &path.display().to_string(), section, key, complaint)
    }

    /// Returns the text of a file with every key that gives the same configuration.
    pub fn to_yaml(&self) -> String {
        raw::show(self)
    }
}

/// The default path of the list of `sixgate exempt`. Only at this path may the file be
/// missing.
pub const EXEMPT_FILE: &str = "/var/lib/sixgate/exempt.list";

fn read(path: &Path) -> Result<String, ConfigError> {
    let file = path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|error| not_utf8(file, &error)),
        Err(error) => Err(ConfigError::Unreadable { file, error }),
    }
}

fn not_utf8(file: String, error: &std::string::FromUtf8Error) -> ConfigError {
    let well_formed = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line_breaks = well_formed.iter().filter(|byte| **byte == b'\n').count();
    ConfigError::Invalid {
        file,
        line: Some(line_breaks + 1),
        complaint: "this is not UTF-8; save the file as UTF-8".to_owned(),
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Socket::Inet {
                host: Ipv4Addr::LOCALHOST.to_string(),
                port: 8894,
            }],
            socket_mode: 0o660,
            socket_group: None,
            allow_peers: Vec::new(),
            mode: Mode::Enforce,
            observe_domains: Vec::new(),
            observe_rules: Vec::new(),
            enforce_share: EnforceShare::default(),
            enforce_share_key: None,
            opt_in: OptIn::default(),
            exempt_file: PathBuf::from(EXEMPT_FILE),
            policy: policy::Settings::default(),
            forwarders: Forwarders::default(),
            replies: Replies::default(),
            authentication_results: AuthenticationResults::default(),
            dns: Dns::default(),
            spf: Spf::default(),
            dkim: Dkim::default(),
            limits: Limits::default(),
            log: Log::default(),
            metrics: Metrics::default(),
            status: Status::default(),
        }
    }
}

/// A milter socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Socket {
    /// `unix:/path` or `local:/path`.
    Unix(PathBuf),
    /// `inet:host:port`, `inet:port@host`, `inet6:port@host` and
    /// `inet:[address]:port`. The host may be a name, which is resolved when
    /// the socket is opened.
    Inet {
        /// Name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `systemd:NAME`: a socket that systemd opened and passes on by this name
    /// (`FileDescriptorName=`, sd_listen_fds(3)).
    Systemd(String),
}

/// Whether mail is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse mail.
    Enforce,
    /// Decide, log and count, but refuse nothing.
    Observe,
}

impl Mode {
    /// Returns the name in the configuration, in logs and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// The Authentication-Results field (RFC 8601).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthenticationResults {
    /// Whether to add the field to checked mail and to remove forged ones. The default is
    /// `true`.
    #[serde(with = "Scalar::<Word<bool>>")]
    pub add: bool,
    /// The authserv-id (RFC 8601 section 2.5). The default is the MTA's name, from the
    /// milter macro `{j}`.
    #[serde(with = "Optional::<AuthservId>")]
    pub authserv_id: Option<String>,
    /// Whether the field has the result of every method. The default is `false`: it has
    /// those that the decision needed.
    #[serde(with = "Scalar::<YesNo>")]
    pub complete: bool,
    /// The mail that gets the field. The default is [`Families::Checked`].
    #[serde(with = "Scalar::<Word<Families>>")]
    pub families: Families,
    /// Whether to refuse a message with a forged field if the MTA can't remove header
    /// fields. The default is `false`.
    #[serde(with = "Scalar::<YesNo>")]
    pub strict: bool,
}

impl AuthenticationResults {
    /// Returns whether IPv4 mail gets the field too, so that sixgate can't end its
    /// milter session early.
    pub fn need_ipv4_mail(&self) -> bool {
        self.add && self.families == Families::All
    }
}

/// The mail that gets an Authentication-Results field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Checked mail: over IPv6 and not exempt.
    Checked,
    /// Also IPv4 and exempt mail, about which nothing is decided.
    All,
}

impl Default for AuthenticationResults {
    fn default() -> Self {
        Self {
            add: true,
            authserv_id: None,
            complete: false,
            families: Families::Checked,
            strict: false,
        }
    }
}

/// The DNS servers and cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Recursive resolvers. Empty, the default, means those of /etc/resolv.conf.
    #[serde(with = "List::<DnsServerAddress>")]
    pub servers: Vec<DnsServer>,
    /// The timeout of one query to one server. The default is 2 s.
    #[serde(with = "Scalar::<Timeout>")]
    pub timeout: Duration,
    /// How many times each server is tried. The default is 2.
    #[serde(with = "Scalar::<Number<usize, 1, 10>>")]
    pub attempts: usize,
    /// The memory of the DNS cache in bytes, for all record types together; 0 disables
    /// it. The default is 32 MiB.
    #[serde(with = "Scalar::<Size<0>>")]
    pub cache_bytes: usize,
    /// The number of cached answers of each record type; replaced by `cache_bytes`.
    #[serde(
        with = "Optional::<Number<usize, 0, 100_000_000>>",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_entries: Option<usize>,
}

impl Dns {
    const DEFAULT_CACHE_BYTES: usize = 32 << 20;

    /// The bytes for one of `cache_entries`: the old default of 65536 entries equals
    /// the new one of 32 MiB.
    const BYTES_PER_ENTRY: usize = 512;

    /// Returns the memory of the DNS cache in bytes. `cache_entries` is only used if
    /// `cache_bytes` has its default.
    pub fn cache_capacity(&self) -> usize {
        match self.cache_entries {
            Some(entries) if self.cache_bytes == Self::DEFAULT_CACHE_BYTES => {
                entries.saturating_mul(Self::BYTES_PER_ENTRY)
            }
            Some(_) | None => self.cache_bytes,
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            attempts: 2,
            cache_bytes: Self::DEFAULT_CACHE_BYTES,
            cache_entries: None,
        }
    }
}

/// Limits of RFC 7208 section 4.6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spf {
    /// The maximum number of terms that cause a DNS lookup. The default is 10.
    #[serde(with = "Scalar::<Number<usize, 1, 100>>")]
    pub max_lookups: usize,
    /// The maximum number of lookups without an answer. The default is 2.
    #[serde(with = "Scalar::<Number<usize, 0, 100>>")]
    pub max_void_lookups: usize,
}

impl Default for Spf {
    fn default() -> Self {
        Self {
            max_lookups: 10,
            max_void_lookups: 2,
        }
    }
}

/// Limits of DKIM verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dkim {
    /// The maximum number of signatures verified in one message. The default is 8.
    #[serde(with = "Scalar::<Number<usize, 1, 100>>")]
    pub max_signatures: usize,
    /// The minimum length of an RSA key in bits. The default, and the lowest value allowed,
    /// is 1024 (RFC 8301 section 3.2).
    #[serde(with = "Scalar::<RsaBits>")]
    pub min_rsa_bits: usize,
}

impl Default for Dkim {
    fn default() -> Self {
        Self {
            max_signatures: 8,
            min_rsa_bits: 1024,
        }
    }
}

/// Limits on what one MTA or sender can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The maximum number of milter connections. The default is 10000.
    #[serde(with = "Scalar::<Number<usize, 1, 1_000_000>>")]
    pub connections: usize,
    /// The maximum size of a header block in bytes. The default is 1 MiB.
    #[serde(with = "Scalar::<Size<1024>>")]
    pub header_bytes: usize,
    /// The timeout of all lookups for one milter command. The default is 8 s.
    #[serde(with = "Scalar::<StageTimeout>")]
    pub stage_timeout: Duration,
    /// The time without input after which a milter connection is closed. The default is
    /// 2 h.
    #[serde(with = "Scalar::<Timeout>")]
    pub idle_timeout: Duration,
    /// How long a shutdown waits for pending mail transactions. The default is 30 s.
    #[serde(with = "Scalar::<Wait>")]
    pub drain_timeout: Duration,
    /// How long a shutdown keeps connections without a mail transaction open, to answer
    /// MAIL with 421. The default is 2 s.
    #[serde(with = "Scalar::<Wait>")]
    pub drain_grace: Duration,
    /// How long a process serves its connections after a handover, before it drains. The
    /// default is 5 min.
    #[serde(with = "Scalar::<Wait>")]
    pub handover_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 1 << 20,
            stage_timeout: Duration::from_secs(8),
            idle_timeout: Duration::from_secs(2 * 60 * 60),
            drain_timeout: Duration::from_secs(30),
            drain_grace: Duration::from_secs(2),
            handover_timeout: Duration::from_secs(5 * 60),
        }
    }
}

/// The format and the target of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// The format of a line. The default is [`LogFormat::Text`].
    #[serde(with = "Scalar::<Word<LogFormat>>")]
    pub format: LogFormat,
    /// A filter in the syntax of tracing's `EnvFilter`. The default is `info`.
    #[serde(with = "Scalar::<LogFilter>")]
    pub level: String,
    /// The target. The default is [`LogTarget::Auto`].
    #[serde(with = "Scalar::<Word<LogTarget>>")]
    pub target: LogTarget,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
            target: LogTarget::Auto,
        }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text in the style of Postfix, for people and log analyzers.
    Text,
    /// One JSON object per line.
    Json,
}

/// The target of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The journal if standard error is connected to it, else standard error if it is
    /// open, else syslog.
    Auto,
    /// systemd's journal, with a journal field for each field of a decision.
    Journald,
    /// The syslog daemon at /dev/log, facility mail.
    Syslog,
    /// Standard error.
    Stderr,
}

/// The HTTP server for metrics and health.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// The sockets that serve `/metrics`, `/healthz` and `/readyz`. The default is none.
    #[serde(with = "List::<HttpAddress>")]
    pub listen: Vec<HttpSocket>,
}

/// An HTTP socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HttpSocket {
    /// The path of a unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Inet(HostPort),
}

/// A TCP address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_defaults() {
        for text in [
            "",
            "\n",
            "# nothing\n",
            "---\n",
            "limits:\n  # connections: 5\n",
        ] {
            let config =
                Config::parse(text, "milter.yaml").unwrap_or_else(|e| panic!("{text:?}: {e}"));
            assert_eq!(config, Config::default(), "{text:?}");
        }
    }

    #[test]
    fn the_output_of_show_parses_to_the_same_configuration() {
        let text = Config::default().to_yaml();
        assert_eq!(
            Config::parse(&text, "milter.yaml").unwrap(),
            Config::default()
        );
    }
}
