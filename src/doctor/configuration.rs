//! The configuration: what it sets, and what may not be meant.

use super::finding::{Check, Finding};
use crate::config::{Config, Mode};
use std::path::Path;

/// One warning each, or that there is none.
pub(super) fn check(config: &Config, file: &Path) -> Vec<Finding> {
    let warnings = config.warnings();
    if warnings.is_empty() {
        return vec![Finding::ok(Check::Config, fine(config, file))];
    }
    warnings
        .into_iter()
        .map(|warning| {
            let todo = format!("change it in {}, unless it is meant", file.display());
            Finding::warning(Check::Config, warning, todo)
        })
        .collect()
}

fn fine(config: &Config, file: &Path) -> String {
    let mode = match config.mode {
        Mode::Enforce => "refuses what the policy refuses (mode: enforce)",
        Mode::Observe => "refuses nothing (mode: observe)",
    };
    format!("{} {mode}", file.display())
}
