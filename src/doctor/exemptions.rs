//! Checks exempt networks: entries without effect, entries that expire soon or are unused,
//! and the MTA's own networks. If these are not exempt, their outgoing mail is refused,
//! because its recipients' domains have not opted in.

use super::finding::{Check, Finding};
use crate::{
    address::canonical,
    config::Config,
    exempt::{Exemptions, Found, Source, State, display, entry::show},
};
use ipnet::{IpNet, Ipv6Net};
use jiff::{SignedDuration, Zoned};
use std::{cmp::Reverse, net::Ipv6Addr};

/// The maximum number of entries named in a finding.
const MAX_NAMED: usize = 10;

/// An entry counts as in use if it was used within this time.
const RECENT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Reads the lists, as `serve` does.
pub(super) async fn open(config: &Config) -> Result<Exemptions, Finding> {
    let exemptions = Exemptions::open(config, None).map_err(|error| {
        let todo = "fix the list; sixgate does not start with it, and a running one keeps the last \
                    valid list";
        Finding::problem(Check::Exemptions, error.to_string(), todo)
    })?;
    exemptions.load().await.map_err(|error| {
        let todo = "check that Redis answers; until then the last known list is used, or none after a \
                    restart";
        Finding::problem(Check::Exemptions, format!("exempt networks: {error}"), todo)
    })?;
    Ok(exemptions)
}

/// Lists the entries by last use, and warns about those that expire soon or are unused.
pub(super) fn check_entries(exemptions: &Exemptions) -> Vec<Finding> {
    let now = Zoned::now();
    let mut entries: Vec<Found> = exemptions.each().collect();
    entries.retain(|found| found.listed.state(now.timestamp()) != State::Ended);
    if entries.is_empty() {
        return Vec::new();
    }
    entries.sort_by_cached_key(|found| Reverse(found.listed.usage.record().used));
    let used = |found: &Found| {
        let network = show(&found.listed.entry.network);
        let last = display::last_use(&found.listed.usage.record(), &now);
        format!("{network} {last}")
    };
    let all = Finding::ok(
        Check::Exemptions,
        format!("by last use: {}", list_first(&entries, used)),
    );
    let mut findings = vec![all];
    findings.extend(ending(&entries, &now));
    findings.extend(unused(&entries, &now));
    findings
}

fn ending(entries: &[Found], now: &Zoned) -> Option<Finding> {
    let is_used = |found: &&Found| {
        let used = found.listed.usage.record().used;
        used.is_some_and(|used| now.timestamp().duration_since(used) < RECENT)
    };
    let ending = entries
        .iter()
        .filter(|found| found.listed.state(now.timestamp()) == State::Ending);
    let ending: Vec<Found> = ending.filter(is_used).cloned().collect();
    let entry = |found: &Found| {
        let network = show(&found.listed.entry.network);
        format!("{network} {}", display::ends(&found.listed.entry, now))
    };
    (!ending.is_empty()).then(|| {
        Finding::warning(
            Check::Exemptions,
            format!(
                "in use, but exempt for only a few more days: {}",
                list_first(&ending, entry)
            ),
            "check with sixgate explain whether their mail would pass, or extend the exemption: \
             sixgate exempt add NETWORK --for 14d",
        )
    })
}

fn unused(entries: &[Found], now: &Zoned) -> Option<Finding> {
    // The site's own networks, in exempt.networks, may send no mail for long.
    let is_unused =
        |found: &&Found| found.source == Source::Managed && found.listed.is_unused(now.timestamp());
    let unused: Vec<Found> = entries.iter().filter(is_unused).cloned().collect();
    let entry = |found: &Found| show(&found.listed.entry.network);
    (!unused.is_empty()).then(|| {
        Finding::warning(
            Check::Exemptions,
            format!("not used for 90 days: {}", list_first(&unused, entry)),
            "remove entries that are not needed: sixgate exempt remove NETWORK",
        )
    })
}

fn list_first(entries: &[Found], name: impl Fn(&Found) -> String) -> String {
    let names: Vec<String> = entries.iter().take(MAX_NAMED).map(name).collect();
    let names = names.join(", ");
    match entries.len().saturating_sub(MAX_NAMED) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

/// The networks that an MTA treats as its own.
pub(super) struct OwnNetworks {
    /// The setting, such as `/etc/postfix/main.cf: mynetworks`.
    pub(super) place: String,
    pub(super) networks: Vec<Ipv6Net>,
}

/// Compares the exempt networks with the MTAs' own networks.
pub(super) fn check(
    config: &Config,
    exemptions: Option<&Exemptions>,
    own: &[OwnNetworks],
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = only_ipv4(config).into_iter().collect();
    for own in own {
        findings.extend(
            own.networks
                .iter()
                .filter(|net| !exemptions.is_some_and(|exempt| exempt.exempts_permanently(net)))
                .filter_map(|net| not_exempt(config, own, net)),
        );
    }
    if findings.is_empty() {
        let seen = format!("exempt.networks: {}", describe(config));
        findings.push(Finding::ok(Check::Exemptions, seen));
    }
    findings
}

fn describe(config: &Config) -> String {
    let networks: Vec<String> = config
        .policy
        .exempt_networks
        .iter()
        .map(IpNet::to_string)
        .collect();
    match networks.is_empty() {
        true => "only loopback and link-local, and the MTA has no other networks".to_owned(),
        false => networks.join(", "),
    }
}

fn only_ipv4(config: &Config) -> Option<Finding> {
    let networks = &config.policy.exempt_networks;
    let all_ipv4 = !networks.is_empty() && networks.iter().all(|net| matches!(net, IpNet::V4(_)));
    all_ipv4.then(|| {
        Finding::warning(
            Check::Exemptions,
            "exempt.networks has only IPv4 networks, which have no effect: mail over IPv4 is never \
             checked",
            "replace them by the IPv6 networks of the same hosts",
        )
    })
}

fn not_exempt(config: &Config, own: &OwnNetworks, network: &Ipv6Net) -> Option<Finding> {
    let is_within = |outer: &IpNet| outer.contains(&IpNet::V6(*network));
    let mut prefixes = config.policy.ipv4_prefixes.iter();
    if is_always_exempt(network)
        || config.policy.exempt_networks.iter().any(is_within)
        || prefixes.any(|prefix| prefix.network().contains(network))
    {
        return None;
    }
    let seen = format!(
        "{} has {network}, which is not exempt: its mail to other domains is refused, because \
         they have not opted in",
        own.place
    );
    let todo = format!("add it to milter.yaml: exempt: {{networks: [\"{network}\"]}}");
    // A single address usually belongs to this machine, which sends no mail to itself over
    // the network.
    Some(match network.prefix_len() {
        128 => Finding::warning(Check::Exemptions, seen, todo),
        _ => Finding::problem(Check::Exemptions, seen, todo),
    })
}

fn is_always_exempt(network: &Ipv6Net) -> bool {
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    let link_local = Ipv6Net::new(link_local, 10).is_ok_and(|net| net.contains(network));
    network.addr().is_loopback() || link_local
}

/// Returns the IPv6 networks in `mynetworks`. IPv4-mapped ones, such as
/// `[::ffff:127.0.0.0]/104` in Debian's main.cf, are IPv4. Tables are ignored.
pub(super) fn parse_mynetworks(mynetworks: &str) -> Vec<Ipv6Net> {
    let patterns = mynetworks.split([',', ' ', '\t']);
    patterns.filter_map(network).collect()
}

/// Parses `[2001:db8::]/32` or `[2001:db8::1]`.
fn network(pattern: &str) -> Option<Ipv6Net> {
    let (address, length) = pattern.strip_prefix('[')?.split_once(']')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let length = match length.strip_prefix('/') {
        Some(length) => length.parse().ok()?,
        None => 128,
    };
    let network = Ipv6Net::new(address, length).ok()?.trunc();
    match canonical(IpNet::V6(network)) {
        IpNet::V6(network) => Some(network),
        IpNet::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn findings(exempt: &str, mynetworks: &str) -> Vec<Level> {
        let yaml = format!("exempt: {{networks: [{exempt}]}}");
        let config = Config::parse(&yaml, "milter.yaml").unwrap();
        let own = OwnNetworks {
            place: "main.cf: mynetworks".to_owned(),
            networks: parse_mynetworks(mynetworks),
        };
        let findings = check(&config, None, &[own]);
        findings.into_iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn the_mtas_own_networks_have_to_be_exempt() {
        let table = [
            // exempt.networks, mynetworks, want
            ("", "127.0.0.0/8 [::1]/128 [fe80::]/64", Level::Ok),
            ("", "[2001:db8::]/32", Level::Problem),
            ("", "[2001:db8::1]/128", Level::Warning),
            ("", "[2001:db8::1]", Level::Warning),
            ("\"2001:db8::/32\"", "[2001:db8:1::]/48", Level::Ok),
            ("\"2001:db8::/48\"", "[2001:db8::]/32", Level::Problem),
            ("192.0.2.0/24", "192.0.2.0/24", Level::Warning),
            ("\"2001:db8::/32\", 192.0.2.0/24", "192.0.2.0/24", Level::Ok),
            ("", "hash:/etc/postfix/networks, 192.0.2.0/24", Level::Ok),
            (
                "",
                "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128",
                Level::Ok,
            ),
            ("", "[::ffff:192.0.2.1]", Level::Ok),
            ("\"::ffff:192.0.2.0/120\"", "", Level::Warning),
        ];
        for (exempt, mynetworks, want) in table {
            assert_eq!(
                findings(exempt, mynetworks),
                [want],
                "{exempt} {mynetworks}"
            );
        }
    }
}
