//! Whether the DNS servers tell the reverse names of IPv6 addresses: some
//! forwarders and firewalls keep `ip6.arpa` back, and then every IPv6 client is
//! refused for want of a name.

use super::{Check, Finding};
use crate::dns::{Answer, Dns, Name, Resolve};
use std::net::Ipv6Addr;

/// Addresses that are known to have a name, which leads back to them.
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

/// Asks for their names and, if there is none, whether the names lead to them.
pub(super) async fn check(dns: &Dns) -> Finding {
    let mut unknown = Vec::new();
    for (address, name) in KNOWN {
        let reverse = match dns.ptr(address.into()).await {
            Answer::Found(_) => {
                return Finding::ok(
                    Check::ReverseDns,
                    format!("reverse names of IPv6 addresses are found ({address} is {name})"),
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
            "whether reverse names are found can't be told from here: nothing is known of {}",
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
            "{name} leads to {address}, but the reverse name of that is not found ({reverse}): \
             something keeps ip6.arpa back, and all mail over IPv6 is deferred"
        ),
        format!("see who answers: dig -x {address}; ask a resolver of your own, such as unbound"),
    )
}
