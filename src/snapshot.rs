//! The configuration in force and the checks made from it, as one value that a
//! connection keeps from its beginning to its end.

use crate::{checks::Checks, config::Config, dns::Resolve};

/// What a milter connection works with.
#[derive(Debug)]
pub struct Snapshot<R> {
    /// The configuration.
    pub config: Config,
    /// The checks.
    pub checks: Checks<R>,
}

impl<R: Resolve> Snapshot<R> {
    /// Prepares the checks of a configuration.
    pub fn new(config: Config, resolver: R) -> Self {
        let checks = Checks::new(&config, resolver);
        Self { config, checks }
    }

    /// The same in the place of another one: what servers told that one is
    /// still known.
    pub fn succeeding(old: &Self, config: Config, resolver: R) -> Self {
        let mut new = Self::new(config, resolver);
        new.checks.inherit(&old.checks);
        new
    }
}
