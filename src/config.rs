//! The configuration, valid by construction: what a running daemon needs to
//! know, with every default applied and every text parsed.
//!
//! Files are read in `raw`, which is the only user of the YAML library; how a
//! text becomes a value stands in the `with` of its field. What was read can't
//! be wrong, so nothing above checks it again.

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

/// Everything that milter.yaml says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Milter sockets. The default is `inet:127.0.0.1:8894`.
    pub listen: Vec<Socket>,
    /// Permission bits of unix sockets. The default is `0660`.
    pub socket_mode: u32,
    /// Group of unix sockets. The default is that of the process.
    pub socket_group: Option<String>,
    /// Networks from which MTAs may connect over TCP, besides loopback. Empty,
    /// which is the default, means all.
    pub allow_peers: Vec<IpNet>,
    /// Whether refusals are carried out. The default is [`Mode::Enforce`].
    pub mode: Mode,
    /// Recipients' domains for which it is [`Mode::Observe`] whatever `mode` is.
    /// The default is none.
    pub observe_domains: Vec<Entry>,
    /// Rules whose refusals are not carried out. The default is none.
    pub observe_rules: Vec<policy::Rule>,
    /// The share of client networks for which refusals are carried out. The default is
    /// all of them.
    pub enforce_share: EnforceShare,
    /// What selects the networks of the share. The default is a key that all
    /// installations have.
    pub enforce_share_key: Option<String>,
    /// Which domains take mail over IPv6.
    pub opt_in: OptIn,
    /// `exempt.managed_file`: the list that `sixgate exempt` edits. The default is
    /// [`EXEMPT_FILE`].
    pub exempt_file: PathBuf,
    /// `ipv4_prefixes`, `exempt`, `reverse_dns` and `on_dns_failure`.
    pub policy: policy::Settings,
    /// `exempt.forwarders`
    pub forwarders: Forwarders,
    /// The texts of refusals.
    pub replies: Replies,
    /// The field that tells what was found.
    pub authentication_results: AuthenticationResults,
    /// How to ask the DNS.
    pub dns: Dns,
    /// Limits of RFC 7208 section 4.6.4.
    pub spf: Spf,
    /// Limits of DKIM verification.
    pub dkim: Dkim,
    /// Bounds on what a peer can make us do.
    pub limits: Limits,
    /// How to log.
    pub log: Log,
    /// What monitoring can ask.
    pub metrics: Metrics,
    /// The status page.
    pub status: Status,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] when there is no such file or it may not be
    /// read, else [`ConfigError::Invalid`] with the first thing that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, &path.display().to_string())
    }

    /// Reads a file and looks for what it names on this machine: the folders
    /// of unix sockets and their group. Nothing is opened or changed.
    ///
    /// # Errors
    /// Those of [`Config::load`], and [`ConfigError::Invalid`] for what is
    /// missing on this machine.
    pub fn load_for_host(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let file = path.display().to_string();
        let config = Self::parse(&text, &file)?;
        raw::check_host(&text, &file)?;
        Ok(config)
    }

    /// Reads the text of a file. `file` is its name in errors.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the first thing that is wrong.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        raw::parse(text, file)
    }

    /// The error for what a server says about a key of its section in a file, such as
    /// `opt_in.sql` and `query`, with its line.
    pub fn section_error(path: &Path, section: &str, key: &str, complaint: &str) -> ConfigError {
        let text = fs::read_to_string(path).unwrap_or_default();
        raw::section_error(&text, &path.display().to_string(), section, key, complaint)
    }

    /// The text of a file that says the same, with every key.
    pub fn to_yaml(&self) -> String {
        raw::show(self)
    }
}

/// Where the list of `sixgate exempt` is by default. Here alone it need not exist.
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

/// Where MTAs connect to.
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

/// Whether refusals are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse.
    Enforce,
    /// Decide, log and count, and refuse nothing.
    Observe,
}

/// The RFC 8601 field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthenticationResults {
    /// Whether to add it to checked mail and to remove forged ones. The default
    /// is `true`.
    #[serde(with = "Scalar::<Word<bool>>")]
    pub add: bool,
    /// The authserv-id (RFC 8601 section 2.5). The default is the MTA's name,
    /// its macro `{j}`.
    #[serde(with = "Optional::<AuthservId>")]
    pub authserv_id: Option<String>,
    /// Whether it has every method, whatever decided. The default is `false`: it has
    /// those that were needed.
    #[serde(with = "Scalar::<YesNo>")]
    pub complete: bool,
    /// Which mail gets it. The default is [`Families::Checked`].
    #[serde(with = "Scalar::<Word<Families>>")]
    pub families: Families,
    /// Whether a message with a forged field is refused where the MTA can't remove
    /// header fields. The default is `false`.
    #[serde(with = "Scalar::<YesNo>")]
    pub strict: bool,
}

impl AuthenticationResults {
    /// Whether IPv4 mail gets the field, so that MTAs have to hand it to sixgate.
    pub fn need_ipv4_mail(&self) -> bool {
        self.add && self.families == Families::All
    }
}

/// Which mail gets an Authentication-Results field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Mail that is checked.
    Checked,
    /// Also IPv4 and exempt mail: results, and no decision.
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

/// How to ask the DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Recursive resolvers. Empty, which is the default, means the system's.
    #[serde(with = "List::<DnsServerAddress>")]
    pub servers: Vec<DnsServer>,
    /// How long one server may take for one question. The default is 2 s.
    #[serde(with = "Scalar::<Timeout>")]
    pub timeout: Duration,
    /// How often the servers are gone through. The default is 2.
    #[serde(with = "Scalar::<Number<usize, 1, 10>>")]
    pub attempts: usize,
    /// Memory of the DNS cache, all record types together; 0 caches nothing. The
    /// default is 32 MiB.
    #[serde(with = "Scalar::<Size<0>>")]
    pub cache_bytes: usize,
    /// What `cache_bytes` replaces: answers of each record type.
    #[serde(
        with = "Optional::<Number<usize, 0, 100_000_000>>",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_entries: Option<usize>,
}

impl Dns {
    const DEFAULT_CACHE_BYTES: usize = 32 << 20;

    /// What an answer counts that `cache_entries` allows: the old default of 65536
    /// is the new one of 32 MiB.
    const BYTES_PER_ENTRY: usize = 512;

    /// Memory of the DNS cache by both keys. `cache_entries` counts only where
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
    /// Terms that cause a DNS look-up. The default is 10.
    #[serde(with = "Scalar::<Number<usize, 1, 100>>")]
    pub max_lookups: usize,
    /// Look-ups without an answer. The default is 2.
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
    /// Signatures verified in one message. The default is 8.
    #[serde(with = "Scalar::<Number<usize, 1, 100>>")]
    pub max_signatures: usize,
    /// The shortest RSA key that counts, in bits. The default is 1024 (RFC 8301
    /// section 3.2), which is also the least allowed.
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

/// Bounds on what a peer can make us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Milter connections at a time. The default is 10000.
    #[serde(with = "Scalar::<Number<usize, 1, 1_000_000>>")]
    pub connections: usize,
    /// The longest header block kept, in bytes. The default is 1 MiB.
    #[serde(with = "Scalar::<Size<1024>>")]
    pub header_bytes: usize,
    /// How long one milter command may wait for look-ups. The default is 8 s.
    #[serde(with = "Scalar::<StageTimeout>")]
    pub stage_timeout: Duration,
    /// How long a milter connection may be silent. The default is 2 h.
    #[serde(with = "Scalar::<Timeout>")]
    pub idle_timeout: Duration,
    /// How long a shutdown waits for mail transactions. The default is 30 s.
    #[serde(with = "Scalar::<Wait>")]
    pub drain_timeout: Duration,
    /// How long a shutdown keeps a connection without a mail transaction open, to
    /// answer MAIL with 421. The default is 2 s.
    #[serde(with = "Scalar::<Wait>")]
    pub drain_grace: Duration,
    /// How long a process that has handed over serves the connections that it has,
    /// before it drains. The default is 5 min.
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

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// What a line looks like. The default is [`LogFormat::Text`].
    #[serde(with = "Scalar::<Word<LogFormat>>")]
    pub format: LogFormat,
    /// A filter in the syntax of tracing's `EnvFilter`. The default is `info`.
    #[serde(with = "Scalar::<LogFilter>")]
    pub level: String,
    /// Where lines go. The default is [`LogTarget::Auto`].
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

/// What a log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people and the log tools of mail servers.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The journal if it is what standard error leads to, else standard error
    /// if it leads anywhere, else syslog.
    Auto,
    /// systemd's journal, with every field of a decision.
    Journald,
    /// The syslog daemon at /dev/log, facility mail.
    Syslog,
    /// Standard error.
    Stderr,
}

/// What monitoring can ask.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Where `/metrics`, `/healthz` and `/readyz` are served over HTTP. The
    /// default is nowhere.
    #[serde(with = "List::<HttpAddress>")]
    pub listen: Vec<HttpSocket>,
}

/// Where HTTP is served.
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
    fn with_nothing_in_the_file_the_defaults_apply() {
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
    fn what_is_shown_is_read_as_the_same() {
        let text = Config::default().to_yaml();
        assert_eq!(
            Config::parse(&text, "milter.yaml").unwrap(),
            Config::default()
        );
    }
}
