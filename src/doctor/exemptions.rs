//! Exemptions: networks that never have an effect, the MTA's own networks, whose mail
//! to other domains would be refused as mail to domains that have not opted in, and
//! entries that end soon or that nobody uses.

use super::finding::{Check, Finding};
use crate::{
    address::canonical,
    config::Config,
    exempt::{Exemptions, Found, Source, State, display, entry::show},
};
use ipnet::{IpNet, Ipv6Net};
use jiff::{SignedDuration, Zoned};
use std::{cmp::Reverse, net::Ipv6Addr};

/// How many entries a finding names.
const MAX_NAMED: usize = 10;

/// An entry that was used within this time is in use.
const RECENT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Reads the managed list, as `serve` does.
pub(super) async fn open(config: &Config) -> Result<Exemptions, Finding> {
    let exemptions = Exemptions::open(config, None).map_err(|error| {
        let todo = "correct it; sixgate does not start with it, and one that runs keeps the last \
                    good list";
        Finding::problem(Check::Exemptions, error.to_string(), todo)
    })?;
    exemptions.load().await.map_err(|error| {
        let todo = "see that Redis answers; until then the last known list is in force, after a \
                    start none";
        Finding::problem(Check::Exemptions, format!("exempt networks: {error}"), todo)
    })?;
    Ok(exemptions)
}

/// Names the entries by their last use, those that end soon and those that nobody
/// uses.
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
                "exempt only for some days more, and in use: {}",
                list_first(&ending, entry)
            ),
            "see whether their mail would pass (sixgate explain), or go on: sixgate exempt add \
             NETWORK --for 14d",
        )
    })
}

fn unused(entries: &[Found], now: &Zoned) -> Option<Finding> {
    // Networks of the site's own may well be silent.
    let is_unused =
        |found: &&Found| found.source == Source::Managed && found.listed.is_unused(now.timestamp());
    let unused: Vec<Found> = entries.iter().filter(is_unused).cloned().collect();
    let entry = |found: &Found| show(&found.listed.entry.network);
    (!unused.is_empty()).then(|| {
        Finding::warning(
            Check::Exemptions,
            format!("not used for 90 days: {}", list_first(&unused, entry)),
            "remove what is not needed: sixgate exempt remove NETWORK",
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

/// Networks that an MTA takes for its own.
pub(super) struct OwnNetworks {
    /// Where that stands, such as `/etc/postfix/main.cf: mynetworks`.
    pub(super) place: String,
    pub(super) networks: Vec<Ipv6Net>,
}

/// Compares what is exempt with what MTAs take for their own.
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
        true => "none besides loopback and link-local, and the MTA has no others".to_owned(),
        false => networks.join(", "),
    }
}

fn only_ipv4(config: &Config) -> Option<Finding> {
    let networks = &config.policy.exempt_networks;
    let all_ipv4 = !networks.is_empty() && networks.iter().all(|net| matches!(net, IpNet::V4(_)));
    all_ipv4.then(|| {
        Finding::warning(
            Check::Exemptions,
            "exempt.networks has IPv4 networks alone, which exempt nobody: mail over IPv4 is never \
             checked",
            "write the IPv6 networks of the same hosts in their place",
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
        "{} has {network}, which is not exempt: mail from there to other domains is refused, as \
         they have not opted in",
        own.place
    );
    let todo = format!("add it: exempt: {{networks: [\"{network}\"]}}");
    // A single address is most often one of this machine's own, from which mail
    // does not come over the network.
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

/// The IPv6 networks in a list as Postfix has it. IPv4-mapped ones, such as
/// `[::ffff:127.0.0.0]/104` of Debian's main.cf, are IPv4. Tables are not looked
/// into.
pub(super) fn parse_mynetworks(mynetworks: &str) -> Vec<Ipv6Net> {
    let patterns = mynetworks.split([',', ' ', '\t']);
    patterns.filter_map(network).collect()
}

/// `[2001:db8::]/32` or `[2001:db8::1]`.
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
