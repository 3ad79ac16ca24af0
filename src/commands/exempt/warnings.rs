//! Warns on standard error about networks that overlap others, or that are never checked
//! anyway.

use crate::{
    address::ClientAddr,
    commands::outcomes::FEW,
    config::Config,
    exempt::{Exemptions, Found, Source, display, entry::show},
    exit::Failure,
    policy::{Facts, Stage, Step, Verdict, decide},
};
use ipnet::Ipv6Net;
use jiff::Zoned;
use std::net::IpAddr;

/// Warns about added entries.
pub(super) fn print(config: &Config, networks: &[Ipv6Net]) -> Result<(), Failure> {
    let exemptions = super::open(config)?;
    let now = Zoned::now();
    let overlapping = networks
        .iter()
        .map(|n| overlap(config, &exemptions, n, &now));
    warn(overlapping.collect(), "networks overlap others");
    Ok(())
}

/// Warns about removed networks that are still exempt.
pub(super) fn print_still_exempt(config: &Config, networks: &[Ipv6Net]) -> Result<(), Failure> {
    let exemptions = super::open(config)?;
    let now = Zoned::now();
    let still = |network: &Ipv6Net| {
        let wider = wider(&exemptions, network, &now).into_iter();
        let wider = wider.chain(exemptions.networks().get(network).map(|listed| Found {
            source: Source::Networks,
            listed: listed.clone(),
        }));
        let wider: Vec<Found> = wider.collect();
        let wider = wider.last()?;
        let by = display::describe(wider, exemptions.file(), &now);
        Some(format!("{} is still exempt, by {by}", show(network)))
    };
    warn(
        networks.iter().map(still).collect(),
        "networks are still exempt",
    );
    Ok(())
}

/// Prints the warnings, or their number if there are many.
fn warn(warnings: Vec<Option<String>>, what: &str) {
    let is_few = warnings.len() <= FEW;
    let warnings: Vec<String> = warnings.into_iter().flatten().collect();
    match is_few {
        true => warnings.iter().for_each(|w| eprintln!("warning: {w}")),
        false if warnings.is_empty() => {}
        false => eprintln!(
            "warning: {} {what}; see sixgate exempt list",
            warnings.len()
        ),
    }
}

/// Returns the warning about an added network.
fn overlap(
    config: &Config,
    exemptions: &Exemptions,
    network: &Ipv6Net,
    now: &Zoned,
) -> Option<String> {
    let name = show(network);
    if let Some(why) = never_checked(config, network) {
        return Some(format!("{name} has no effect: {why}"));
    }
    let file = exemptions.file();
    if exemptions.networks().get(network).is_some() {
        return Some(format!(
            "{name} is in exempt.networks, too, which has no end"
        ));
    }
    if let Some(wider) = wider(exemptions, network, now).last() {
        let by = display::describe(wider, file, now);
        return Some(format!("{name} is already exempt, by {by}"));
    }
    let managed = exemptions.managed();
    let within = managed
        .within(network)
        .filter(|l| l.entry.network != *network);
    let within = within.filter(|l| l.entry.is_in_force(now.timestamp()));
    let within: Vec<String> = within.map(|l| show(&l.entry.network)).collect();
    match within.as_slice() {
        [] => None,
        [first] => Some(format!("{name} contains {first} of the list")),
        [first, rest @ ..] => Some(format!(
            "{name} contains {first} and {} more of the list",
            rest.len()
        )),
    }
}

/// Returns wider entries that exempt the whole network now.
fn wider(exemptions: &Exemptions, network: &Ipv6Net, now: &Zoned) -> Vec<Found> {
    let now = now.timestamp();
    let mut wider = exemptions.covering(network.addr());
    wider.retain(|found| {
        let entry = &found.listed.entry;
        entry.network.contains(network) && entry.network != *network && entry.is_in_force(now)
    });
    wider
}

/// Returns why the clients of a network are never checked, if that is so.
fn never_checked(config: &Config, network: &Ipv6Net) -> Option<String> {
    let translated = |prefix: &&_| -> bool {
        let prefix: &crate::translation::TranslationPrefix = prefix;
        prefix.network().contains(network)
    };
    if let Some(prefix) = config.policy.ipv4_prefixes.iter().find(translated) {
        return Some(format!(
            "clients in {prefix} of ipv4_prefixes are IPv4 clients, which are never checked"
        ));
    }
    let client = ClientAddr::from(IpAddr::V6(network.addr()));
    let always = network.addr().is_loopback() || network.addr().is_unicast_link_local();
    let facts = Facts::new(client);
    match decide(Stage::Connect, &config.policy, &facts) {
        Step::Done(Verdict::Accept(_)) if always => {
            Some("loopback and link-local addresses are never checked".to_owned())
        }
        _ => None,
    }
}
