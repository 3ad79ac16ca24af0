//! `opt_in.sql`: a database of domains that accept mail over IPv6.

mod placeholder;
mod url;

use super::{
    numbers::Timeout,
    value::{Kind, List, Optional, Scalar},
};
use crate::address::Domain;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, time::Duration};

pub(super) use url::DatabaseUrl;

/// The databases and the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sql {
    /// The URL of the database; several are tried in this order. The default is none,
    /// which disables the source.
    #[serde(with = "List::<DatabaseUrl>")]
    pub url: Vec<SqlUrl>,
    /// A file whose first line is the password. The default is none.
    #[serde(with = "Optional::<PasswordFile>")]
    pub password_file: Option<PathBuf>,
    /// The query, with `:domain` for the domain. There is no default.
    #[serde(with = "Optional::<Query>")]
    pub query: Option<String>,
    /// A domain that always has a row, so that an emptied table is also detected after a
    /// restart. The default is none.
    #[serde(with = "Optional::<SentinelDomain>")]
    pub sentinel: Option<Domain>,
    /// The timeout for connecting to and querying one database. The default is 2 s.
    #[serde(with = "Scalar::<Timeout>")]
    pub timeout: Duration,
}

impl Default for Sql {
    fn default() -> Self {
        Self {
            url: Vec::new(),
            password_file: None,
            query: None,
            sentinel: None,
            timeout: Duration::from_secs(2),
        }
    }
}

impl Sql {
    /// Returns whether the source is enabled.
    pub fn is_configured(&self) -> bool {
        !self.url.is_empty()
    }

    /// Returns the query with the placeholder of a database in place of `:domain`, and
    /// the number of parameters. `None` if there is no query.
    pub fn query_for(&self, engine: SqlEngine) -> Option<(String, usize)> {
        // The query was checked when it was read, so this can't fail.
        placeholder::translate(self.query.as_deref()?, engine).ok()
    }

    /// Returns a missing or inconsistent setting: the key, and a part of a line for
    /// people.
    pub(super) fn complaint(&self) -> Option<(&'static str, String)> {
        let query = match (&self.query, self.url.is_empty()) {
            (None, true) => return None,
            (None, false) => {
                return Some(("query", format!("it is missing; write {}", Query::EXPECTED)));
            }
            (Some(_), true) => {
                return Some((
                    "url",
                    format!("it is missing; write {}", DatabaseUrl::EXPECTED),
                ));
            }
            (Some(query), false) => query,
        };
        self.url.iter().find_map(|url| {
            let complaint = placeholder::translate(query, url.engine).err()?;
            Some(("query", complaint))
        })
    }
}

/// The type of database, which determines the SQL dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SqlEngine {
    /// `postgres:`
    Postgres,
    /// `mysql:` and `mariadb:`
    MySql,
    /// `sqlite:`
    Sqlite,
}

/// The URL of a database, without a password.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SqlUrl {
    /// The type of database, by the scheme.
    pub engine: SqlEngine,
    text: String,
}

impl SqlUrl {
    /// Returns the URL as written in the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SqlUrl {
    /// Writes the URL without parameters, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.split('?').next().unwrap_or_default())
    }
}

/// `opt_in.sql.password_file` and `opt_in.redis.password_file`.
pub(super) struct PasswordFile;

impl Kind for PasswordFile {
    type Value = PathBuf;
    const EXPECTED: &'static str = "an absolute path such as /etc/sixgate/password, or \
         $CREDENTIALS_DIRECTORY/password for a credential of systemd";

    fn parse(text: &str) -> Result<PathBuf, String> {
        let is_credential = text
            .strip_prefix("$CREDENTIALS_DIRECTORY/")
            .is_some_and(|name| !name.is_empty() && !name.contains('/'));
        match text.starts_with('/') || is_credential {
            true => Ok(PathBuf::from(text)),
            // Not quoted, because it may be the password itself.
            false => Err(format!("this is not a path; write {}", Self::EXPECTED)),
        }
    }

    fn show(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

/// `opt_in.sql.query`.
pub(super) struct Query;

impl Kind for Query {
    type Value = String;
    const EXPECTED: &'static str =
        "a query such as \"SELECT ipv6 FROM domains WHERE name = :domain\"";

    /// Accepts a query that is valid for at least one database, because comments and
    /// quotes differ between them.
    fn parse(text: &str) -> Result<String, String> {
        let engines = [SqlEngine::Postgres, SqlEngine::MySql, SqlEngine::Sqlite];
        let mut complaint = String::new();
        for engine in engines {
            match placeholder::translate(text, engine) {
                Ok(_) => return Ok(text.trim().to_owned()),
                Err(error) => complaint = error,
            }
        }
        Err(complaint)
    }

    fn show(value: &String) -> String {
        value.clone()
    }
}

/// `opt_in.sql.sentinel`.
pub(super) struct SentinelDomain;

impl Kind for SentinelDomain {
    type Value = Domain;
    const EXPECTED: &'static str = "a domain that always has a row, such as example.org";

    fn parse(text: &str) -> Result<Domain, String> {
        Domain::parse(text).map_err(|error| {
            format!(
                "{text:?} is not a valid domain: {error}; write {}",
                Self::EXPECTED
            )
        })
    }

    fn show(value: &Domain) -> String {
        value.to_string()
    }
}
