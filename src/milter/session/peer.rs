//! The SMTP client of a connection, and the lookups about it.

use super::{Abilities, results::cover_unchecked_mail};
use crate::{
    address::{Client, ClientAddr},
    checks::{Checks, Pending},
    dns::Resolve,
    forwarder::Identified,
    policy::{Confirmation, Facts, Forwarder, Rule, Stage, Step, Verdict, decide},
    ptr::Reverse,
    snapshot::Snapshot,
    telemetry::{self, Exemption},
};
use std::{
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

/// A client whose mail is checked, or gets an Authentication-Results field.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) client: Client,
    /// The features of the MTA that the client is connected to.
    pub(super) mta: Abilities,
    pub(super) ip: IpAddr,
    /// Whether rules 2 and 3 have accepted its mail, which then only gets results.
    pub(super) is_exempt: bool,
    pub(super) helo: Option<String>,
    /// Started at CONNECT, so that it is usually available at the first RCPT.
    pub(super) reverse: Pending<Reverse>,
    pub(super) confirmation: Pending<Confirmation>,
    /// The cached result of [`Self::identify_forwarder`].
    forwarder: Option<Box<Identified>>,
}

impl Peer {
    /// Creates the client at CONNECT; `None` if rules 1 to 3 accept the connection, unless
    /// such mail gets an Authentication-Results field, too.
    pub(super) fn connect<R: Resolve>(
        snapshot: &Snapshot<R>,
        mut client: Client,
        mta: Abilities,
    ) -> Option<Self> {
        let mut is_exempt = false;
        telemetry::hidden_clients::count(client.addr);
        let facts = Facts {
            exempt: (client.addr.ip()).is_some_and(|ip| snapshot.exemptions.has_managed(ip)),
            ..Facts::new(client.addr)
        };
        let policy = &snapshot.config.policy;
        if let Step::Done(Verdict::Accept(rule)) = decide(Stage::Connect, policy, &facts) {
            let translated = policy.translated(client.addr);
            let addr = translated.map_or(client.addr, |found| ClientAddr::V4(found.ipv4));
            let entry = match (rule, addr.ip()) {
                (Rule::ExemptNetwork, Some(ip)) => snapshot.exemptions.find(ip),
                _ => None,
            };
            if let Some(entry) = &entry {
                entry.count();
            }
            client.addr = addr;
            telemetry::log_exempt(&Exemption {
                client: &client,
                stage: Stage::Connect,
                rule,
                seen_as: translated.map(|found| found.seen_as),
                certificate: None,
                entry: entry.as_ref(),
                mode: snapshot.config.mode,
            });
            let results = &snapshot.config.authentication_results;
            if !cover_unchecked_mail(results, &client) {
                return None;
            }
            is_exempt = true;
        }
        // Rule 1 accepts a client without an address. If it ever did not, the client would
        // still have to be checked.
        let ip = client.addr.ip().unwrap_or(Ipv6Addr::UNSPECIFIED.into());
        let (reverse, confirmation) = snapshot.checks.reverse(ip);
        Some(Self {
            client,
            mta,
            ip,
            is_exempt,
            helo: None,
            reverse,
            confirmation,
            forwarder: None,
        })
    }

    /// Compares the client with the known forwarders. The MTA has waited since `since`. The
    /// result is cached for the connection, except for a temporary failure.
    pub(super) async fn identify_forwarder<R: Resolve>(
        &mut self,
        checks: &Checks<R>,
        since: Instant,
    ) -> Identified {
        if let Some(known) = &self.forwarder {
            return (**known).clone();
        }
        let reverse = self.reverse.get().await.clone();
        // Boxed, because it is rare and larger than all other futures.
        let mut pending = Box::new(checks.forwarder(self.ip, reverse, since));
        let identified = pending.get().await.clone();
        if identified.result != Forwarder::Temperror {
            self.forwarder = Some(Box::new(identified.clone()));
        }
        identified
    }
}
