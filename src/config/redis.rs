//! `opt_in.redis`: a Redis hash of domains that accept mail over IPv6.

mod url;

use super::{
    choices::YesNo,
    numbers::Timeout,
    sql::PasswordFile,
    value::{Kind, List, Optional, Scalar},
};
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, time::Duration};

pub(super) use url::ServerUrl;

/// The Redis servers and the hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redis {
    /// The URL of the server; several are tried in this order, or are nodes of one
    /// cluster. The default is none, which disables the source.
    #[serde(with = "List::<ServerUrl>")]
    pub url: Vec<RedisUrl>,
    /// Whether the servers are nodes of a cluster. The default is `false`.
    #[serde(with = "Scalar::<YesNo>")]
    pub cluster: bool,
    /// A file whose first line is the password. The default is none.
    #[serde(with = "Optional::<PasswordFile>")]
    pub password_file: Option<PathBuf>,
    /// The key of the hash. The default is [`REDIS_KEY`].
    #[serde(with = "Scalar::<HashKey>")]
    pub key: String,
    /// Whether `sixgate opt-in` edits the hash instead of the managed file. The default
    /// is `false`.
    #[serde(with = "Scalar::<YesNo>")]
    pub managed: bool,
    /// The timeout for connecting to and querying one server. The default is 2 s.
    #[serde(with = "Scalar::<Timeout>")]
    pub timeout: Duration,
}

/// The default key of the hash.
pub const REDIS_KEY: &str = "sixgate:opt-in";

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: Vec::new(),
            cluster: false,
            password_file: None,
            key: REDIS_KEY.to_owned(),
            managed: false,
            timeout: Duration::from_secs(2),
        }
    }
}

impl Redis {
    /// Returns whether the source is enabled.
    pub fn is_configured(&self) -> bool {
        !self.url.is_empty()
    }

    /// Returns a missing or inconsistent setting: the key, and a part of a line for
    /// people.
    pub(super) fn complaint(&self) -> Option<(&'static str, String)> {
        if self.url.is_empty() {
            let default = Self::default();
            let missing = |what: &str| {
                let expected = ServerUrl::EXPECTED;
                Some((
                    "url",
                    format!("it is missing beside {what}; write {expected}"),
                ))
            };
            return match self {
                Self { managed: true, .. } => missing("managed"),
                Self { cluster: true, .. } => missing("cluster"),
                Self {
                    password_file: Some(_),
                    ..
                } => missing("password_file"),
                Self { key, .. } if *key != default.key => missing("key"),
                Self { .. } => None,
            };
        }
        if !self.cluster {
            return None;
        }
        let first = self.url.first()?;
        self.url.iter().find_map(|url| {
            let complaint = match url.place {
                RedisPlace::Unix(_) => {
                    "a node of a cluster has no unix socket; write redis:// \
                     or rediss://, or leave cluster out"
                }
                RedisPlace::Tcp { .. } if url.database != 0 => {
                    "a cluster has the database 0 only; leave the number out"
                }
                RedisPlace::Tcp { .. } if !url.has_access_of(first) => {
                    "the nodes of a cluster have the same scheme, user and certificates; write \
                     them alike"
                }
                RedisPlace::Tcp { .. } => return None,
            };
            Some(("url", complaint.to_owned()))
        })
    }
}

/// The URL of a Redis server, without a password.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedisUrl {
    /// The address of the server.
    pub place: RedisPlace,
    /// The user name; the server's default user if there is none.
    pub user: Option<String>,
    /// The number of the database.
    pub database: u32,
    /// The TLS settings, for `rediss:`.
    pub tls: Option<RedisTls>,
    text: String,
}

/// The address of a Redis server: host and port, or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RedisPlace {
    /// `redis://host:port` and `rediss://host:port`.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `redis+unix:///path`.
    Unix(PathBuf),
}

/// Certificates for TLS, all in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RedisTls {
    /// The CA for verifying the server's certificate, in place of those of the system.
    pub ca: Option<PathBuf>,
    /// The client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl RedisUrl {
    /// Returns the URL as written in the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether both use the same user and certificates.
    fn has_access_of(&self, other: &Self) -> bool {
        self.user == other.user && self.tls == other.tls
    }
}

impl fmt::Display for RedisUrl {
    /// Writes the URL without parameters, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.split('?').next().unwrap_or_default())
    }
}

/// The name of a key in Redis.
pub(super) struct HashKey;

impl Kind for HashKey {
    type Value = String;
    const EXPECTED: &'static str = "the name of a hash such as sixgate:opt-in";

    fn parse(text: &str) -> Result<String, String> {
        let is_printable = |c: char| !c.is_control() && !c.is_whitespace();
        match text.len() {
            1..=255 if text.chars().all(is_printable) => Ok(text.to_owned()),
            _ => Err(format!(
                "{:?} is not allowed; write {}, of up to 255 bytes without spaces",
                text.chars().take(60).collect::<String>(),
                Self::EXPECTED
            )),
        }
    }

    fn show(value: &String) -> String {
        value.clone()
    }
}
