//! The configuration, valid by construction: what a running daemon needs to
//! know, with every default applied and every text parsed.
//!
//! Files are read in [`raw`], which is the only user of the YAML library. A
//! value of [`Config`] can't be wrong, so nothing above checks it again.

use crate::{address::Domain, policy, reply::Replies};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Everything that milter.yaml says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Milter sockets. The default is `inet:127.0.0.1:8894`.
    pub listen: Vec<Socket>,
    /// Permission bits of unix sockets. The default is `0660`.
    pub socket_mode: u32,
    /// Group of unix sockets. The default is that of the process.
    pub socket_group: Option<String>,
    /// Whether refusals are carried out. The default is [`Mode::Enforce`].
    pub mode: Mode,
    /// Which domains take mail over IPv6.
    pub opt_in: OptIn,
    /// `exempt`, `reverse_dns` and `on_dns_failure`.
    pub policy: policy::Settings,
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
}

/// Whether refusals are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse.
    Enforce,
    /// Decide, log and count, and refuse nothing.
    Observe,
}

/// Which domains take mail over IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptIn {
    /// What a domain has that no source knows. The default is `false`.
    pub default: bool,
    /// Domains that opted in. The default is none.
    pub domains: Vec<Domain>,
}

/// The RFC 8601 field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationResults {
    /// Whether to add it to checked mail and to remove forged ones. The default
    /// is `true`.
    pub add: bool,
    /// The authserv-id (RFC 8601 section 2.5). The default is the MTA's name,
    /// its macro `{j}`.
    pub authserv_id: Option<String>,
}

/// How to ask the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Recursive resolvers. Empty, which is the default, means the system's.
    pub servers: Vec<SocketAddr>,
    /// How long one server may take for one question. The default is 2 s.
    pub timeout: Duration,
    /// How often the servers are gone through. The default is 2.
    pub attempts: usize,
    /// Answers kept in memory. The default is 65536.
    pub cache_entries: u64,
}

/// Limits of RFC 7208 section 4.6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spf {
    /// Terms that cause a DNS look-up. The default is 10.
    pub max_lookups: usize,
    /// Look-ups without an answer. The default is 2.
    pub max_void_lookups: usize,
}

/// Limits of DKIM verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dkim {
    /// Signatures verified in one message. The default is 8.
    pub max_signatures: usize,
    /// The shortest RSA key that counts, in bits. The default is 1024 (RFC 8301
    /// section 3.2), which is also the least allowed.
    pub min_rsa_bits: usize,
}

/// Bounds on what a peer can make us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Milter connections at a time. The default is 10000.
    pub connections: usize,
    /// The longest header block kept, in octets. The default is 1 MiB.
    pub header_bytes: usize,
    /// How long one milter command may wait for look-ups. The default is 8 s.
    pub stage_timeout: Duration,
    /// How long a milter connection may be silent. The default is 2 h.
    pub idle_timeout: Duration,
    /// How long a shutdown waits for mail transactions. The default is 30 s.
    pub drain_timeout: Duration,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A filter in the syntax of tracing's `EnvFilter`. The default is `info`.
    pub level: String,
}
