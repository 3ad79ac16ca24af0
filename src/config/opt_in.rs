//! `opt_in`: the sources of domains that accept mail over IPv6.

use super::{
    MxZone, OptInMx, Redis, Sql,
    choices::YesNo,
    lists::{ListEntry, ListPath},
    numbers::Wait,
    opt_in_servers::{SocketmapTable, ZoneName},
    section,
    value::{List, Optional, Scalar},
};
use crate::{address::Domain, opt_in::entry::Entry};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// The opt-in sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptIn {
    /// Whether a domain that no source knows has opted in. The default is `false`.
    #[serde(with = "Scalar::<YesNo>")]
    pub default: bool,
    /// Domains that opted in or out. The default is none.
    #[serde(with = "List::<ListEntry>")]
    pub domains: Vec<Entry>,
    /// Lists of such entries, and directories with `*.list`. The default is
    /// [`LISTS_FOLDER`].
    #[serde(with = "List::<ListPath>")]
    pub files: Vec<PathBuf>,
    /// The list that `sixgate opt-in` edits. The default is [`MANAGED_FILE`].
    #[serde(with = "Scalar::<ListPath>")]
    pub managed_file: PathBuf,
    /// Mail exchangers in the MX record of a domain that opt it in. The default is none.
    #[serde(with = "section")]
    pub mx: OptInMx,
    /// A database. The default is none.
    #[serde(with = "section")]
    pub sql: Sql,
    /// A hash in Redis. The default is none.
    #[serde(with = "section")]
    pub redis: Redis,
    /// A zone to look up `DOMAIN.ZONE` type A in, as in RFC 5782. The default is none.
    #[serde(with = "Optional::<ZoneName>")]
    pub dns_zone: Option<Domain>,
    /// A server of Postfix's socketmap protocol. The default is none.
    #[serde(with = "Optional::<SocketmapTable>")]
    pub socketmap: Option<Socketmap>,
    /// The cache lifetimes for `mx`, `sql`, `redis`, `dns_zone` and `socketmap`.
    #[serde(with = "section")]
    pub cache: OptInCache,
    /// A host name per domain, whose AAAA record follows the opt-in. The default is
    /// none.
    #[serde(with = "section")]
    pub mx_zone: MxZone,
}

/// The default of `opt_in.managed_file`. Only at this path may the file be missing
/// until the first opt-in.
pub const MANAGED_FILE: &str = "/var/lib/sixgate/opt-in.list";

/// The default of `opt_in.files`. Only this directory may be missing or empty.
pub const LISTS_FOLDER: &str = "/etc/sixgate/opt-in.d";

impl Default for OptIn {
    fn default() -> Self {
        Self {
            default: false,
            domains: Vec::new(),
            files: vec![PathBuf::from(LISTS_FOLDER)],
            managed_file: PathBuf::from(MANAGED_FILE),
            mx: OptInMx::default(),
            sql: Sql::default(),
            redis: Redis::default(),
            dns_zone: None,
            socketmap: None,
            cache: OptInCache::default(),
            mx_zone: MxZone::default(),
        }
    }
}

/// A table of socketmap_table(5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Socketmap {
    /// The server.
    pub server: SocketmapServer,
    /// The name of the map.
    pub map: String,
}

/// The address of a socketmap server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketmapServer {
    /// `inet:host:port`. A host name is resolved for each connection.
    Inet {
        /// Name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// The lifetimes of cached answers of `opt_in.mx`, `opt_in.sql`, `opt_in.redis`,
/// `opt_in.dns_zone` and `opt_in.socketmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptInCache {
    /// The lifetime of a yes or a no, unless the TTL of the zone's record is shorter. The
    /// default is 5 min.
    #[serde(with = "Scalar::<Wait>")]
    pub positive: Duration,
    /// The lifetime of the answer that there is no entry. The default is 1 min.
    #[serde(with = "Scalar::<Wait>")]
    pub negative: Duration,
    /// How long a stale answer is used while the source fails. The default is 24 h.
    #[serde(with = "Scalar::<Wait>")]
    pub stale: Duration,
}

impl Default for OptInCache {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(5 * 60),
            negative: Duration::from_secs(60),
            stale: Duration::from_secs(24 * 60 * 60),
        }
    }
}
