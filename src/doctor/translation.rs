//! Looks for an IPv4/IPv6 translator (NAT64, SIIT-DC) that `ipv4_prefixes` lacks: IPv4 clients
//! behind it are checked as IPv6 clients.
//!
//! `ipv4only.arpa` has only A records. A DNS64 server adds AAAA records with the prefix of the
//! translator (RFC 7050).

use super::finding::{Check, Finding};
use crate::{
    config::Config,
    dns::{Answer, Dns, Name, Resolve},
    translation::{LENGTHS, TranslationPrefix},
};
use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
};

/// The A records of ipv4only.arpa (RFC 7050 section 8).
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

/// Looks up `ipv4only.arpa`, and checks this machine's own addresses.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let (Ok(dns), Ok(name)) = (Dns::new(&config.dns), Name::parse("ipv4only.arpa")) else {
        return Vec::new();
    };
    let interfaces = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    findings(config, &dns.aaaa(&name).await, &interfaces)
}

fn findings(config: &Config, answer: &Answer<Ipv6Addr>, interfaces: &str) -> Vec<Finding> {
    let mut found: Vec<(String, TranslationPrefix)> = Vec::new();
    if let Answer::Found(addresses) = answer {
        for prefix in prefixes(&addresses.records) {
            let place = "the DNS has AAAA records for ipv4only.arpa (DNS64)".to_owned();
            found.push((place, prefix));
        }
    }
    for (address, prefix) in own_addresses(interfaces) {
        if !found.iter().any(|(_, other)| *other == prefix) {
            found.push((format!("this machine has the address {address}"), prefix));
        }
    }
    if found.is_empty() {
        let seen = match answer {
            Answer::Temperror(failure) => {
                format!("unknown whether there is a NAT64: ipv4only.arpa: {failure}")
            }
            Answer::Found(_) | Answer::Absent(_) => {
                "no NAT64 found: no AAAA record of ipv4only.arpa embeds its IPv4 address, and no \
                 address of this machine is in a translation prefix"
                    .to_owned()
            }
        };
        return vec![Finding::ok(Check::Translation, seen)];
    }
    let findings = found.into_iter();
    findings
        .map(|(place, prefix)| finding(config, &place, prefix))
        .collect()
}

fn finding(config: &Config, place: &str, prefix: TranslationPrefix) -> Finding {
    let known = &config.policy.ipv4_prefixes;
    if known
        .iter()
        .any(|known| known.network().contains(&prefix.network()))
    {
        let seen = format!("{place}: {prefix} is in ipv4_prefixes");
        return Finding::ok(Check::Translation, seen);
    }
    Finding::warning(
        Check::Translation,
        format!(
            "{place}: there is a translator with the prefix {prefix}, and IPv4 clients behind it \
             are checked as IPv6 clients"
        ),
        format!(
            "set ipv4_prefixes: [\"{prefix}\"], which does no harm if the translator serves only \
             outgoing connections"
        ),
    )
}

/// Returns the prefixes with which most of the addresses embed a well-known one. Parts of a
/// prefix itself may look like a well-known address.
fn prefixes(addresses: &[Ipv6Addr]) -> Vec<TranslationPrefix> {
    let mut counted: Vec<(TranslationPrefix, usize)> = Vec::new();
    for address in addresses {
        for length in LENGTHS {
            let Ok(prefix) = TranslationPrefix::of(*address, length) else {
                continue;
            };
            let embedded = prefix.embedded(*address);
            if !embedded.is_some_and(|ipv4| WELL_KNOWN.contains(&ipv4)) {
                continue;
            }
            match counted.iter_mut().find(|(other, _)| *other == prefix) {
                Some((_, count)) => *count += 1,
                None => counted.push((prefix, 1)),
            }
        }
    }
    let most = counted.iter().map(|(_, count)| *count).max();
    counted.retain(|(_, count)| Some(*count) == most);
    counted.into_iter().map(|(prefix, _)| prefix).collect()
}

/// Returns this machine's addresses in prefixes that are reserved for translation: the
/// well-known one (RFC 6052 section 2.1) and those for local use (RFC 8215). If a host has
/// one, IPv4 clients reach it through a translator, from addresses with the same prefix.
fn own_addresses(interfaces: &str) -> Vec<(Ipv6Addr, TranslationPrefix)> {
    let is_for_translation = |address: &Ipv6Addr| {
        let [first, second, third, ..] = address.segments();
        let well_known = TranslationPrefix::of(*address, 96)
            .is_ok_and(|prefix| prefix.to_string() == "64:ff9b::/96");
        well_known || [first, second, third] == [0x64, 0xff9b, 1]
    };
    let lines = interfaces.lines();
    let columns = lines.filter_map(|line| line.split_whitespace().next());
    let bits = columns.filter_map(|digits| u128::from_str_radix(digits, 16).ok());
    let addresses = bits.map(Ipv6Addr::from_bits).filter(is_for_translation);
    addresses
        .filter_map(|address| Some((address, TranslationPrefix::of(address, 96).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dns::{Absence, Failure, Records},
        doctor::finding::Level,
    };
    use std::time::Instant;

    fn answer(addresses: &[&str]) -> Answer<Ipv6Addr> {
        match addresses {
            [] => Answer::Absent(Absence::NoData),
            addresses => Answer::Found(Records {
                records: addresses.iter().map(|text| text.parse().unwrap()).collect(),
                valid_until: Instant::now(),
            }),
        }
    }

    /// A pair for each layout of RFC 6052 section 2.2.
    #[test]
    fn the_prefix_is_found_in_every_layout() {
        let table = [
            ("2001:db8::/32", "2001:db8:c000:aa::", "2001:db8:c000:ab::"),
            (
                "2001:db8:100::/40",
                "2001:db8:1c0:0:aa::",
                "2001:db8:1c0:0:ab::",
            ),
            (
                "2001:db8:122::/48",
                "2001:db8:122:c000:0:aa00::",
                "2001:db8:122:c000:0:ab00::",
            ),
            (
                "2001:db8:122:300::/56",
                "2001:db8:122:3c0:0:aa::",
                "2001:db8:122:3c0:0:ab::",
            ),
            (
                "2001:db8:122:344::/64",
                "2001:db8:122:344:c0:0:aa00:0",
                "2001:db8:122:344:c0:0:ab00:0",
            ),
            (
                "64:ff9b::/96",
                "64:ff9b::192.0.0.170",
                "64:ff9b::192.0.0.171",
            ),
            // The prefix has the bytes of a well-known address itself.
            (
                "2001:db8:c000:aa::/96",
                "2001:db8:c000:aa::192.0.0.170",
                "2001:db8:c000:aa::192.0.0.171",
            ),
        ];
        for (want, first, second) in table {
            let addresses = [first, second].map(|text| text.parse().unwrap());
            let found: Vec<String> = prefixes(&addresses)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert!(found.contains(&want.to_owned()), "{want}: {found:?}");
            if !want.contains("c000") {
                assert_eq!(found, [want]);
            }
        }
        assert_eq!(prefixes(&["2001:db8::1".parse().unwrap()]), []);
        assert_eq!(prefixes(&[]), []);
    }

    #[test]
    fn a_translator_that_is_not_known_is_a_warning() {
        let lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let own = "0064ff9b0000000000000000c0000221 04 60 00 80     eth0\n";
        let local = "0064ff9b000100000000000000000001 04 60 00 80     eth0\n";
        let configured = "ipv4_prefixes: [\"64:ff9b::/96\"]";
        let shorter = "ipv4_prefixes: [\"64:ff9b:1::/48\"]";
        let synthesized = ["64:ff9b::192.0.0.170", "64:ff9b::192.0.0.171"];
        let table = [
            // configuration, answer, interfaces, level, words
            ("", answer(&[]), lo, Level::Ok, "no NAT64 found"),
            (
                "",
                answer(&["2001:db8::1"]),
                lo,
                Level::Ok,
                "no NAT64 found",
            ),
            (
                "",
                answer(&synthesized),
                lo,
                Level::Warning,
                "with the prefix 64:ff9b::/96",
            ),
            (
                configured,
                answer(&synthesized),
                lo,
                Level::Ok,
                "is in ipv4_prefixes",
            ),
            (
                "",
                answer(&[]),
                own,
                Level::Warning,
                "has the address 64:ff9b::c000:221",
            ),
            (
                configured,
                answer(&[]),
                own,
                Level::Ok,
                "is in ipv4_prefixes",
            ),
            (
                "",
                answer(&[]),
                local,
                Level::Warning,
                "the prefix 64:ff9b:1::/96",
            ),
            (
                shorter,
                answer(&[]),
                local,
                Level::Ok,
                "is in ipv4_prefixes",
            ),
            (
                "",
                Answer::Temperror(Failure::ServFail),
                lo,
                Level::Ok,
                "unknown whether",
            ),
        ];
        for (yaml, answer, interfaces, level, words) in table {
            let config = Config::parse(yaml, "milter.yaml").unwrap();
            let findings = findings(&config, &answer, interfaces);
            let [finding] = findings.as_slice() else {
                panic!("{yaml} {interfaces}: {findings:?}");
            };
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.seen.contains(words), "{finding:?}");
        }
    }
}
