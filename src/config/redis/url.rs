//! `opt_in.redis.url`. Errors do not repeat the text, which may contain a password.

use super::{RedisPlace, RedisTls, RedisUrl};
use crate::config::value::Kind;
use percent_encoding::percent_decode_str;
use std::path::PathBuf;

/// The URL of a Redis server.
pub(crate) struct ServerUrl;

const EXAMPLES: &str = "redis://host, rediss://user@host:6380/0 or redis+unix:///path/to/socket";

/// The default port.
const PORT: u16 = 6379;

/// The allowed URL parameters.
const TLS_PARAMETERS: [&str; 3] = ["ssl-ca", "ssl-cert", "ssl-key"];
const UNIX_PARAMETERS: [&str; 2] = ["db", "user"];

impl Kind for ServerUrl {
    type Value = RedisUrl;
    const EXPECTED: &'static str =
        "a URL such as redis://host, rediss://user@host:6380/0 or redis+unix:///path/to/socket";

    fn parse(text: &str) -> Result<RedisUrl, String> {
        if cfg!(not(feature = "redis")) {
            return Err("this sixgate was built without the cargo feature \"redis\"".to_owned());
        }
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| format!("this is not a URL; write {EXAMPLES}"))?;
        let (before, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        check_password(rest)?;
        if rest.contains('#') {
            return Err(
                "there must be nothing behind a # in it; certificates are always \
                        verified, with the CA of ?ssl-ca=/path if there is one"
                    .to_owned(),
            );
        }
        let parts = match scheme {
            "redis" => tcp(before)?,
            "rediss" => Parts {
                tls: Some(RedisTls::default()),
                ..tcp(before)?
            },
            "redis+unix" | "unix" => unix(before)?,
            _ => {
                return Err(format!(
                    "the scheme {:?} is unknown; write {EXAMPLES}",
                    printable(scheme)
                ));
            }
        };
        parts.with_parameters(parameters, text)
    }

    fn show(value: &RedisUrl) -> String {
        value.as_str().to_owned()
    }

    fn check_list(urls: &[RedisUrl]) -> Result<(), String> {
        match urls.len() {
            0..=16 => Ok(()),
            many => Err(format!("{many} URLs are too many; write 16 or fewer")),
        }
    }
}

struct Parts {
    place: RedisPlace,
    user: Option<String>,
    database: u32,
    tls: Option<RedisTls>,
}

/// Parses `//user@host:port/database`.
fn tcp(text: &str) -> Result<Parts, String> {
    let rest = text
        .strip_prefix("//")
        .ok_or_else(|| format!("// is missing behind the scheme; write {EXAMPLES}"))?;
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, server) = match authority.rsplit_once('@') {
        Some((user, server)) => (Some(decoded(user)?), server),
        None => (None, authority),
    };
    let (host, port) = match server.strip_prefix('[') {
        Some(address) => {
            let (host, rest) = address.split_once(']').ok_or("a ] is missing in it")?;
            (host, rest.strip_prefix(':'))
        }
        None => match server.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        },
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(format!("there is no host in it; write {EXAMPLES}"));
    }
    let port = match port {
        None => PORT,
        Some(port) => match port.parse() {
            Ok(port @ 1..) => port,
            Ok(0) | Err(_) => return Err("its port is not a number from 1 to 65535".to_owned()),
        },
    };
    Ok(Parts {
        place: RedisPlace::Tcp {
            host: host.to_owned(),
            port,
        },
        user: user.filter(|user| !user.is_empty()),
        database: number(database)?,
        tls: None,
    })
}

/// Parses `///path` or `/path`.
fn unix(text: &str) -> Result<Parts, String> {
    let path = text.strip_prefix("//").unwrap_or(text);
    match path.starts_with('/') && path.len() > 1 {
        true => Ok(Parts {
            place: RedisPlace::Unix(PathBuf::from(decoded(path)?)),
            user: None,
            database: 0,
            tls: None,
        }),
        false => Err(
            "there is no absolute path; write one such as redis+unix:///run/redis/redis.sock"
                .to_owned(),
        ),
    }
}

impl Parts {
    fn with_parameters(self, parameters: &str, text: &str) -> Result<RedisUrl, String> {
        let mut parts = self;
        let mut client = (None, None);
        let known: &[&str] = match (&parts.place, &parts.tls) {
            (RedisPlace::Unix(_), _) => &UNIX_PARAMETERS,
            (RedisPlace::Tcp { .. }, Some(_)) => &TLS_PARAMETERS,
            (RedisPlace::Tcp { .. }, None) => &[],
        };
        for parameter in parameters.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !known.contains(&name) {
                return Err(unknown(name, known));
            }
            let file = || match value.starts_with('/') {
                true => decoded(value).map(|path| Some(PathBuf::from(path))),
                false => Err(format!("{name} in it is not an absolute path")),
            };
            match (name, &mut parts.tls) {
                ("db", _) => parts.database = number(value)?,
                ("user", _) => parts.user = Some(decoded(value)?),
                ("ssl-ca", Some(tls)) => tls.ca = file()?,
                ("ssl-cert", _) => client.0 = file()?,
                ("ssl-key", _) => client.1 = file()?,
                _ => return Err(unknown(name, known)),
            }
        }
        let client = match client {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err("ssl-cert needs ssl-key beside it".to_owned()),
            (None, Some(_)) => return Err("ssl-key needs ssl-cert beside it".to_owned()),
        };
        Ok(RedisUrl {
            place: parts.place,
            user: parts.user,
            database: parts.database,
            tls: parts.tls.map(|tls| RedisTls { client, ..tls }),
            text: text.to_owned(),
        })
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let allowed = match known.is_empty() {
        true => "none".to_owned(),
        false => known.join(", "),
    };
    format!(
        "the parameter {:?} is unknown; allowed here: {allowed}",
        printable(name)
    )
}

/// Parses a database number that Redis supports.
fn number(text: &str) -> Result<u32, String> {
    match text {
        "" => Ok(0),
        _ => text
            .parse()
            .ok()
            .filter(|number| *number < 1 << 20)
            .ok_or_else(|| "the database in it is not a number such as 0".to_owned()),
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    match decoded {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err("what it has percent-encoded is not UTF-8".to_owned()),
    }
}

/// Returns a scheme or parameter for an error, unless the text may not be one.
fn printable(name: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    match name.len() <= 20 && name.chars().all(is_name) {
        true => name.to_owned(),
        false => "...".to_owned(),
    }
}

/// Rejects a password, because more people can read the configuration than should know
/// the password.
fn check_password(rest: &str) -> Result<(), String> {
    // A password may contain an unescaped slash, question mark or #.
    let has_password = rest
        .trim_start_matches('/')
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'));
    let parameters = rest
        .split_once('?')
        .map_or("", |(_, parameters)| parameters);
    let mut names = parameters.split('&').map(|part| part.split('=').next());
    let in_parameters = names.any(|name| name.is_some_and(|name| name.starts_with("pass")));
    match has_password || in_parameters {
        true => Err(
            "a password does not belong in the URL; write it into a file that only sixgate can \
             read, and name the file in opt_in.redis.password_file"
                .to_owned(),
        ),
        false => Ok(()),
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;

    #[test]
    fn urls_of_redis_are_taken() {
        let tcp = |host: &str, port| RedisPlace::Tcp {
            host: host.to_owned(),
            port,
        };
        let unix = || RedisPlace::Unix("/run/redis/redis.sock".into());
        let table = [
            (
                "redis://redis.example.net",
                tcp("redis.example.net", 6379),
                None,
                0,
            ),
            ("redis://127.0.0.1:7000/", tcp("127.0.0.1", 7000), None, 0),
            (
                "redis://[2001:db8::5]:6380/3",
                tcp("2001:db8::5", 6380),
                None,
                3,
            ),
            ("redis://[2001:db8::5]", tcp("2001:db8::5", 6379), None, 0),
            (
                "rediss://six%40gate@host",
                tcp("host", 6379),
                Some("six@gate"),
                0,
            ),
            ("redis+unix:///run/redis/redis.sock", unix(), None, 0),
            (
                "unix:///run/redis/redis.sock?db=2&user=sixgate",
                unix(),
                Some("sixgate"),
                2,
            ),
            ("unix:/run/redis/redis.sock", unix(), None, 0),
        ];
        for (text, place, user, database) in table {
            let url = ServerUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.place, place, "{text}");
            assert_eq!(url.user.as_deref(), user, "{text}");
            assert_eq!(url.database, database, "{text}");
            assert_eq!(url.tls.is_some(), text.starts_with("rediss:"), "{text}");
            assert_eq!(ServerUrl::show(&url), text);
        }
        let url = "rediss://host/1?ssl-ca=/etc/ca.pem&ssl-cert=/etc/c.pem&ssl-key=/etc/k.pem";
        let url = ServerUrl::parse(url).unwrap();
        let tls = url.tls.clone().unwrap();
        assert_eq!(tls.ca, Some("/etc/ca.pem".into()));
        assert_eq!(tls.client, Some(("/etc/c.pem".into(), "/etc/k.pem".into())));
        assert_eq!(url.to_string(), "rediss://host/1");
    }

    #[test]
    fn url_errors_do_not_repeat_a_password() {
        let password = "a password does not belong in the URL";
        let table = [
            ("", "this is not a URL"),
            ("secret", "this is not a URL"),
            ("memcached://host", "the scheme \"memcached\" is unknown"),
            ("secret word: x", "the scheme \"...\" is unknown"),
            ("redis:host", "// is missing"),
            ("redis://:secret@host", password),
            ("redis://sixgate:secret@host", password),
            ("redis://sixgate:se/cr?secret#@host", password),
            ("unix:///run/redis.sock?pass=secret", password),
            ("redis://host?password=secret", password),
            ("redis://", "there is no host"),
            ("redis:///0", "there is no host"),
            ("redis://a b", "there is no host"),
            ("redis://[2001:db8::5", "a ] is missing"),
            ("redis://host:0", "its port is not a number"),
            ("redis://host:secret", "its port is not a number"),
            ("redis://host/mail", "not a number such as 0"),
            ("redis://host/-1", "not a number such as 0"),
            ("redis://host?db=1", "\"db\" is unknown; allowed here: none"),
            (
                "rediss://host?ssl-c=/x",
                "\"ssl-c\" is unknown; allowed here: ssl-ca, ssl-cert",
            ),
            ("rediss://host?ssl-ca=ca.pem", "is not an absolute path"),
            ("rediss://host?ssl-cert=/c.pem", "needs ssl-key"),
            ("rediss://host#insecure", "certificates are always verified"),
            ("redis+unix://redis.sock", "there is no absolute path"),
            ("unix:///", "there is no absolute path"),
        ];
        for (text, want) in table {
            let complaint = ServerUrl::parse(text).expect_err(text);
            assert!(complaint.contains(want), "{text}: {complaint}");
            assert!(!complaint.contains("secret"), "{complaint}");
        }
    }
}
