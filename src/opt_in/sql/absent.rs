//! The source `opt_in.sql` in a program that was built without the cargo feature
//! `sql`: no configuration has it.

use super::{Known, ServerCheck, ServerStatus};
use crate::{address::Domain, config};
use tokio::time::Instant;

/// Never made.
#[derive(Clone, Debug)]
pub(super) enum Sql {}

impl Sql {
    /// `None`: a configuration with a URL is refused.
    pub(super) fn new(
        _config: &config::Sql,
        _lifetimes: config::OptInCache,
        _old: Option<&Self>,
    ) -> Option<Self> {
        None
    }

    pub(super) fn status(&self) -> ServerStatus {
        match *self {}
    }

    pub(super) async fn ask(&self, _deadline: Instant, _domain: &Domain) -> Known {
        match *self {}
    }

    pub(super) fn probe(&self) {
        match *self {}
    }

    pub(super) async fn check(&self) -> Vec<ServerCheck> {
        match *self {}
    }
}
