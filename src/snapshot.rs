//! The configuration in force and the checks made from it, as one value that a
//! connection keeps from its beginning to its end.

use crate::{checks::Checks, config::Config, dns::Resolve, opt_in::Sources};

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
    pub fn new(config: Config, opt_in: Sources, resolver: R) -> Self {
        let checks = Checks::new(&config, opt_in, resolver);
        Self { config, checks }
    }
}
