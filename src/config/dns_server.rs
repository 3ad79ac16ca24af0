//! The address of a DNS server, with the scope that a link-local address needs.

use super::value::Kind;
use nix::net::if_::if_nametoindex;
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

/// The port of DNS.
const DNS_PORT: u16 = 53;

/// A DNS server.
///
/// The scope is stored by name and resolved when a socket is opened: the interface may
/// appear after the program has started, or get another number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsServer {
    ip: IpAddr,
    port: u16,
    /// The name or number of the interface of a link-local address.
    scope: Option<String>,
}

impl DnsServer {
    /// Creates a server with port 53.
    pub fn new(ip: IpAddr, scope: Option<String>) -> Self {
        Self {
            ip,
            port: DNS_PORT,
            scope,
        }
    }

    /// Returns the address, without the scope.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Returns the port, the same for UDP and TCP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address for a socket.
    ///
    /// # Errors
    /// Fails if there is currently no interface of that name.
    pub fn socket_addr(&self) -> io::Result<SocketAddr> {
        match (self.ip, &self.scope) {
            (IpAddr::V6(ip), Some(scope)) => {
                let scope_id = interface(scope)?;
                Ok(SocketAddrV6::new(ip, self.port, 0, scope_id).into())
            }
            (ip, _) => Ok(SocketAddr::new(ip, self.port)),
        }
    }

    /// Returns the address in the syntax of dig(1) and ping(8): with its scope, without a
    /// port.
    pub fn host(&self) -> String {
        match &self.scope {
            Some(scope) => format!("{}%{scope}", self.ip),
            None => self.ip.to_string(),
        }
    }
}

fn interface(scope: &str) -> io::Result<u32> {
    if let Ok(number) = scope.parse() {
        return Ok(number);
    }
    if_nametoindex(scope).map_err(|_| {
        let complaint = format!("there is no network interface {scope}");
        io::Error::new(io::ErrorKind::NotFound, complaint)
    })
}

impl From<SocketAddr> for DnsServer {
    fn from(address: SocketAddr) -> Self {
        let scope = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id().to_string()),
            SocketAddr::V6(_) | SocketAddr::V4(_) => None,
        };
        Self {
            port: address.port(),
            ..Self::new(address.ip(), scope)
        }
    }
}

impl fmt::Display for DnsServer {
    /// Writes the address with the port, as `[fe80::1%eth0]:53`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.port),
            IpAddr::V6(_) => write!(f, "[{}]:{}", self.host(), self.port),
        }
    }
}

/// The value of `dns.servers`.
pub(super) struct DnsServerAddress;

impl Kind for DnsServerAddress {
    type Value = DnsServer;
    const EXPECTED: &'static str =
        "an address such as 127.0.0.1, 127.0.0.1:5353, \"[2001:db8::53]:53\" or \"fe80::1%eth0\"";

    fn parse(text: &str) -> Result<DnsServer, String> {
        let (unscoped, scope) = split_scope(text);
        let server = parse_unscoped(text, &unscoped)?;
        let is_link_local = matches!(server.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        match &scope {
            None if is_link_local => Err(format!(
                "{text:?} is a link-local address; write the interface too, such as \"{}%eth0\"",
                server.ip
            )),
            Some(_) if !is_link_local => Err(format!(
                "{text:?} has an interface, which only link-local addresses need; write \"{}\"",
                server.ip
            )),
            Some(scope) if !is_interface(scope) => {
                Err(format!("{scope:?} is not a valid name of an interface"))
            }
            _ => Ok(DnsServer { scope, ..server }),
        }
    }

    fn show(value: &DnsServer) -> String {
        match value.port {
            DNS_PORT => value.host(),
            _ => value.to_string(),
        }
    }
}

/// Splits `[fe80::1%eth0]:53` into `[fe80::1]:53` and `eth0`.
fn split_scope(text: &str) -> (String, Option<String>) {
    let Some((address, rest)) = text.split_once('%') else {
        return (text.to_owned(), None);
    };
    let (scope, port) = rest.split_at(rest.find(']').unwrap_or(rest.len()));
    (format!("{address}{port}"), Some(scope.to_owned()))
}

fn parse_unscoped(text: &str, unscoped: &str) -> Result<DnsServer, String> {
    let bare = unscoped.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(unscoped).parse() {
        return Ok(DnsServer::new(ip, None));
    }
    match unscoped.parse::<SocketAddr>() {
        Ok(server) if server.port() != 0 => Ok(server.into()),
        Ok(server) => Err(format!(
            "0 is not a valid port; write {} for the usual one",
            server.ip()
        )),
        Err(_) => Err(format!(
            "{text:?} is not a valid address; write {}",
            DnsServerAddress::EXPECTED
        )),
    }
}

/// Returns whether a text is a valid interface name; Linux allows up to 15 bytes.
fn is_interface(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%' | b'[');
    (1..16).contains(&name.len()) && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_servers_have_port_53_unless_they_say_otherwise() {
        let table = [
            ("127.0.0.1", "127.0.0.1:53", "127.0.0.1"),
            ("127.0.0.1:5353", "127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53", "::1"),
            ("[::1]", "[::1]:53", "::1"),
            ("[2001:db8::53]:53", "[2001:db8::53]:53", "2001:db8::53"),
            ("[::1]:5353", "[::1]:5353", "[::1]:5353"),
            ("fe80::1%eth0", "[fe80::1%eth0]:53", "fe80::1%eth0"),
            ("[fe80::1%2]", "[fe80::1%2]:53", "fe80::1%2"),
            ("[fe80::1%eth0]:53", "[fe80::1%eth0]:53", "fe80::1%eth0"),
            (
                "[fe80::1%eth0]:54",
                "[fe80::1%eth0]:54",
                "[fe80::1%eth0]:54",
            ),
        ];
        for (text, want, shown) in table {
            let server = DnsServerAddress::parse(text).unwrap();
            assert_eq!(server.to_string(), want, "{text}");
            assert_eq!(DnsServerAddress::show(&server), shown, "{text}");
        }
    }

    #[test]
    fn wrong_addresses_of_dns_servers_are_refused_with_a_suggestion() {
        let table = [
            ("127.0.0.1:0", "0 is not a valid port"),
            ("dns.example", "not a valid address"),
            ("127.0.0.1:65536", "not a valid address"),
            ("127.1", "not a valid address"),
            ("", "not a valid address"),
            (
                "fe80::1",
                "write the interface too, such as \"fe80::1%eth0\"",
            ),
            ("2001:db8::1%eth0", "write \"2001:db8::1\""),
            ("192.0.2.1%eth0", "write \"192.0.2.1\""),
            ("fe80::1%", "not a valid name of an interface"),
            ("fe80::1%a/b", "not a valid name of an interface"),
            ("[fe80::1%eth0]x", "not a valid address"),
        ];
        for (text, want) in table {
            let complaint = DnsServerAddress::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }

    #[test]
    fn a_scope_is_looked_up_when_a_socket_is_opened() {
        let server = DnsServerAddress::parse("fe80::1%lo").unwrap();
        let index = if_nametoindex("lo").unwrap();
        let want = format!("[fe80::1%{index}]:53");
        assert_eq!(server.socket_addr().unwrap().to_string(), want);
        let server = DnsServerAddress::parse("fe80::1%nowhere").unwrap();
        let error = server.socket_addr().unwrap_err().to_string();
        assert_eq!(error, "there is no network interface nowhere");
    }
}
