//! `opt_in.sql`: a database that says which domains take mail over IPv6.

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

/// A database and the query that it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sql {
    /// Where the database is; several are tried in this order. The default is none,
    /// which switches the source off.
    #[serde(with = "List::<DatabaseUrl>")]
    pub url: Vec<SqlUrl>,
    /// A file whose first line is the password. The default is none.
    #[serde(with = "Optional::<PasswordFile>")]
    pub password_file: Option<PathBuf>,
    /// What is asked, with `:domain` for the domain. There is no default.
    #[serde(with = "Optional::<Query>")]
    pub query: Option<String>,
    /// A domain that always has a row, so that a table that was emptied is noticed
    /// after a restart, too. The default is none.
    #[serde(with = "Optional::<SentinelDomain>")]
    pub sentinel: Option<Domain>,
    /// How long one database may take to connect and answer. The default is 2 s.
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
    /// Whether the source is used.
    pub fn is_configured(&self) -> bool {
        !self.url.is_empty()
    }

    /// The query with the placeholder of a database in place of `:domain`, and how
    /// many parameters it takes. `None` without a query.
    pub fn query_for(&self, engine: SqlEngine) -> Option<(String, usize)> {
        // It was translated once when it was read.
        placeholder::translate(self.query.as_deref()?, engine).ok()
    }

    /// What is missing or does not fit together: the key, and half a line for
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

/// Which database, and so which SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SqlEngine {
    /// `postgres:`
    Postgres,
    /// `mysql:` and `mariadb:`
    MySql,
    /// `sqlite:`
    Sqlite,
}

/// Where a database is. Has no password in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SqlUrl {
    /// By its scheme.
    pub engine: SqlEngine,
    text: String,
}

impl SqlUrl {
    /// As it stands in the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SqlUrl {
    /// Without parameters, for the log.
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
            // It may be the password itself.
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

    /// What is a comment or a quoted text depends on the database; here the query
    /// has to be right for one of them.
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
