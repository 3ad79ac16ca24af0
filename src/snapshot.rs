//! The current configuration and the checks created from it, as one value that a
//! connection keeps for its lifetime.

use crate::{
    address::Recipient,
    checks::Checks,
    config::{Config, Mode},
    deferrals::Deferrals,
    dns::Resolve,
    enforcement::{EnforceShare, ObservedBy, Places},
    exempt::Exemptions,
    opt_in::{SourceAnswer, Sources, list::List},
    policy::Rule,
};
use jiff::Timestamp;
use std::{net::IpAddr, sync::Arc};

/// The configuration and state that a milter connection uses.
#[derive(Debug)]
pub struct Snapshot<R> {
    /// When the snapshot was created.
    pub made: Timestamp,
    /// The configuration.
    pub config: Config,
    /// The checks.
    pub checks: Checks<R>,
    /// The decision which refusals are enforced.
    pub enforcement: Enforcement,
    /// The exempt networks.
    pub exemptions: Exemptions,
    /// The deferred senders, if `replies.give_up_after` needs them.
    pub deferrals: Option<Arc<Deferrals>>,
}

impl<R: Resolve> Snapshot<R> {
    /// Creates the checks of a configuration.
    pub fn new(config: Config, opt_in: Sources, exemptions: Exemptions, resolver: R) -> Self {
        let checks = Checks::new(&config, opt_in, resolver);
        Self {
            made: Timestamp::now(),
            enforcement: Enforcement::new(&config),
            deferrals: config.replies.give_up_after.map(|_| Arc::default()),
            config,
            checks,
            exemptions,
        }
    }

    /// Takes over the deferred senders of the previous snapshot, if it needs them.
    #[must_use]
    pub fn inherit_from(self, deferrals: Option<Arc<Deferrals>>) -> Self {
        Self {
            deferrals: self.deferrals.map(|own| deferrals.unwrap_or(own)),
            ..self
        }
    }
}

/// `mode`, `observe_domains`, `observe_rules` and `enforce_share`: which refusals are
/// enforced. Each setting can prevent a refusal, and none can override another one that
/// does.
#[derive(Debug)]
pub struct Enforcement {
    mode: Mode,
    domains: List,
    rules: Vec<Rule>,
    share: EnforceShare,
    places: Places,
}

impl Enforcement {
    /// Creates it from a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            mode: config.mode,
            domains: List::of(&config.observe_domains),
            rules: config.observe_rules.clone(),
            share: config.enforce_share.clone(),
            places: Places::new(config.enforce_share_key.as_deref()),
        }
    }

    /// Returns `mode`.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the mode for this recipient by `mode` and `observe_domains`.
    pub fn mode_for(&self, recipient: &Recipient) -> Mode {
        let known = recipient
            .domain
            .name()
            .map(|name| self.domains.answer(name));
        match known {
            Some(SourceAnswer::Yes) => Mode::Observe,
            Some(SourceAnswer::No | SourceAnswer::NoEntry | SourceAnswer::Temperror) | None => {
                self.mode
            }
        }
    }

    /// Returns why a refusal by this rule is not enforced; `None` if it is. `mode` is the
    /// mode of the recipient, or of all recipients of the message.
    pub fn observed_by(&self, mode: Mode, rule: Rule, client: IpAddr) -> Option<ObservedBy> {
        if mode == Mode::Observe {
            return Some(match self.mode {
                Mode::Observe => ObservedBy::Mode,
                Mode::Enforce => ObservedBy::Domain,
            });
        }
        if self.rules.contains(&rule) {
            return Some(ObservedBy::Rule);
        }
        let is_enforced = self.places.is_in(self.share.of(rule), client);
        (!is_enforced).then_some(ObservedBy::Share)
    }
}
