//! Values for the opt-in sources `dns_zone` and `socketmap`.

use super::{
    Socketmap, SocketmapServer,
    sockets::{is_number, parse_host, parse_port, unix_path},
    value::Kind,
};
use crate::address::Domain;
use std::fmt;

/// `opt_in.dns_zone`.
pub(super) struct ZoneName;

impl Kind for ZoneName {
    type Value = Domain;
    const EXPECTED: &'static str = "a zone such as opt-in.example.org";

    fn parse(text: &str) -> Result<Domain, String> {
        let zone = Domain::parse(text).map_err(|error| no_zone(text, &error.to_string()))?;
        match zone.as_str().len() {
            0..=LONGEST_ZONE => Ok(zone),
            _ => Err(format!(
                "{text:?} leaves no room for domains in front of it; \
                 write a zone of {LONGEST_ZONE} bytes or less"
            )),
        }
    }

    fn show(value: &Domain) -> String {
        value.to_string()
    }
}

/// The maximum length of a zone in bytes. Of the 253 bytes of a name, this leaves 124 for
/// a domain and a dot.
const LONGEST_ZONE: usize = 128;

fn no_zone(text: &str, reason: &str) -> String {
    match plain_zone(text) {
        Some(zone) => format!("{text:?} is not a valid zone: {reason}; write {zone}"),
        None => {
            format!("{text:?} is not a valid zone: {reason}; write one such as opt-in.example.org")
        }
    }
}

/// Returns the zone in `*.zone`, in `.zone`, and in `zone=127.0.0.2`, the syntax of
/// Postfix's reject_rbl_client.
fn plain_zone(text: &str) -> Option<Domain> {
    let before = text.split_once('=').map_or(text, |(zone, _)| zone);
    let plain = before.trim_start_matches("dns:").trim_start_matches('/');
    Domain::parse(plain.trim_start_matches(['*', '.'])).ok()
}

/// `opt_in.socketmap`, in the syntax of socketmap_table(5).
pub(super) struct SocketmapTable;

const EXAMPLES: &str = "inet:127.0.0.1:10001:opt-in or unix:/run/opt-in.sock:opt-in";

impl Kind for SocketmapTable {
    type Value = Socketmap;
    const EXPECTED: &'static str = "a socketmap server and a map, such as \
         inet:127.0.0.1:10001:opt-in or unix:/run/opt-in.sock:opt-in";

    fn parse(text: &str) -> Result<Socketmap, String> {
        match text.split_once(':') {
            Some(("inet", rest)) => inet(rest),
            Some(("unix", rest)) => unix(rest),
            Some(_) | None => Err(no_table(text)),
        }
    }

    fn show(value: &Socketmap) -> String {
        value.to_string()
    }
}

impl fmt::Display for Socketmap {
    /// Writes the form of socketmap_table(5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            SocketmapServer::Unix(path) => write!(f, "unix:{}", path.display())?,
            SocketmapServer::Inet { host, port } if host.contains(':') => {
                write!(f, "inet:[{host}]:{port}")?;
            }
            SocketmapServer::Inet { host, port } => write!(f, "inet:{host}:{port}")?,
        }
        write!(f, ":{}", self.map)
    }
}

fn inet(rest: &str) -> Result<Socketmap, String> {
    if let Some((port, host)) = rest.split_once('@') {
        return Err(format!(
            "Postfix writes socketmaps with the host first; write inet:{host}:{port}, \
             a colon and the name of the map"
        ));
    }
    let (place, map) = rest.rsplit_once(':').unwrap_or((rest, ""));
    match place.rsplit_once(':') {
        Some((host, port)) if !place.ends_with(']') => Ok(Socketmap {
            server: SocketmapServer::Inet {
                host: parse_host(host)?,
                port: parse_port(port)?,
            },
            map: map_name(map)?,
        }),
        Some(_) | None if is_number(map) => Err(format!(
            "there is no map name; write \"inet:{rest}:opt-in\", with the map that you mean"
        )),
        Some(_) | None => Err(format!(
            "there is no port; write one such as inet:127.0.0.1:10001:{}",
            if map.is_empty() { "opt-in" } else { map }
        )),
    }
}

fn unix(rest: &str) -> Result<Socketmap, String> {
    let Some((path, map)) = rest.rsplit_once(':') else {
        return Err(format!(
            "there is no map name; write unix:{rest}:opt-in, with the map that you mean"
        ));
    };
    Ok(Socketmap {
        server: SocketmapServer::Unix(unix_path(path)?),
        map: map_name(map)?,
    })
}

/// Parses the name of a map, which must not contain a space: the server splits a request
/// at its first space.
fn map_name(text: &str) -> Result<String, String> {
    match text.bytes().all(|b| b.is_ascii_graphic()) && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} is not a valid map name; write one without spaces, such as opt-in"
        )),
    }
}

fn no_table(text: &str) -> String {
    match nearly(text) {
        Some(table) => format!("{text:?} is not a valid socketmap server; write \"{table}\""),
        None => format!("{text:?} is not a valid socketmap server; write one such as {EXAMPLES}"),
    }
}

/// Returns the table probably meant by the syntax of main.cf or another program.
fn nearly(text: &str) -> Option<Socketmap> {
    let plain = text.trim_start_matches("socketmap:");
    if plain != text {
        return SocketmapTable::parse(plain).ok().or_else(|| nearly(plain));
    }
    match plain.split_once(':') {
        Some(("local", rest)) => unix(rest).ok(),
        Some(("inet6", rest)) => inet(rest).ok(),
        Some(_) | None if plain.starts_with('/') => unix(plain).ok(),
        Some(_) | None => inet(plain).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socketmap_servers_are_read_as_postfix_writes_them() {
        for text in [
            "inet:127.0.0.1:10001:opt-in",
            "inet:localhost:10001:opt-in",
            "inet:[::1]:10001:opt-in",
            "unix:/run/opt-in.sock:ipv6",
            "unix:/run/with:colon:map",
        ] {
            let table = SocketmapTable::parse(text).map(|table| table.to_string());
            assert_eq!(table.as_deref(), Ok(text));
        }
    }

    #[test]
    fn invalid_socketmap_servers_are_refused_with_a_suggestion() {
        let table = [
            (
                "socketmap:inet:127.0.0.1:1:m",
                "write \"inet:127.0.0.1:1:m\"",
            ),
            ("socketmap:unix:/run/x:m", "write \"unix:/run/x:m\""),
            ("127.0.0.1:1:m", "write \"inet:127.0.0.1:1:m\""),
            ("inet6:[::1]:1:m", "write \"inet:[::1]:1:m\""),
            ("local:/run/x:m", "write \"unix:/run/x:m\""),
            ("/run/x:m", "write \"unix:/run/x:m\""),
            ("inet:127.0.0.1:1", "write \"inet:127.0.0.1:1:opt-in\""),
            ("inet:[::1]:1", "write \"inet:[::1]:1:opt-in\""),
            ("inet:1@127.0.0.1", "write inet:127.0.0.1:1, a colon and"),
            (
                "inet:127.0.0.1:m",
                "write one such as inet:127.0.0.1:10001:m",
            ),
            ("inet:127.0.0.1", "there is no port"),
            ("inet:127.0.0.1:0:m", "from 1 to 65535"),
            ("inet:127.0.0.1:smtp:m", "from 1 to 65535"),
            ("inet:*:1:m", "neither an address nor a host name"),
            ("inet:127.0.0.1:1:", "not a valid map name"),
            ("inet:127.0.0.1:1:a b", "not a valid map name"),
            ("unix:/run/x", "write unix:/run/x:opt-in"),
            ("unix:run/x:m", "not an absolute path"),
            ("tcp:127.0.0.1:10001", "write one such as"),
            ("mysql:/etc/postfix/x.cf", "write one such as"),
            ("", "write one such as"),
        ];
        for (text, want) in table {
            let complaint = SocketmapTable::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }

    #[test]
    fn zones_are_domains_with_room_in_front_of_them() {
        let zone = |text| ZoneName::parse(text).map(|zone| zone.to_string());
        assert_eq!(zone("Opt-In.Example.org."), Ok("opt-in.example.org".into()));
        let long = ["abcdefg"; 20].join(".");
        let table = [
            (".opt-in.example.org", "write opt-in.example.org"),
            ("*.opt-in.example.org", "write opt-in.example.org"),
            ("opt-in.example.org=127.0.0.2", "write opt-in.example.org"),
            ("dns://opt-in.example.org", "write opt-in.example.org"),
            ("opt in", "write one such as opt-in.example.org"),
            ("", "write one such as opt-in.example.org"),
            (&long, "write a zone of 128 bytes or less"),
        ];
        for (text, want) in table {
            let complaint = ZoneName::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }
}
