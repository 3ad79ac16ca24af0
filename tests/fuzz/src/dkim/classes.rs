//! Why results differ: each class is one explained difference.

use super::{Case, describe};
use crate::tally::Tally;
use sixgate::dkim::{DkimResult, SignatureResult};
use viadkim::verifier::VerificationError;

/// A part of the reason that sixgate gives, and what it stands for.
const ONLY_THEIRS: &[(&str, &str)] = &[
    ("only in part (l=)", "8.2: l= is not accepted"),
    ("only tests DKIM", "3.6.1: t=y is to be treated as not signed"),
    ("top-level domain", "6.1.1: d= is a top-level domain"),
    ("more than one From", "8.15: more than one From field"),
    ("several TXT records", "3.6.2.2: several key records are undefined"),
];

/// Why only viadkim passes a signature.
pub(super) fn only_theirs(our: &SignatureResult) -> Option<&'static str> {
    let mut classes = ONLY_THEIRS.iter();
    let (_, class) = classes.find(|(reason, _)| our.reason.contains(reason))?;
    Some(class)
}

/// Why only sixgate passes a signature.
pub(super) fn only_ours(_case: &Case, _error: &VerificationError) -> Option<&'static str> {
    None
}

/// A header that viadkim does not take.
pub(super) fn untaken(
    case: &Case,
    ours: &[SignatureResult],
    tally: &mut Tally,
) -> Result<(), String> {
    if ours.iter().any(|our| our.result == DkimResult::Pass) {
        return Err(describe(case, ours, None));
    }
    tally.count("same: viadkim does not take the header, no pass");
    Ok(())
}
