//! Compares the AAAA records of host names (`opt_in.mx_zone`) with the opt-ins.

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

const SYNC: &str = "run sixgate opt-in sync-dns, and check that its timer runs";

/// The zone of the host names, and the opt-outs in progress.
pub(super) struct HostNames {
    zone: MxZone,
    pending: OptOuts,
}

impl HostNames {
    /// Adds the domains of `opt_in.mx_zone.domains` to the candidates. Returns `None` without
    /// `opt_in.mx_zone`.
    pub(super) fn gather(config: &Config, candidates: &mut Candidates) -> Option<Self> {
        let zone = MxZone::new(&config.opt_in.mx_zone)?;
        for file in &config.opt_in.mx_zone.domains {
            let mut domains = Domains::default();
            if let Err(error) = domains.add_file(file) {
                candidates.findings.push(Finding::warning(
                    Check::Domains,
                    format!("opt_in.mx_zone.domains: {error}"),
                    "fix the file, or the program that writes it; sync-dns fails because of it, too",
                ));
            }
            candidates.domains.extend(domains.domains);
        }
        let pending = pending::read(&config.opt_in.managed_file);
        let pending = pending.unwrap_or_else(|error| {
            let todo = "fix the file, or run doctor as root";
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

    /// Returns the finding about a domain's host name, if something is wrong with it.
    pub(super) fn finding(&self, examined: &Examined) -> Option<Finding> {
        let (domain, host) = (&examined.domain, self.zone.host(&examined.domain));
        Some(match examined.drift? {
            Drift::UnexpectedAaaa => Finding::problem(
                Check::Domains,
                format!(
                    "{domain} has not opted in, but its host name {host} has an AAAA record: mail \
                     for it that arrives over IPv6 is refused"
                ),
                SYNC,
            ),
            Drift::MissingAaaa => Finding::warning(
                Check::Domains,
                format!(
                    "{domain} has opted in, but its host name {host} has no AAAA record: it receives \
                     no mail over IPv6"
                ),
                SYNC,
            ),
            Drift::None | Drift::NoHost | Drift::Unknown => return None,
        })
    }

    /// Returns whether a finding about the domain's MX would repeat that about its host name.
    pub(super) fn covers(&self, examined: &Examined) -> bool {
        let host = self.zone.host(&examined.domain);
        match (&examined.exchangers, examined.drift) {
            (Exchangers::WithAaaa(name), Some(Drift::UnexpectedAaaa)) => name.starts_with(&host),
            (Exchangers::WithoutAaaa(names), Some(Drift::MissingAaaa)) => *names == host,
            // While an opt-out is in progress, the missing record is intended.
            (Exchangers::WithoutAaaa(names), Some(Drift::None)) => {
                examined.opt_in == OptIn::Yes && *names == host
            }
            _ => false,
        }
    }

    /// Returns one finding about all domains without a host name.
    pub(super) fn missing(&self, examined: &[Examined]) -> Option<Finding> {
        let mut missing = examined
            .iter()
            .filter(|examined| examined.drift == Some(Drift::NoHost));
        let first = missing.next()?;
        let number = 1 + missing.count();
        Some(Finding::warning(
            Check::Domains,
            format!(
                "{number} domain(s) have no host name below {}, for example {} ({})",
                self.zone.suffix,
                first.domain,
                self.zone.host(&first.domain)
            ),
            "list all domains in opt_in.mx_zone.domains, and run sixgate opt-in sync-dns",
        ))
    }
}
