//! The source `opt_in.sql` in a program that was built without the cargo feature
//! `sql`: no configuration has it.

use super::{Known, ServerStatus};
use crate::{address::Domain, config};
use tokio::time::Instant;

/// Never made.
#[derive(Clone, Debug)]
pub(super) enum Sql {}

/// What a check of one database found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlCheck {
    /// Which one it is, without parameters.
    pub url: String,
    /// What was found.
    pub finding: SqlFinding,
}

/// What a check of a database found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlFinding {
    /// It answers the query.
    Ok,
    /// It can't be asked now, for this reason.
    Unreachable(String),
    /// It can be asked, and the query is wrong.
    WrongQuery(String),
}

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

    pub(super) async fn check(&self) -> Vec<SqlCheck> {
        match *self {}
    }
}
