//! Host names of `opt_in.mx_zone` whose AAAA records do not go together with the
//! opt-ins.

use super::{Candidates, Examined};
use crate::{
    address::Domain,
    config::Config,
    dns::{Dns, exchangers::Exchangers},
    doctor::finding::{Check, Finding},
    opt_in::{
        mx_zone::{Domains, Drift, MxZone},
        pending::{self, OptOuts},
    },
    policy::OptIn,
};

const SYNC: &str = "run sixgate opt-in sync-dns, and see that it runs regularly";

/// What they are compared by.
pub(super) struct HostNames {
    zone: MxZone,
    pending: OptOuts,
}

impl HostNames {
    /// `None` if there are none. The domains of its files are added to those that are
    /// asked for.
    pub(super) fn gather(config: &Config, candidates: &mut Candidates) -> Option<Self> {
        let zone = MxZone::new(&config.opt_in.mx_zone)?;
        for file in &config.opt_in.mx_zone.domains {
            let mut domains = Domains::default();
            if let Err(error) = domains.add_file(file) {
                candidates.findings.push(Finding::warning(
                    Check::Domains,
                    format!("opt_in.mx_zone.domains: {error}"),
                    "fix the file, or what writes it; sync-dns fails by it, too",
                ));
            }
            candidates.domains.extend(domains.domains);
        }
        let pending = pending::read(&config.opt_in.managed_file);
        let pending = pending.unwrap_or_else(|error| {
            let todo = "fix the file, or run this as root";
            let seen = format!("opt-outs in progress: {error}");
            candidates
                .findings
                .push(Finding::warning(Check::Domains, seen, todo));
            OptOuts::new()
        });
        Some(Self { zone, pending })
    }

    pub(super) async fn drift(&self, resolver: &Dns, domain: &Domain, opt_in: OptIn) -> Drift {
        let aaaa = self.zone.look_up(resolver, domain).await;
        Drift::new(opt_in, self.pending.contains_key(domain), &aaaa)
    }

    /// What is wrong with a domain's host name.
    pub(super) fn finding(&self, examined: &Examined) -> Option<Finding> {
        let (domain, host) = (&examined.domain, self.zone.host(&examined.domain));
        Some(match examined.drift? {
            Drift::UnexpectedAaaa => Finding::problem(
                Check::Domains,
                format!(
                    "{domain} has not opted in, but its host name {host} has an AAAA record: mail \
                     that comes by it over IPv6 is refused"
                ),
                SYNC,
            ),
            Drift::MissingAaaa => Finding::warning(
                Check::Domains,
                format!(
                    "{domain} has opted in, but its host name {host} has no AAAA record: no mail \
                     comes by it over IPv6"
                ),
                SYNC,
            ),
            Drift::None | Drift::NoHost | Drift::Unknown => return None,
        })
    }

    /// Whether a finding about the domain's own exchangers would say the same again.
    pub(super) fn covers(&self, examined: &Examined) -> bool {
        let host = self.zone.host(&examined.domain);
        match (&examined.exchangers, examined.drift) {
            (Exchangers::WithAaaa(name), Some(Drift::UnexpectedAaaa)) => name.starts_with(&host),
            (Exchangers::WithoutAaaa(names), Some(Drift::MissingAaaa)) => *names == host,
            // While an opt-out is in progress, this is how it should be.
            (Exchangers::WithoutAaaa(names), Some(Drift::None)) => {
                examined.opt_in == OptIn::Yes && *names == host
            }
            _ => false,
        }
    }

    /// Domains without a host name, in one finding.
    pub(super) fn missing(&self, examined: &[Examined]) -> Option<Finding> {
        let mut missing = examined
            .iter()
            .filter(|examined| examined.drift == Some(Drift::NoHost));
        let first = missing.next()?;
        let number = 1 + missing.count();
        Some(Finding::warning(
            Check::Domains,
            format!(
                "{number} domain(s) have no host name below {}, such as {} ({})",
                self.zone.suffix,
                first.domain,
                self.zone.host(&first.domain)
            ),
            "name all domains in opt_in.mx_zone.domains, and run sixgate opt-in sync-dns",
        ))
    }
}
