//! The configuration in force and the checks made from it, as one value that a
//! connection keeps from its beginning to its end.

use crate::{
    address::Recipient,
    checks::Checks,
    config::{Config, Mode},
    dns::Resolve,
    opt_in::{Known, Sources, list::List},
};

/// What a milter connection works with.
#[derive(Debug)]
pub struct Snapshot<R> {
    /// The configuration.
    pub config: Config,
    /// The checks.
    pub checks: Checks<R>,
    /// `observe_domains`
    observed: List,
}

impl<R: Resolve> Snapshot<R> {
    /// Prepares the checks of a configuration.
    pub fn new(config: Config, opt_in: Sources, resolver: R) -> Self {
        let checks = Checks::new(&config, opt_in, resolver);
        Self {
            observed: List::of(&config.observe_domains),
            config,
            checks,
        }
    }

    /// Whether refusals of this recipient are carried out.
    pub fn mode_for(&self, recipient: &Recipient) -> Mode {
        let known = recipient.domain.name().map(|name| self.observed.ask(name));
        match known {
            Some(Known::Yes) => Mode::Observe,
            Some(Known::No | Known::Nothing | Known::Temperror) | None => self.config.mode,
        }
    }
}
