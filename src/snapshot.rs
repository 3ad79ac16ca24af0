//! The configuration in force and the checks made from it, as one value that a
//! connection keeps from its beginning to its end.

use crate::{
    address::Recipient,
    checks::Checks,
    config::{Config, Mode},
    deferrals::Deferrals,
    dns::Resolve,
    enforcement::{EnforceShare, ObservedBy, Places},
    exempt::Exemptions,
    opt_in::{Known, Sources, list::List},
    policy::Rule,
};
use jiff::Timestamp;
use std::{net::IpAddr, sync::Arc};

/// What a milter connection works with.
#[derive(Debug)]
pub struct Snapshot<R> {
    /// When it was made.
    pub made: Timestamp,
    /// The configuration.
    pub config: Config,
    /// The checks.
    pub checks: Checks<R>,
    /// Which refusals are carried out.
    pub enforcement: Enforcement,
    /// The exempt networks.
    pub exemptions: Exemptions,
    /// Which senders were deferred, if `replies.give_up_after` needs it.
    pub deferrals: Option<Arc<Deferrals>>,
}

impl<R: Resolve> Snapshot<R> {
    /// Prepares the checks of a configuration.
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

    /// Goes on with what is known about senders from before, if it needs that.
    #[must_use]
    pub fn succeeding(self, deferrals: Option<Arc<Deferrals>>) -> Self {
        Self {
            deferrals: self.deferrals.map(|own| deferrals.unwrap_or(own)),
            ..self
        }
    }
}

/// `mode`, `observe_domains`, `observe_rules` and `enforce_share`: which refusals are
/// carried out. Each of them can spare a refusal, and none can refuse what another one
/// spares.
#[derive(Debug)]
pub struct Enforcement {
    mode: Mode,
    domains: List,
    rules: Vec<Rule>,
    share: EnforceShare,
    places: Places,
}

impl Enforcement {
    /// That of a configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            mode: config.mode,
            domains: List::of(&config.observe_domains),
            rules: config.observe_rules.clone(),
            share: config.enforce_share.clone(),
            places: Places::new(config.enforce_share_key.as_deref()),
        }
    }

    /// `mode`
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether refusals of this recipient are carried out, as far as `mode` and
    /// `observe_domains` say.
    pub fn mode_for(&self, recipient: &Recipient) -> Mode {
        let known = recipient.domain.name().map(|name| self.domains.ask(name));
        match known {
            Some(Known::Yes) => Mode::Observe,
            Some(Known::No | Known::Nothing | Known::Temperror) | None => self.mode,
        }
    }

    /// Why a refusal by this rule is not carried out; `None` if it is. `mode` is that of
    /// the recipient, or of all recipients of the message.
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
