//! The classes of differences, each with one explanation.

use super::Case;
use crate::zone::Found;
use sixgate::dkim::{DkimResult, SignatureResult};
use viadkim::{
    record::DkimKeyRecordError, signature::DkimSignatureErrorKind, verifier::VerificationError,
};

/// Part of the reason that sixgate reports, and the class that it stands for.
const ONLY_THEIRS: &[(&str, &str)] = &[
    ("only in part (l=)", "8.2: l= is not accepted"),
    ("only tests DKIM", "3.6.1: t=y counts as not signed"),
    ("top-level domain", "6.1.1: d= is a top-level domain"),
    ("more than one From", "8.15: more than one From field"),
    (
        "not an Ed25519 key of 32 bytes",
        "RFC 8463 4.2: viadkim accepts an Ed25519 key in the structure of RSA keys",
    ),
];

/// Returns the class of a signature that only viadkim passes.
pub(super) fn only_theirs(our: &SignatureResult) -> Option<&'static str> {
    let mut classes = ONLY_THEIRS.iter();
    let (_, class) = classes.find(|(reason, _)| our.reason.contains(reason))?;
    Some(class)
}

/// Returns the class of a signature that only sixgate passes.
pub(super) fn only_ours(case: &Case, error: &VerificationError) -> Option<&'static str> {
    match error {
        VerificationError::DkimSignatureFormat(error) => match error.kind {
            DkimSignatureErrorKind::InvalidBase64 => Some(PADDING),
            DkimSignatureErrorKind::TagListFormat if has_blank_end(signatures(case)) => {
                Some(BLANK_END)
            }
            DkimSignatureErrorKind::InvalidExpiration
            | DkimSignatureErrorKind::InvalidTimestamp
                if has_long_number(case) =>
            {
                Some("3.5: more than 12 digits in t= or x= may count as infinite")
            }
            DkimSignatureErrorKind::InvalidIdentity => {
                Some("3.5: the local part of i= is not used and not checked")
            }
            _ => None,
        },
        VerificationError::KeyRecordFormat(error) => match error {
            DkimKeyRecordError::InvalidBase64 => Some(PADDING),
            DkimKeyRecordError::TagListFormat if has_blank_end(records(case)) => Some(BLANK_END),
            DkimKeyRecordError::RecordFormat => {
                Some("RFC 8616 5: a key record is not checked for UTF-8")
            }
            DkimKeyRecordError::TagListFormat if has_line_break(records(case)) => {
                Some("2.8: a bare CR or LF in a key record is white space")
            }
            DkimKeyRecordError::InvalidFlag if has_empty_flags(records(case)) => {
                Some("3.6.1: an empty t= counts as no flags")
            }
            DkimKeyRecordError::InvalidQuotedPrintable => {
                Some("3.6.1: n= is not interpreted by any program")
            }
            _ => None,
        },
        VerificationError::VerificationFailure(viadkim::crypto::VerificationError::InvalidKey) => {
            Some("3.6.1: the algorithm identifier around an RSA key is not checked")
        }
        _ => None,
    }
}

const PADDING: &str = "2.10: padding of Base64 may be missing";
const BLANK_END: &str = "3.2: white space may follow the last semicolon";

fn signatures(case: &Case) -> impl Iterator<Item = &[u8]> {
    let named = |(name, _): &&(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(b"DKIM-Signature");
    let fields = case.message.fields.iter().filter(named);
    fields.map(|(_, value)| value.as_slice())
}

fn records(case: &Case) -> impl Iterator<Item = &[u8]> {
    let texts = case.zone.txt.values().filter_map(|found| match found {
        Found::Records(texts) => Some(texts),
        Found::Fails => None,
    });
    texts.flatten().map(Vec::as_slice)
}

fn has_blank_end<'a>(mut texts: impl Iterator<Item = &'a [u8]>) -> bool {
    texts.any(|text| text.trim_ascii_end().ends_with(b";") && !text.ends_with(b";"))
}

fn has_line_break<'a>(mut texts: impl Iterator<Item = &'a [u8]>) -> bool {
    texts.any(|text| text.iter().any(|c| matches!(c, b'\r' | b'\n')))
}

fn has_empty_flags<'a>(texts: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut tags = texts.flat_map(|text| text.split(|&c| c == b';'));
    tags.any(|tag| {
        tag.trim_ascii()
            .strip_prefix(b"t")
            .is_some_and(|t| t.trim_ascii() == b"=")
    })
}

fn has_long_number(case: &Case) -> bool {
    let mut tags = signatures(case).flat_map(|value| value.split(|&c| c == b';'));
    tags.any(|tag| {
        let tag = tag.trim_ascii();
        let timed = tag.starts_with(b"t=") || tag.starts_with(b"x=");
        timed && tag.len() > 14 && tag[2..].iter().all(u8::is_ascii_digit)
    })
}

/// Returns the class of a difference that is due to the choice among many TXT records: viadkim
/// tries the first two and the last of all, sixgate the first three key records in byte order.
pub(super) fn by_number_of_records(
    our: &SignatureResult,
    texts: &[Vec<u8>],
) -> Option<&'static str> {
    if texts.len() <= 3 {
        return None;
    }
    match our.result {
        DkimResult::Pass => Some("6.1.2: viadkim tries three TXT records, key records or not"),
        _ if our.reason.contains("(3 key records tried)") => {
            Some("6.1.2: of more than three key records, sixgate tries different ones")
        }
        _ => None,
    }
}

/// Returns the class of a signature that only sixgate passes because viadkim rejects the header.
pub(super) fn rejected_header(case: &Case) -> Option<&'static str> {
    let any = |odd: fn(&(Vec<u8>, Vec<u8>)) -> bool| case.message.fields.iter().any(odd);
    if any(|(name, _)| name.ends_with(b" ") || name.ends_with(b"\t")) {
        return Some("RFC 5322 4.5: white space before the colon");
    }
    if any(|(_, value)| has_control(value)) {
        return Some("RFC 5322 4.1: control characters are text");
    }
    if any(|(_, value)| has_blank_line(value)) {
        return Some("RFC 5322 4.2: a line of a folded field may be blank");
    }
    None
}

fn has_control(value: &[u8]) -> bool {
    let control = |c: &u8| c.is_ascii_control() && !matches!(c, b'\t' | b'\r' | b'\n');
    value.iter().any(control)
}

fn has_blank_line(value: &[u8]) -> bool {
    let mut lines = value.split(|&c| c == b'\n').skip(1);
    lines.any(|line| line.trim_ascii().is_empty())
}
