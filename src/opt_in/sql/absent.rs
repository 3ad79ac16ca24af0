//! The source `opt_in.sql` in a build without the cargo feature `sql`, where no
//! configuration can use it.

use super::{ServerCheck, ServerStatus, SourceAnswer};
use crate::{address::Domain, config};
use tokio::time::Instant;

/// Never created.
#[derive(Clone, Debug)]
pub(super) enum Sql {}

impl Sql {
    /// Returns `None`; a configuration with a URL is rejected.
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

    pub(super) async fn query(&self, _deadline: Instant, _domain: &Domain) -> SourceAnswer {
        match *self {}
    }

    pub(super) fn probe(&self) {
        match *self {}
    }

    pub(super) async fn check(&self) -> Vec<ServerCheck> {
        match *self {}
    }
}
