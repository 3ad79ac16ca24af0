//! Applies the stages of the policy to a message whose checks are all done.

use super::Findings;
use crate::{
    config::Mode,
    enforcement::ObservedBy,
    policy::{Facts, OptIn, Refusal, Rule, Settings, Stage, Step, Verdict, decide},
    refusal_details::{self, Evidence},
    reply::{Class, Replies, Reply, Values},
    snapshot::Enforcement,
};
use serde::{Serialize, Serializer};
use std::fmt;

/// The decision about a recipient or the message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct VerdictReport {
    /// `accept`, `reject` (5xx) or `defer` (4xx).
    pub(crate) action: &'static str,
    /// The stage of the decision.
    pub(crate) stage: String,
    /// The rule that decides.
    pub(crate) rule: &'static str,
    /// The first line of the reply, if mail is refused.
    pub(crate) reply: Option<String>,
    /// All lines of the reply, as the client sees them; in JSON only if there are several.
    #[serde(skip_serializing_if = "is_single")]
    pub(crate) reply_lines: Vec<String>,
    /// Why a refusal is only logged; in JSON only if it is.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_reason"
    )]
    pub(crate) observed_by: Option<ObservedBy>,
}

/// The policy and replies of a configuration, and the results of the checks.
#[derive(Clone, Copy)]
pub(super) struct PolicyRun<'a> {
    pub(super) settings: &'a Settings,
    pub(super) replies: &'a Replies,
    pub(super) enforcement: &'a Enforcement,
    pub(super) findings: &'a Findings,
}

/// The facts about a recipient on which the verdict depends.
pub(super) struct RecipientFacts {
    pub(super) opt_in: OptIn,
    pub(super) domain: String,
    /// The mode by `mode` and `observe_domains`.
    pub(super) mode: Mode,
}

/// The decisions about each recipient and the message.
pub(super) struct Verdicts {
    /// `checked`, `ipv4` or `exempt`.
    pub(super) scope: &'static str,
    pub(super) recipients: Vec<VerdictReport>,
    pub(super) message: VerdictReport,
}

impl PolicyRun<'_> {
    /// Decides about a message and its recipients. Without recipients, decides as if the
    /// domain had opted in.
    pub(super) fn verdicts(&self, facts: &Facts, to: &[RecipientFacts]) -> Verdicts {
        match self.exemption(facts) {
            Some(exemption) => Verdicts {
                scope: match exemption.rule == Rule::Ipv4.name() {
                    true => "ipv4",
                    false => "exempt",
                },
                recipients: vec![exemption.clone(); to.len()],
                message: exemption,
            },
            None => self.checked(facts, to),
        }
    }

    fn checked(&self, facts: &Facts, to: &[RecipientFacts]) -> Verdicts {
        let any_recipient = [RecipientFacts {
            opt_in: OptIn::Yes,
            domain: String::new(),
            mode: self.enforcement.mode(),
        }];
        let of_recipient = |to: &RecipientFacts| self.recipient(facts, to);
        let refusals: Vec<Option<VerdictReport>> = to.iter().map(of_recipient).collect();
        let considered = if to.is_empty() { &any_recipient } else { to };
        let left: Vec<&RecipientFacts> = (considered.iter())
            .filter(|to| {
                !self
                    .recipient(facts, to)
                    .is_some_and(|refusal| refusal.is_final())
            })
            .collect();
        // There is one reply for all recipients; policy.md describes `observe_domains`.
        let mode = match left.iter().any(|to| to.mode == Mode::Enforce) {
            true => Mode::Enforce,
            false => Mode::Observe,
        };
        let of_message = self.message(facts, mode);
        let none_left = left.is_empty();
        let first_refusal = considered.first().and_then(of_recipient);
        let recipients = refusals.into_iter();
        Verdicts {
            scope: "checked",
            recipients: recipients
                .map(|refusal| refusal.unwrap_or_else(|| of_message.clone()))
                .collect(),
            message: first_refusal.filter(|_| none_left).unwrap_or(of_message),
        }
    }

    /// Returns the exemption before the first recipient, if there is one.
    fn exemption(&self, facts: &Facts) -> Option<VerdictReport> {
        [Stage::Connect, Stage::Mail]
            .into_iter()
            .find_map(|stage| self.at(stage, facts, "", Mode::Enforce))
    }

    /// Returns the refusal of a recipient, if it is refused.
    fn recipient(&self, facts: &Facts, to: &RecipientFacts) -> Option<VerdictReport> {
        let facts = Facts {
            opt_in: Some(to.opt_in),
            ..*facts
        };
        self.at(Stage::Rcpt, &facts, &to.domain, to.mode)
    }

    fn message(&self, facts: &Facts, mode: Mode) -> VerdictReport {
        [Stage::EndOfHeaders, Stage::EndOfMessage]
            .into_iter()
            .find_map(|stage| self.at(stage, facts, "", mode))
            .unwrap_or_else(VerdictReport::undecided)
    }

    fn at(&self, stage: Stage, facts: &Facts, domain: &str, mode: Mode) -> Option<VerdictReport> {
        match decide(stage, self.settings, facts) {
            Step::Done(Verdict::Continue) | Step::Need(_) => None,
            Step::Done(Verdict::Accept(rule)) => Some(accepted(stage, rule)),
            Step::Done(Verdict::Refuse(rule, refusal)) => {
                let reply = self.reply(facts, rule, refusal, domain)?;
                let client = facts.client.ip()?;
                let observed_by = self.enforcement.observed_by(mode, rule, client);
                Some(refused(stage, rule, &reply, observed_by))
            }
        }
    }

    fn reply(&self, facts: &Facts, rule: Rule, refusal: Refusal, domain: &str) -> Option<Reply> {
        let template = self.replies.get(refusal);
        let address = facts.client.ip()?;
        let reply = template.render(Values { address, domain });
        if !self.replies.details {
            return Some(reply);
        }
        let evidence = Evidence {
            rule,
            refusal,
            address,
            domain,
            reverse: Some(&self.findings.reverse),
            spf: Some(&self.findings.spf),
            dkim: self.findings.dkim.as_ref(),
        };
        let url = self.replies.url.as_ref();
        Some(reply.with_details(refusal_details::lines(&evidence, url)))
    }
}

fn serialize_reason<S: Serializer>(reason: &Option<ObservedBy>, to: S) -> Result<S::Ok, S::Error> {
    reason.map(ObservedBy::name).serialize(to)
}

fn is_single(lines: &[String]) -> bool {
    lines.len() <= 1
}

impl VerdictReport {
    /// The verdict if the policy decides nothing, which never happens: the milter would defer.
    fn undecided() -> Self {
        Self {
            action: "defer",
            stage: Stage::EndOfMessage.to_string(),
            rule: Rule::AuthTemperror.name(),
            reply: None,
            reply_lines: Vec::new(),
            observed_by: None,
        }
    }

    /// Returns whether the decision ends the evaluation. Refusals that only `mode: observe`
    /// prevents are reported as if enforced.
    fn is_final(&self) -> bool {
        let observed_by = self.observed_by;
        observed_by.is_none_or(|reason| reason == ObservedBy::Mode)
    }
}

impl fmt::Display for VerdictReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} by {}", self.action, self.stage, self.rule)?;
        match self.reply_lines.as_slice() {
            [] => {}
            [only] => write!(f, ": {only}")?,
            lines => {
                f.write_str(":")?;
                lines
                    .iter()
                    .try_for_each(|line| write!(f, "\n             {line}"))?;
            }
        }
        match self.observed_by {
            Some(reason) if reason != ObservedBy::Mode => {
                let setting = reason.setting();
                write!(f, "\n           {setting}: logged, and not refused")
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn accepted(stage: Stage, rule: Rule) -> VerdictReport {
    VerdictReport {
        action: "accept",
        stage: stage.to_string(),
        rule: rule.name(),
        reply: None,
        reply_lines: Vec::new(),
        observed_by: None,
    }
}

fn refused(
    stage: Stage,
    rule: Rule,
    reply: &Reply,
    observed_by: Option<ObservedBy>,
) -> VerdictReport {
    VerdictReport {
        action: match reply.class() {
            Class::Transient => "defer",
            Class::Permanent => "reject",
        },
        stage: stage.to_string(),
        rule: rule.name(),
        reply: Some(reply.to_string()),
        reply_lines: reply.lines().collect(),
        observed_by,
    }
}
