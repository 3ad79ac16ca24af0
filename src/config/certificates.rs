//! Values that are names of client certificates.

use super::value::Kind;
use crate::certificate::CertificatePattern;

/// The name of a certificate, or a wildcard for its first label.
pub(super) struct Certificate;

impl Kind for Certificate {
    type Value = CertificatePattern;
    const EXPECTED: &'static str =
        "the name of a certificate such as mx.example.org or \"*.example.org\"";

    fn parse(text: &str) -> Result<CertificatePattern, String> {
        if text.is_empty() {
            return Err(format!("nothing is given; write {}", Self::EXPECTED));
        }
        text.parse::<CertificatePattern>().map_err(|error| {
            format!(
                "{text:?} is not the name of a certificate: {error}; write {}",
                Self::EXPECTED
            )
        })
    }

    fn show(value: &CertificatePattern) -> String {
        value.to_string()
    }
}
