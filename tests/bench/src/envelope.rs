//! Clients, senders and recipients, with the names in the zone of the benchmark (dns.py).

use crate::arguments::Scenario;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A mail transaction without its message.
pub struct Envelope {
    pub client: IpAddr,
    pub helo: String,
    pub sender: String,
    pub recipients: Vec<String>,
}

impl Envelope {
    /// Returns the envelope of sender number `sender`.
    pub fn new(scenario: Scenario, sender: u64, recipients: usize) -> Self {
        let zone = match scenario {
            Scenario::SpfPass | Scenario::Ipv4 => "pass",
            Scenario::DkimPass
            | Scenario::Unauthenticated
            | Scenario::NoPtr
            | Scenario::NotOptedIn => "fail",
        };
        let to = match scenario {
            Scenario::NotOptedIn => "other.example",
            Scenario::SpfPass
            | Scenario::DkimPass
            | Scenario::Unauthenticated
            | Scenario::NoPtr
            | Scenario::Ipv4 => "opted-in.example",
        };
        Self {
            client: client(scenario, sender),
            helo: format!("mail.d{sender}.{zone}.example"),
            sender: format!("<sender@d{sender}.{zone}.example>"),
            recipients: (0..recipients).map(|n| format!("<r{n}@{to}>")).collect(),
        }
    }
}

fn client(scenario: Scenario, sender: u64) -> IpAddr {
    let [.., a, b, c, d] = sender.to_be_bytes();
    let (low, high) = (u16::from_be_bytes([c, d]), u16::from_be_bytes([a, b]));
    match scenario {
        Scenario::Ipv4 => Ipv4Addr::new(198, 51, 100, d).into(),
        // The reverse zone has no records for this network.
        Scenario::NoPtr => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, high, low).into(),
        Scenario::SpfPass
        | Scenario::DkimPass
        | Scenario::Unauthenticated
        | Scenario::NotOptedIn => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, high, low).into(),
    }
}
