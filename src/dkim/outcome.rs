//! The outcome of a verification, in the terms of RFC 8601 section 2.7.1.

use crate::policy::Authentication;
use std::{borrow::Cow, fmt};

/// The results of all signatures of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One result for each DKIM-Signature field, from top to bottom. Empty for
    /// a message that is not signed (`none` in RFC 8601).
    pub signatures: Vec<SignatureResult>,
}

impl Outcome {
    /// Returns the result as the policy sees it: pass if one signature passes; otherwise
    /// temperror if one signature could not be verified for now.
    pub fn authentication(&self) -> Authentication {
        let any = |result| self.signatures.iter().any(|s| s.result == result);
        if any(DkimResult::Pass) {
            Authentication::Pass
        } else if any(DkimResult::Temperror) {
            Authentication::Temperror
        } else if any(DkimResult::Unverifiable) {
            Authentication::Unverifiable
        } else {
            Authentication::NoPass
        }
    }

    /// Returns the results to report, at most [`MAX_REPORTED`]: first those that pass, then
    /// temperrors, then the rest.
    pub fn best(&self) -> impl Iterator<Item = &SignatureResult> {
        self.best_of(MAX_REPORTED)
    }

    /// Returns the results to report as [`Self::best`] does, at most `max`.
    pub fn best_of(&self, max: usize) -> impl Iterator<Item = &SignatureResult> {
        let rank = |signature: &&SignatureResult| match signature.result {
            DkimResult::Pass => 0,
            DkimResult::Temperror | DkimResult::Unverifiable => 1,
            DkimResult::Fail | DkimResult::Policy | DkimResult::Neutral | DkimResult::Permerror => {
                2
            }
        };
        let mut signatures: Vec<&SignatureResult> = self.signatures.iter().collect();
        signatures.sort_by_key(rank);
        signatures.into_iter().take(max)
    }
}

/// The maximum number of signatures reported in logs, and in header fields unless these
/// have to be complete.
pub const MAX_REPORTED: usize = 10;

/// The result of one signature.
///
/// All texts except the reason are printable ASCII without white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureResult {
    /// The result.
    pub result: DkimResult,
    /// The signing domain (`d=`) in A-labels and lower case, if it is valid.
    pub domain: Option<String>,
    /// The selector (`s=`) in lower case, if it is valid.
    pub selector: Option<String>,
    /// The algorithm (`a=`) as written, known or not.
    pub algorithm: Option<String>,
    /// The first eight characters of `b=`, which distinguish signatures of one domain
    /// (`header.b`, RFC 6008).
    pub header_b: Option<String>,
    /// What was found and, if it did not pass, how to fix it: one line of ASCII for logs
    /// and people.
    pub reason: String,
}

/// The result of one signature (RFC 8601 section 2.7.1). There is no `none`:
/// a message without a signature has no results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DkimResult {
    /// The signature is valid and meets our requirements.
    Pass,
    /// The body or the header was changed, or the key is a different one.
    Fail,
    /// It may be valid by RFC 6376, but does not meet our requirements: `l=`, rsa-sha1, a
    /// short key, expired, or over a limit.
    Policy,
    /// It has a syntax error, or the domain only tests DKIM (`t=y`).
    Neutral,
    /// A temporary failure prevented fetching its key.
    Temperror,
    /// It does not verify but may be valid: the MTA did not pass the message on as it was
    /// signed. RFC 8601 has no keyword for this.
    Unverifiable,
    /// It can never be verified: no key, an invalid or revoked key, or no From field.
    Permerror,
}

impl DkimResult {
    /// Returns the keyword of RFC 8601.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::Temperror | Self::Unverifiable => "temperror",
            Self::Permerror => "permerror",
        }
    }
}

impl fmt::Display for DkimResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a signature, or a key, does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Never `Pass`.
    pub(super) result: DkimResult,
    pub(super) reason: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(result: DkimResult, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            result,
            reason: reason.into(),
        }
    }
}

/// The readable tags of a signature: the part of a result that does not depend on whether
/// it passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) domain: Option<String>,
    pub(super) selector: Option<String>,
    pub(super) algorithm: Option<String>,
    pub(super) header_b: Option<String>,
}

impl Claims {
    pub(super) fn with(self, result: DkimResult, reason: impl Into<String>) -> SignatureResult {
        SignatureResult {
            result,
            domain: self.domain,
            selector: self.selector,
            algorithm: self.algorithm,
            header_b: self.header_b,
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_is_enough_and_temperror_outweighs_the_rest() {
        use DkimResult::{Fail, Neutral, Pass, Permerror, Policy, Temperror, Unverifiable};
        let table: [(&[DkimResult], Authentication); 8] = [
            (&[], Authentication::NoPass),
            (&[Fail, Policy, Neutral, Permerror], Authentication::NoPass),
            (&[Fail, Temperror, Policy], Authentication::Temperror),
            (&[Temperror, Fail, Pass], Authentication::Pass),
            (&[Pass], Authentication::Pass),
            (&[Fail, Unverifiable], Authentication::Unverifiable),
            (&[Unverifiable, Pass], Authentication::Pass),
            (&[Unverifiable, Temperror], Authentication::Temperror),
        ];
        for (results, want) in table {
            let signatures = results.iter().map(|&r| Claims::default().with(r, ""));
            let outcome = Outcome {
                signatures: signatures.collect(),
            };
            assert_eq!(outcome.authentication(), want, "{results:?}");
        }
    }
}
