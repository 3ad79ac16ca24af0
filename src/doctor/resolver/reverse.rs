//! Checks reverse lookups of IPv6 addresses. Some forwarders and firewalls block `ip6.arpa`,
//! and then no IPv6 client has reverse DNS.

use super::{Check, Finding};
use crate::dns::{Answer, Dns, Name, Resolve};
use std::net::Ipv6Addr;

/// Addresses with a PTR record whose name resolves back to them.
const KNOWN: [(Ipv6Addr, &str); 2] = [
    (
        Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888),
        "dns.google",
    ),
    (
        Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111),
        "one.one.one.one",
    ),
];

/// Looks up the PTR records and, if there is none, the addresses of the known names.
pub(super) async fn check(dns: &Dns) -> Finding {
    let mut unknown = Vec::new();
    for (address, name) in KNOWN {
        let reverse = match dns.ptr(address.into()).await {
            Answer::Found(_) => {
                return Finding::ok(
                    Check::ReverseDns,
                    format!("reverse DNS of IPv6 works ({address} is {name})"),
                );
            }
            Answer::Absent(absence) => absence.to_string(),
            Answer::Temperror(failure) => failure.to_string(),
        };
        if resolves_to(dns, name, address).await {
            return blocked(address, name, &reverse);
        }
        unknown.push(format!("{address}: {reverse}"));
    }
    Finding::ok(
        Check::ReverseDns,
        format!(
            "unknown whether reverse DNS works, because the test names do not resolve: {}",
            unknown.join(", ")
        ),
    )
}

async fn resolves_to(dns: &Dns, name: &str, address: Ipv6Addr) -> bool {
    let Ok(name) = Name::parse(name) else {
        return false;
    };
    match dns.aaaa(&name).await {
        Answer::Found(found) => found.records.contains(&address),
        Answer::Absent(_) | Answer::Temperror(_) => false,
    }
}

fn blocked(address: Ipv6Addr, name: &str, reverse: &str) -> Finding {
    Finding::problem(
        Check::ReverseDns,
        format!(
            "{name} resolves to {address}, whose PTR record is not found ({reverse}): ip6.arpa is \
             blocked, and all mail over IPv6 is deferred"
        ),
        format!(
            "find what blocks it with dig -x {address}, or run a resolver of your own, such as unbound"
        ),
    )
}
