//! Values that are networks.

use super::value::Kind;
use crate::address::canonical;
use ipnet::IpNet;
use std::net::IpAddr;

/// A network; an address is a network with a single address.
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

/// Returns the error for a text that is not a network. Postfix writes `[2001:db8::]/32`.
fn no_network(text: &str) -> String {
    match text.replace(['[', ']'], "").parse::<IpNet>() {
        Ok(network) => format!(
            "{text:?} is not a valid network; write \"{}\"",
            network.trunc()
        ),
        Err(_) => format!("{text:?} is not a valid network; write one such as \"2001:db8::/32\""),
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
    fn invalid_networks_are_refused_with_a_suggestion() {
        let table = [
            ("2001:db8::1/32", "write \"2001:db8::/32\""),
            ("10.1.2.3/8", "write \"10.0.0.0/8\""),
            ("[2001:db8::]/32", "write \"2001:db8::/32\""),
            ("[2001:db8::1]", "not a valid network"),
            ("2001:db8::/129", "not a valid network"),
            ("10.0.0.0/255.0.0.0", "not a valid network"),
            ("fe80::1%eth0", "not a valid network"),
            ("example.org", "not a valid network"),
            ("", "not a valid network"),
        ];
        for (text, want) in table {
            let complaint = Network::parse(text).unwrap_err();
            assert!(complaint.contains(want), "{text}: {complaint}");
        }
    }
}
