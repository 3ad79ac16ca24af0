//! Known forwarders: whether the domains of `exempt.forwarders.spf_of` have SPF records that
//! tell them from others.

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
                format!("spf_of: the SPF record of {domain} names its clients"),
            ),
            RecordState::Open(term) => Finding::warning(
                Check::Forwarders,
                format!(
                    "exempt.forwarders.spf_of: the SPF record of {domain} passes any client \
                     ({term}), so it exempts nobody"
                ),
                format!(
                    "ask {domain} to end its record in -all, or name its hosts in \
                         exempt.forwarders.names"
                ),
            ),
            RecordState::Unusable(reason) => Finding::warning(
                Check::Forwarders,
                format!("exempt.forwarders.spf_of: {domain} exempts nobody: {reason}"),
                format!("see that {domain} is spelled right and has a valid SPF record"),
            ),
            RecordState::Temperror(reason) => Finding::warning(
                Check::Forwarders,
                format!("exempt.forwarders.spf_of: {domain} can't be checked now: {reason}"),
                "see that the DNS answers for it; until then it exempts nobody",
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
