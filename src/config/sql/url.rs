//! `opt_in.sql.url`. Errors do not repeat the text, which may contain a password.

use super::{SqlEngine, SqlUrl};
use crate::config::value::Kind;

/// The URL of a database.
pub(crate) struct DatabaseUrl;

const EXAMPLES: &str = "postgres://user@host/database, mysql://user@host/database or \
     sqlite:/path/to/file";

impl Kind for DatabaseUrl {
    type Value = SqlUrl;
    const EXPECTED: &'static str = "a URL such as postgres://user@host/database, \
         mysql://user@host/database or sqlite:/path/to/file";

    fn parse(text: &str) -> Result<SqlUrl, String> {
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| format!("this is not a URL; write {EXAMPLES}"))?;
        let engine = match scheme {
            "postgres" | "postgresql" => SqlEngine::Postgres,
            "mysql" | "mariadb" => SqlEngine::MySql,
            "sqlite" => SqlEngine::Sqlite,
            _ => {
                return Err(format!(
                    "the scheme {:?} is unknown; write {EXAMPLES}",
                    printable(scheme)
                ));
            }
        };
        check_password(engine, rest)?;
        check_form(engine, rest)?;
        check_parameters(engine, rest)?;
        let url = SqlUrl {
            engine,
            text: text.to_owned(),
        };
        check_by_driver(&url)?;
        Ok(url)
    }

    fn show(value: &SqlUrl) -> String {
        value.text.clone()
    }

    fn check_list(urls: &[SqlUrl]) -> Result<(), String> {
        match urls.len() {
            0..=8 => Ok(()),
            many => Err(format!("{many} URLs are too many; write 8 or fewer")),
        }
    }
}

/// Returns a scheme for an error, unless the text may not be one.
fn printable(scheme: &str) -> String {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    match scheme.len() <= 20 && scheme.chars().all(is_scheme) {
        true => scheme.to_owned(),
        false => "...".to_owned(),
    }
}

/// Rejects a password, because more people can read the configuration than should know
/// the password.
fn check_password(engine: SqlEngine, rest: &str) -> Result<(), String> {
    if engine == SqlEngine::Sqlite {
        return Ok(());
    }
    // A password may contain an unescaped slash or question mark.
    let has_password = rest
        .trim_start_matches('/')
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'));
    let in_parameters = parameters(rest).any(|(name, _)| name.to_lowercase().contains("passw"));
    match has_password || in_parameters {
        true => Err(
            "a password does not belong in the URL; write it into a file that only sixgate can \
             read, and name the file in opt_in.sql.password_file"
                .to_owned(),
        ),
        false => Ok(()),
    }
}

fn check_form(engine: SqlEngine, rest: &str) -> Result<(), String> {
    match engine {
        SqlEngine::Sqlite => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            match path.starts_with('/') {
                true => Ok(()),
                false => Err(
                    "there is no absolute path; write one such as sqlite:/var/lib/domains.db"
                        .to_owned(),
                ),
            }
        }
        SqlEngine::Postgres | SqlEngine::MySql => match rest.starts_with("//") {
            true => Ok(()),
            false => Err(format!("// is missing behind the scheme; write {EXAMPLES}")),
        },
    }
}

/// Rejects unknown parameters. The drivers would ignore them, including misspelled ones
/// that should enable TLS.
fn check_parameters(engine: SqlEngine, rest: &str) -> Result<(), String> {
    let known: &[&str] = match engine {
        SqlEngine::Postgres => &[
            "application_name",
            "dbname",
            "host",
            "hostaddr",
            "options",
            "port",
            "sslcert",
            "sslkey",
            "sslmode",
            "sslrootcert",
            "statement-cache-capacity",
            "user",
        ],
        SqlEngine::MySql => &[
            "charset",
            "collation",
            "socket",
            "ssl-ca",
            "ssl-cert",
            "ssl-key",
            "ssl-mode",
            "statement-cache-capacity",
        ],
        SqlEngine::Sqlite => &["immutable", "vfs"],
    };
    match parameters(rest).find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => Err(format!(
            "the parameter {:?} is unknown; allowed here: {}",
            printable(name),
            known.join(", ")
        )),
        None => Ok(()),
    }
}

fn parameters(rest: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
}

#[cfg(feature = "sql")]
fn check_by_driver(url: &SqlUrl) -> Result<(), String> {
    use sqlx::{
        mysql::MySqlConnectOptions, postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
    };

    let checked = match url.engine {
        SqlEngine::Postgres => url.as_str().parse::<PgConnectOptions>().map(drop),
        SqlEngine::MySql => url.as_str().parse::<MySqlConnectOptions>().map(drop),
        SqlEngine::Sqlite => url.as_str().parse::<SqliteConnectOptions>().map(drop),
    };
    checked.map_err(|error| {
        let error = error.to_string();
        let reason = error.trim_start_matches("error with configuration: ");
        format!("this is not a valid URL: {reason}; write {EXAMPLES}")
    })
}

#[cfg(not(feature = "sql"))]
fn check_by_driver(_url: &SqlUrl) -> Result<(), String> {
    Err("this sixgate was built without the cargo feature \"sql\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "sql")]
    #[test]
    fn urls_of_databases_are_taken() {
        for text in [
            "postgres://sixgate@db.example.org/mail",
            "postgresql://db.example.org:5433/mail?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres:///mail?host=/run/postgresql",
            "postgres://sixgate@[2001:db8::5]/mail",
            "mysql://sixgate@db.example.org/mail?ssl-mode=VERIFY_IDENTITY",
            "mariadb://sixgate@localhost/mail?socket=/run/mysqld/mysqld.sock",
            "sqlite:/var/lib/domains.db",
            "sqlite:///var/lib/domains.db?immutable=1",
        ] {
            let url = DatabaseUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(DatabaseUrl::show(&url), text);
        }
    }

    #[test]
    fn url_errors_do_not_repeat_a_password() {
        let password = "a password does not belong in the URL";
        let table = [
            ("", "this is not a URL"),
            ("secret", "this is not a URL"),
            ("mongodb://db/mail", "the scheme \"mongodb\" is unknown"),
            ("secret word: x", "the scheme \"...\" is unknown"),
            ("postgres:db/mail", "// is missing"),
            ("postgres://sixgate:secret@db/mail", password),
            ("postgres://sixgate:se/cr?secret@db/mail", password),
            ("mysql://sixgate:secret@db/mail", password),
            ("postgres://db/mail?password=secret", password),
            (
                "postgres://db/mail?sslmod=require",
                "the parameter \"sslmod\" is unknown",
            ),
            (
                "mysql://db/mail?secret%word",
                "the parameter \"...\" is unknown",
            ),
            ("sqlite:domains.db", "there is no absolute path"),
            ("sqlite::memory:", "there is no absolute path"),
            ("sqlite:/a.db?mode=rwc", "the parameter \"mode\" is unknown"),
        ];
        for (text, want) in table {
            let complaint = DatabaseUrl::parse(text).expect_err(text);
            assert!(complaint.contains(want), "{text}: {complaint}");
            assert!(!complaint.contains("secret"), "{complaint}");
        }
    }

    #[cfg(feature = "sql")]
    #[test]
    fn the_driver_has_a_say() {
        for text in [
            "postgres://db:port/mail",
            "postgres://db/mail?sslmode=maybe",
            "mysql://db/mail?ssl-mode=maybe",
        ] {
            let complaint = DatabaseUrl::parse(text).expect_err(text);
            assert!(complaint.contains("this is not a valid URL"), "{complaint}");
        }
    }
}
