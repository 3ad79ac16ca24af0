//! The Authentication-Results fields of a mail transaction: which mail gets them, the lookups
//! that only they need, and their content.
//!
//! Nothing here reaches the policy: these lookups finish after the decision and are not facts.

use super::{Edits, peer::Peer, transaction::Transaction};
use crate::{
    address::{Client, ReversePath},
    authentication_results::{self, Iprev, Results, Signatures},
    config::{AuthenticationResults, Families},
    dkim::{self, DkimResult, SignatureResult},
    dns::Resolve,
    policy::Stage,
    telemetry::metrics,
};
use std::time::Instant;

/// Returns the authserv-id of the field; `None` if no field is added.
pub(super) fn authserv_id<'a>(
    settings: &'a AuthenticationResults,
    client: &'a Client,
) -> Option<&'a String> {
    let id = settings.authserv_id.as_ref().or(client.mta.as_ref());
    id.filter(|_| settings.add)
}

/// Returns whether mail that rules 1 to 5 accept gets the field, too. Mail from loopback does
/// not: it comes back from a content filter, and would lose the field that it got when it was
/// received.
pub(super) fn cover_unchecked_mail(settings: &AuthenticationResults, client: &Client) -> bool {
    match settings.families {
        Families::Checked => false,
        Families::All => {
            let is_remote = client.addr.ip().is_some_and(|ip| !ip.is_loopback());
            is_remote && authserv_id(settings, client).is_some()
        }
    }
}

impl<R: Resolve> Transaction<R> {
    /// Starts the lookups that only the field needs, once.
    pub(super) fn start_results(&mut self, peer: &Peer) {
        if !self.is_complete || self.helo_spf.is_some() {
            return;
        }
        // For the null reverse-path, SPF is evaluated for the HELO name anyway.
        if let (ReversePath::Mailbox(_), Some(helo)) = (&self.reverse_path, &peer.helo) {
            let evaluation = self.snapshot.checks.helo_spf(peer.ip, helo);
            self.helo_spf = Some(Box::new(evaluation));
        }
    }

    /// Waits for the results that a complete field needs. All of them are started before the
    /// first wait, so that this takes at most `limits.stage_timeout`.
    pub(super) async fn complete_results(&mut self, peer: &mut Peer) {
        if !self.is_complete || self.has_results {
            return;
        }
        self.has_results = true;
        let start = Instant::now();
        self.spf(peer);
        self.start_results(peer);
        if self.message.is_being_verified() {
            self.message.verify().await;
        }
        self.spf(peer).get().await;
        if let Some(helo_spf) = &mut self.helo_spf {
            helo_spf.get().await;
        }
        peer.confirmation.get().await;
        peer.reverse.get().await;
        let waited = start.elapsed();
        self.waited += waited;
        // If a rule has waited at this stage, the message is already counted.
        if self.facts.dkim.is_none() {
            metrics::get().waited(Stage::EndOfMessage, waited);
        }
    }

    /// Returns the changes to an accepted message.
    pub(super) async fn edits(&mut self, peer: &mut Peer) -> Edits {
        let Some(authserv_id) = self.authserv_id.clone() else {
            return Edits::default();
        };
        let forged = self.message.forged().iter().rev().copied();
        let remove = forged.filter(|_| peer.mta.removes_fields).collect();
        if !peer.mta.adds_fields {
            return Edits {
                remove,
                insert: Vec::new(),
            };
        }
        self.complete_results(peer).await;
        Edits {
            remove,
            insert: self.results(peer, &authserv_id).await,
        }
    }

    async fn results(&self, peer: &mut Peer, authserv_id: &str) -> Vec<String> {
        let confirmation = *peer.confirmation.get().await;
        let reverse = peer.reverse.get().await;
        let iprev = Iprev {
            ip: peer.ip,
            ptr: reverse.result,
            confirmation,
            name: reverse.host_names().first(),
        };
        let reverse_path = self.reverse_path.to_string();
        let helo = peer.helo.as_deref().unwrap_or_default();
        let is_complete = self.is_complete;
        let helo_spf = self.helo_spf.as_ref().and_then(|spf| spf.known());
        let unverified;
        let results = Results {
            iprev,
            spf: self.known_spf().map(|outcome| {
                (
                    outcome,
                    authentication_results::sender(outcome, &reverse_path, helo, is_complete),
                )
            }),
            helo_spf: helo_spf.map(|outcome| (outcome, helo)),
            forwarder: self
                .forwarder
                .as_ref()
                .and_then(|found| found.proof.as_ref()),
            dkim: match self.message.dkim() {
                None if self.is_complete => {
                    unverified = without_verification(self.message.is_signed());
                    Some(&unverified)
                }
                known => known,
            },
            signatures: match self.is_complete {
                true => {
                    let verified = self.snapshot.config.dkim.max_signatures;
                    Signatures::All(verified.max(dkim::MAX_REPORTED))
                }
                false => Signatures::Fitting,
            },
        };
        authentication_results::render(authserv_id, &results)
    }
}

/// Returns the DKIM results of a complete field if nothing was verified: none for an unsigned
/// message, temperror if the MTA sent no end of headers.
fn without_verification(is_signed: bool) -> dkim::Outcome {
    let result = SignatureResult {
        result: DkimResult::Temperror,
        domain: None,
        selector: None,
        algorithm: None,
        header_b: None,
        reason: "not verified".to_owned(),
    };
    dkim::Outcome {
        signatures: if is_signed { vec![result] } else { Vec::new() },
    }
}
