//! Checks that the SPF records of `exempt.forwarders.spf_of` identify the forwarders.

use super::finding::{Check, Finding};
use crate::{
    config::Config,
    dns::Resolve,
    forwarder::{RecordState, examine},
};

/// Looks up the SPF record of each domain.
pub(super) async fn check<R: Resolve>(config: &Config, resolver: &R) -> Vec<Finding> {
    let forwarders = &config.forwarders;
    let mut findings = Vec::new();
    for domain in &forwarders.spf_of {
        let finding = match examine(resolver, domain, config.spf).await {
            RecordState::Usable => Finding::ok(
                Check::Forwarders,
                format!("spf_of: the SPF record of {domain} lists its clients"),
            ),
            RecordState::Open(term) => Finding::warning(
                Check::Forwarders,
                format!(
                    "exempt.forwarders.spf_of: the SPF record of {domain} passes any client \
                     ({term}), so it exempts no client"
                ),
                format!(
                    "ask {domain} to end its record with -all, or list its hosts in \
                     exempt.forwarders.names"
                ),
            ),
            RecordState::Unusable(reason) => Finding::warning(
                Check::Forwarders,
                format!("exempt.forwarders.spf_of: {domain} exempts no client: {reason}"),
                format!("check the spelling of {domain}, and that it has a valid SPF record"),
            ),
            RecordState::Temperror(reason) => Finding::warning(
                Check::Forwarders,
                format!("exempt.forwarders.spf_of: {domain} can't be checked now: {reason}"),
                "check that its DNS servers answer; until then it exempts no client",
            ),
        };
        findings.push(finding);
    }
    if !forwarders.names.is_empty() {
        let names: Vec<String> = forwarders.names.iter().map(ToString::to_string).collect();
        let seen = format!("names: {}", names.join(", "));
        findings.push(Finding::ok(Check::Forwarders, seen));
    }
    findings
}
