//! Reports settings that are valid but probably not intended.

use super::finding::{Check, Finding};
use crate::config::{Config, Mode};
use std::path::Path;

/// Returns a finding for each warning of the configuration.
pub(super) fn check(config: &Config, file: &Path) -> Vec<Finding> {
    let warnings = config.warnings();
    if warnings.is_empty() {
        let mode = match config.mode {
            Mode::Enforce => "enforces the policy (mode: enforce)",
            Mode::Observe => "refuses no mail (mode: observe)",
        };
        let seen = format!("{} {mode}", file.display());
        return vec![Finding::ok(Check::Config, seen)];
    }
    warnings
        .into_iter()
        .map(|warning| {
            let todo = format!("change it in {}, unless it is intended", file.display());
            Finding::warning(Check::Config, warning, todo)
        })
        .collect()
}
