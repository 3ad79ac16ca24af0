//! Values for sockets, their modes and groups.

use super::{HostPort, HttpSocket, Socket, value::Kind};
use crate::address::Domain;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    str::FromStr,
};

/// One item of `listen`.
pub(super) struct MilterSocket;

const EXAMPLES: &str = "unix:/run/sixgate/milter.sock or inet:127.0.0.1:8894";

impl Kind for MilterSocket {
    type Value = Socket;
    const EXPECTED: &'static str =
        "a socket such as unix:/run/sixgate/milter.sock or inet:127.0.0.1:8894";

    fn parse(text: &str) -> Result<Socket, String> {
        match text.split_once(':') {
            Some(("unix" | "local", path)) => unix(path),
            Some(("inet" | "inet6", place)) => inet(place, MILTER).map(Socket::from),
            Some(("systemd", name)) => systemd(name),
            Some(_) | None => Err(no_socket(text)),
        }
    }

    fn show(value: &Socket) -> String {
        value.to_string()
    }

    fn check_list(sockets: &[Socket]) -> Result<(), String> {
        let first = sockets.first();
        first.ok_or_else(|| format!("there is nothing to listen on; write {EXAMPLES}"))?;
        let twice = (1..sockets.len()).find(|&n| sockets[..n].contains(&sockets[n]));
        match twice {
            Some(n) => Err(format!("{} is given twice; remove one", sockets[n])),
            None => Ok(()),
        }
    }
}

impl FromStr for Socket {
    type Err = String;

    /// Parses an item of `listen` in milter.yaml; the error says what to write.
    fn from_str(text: &str) -> Result<Self, String> {
        MilterSocket::parse(text)
    }
}

impl fmt::Display for Socket {
    /// Writes the form of milter.yaml.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inet { host, port } => write_inet(f, host, *port),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// The maximum length of a unix socket path in bytes: 108 with the final NUL (unix(7)).
const LONGEST_PATH: usize = 107;

fn unix(path: &str) -> Result<Socket, String> {
    unix_path(path).map(Socket::Unix)
}

pub(super) fn unix_path(path: &str) -> Result<PathBuf, String> {
    if !Path::new(path).is_absolute() {
        return Err(format!(
            "{path:?} is not an absolute path; write one such as unix:/run/sixgate/milter.sock"
        ));
    }
    if path.len() > LONGEST_PATH {
        return Err(format!(
            "{path:?} is too long for a socket; write {LONGEST_PATH} bytes or less"
        ));
    }
    Ok(PathBuf::from(path))
}

/// Parses the name of a systemd socket: printable ASCII without a colon, at most 255
/// bytes (systemd.socket(5)).
fn systemd(name: &str) -> Result<Socket, String> {
    let allowed = |b: u8| b.is_ascii_graphic() && b != b':';
    match name.len() {
        1..=255 if name.bytes().all(allowed) => Ok(Socket::Systemd(name.to_owned())),
        _ => Err(format!(
            "{name:?} is not a valid socket name; write systemd:NAME, with the \
             FileDescriptorName of a .socket unit"
        )),
    }
}

/// The form of a TCP address in suggestions.
#[derive(Clone, Copy)]
struct Spelling {
    prefix: &'static str,
    port: u16,
}

const MILTER: Spelling = Spelling {
    prefix: "inet:",
    port: 8894,
};

const METRICS: Spelling = Spelling {
    prefix: "",
    port: 9894,
};

const STATUS: Spelling = Spelling {
    prefix: "",
    port: 9895,
};

/// Parses `port@host`, the syntax of Sendmail, or `host:port`, the syntax of Postfix.
fn inet(place: &str, spelling: Spelling) -> Result<HostPort, String> {
    let (host, port) = match place.split_once('@') {
        Some((port, host)) => (host, port),
        None => split_host_and_port(place, spelling)?,
    };
    Ok(HostPort {
        host: parse_host(host)?,
        port: parse_port(port)?,
    })
}

impl From<HostPort> for Socket {
    fn from(HostPort { host, port }: HostPort) -> Self {
        Self::Inet { host, port }
    }
}

fn split_host_and_port(place: &str, spelling: Spelling) -> Result<(&str, &str), String> {
    let Spelling { prefix, port } = spelling;
    if place.is_empty() {
        return Err(format!(
            "there is no address; write \"{prefix}127.0.0.1:{port}\""
        ));
    }
    if place.parse::<Ipv6Addr>().is_ok() {
        return Err(format!(
            "{place} needs brackets and a port; write \"{prefix}[{place}]:{port}\", \
             with the address and the port that you mean"
        ));
    }
    if is_number(place) {
        return Err(format!("there is no host; write {prefix}127.0.0.1:{place}"));
    }
    match place.rsplit_once(':') {
        Some((host, port)) if !place.ends_with(']') => Ok((host, port)),
        Some(_) | None => Err(format!(
            "there is no port; write \"{prefix}{place}:{port}\""
        )),
    }
}

pub(super) fn parse_host(host: &str) -> Result<String, String> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(host).parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    match Domain::parse(host) {
        Ok(name) => Ok(name.to_string()),
        Err(_) => Err(format!(
            "{host:?} is neither an address nor a host name; \
             write one such as 127.0.0.1, localhost or \"[::1]\""
        )),
    }
}

pub(super) fn parse_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.filter(|_| is_number(text))
        .ok_or_else(|| format!("{text:?} is not a valid TCP port; write one from 1 to 65535"))
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn no_socket(text: &str) -> String {
    match nearly(text) {
        Some(socket) => format!("{text:?} is not a valid milter socket; write \"{socket}\""),
        None => format!("{text:?} is not a valid milter socket; write one such as {EXAMPLES}"),
    }
}

/// Returns the socket probably meant by the syntax of another program.
fn nearly(text: &str) -> Option<Socket> {
    if is_number(text) {
        return inet(&format!("127.0.0.1:{text}"), MILTER)
            .ok()
            .map(Socket::from);
    }
    let place = text.trim_start_matches("tcp:").trim_start_matches("//");
    if place.starts_with('/') {
        return unix(place).ok();
    }
    inet(place, MILTER).ok().map(Socket::from)
}

/// One item of `metrics.listen`.
pub(super) struct HttpAddress;

impl Kind for HttpAddress {
    type Value = HttpSocket;
    const EXPECTED: &'static str = "an address such as 127.0.0.1:9894";

    fn parse(text: &str) -> Result<HttpSocket, String> {
        http(text, METRICS, "metrics")
    }

    fn show(value: &HttpSocket) -> String {
        value.to_string()
    }

    fn check_list(addresses: &[HttpSocket]) -> Result<(), String> {
        each_once(addresses)
    }
}

/// One item of `status.listen`.
pub(super) struct StatusAddress;

impl Kind for StatusAddress {
    type Value = HttpSocket;
    const EXPECTED: &'static str = "an address such as 127.0.0.1:9895";

    fn parse(text: &str) -> Result<HttpSocket, String> {
        if cfg!(not(feature = "status")) {
            return Err("this sixgate was built without the cargo feature \"status\"".to_owned());
        }
        http(text, STATUS, "status")
    }

    fn show(value: &HttpSocket) -> String {
        value.to_string()
    }

    fn check_list(addresses: &[HttpSocket]) -> Result<(), String> {
        each_once(addresses)
    }
}

/// Parses an HTTP socket. `name` is the file name of a unix socket in suggestions.
fn http(text: &str, spelling: Spelling, name: &str) -> Result<HttpSocket, String> {
    let socket = match text.split_once(':') {
        Some(("unix" | "local", path)) => unix_path(path).map(HttpSocket::Unix),
        Some(("inet" | "inet6", place)) => inet(place, spelling).map(HttpSocket::Inet),
        Some(_) | None => host_and_port(text, spelling).map(HttpSocket::Inet),
    };
    socket.map_err(|problem| match http_suggestion(text, spelling) {
        Some(near) => format!("{text:?} is not a valid address; write \"{near}\""),
        None => {
            let port = spelling.port;
            format!(
                "{problem}; valid are addresses such as 127.0.0.1:{port}, \"[::1]:{port}\" or \
                 unix:/run/sixgate/{name}.sock"
            )
        }
    })
}

fn each_once(addresses: &[HttpSocket]) -> Result<(), String> {
    let twice = (1..addresses.len()).find(|&n| addresses[..n].contains(&addresses[n]));
    match twice {
        Some(n) => Err(format!("{} is given twice; remove one", addresses[n])),
        None => Ok(()),
    }
}

/// Parses `host:port` or `[v6]:port`.
fn host_and_port(text: &str, spelling: Spelling) -> Result<HostPort, String> {
    let (host, port) = split_host_and_port(text, spelling)?;
    Ok(HostPort {
        host: parse_host(host)?,
        port: parse_port(port)?,
    })
}

/// Returns the socket to suggest for the syntax of another program.
fn http_suggestion(text: &str, spelling: Spelling) -> Option<HttpSocket> {
    let place = text.trim_start_matches("http:").trim_start_matches("tcp:");
    let place = match text.starts_with('/') {
        true => return unix_path(text).ok().map(HttpSocket::Unix),
        false => place.trim_start_matches("//"),
    };
    let place = place.strip_suffix("/metrics").unwrap_or(place);
    let place = place.trim_end_matches('/');
    let everywhere = place.strip_prefix('*').unwrap_or(place);
    let place = match everywhere.strip_prefix(':') {
        Some(port) if is_number(port) => format!("[::]:{port}"),
        Some(_) | None if is_number(place) => format!("127.0.0.1:{place}"),
        Some(_) | None => place.to_owned(),
    };
    // Also parses `port@host`.
    inet(&place, spelling).ok().map(HttpSocket::Inet)
}

impl fmt::Display for HttpSocket {
    /// Writes the form of milter.yaml.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inet(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for HostPort {
    /// Writes the form of milter.yaml.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_inet(f, &self.host, self.port)
    }
}

fn write_inet(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    match host.contains(':') {
        true => write!(f, "inet:[{host}]:{port}"),
        false => write!(f, "inet:{host}:{port}"),
    }
}

/// Permission bits in octal, as in chmod(1).
pub(super) struct SocketMode;

impl Kind for SocketMode {
    type Value = u32;
    const EXPECTED: &'static str = "permission bits in octal such as \"0660\"";

    /// Parses 660, 0660 and 0o660 alike, with and without quotes. Users of programs that
    /// read 0660 as a decimal number may write 432, which is rejected because the owner
    /// needs read and write permission.
    fn parse(text: &str) -> Result<u32, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let mode = u32::from_str_radix(digits, 8).ok();
        let mode = mode.filter(|mode| is_number(digits) && *mode <= 0o777);
        match mode {
            None => Err(format!(
                "{text:?} is not a valid mode; write {}",
                Self::EXPECTED
            )),
            Some(mode) if mode & 0o600 != 0o600 => Err(format!(
                "{text:?} keeps sixgate itself out; write one such as \"0660\""
            )),
            Some(mode) => Ok(mode),
        }
    }

    fn show(value: &u32) -> String {
        format!("{value:04o}")
    }
}

/// The name or number of a group.
pub(super) struct GroupName;

impl Kind for GroupName {
    type Value = String;
    const EXPECTED: &'static str = "the name of a group such as postfix";

    fn parse(text: &str) -> Result<String, String> {
        let refused = |c: char| c.is_whitespace() || c.is_control() || c == ':' || c == '/';
        if text.is_empty() || text.contains(refused) {
            return Err(format!(
                "{text:?} is not a valid group; write {}",
                Self::EXPECTED
            ));
        }
        Ok(text.to_owned())
    }

    fn show(value: &String) -> String {
        value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_in_the_spellings_of_postfix_and_sendmail() {
        let table = [
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("local:/run/x.sock", "unix:/run/x.sock"),
            ("inet:127.0.0.1:8894", "inet:127.0.0.1:8894"),
            ("inet:localhost:8894", "inet:localhost:8894"),
            ("inet:8894@localhost", "inet:localhost:8894"),
            ("inet:8894@127.0.0.1", "inet:127.0.0.1:8894"),
            ("systemd:milter", "systemd:milter"),
            ("inet6:8894@::1", "inet:[::1]:8894"),
            ("inet6:8894@[::1]", "inet:[::1]:8894"),
            ("inet:[::1]:8894", "inet:[::1]:8894"),
            ("inet6:[::1]:8894", "inet:[::1]:8894"),
            ("inet:[2001:DB8:0::1]:1", "inet:[2001:db8::1]:1"),
        ];
        for (text, want) in table {
            let socket = MilterSocket::parse(text).map(|socket| socket.to_string());
            assert_eq!(socket.as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn nearly_valid_sockets_are_refused_with_a_suggestion() {
        let long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        let table = [
            ("/run/x.sock", "write \"unix:/run/x.sock\""),
            ("unix:run/x.sock", "not an absolute path"),
            ("unix:", "not an absolute path"),
            ("inet:8894", "write inet:127.0.0.1:8894"),
            ("8894", "write \"inet:127.0.0.1:8894\""),
            ("127.0.0.1:8894", "write \"inet:127.0.0.1:8894\""),
            ("[::1]:8894", "write \"inet:[::1]:8894\""),
            ("tcp:127.0.0.1:8894", "write \"inet:127.0.0.1:8894\""),
            ("tcp://127.0.0.1:8894", "write \"inet:127.0.0.1:8894\""),
            ("inet6:[::1]", "write \"inet:[::1]:8894\""),
            ("inet6:::1", "write \"inet:[::1]:8894\""),
            ("inet:::1:8894", "write \"inet:[::1:8894]:8894\""),
            ("inet:localhost", "write \"inet:localhost:8894\""),
            ("inet:127.0.0.1:0", "from 1 to 65535"),
            ("inet:127.0.0.1:65536", "from 1 to 65535"),
            ("inet:127.0.0.1:http", "from 1 to 65535"),
            ("inet:127.0.0.1:+1", "from 1 to 65535"),
            ("inet:*:8894", "neither an address nor a host name"),
            ("inet::8894", "neither an address nor a host name"),
            ("UNIX:/run/x", "write one such as"),
            ("", "write one such as"),
            (&long, "too long"),
        ];
        for (text, want) in table {
            let complaint = MilterSocket::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }

    #[test]
    fn addresses_of_metrics_need_no_prefix() {
        let table = [
            ("127.0.0.1:9894", "inet:127.0.0.1:9894"),
            ("localhost:9894", "inet:localhost:9894"),
            ("mx.example.org:9894", "inet:mx.example.org:9894"),
            ("[::1]:9894", "inet:[::1]:9894"),
            ("[::]:9894", "inet:[::]:9894"),
            ("inet:127.0.0.1:9894", "inet:127.0.0.1:9894"),
            ("inet6:9894@::1", "inet:[::1]:9894"),
            ("inet:[2001:db8::1]:9894", "inet:[2001:db8::1]:9894"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("local:/run/x.sock", "unix:/run/x.sock"),
        ];
        for (text, want) in table {
            let address = HttpAddress::parse(text).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn invalid_metrics_addresses_are_refused_with_a_suggestion() {
        let table = [
            ("9894", "write \"inet:127.0.0.1:9894\""),
            (":9894", "write \"inet:[::]:9894\""),
            ("*:9894", "write \"inet:[::]:9894\""),
            ("http://127.0.0.1:9894", "write \"inet:127.0.0.1:9894\""),
            (
                "http://localhost:9894/metrics",
                "write \"inet:localhost:9894\"",
            ),
            ("tcp:127.0.0.1:9894", "write \"inet:127.0.0.1:9894\""),
            ("9894@localhost", "write \"inet:localhost:9894\""),
            ("/run/x.sock", "write \"unix:/run/x.sock\""),
            ("unix:x.sock", "not an absolute path"),
            ("::1", "write \"[::1]:9894\""),
            ("inet6:::1", "write \"[::1]:9894\""),
            ("localhost", "write \"localhost:9894\""),
            ("127.0.0.1", "write \"127.0.0.1:9894\""),
            ("[::1]", "write \"[::1]:9894\""),
            ("127.0.0.1:0", "from 1 to 65535"),
            ("127.0.0.1:http", "from 1 to 65535"),
            ("a b:9894", "neither an address nor a host name"),
            ("systemd:metrics", "from 1 to 65535"),
            ("", "such as 127.0.0.1:9894"),
        ];
        for (text, want) in table {
            let complaint = HttpAddress::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }

    #[test]
    fn modes_are_octal_however_they_are_written() {
        for text in ["0660", "660", "0o660"] {
            assert_eq!(SocketMode::parse(text), Ok(0o660), "{text}");
        }
        for text in [
            "432",
            "0888",
            "rw-rw----",
            "01777",
            "0060",
            "-660",
            "",
            "0x1b0",
        ] {
            assert!(SocketMode::parse(text).is_err(), "{text}");
        }
        assert_eq!(SocketMode::show(&0o660), "0660");
    }
}
