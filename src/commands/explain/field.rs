//! The Authentication-Results fields that a message would get.

use super::{Findings, verdict::Verdicts};
use crate::{
    authentication_results::{self, Iprev, NAME, Results, Signatures},
    cli::Explain,
    config::{Config, Families},
    dkim,
    policy::{Rule, Stage},
};

/// A placeholder for the MTA's name, which only the MTA knows.
const MTA: &str = "{j}";

/// Returns the fields, if the message would get any.
pub(super) fn fields(
    config: &Config,
    arguments: &Explain,
    findings: &Findings,
    verdicts: &Verdicts,
) -> Vec<String> {
    let settings = &config.authentication_results;
    let is_checked = verdicts.scope == "checked";
    let is_covered = match settings.families {
        Families::Checked => is_checked,
        Families::All => is_checked || !findings.client.is_loopback(),
    };
    let is_accepted = verdicts.message.action == "accept" || verdicts.message.observed_by.is_some();
    if !settings.add || !is_covered || !is_accepted {
        return Vec::new();
    }
    let is_complete = settings.complete || !is_checked;
    let is_at_end = verdicts.message.stage == Stage::EndOfMessage.to_string();
    let is_forwarder = verdicts.message.rule == Rule::KnownForwarder.name();
    let helo = arguments.helo.as_deref().unwrap_or_default();
    let reverse_path = &findings.reverse_path;
    let sender = authentication_results::sender(&findings.spf, reverse_path, helo, is_complete);
    let unsigned = dkim::Outcome::default();
    let results = Results {
        iprev: Iprev {
            ip: findings.client,
            ptr: findings.reverse.result,
            confirmation: findings.confirmation,
            name: findings.reverse.host_names().first(),
        },
        spf: Some((&findings.spf, sender)),
        helo_spf: (findings.helo_spf.as_ref())
            .filter(|_| is_complete)
            .map(|outcome| (outcome, helo)),
        forwarder: (findings.forwarder.as_ref())
            .and_then(|found| found.proof.as_ref())
            .filter(|_| is_forwarder),
        dkim: match &findings.dkim {
            None if is_complete && arguments.message.is_some() => Some(&unsigned),
            found => found.as_ref().filter(|_| is_complete || is_at_end),
        },
        signatures: match is_complete {
            true => Signatures::All(config.dkim.max_signatures.max(dkim::MAX_REPORTED)),
            false => Signatures::Fitting,
        },
    };
    let authserv_id = settings.authserv_id.as_deref().unwrap_or(MTA);
    let values = authentication_results::render(authserv_id, &results).into_iter();
    values.map(|value| format!("{NAME}: {value}")).collect()
}
