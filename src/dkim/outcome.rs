//! What a verification found, in the words of RFC 8601 section 2.7.1.

use crate::policy::Authentication;
use std::{borrow::Cow, fmt};

/// What became of the signatures of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One result for each DKIM-Signature field, from top to bottom. Empty for
    /// a message that is not signed (`none` in RFC 8601).
    pub signatures: Vec<SignatureResult>,
}

impl Outcome {
    /// What the policy needs to know: one signature that passes is enough, and
    /// without one a signature that could not be judged leaves it open.
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

    /// Those worth telling: what passes, then what could not be judged, then
    /// the rest; no more than [`MAX_TOLD`], of however many a peer sent.
    pub fn best(&self) -> impl Iterator<Item = &SignatureResult> {
        self.best_of(MAX_TOLD)
    }

    /// The same, no more than `max`.
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

/// How many signatures logs tell of, and header fields unless they have to be complete.
pub const MAX_TOLD: usize = 10;

/// What became of one signature.
///
/// All texts are printable ASCII without white space, but for the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureResult {
    /// The result.
    pub result: DkimResult,
    /// The signing domain (`d=`) as A-label in lower case, if it is one.
    pub domain: Option<String>,
    /// The selector (`s=`) in lower case, if it is one.
    pub selector: Option<String>,
    /// The algorithm (`a=`) as it stands there, known or not.
    pub algorithm: Option<String>,
    /// The first eight characters of `b=`, which tell signatures of one domain
    /// apart (`header.b`, RFC 6008).
    pub header_b: Option<String>,
    /// What was found and, if it did not pass, how to mend it: one line of
    /// ASCII for logs and people.
    pub reason: String,
}

/// The result of one signature (RFC 8601 section 2.7.1). There is no `none`:
/// a message without a signature has no results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DkimResult {
    /// It is valid, and so is the way it was made.
    Pass,
    /// The body or the header was changed, or the key is not the one.
    Fail,
    /// It may be valid by RFC 6376, but not for us: `l=`, rsa-sha1, a short
    /// key, expired, beyond a limit.
    Policy,
    /// It has a syntax error, or the domain only tests DKIM (`t=y`).
    Neutral,
    /// Its key could not be fetched now.
    Temperror,
    /// It does not verify, and may be valid: the MTA did not hand the message over as
    /// it was signed. RFC 8601 has no word of its own for it.
    Unverifiable,
    /// It can't be verified and never will be: no key, a broken or revoked
    /// key, no From field.
    Permerror,
}

impl DkimResult {
    /// The word of RFC 8601.
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

/// What a signature says of itself, as far as it can be read: the part of a
/// result that does not depend on whether it passes.
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
