//! Values that are addresses: networks and DNS servers.

use super::value::Kind;
use crate::address::canonical;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// A network, or an address as the network of it alone.
pub(super) struct Network;

impl Kind for Network {
    type Value = IpNet;
    const EXPECTED: &'static str = "a network such as \"2001:db8::/32\"";

    fn parse(text: &str) -> Result<IpNet, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(IpNet::from(address.to_canonical()));
        }
        match text.parse::<IpNet>() {
            Ok(network) if network.trunc() == network => Ok(canonical(network)),
            Ok(network) => Err(format!(
                "\"{network}\" has host bits set; write \"{}\"",
                network.trunc()
            )),
            Err(_) => Err(no_network(text)),
        }
    }

    fn show(value: &IpNet) -> String {
        value.to_string()
    }
}

/// Postfix writes `[2001:db8::]/32`.
fn no_network(text: &str) -> String {
    match text.replace(['[', ']'], "").parse::<IpNet>() {
        Ok(network) => format!("{text:?} is no network; write \"{}\"", network.trunc()),
        Err(_) => format!("{text:?} is no network; write one such as \"2001:db8::/32\""),
    }
}

/// The address of a DNS server.
pub(super) struct DnsServer;

const DNS_PORT: u16 = 53;

impl Kind for DnsServer {
    type Value = SocketAddr;
    const EXPECTED: &'static str =
        "an address such as 127.0.0.1, 127.0.0.1:5353 or \"[2001:db8::53]:53\"";

    fn parse(text: &str) -> Result<SocketAddr, String> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(text).parse() {
            return Ok(SocketAddr::new(ip, DNS_PORT));
        }
        match text.parse::<SocketAddr>() {
            Ok(server) if server.port() != 0 => Ok(server),
            Ok(server) => Err(format!(
                "0 is no port; write {} for the usual one",
                server.ip()
            )),
            Err(_) => Err(format!("{text:?} is no address; write {}", Self::EXPECTED)),
        }
    }

    fn show(value: &SocketAddr) -> String {
        match value.port() {
            DNS_PORT => value.ip().to_string(),
            _ => value.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_no_host_bits_and_addresses_are_networks() {
        let table = [
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
        ];
        for (text, want) in table {
            let network = Network::parse(text).map(|network| network.to_string());
            assert_eq!(network.as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_to_write() {
        let table = [
            ("2001:db8::1/32", "write \"2001:db8::/32\""),
            ("10.1.2.3/8", "write \"10.0.0.0/8\""),
            ("[2001:db8::]/32", "write \"2001:db8::/32\""),
            ("[2001:db8::1]", "no network"),
            ("2001:db8::/129", "no network"),
            ("10.0.0.0/255.0.0.0", "no network"),
            ("fe80::1%eth0", "no network"),
            ("example.org", "no network"),
            ("", "no network"),
        ];
        for (text, want) in table {
            let complaint = Network::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }

    #[test]
    fn dns_servers_have_port_53_unless_they_say_otherwise() {
        let table = [
            ("127.0.0.1", "127.0.0.1:53", "127.0.0.1"),
            ("127.0.0.1:5353", "127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53", "::1"),
            ("[::1]", "[::1]:53", "::1"),
            ("[2001:db8::53]:53", "[2001:db8::53]:53", "2001:db8::53"),
            ("[::1]:5353", "[::1]:5353", "[::1]:5353"),
        ];
        for (text, want, shown) in table {
            let server = DnsServer::parse(text).unwrap();
            assert_eq!(server.to_string(), want, "{text}");
            assert_eq!(DnsServer::show(&server), shown, "{text}");
        }
        for text in ["127.0.0.1:0", "dns.example", "127.0.0.1:65536", "127.1", ""] {
            assert!(DnsServer::parse(text).is_err(), "{text}");
        }
    }
}
