//! Walks a mail through the stages of the policy with everything known.

use crate::{
    policy::{Facts, OptIn, Refusal, Rule, Settings, Stage, Step, Verdict, decide},
    reply::{Class, Replies, Reply, Values},
};
use serde::Serialize;
use std::fmt;

/// What becomes of a recipient or of the message.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Told {
    /// `accept`, `reject` (5xx) or `defer` (4xx).
    pub(super) action: &'static str,
    /// Where it is decided.
    pub(super) stage: String,
    /// What decides it.
    pub(super) rule: &'static str,
    /// The reply of a refusal.
    pub(super) reply: Option<String>,
}

/// The policy and the replies of a configuration.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) settings: &'a Settings,
    pub(super) replies: &'a Replies,
}

impl Walk<'_> {
    /// What happens before there is a recipient: an exemption, if there is one.
    pub(super) fn exemption(&self, facts: &Facts) -> Option<Told> {
        [Stage::Connect, Stage::Mail]
            .into_iter()
            .find_map(|stage| self.at(stage, facts, ""))
    }

    /// The refusal of a recipient, if it is refused.
    pub(super) fn recipient(&self, facts: &Facts, opt_in: OptIn, domain: &str) -> Option<Told> {
        let facts = Facts {
            opt_in: Some(opt_in),
            ..*facts
        };
        self.at(Stage::Rcpt, &facts, domain)
    }

    /// What becomes of the message.
    pub(super) fn message(&self, facts: &Facts) -> Option<Told> {
        [Stage::EndOfHeaders, Stage::EndOfMessage]
            .into_iter()
            .find_map(|stage| self.at(stage, facts, ""))
    }

    fn at(&self, stage: Stage, facts: &Facts, domain: &str) -> Option<Told> {
        match decide(stage, self.settings, facts) {
            Step::Done(Verdict::Continue) | Step::Need(_) => None,
            Step::Done(Verdict::Accept(rule)) => Some(accepted(stage, rule)),
            Step::Done(Verdict::Refuse(rule, refusal)) => {
                let reply = self.reply(facts, refusal, domain)?;
                Some(refused(stage, rule, &reply))
            }
        }
    }

    fn reply(&self, facts: &Facts, refusal: Refusal, domain: &str) -> Option<Reply> {
        let template = self.replies.get(refusal);
        let address = facts.client.ip()?;
        Some(template.render(Values { address, domain }))
    }
}

impl Told {
    /// What the policy never says; if it did, the milter would defer.
    pub(super) fn undecided() -> Self {
        Self {
            action: "defer",
            stage: Stage::EndOfMessage.to_string(),
            rule: Rule::AuthTemperror.name(),
            reply: None,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} by {}", self.action, self.stage, self.rule)?;
        match &self.reply {
            Some(reply) => write!(f, ": {reply}"),
            None => Ok(()),
        }
    }
}

fn accepted(stage: Stage, rule: Rule) -> Told {
    Told {
        action: "accept",
        stage: stage.to_string(),
        rule: rule.name(),
        reply: None,
    }
}

fn refused(stage: Stage, rule: Rule, reply: &Reply) -> Told {
    Told {
        action: match reply.class() {
            Class::Transient => "defer",
            Class::Permanent => "reject",
        },
        stage: stage.to_string(),
        rule: rule.name(),
        reply: Some(reply.to_string()),
    }
}
