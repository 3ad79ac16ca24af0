//! The sources of opt-ins.

use super::finding::{Check, Finding};
use crate::config::Config;

/// What each source has.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let seen = format!(
        "opt_in.domains has {} domain(s)",
        config.opt_in.domains.len()
    );
    vec![Finding::ok(Check::OptIn, seen)]
}
