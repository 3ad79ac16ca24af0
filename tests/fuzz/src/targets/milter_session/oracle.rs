//! The replies that the protocol and the policy allow.

use super::Knowledge;
use std::net::Ipv6Addr;

/// A frame: a letter and its data.
type Frame<'a> = (u8, &'a [u8]);

/// The state of the mail transaction.
#[derive(Debug, Default)]
struct Transaction {
    /// MAIL was accepted.
    begun: bool,
    recipients: usize,
    fields: usize,
    has_signature: bool,
    /// After the end of headers: whether the decision may be to continue. A refusal is the
    /// reply to the next command.
    header_may_pass: Option<bool>,
    /// Rule 4 or 5 accepted it at MAIL, so all of it passes.
    is_accepted: bool,
}

// The protocol options that change which commands have replies, and which.
const NR_HEADER: u32 = 0x80;
const SKIP: u32 = 0x400;
const NR_HELO: u32 = 0x2000;
const NR_EOH: u32 = 0x4_0000;
const LEADING_SPACE: u32 = 0x10_0000;

/// Checks each reply.
///
/// # Panics
/// If a reply is not allowed, or is missing or superfluous.
pub(super) fn check_answers(knowledge: Knowledge, sent: &[u8], answered: &[u8]) {
    let mut answers = frames(answered).into_iter();
    let mut transaction = Transaction::default();
    let mut macros = Macros::default();
    let mut agreed = 0;
    let mut is_connection_accepted = false;
    for (letter, data) in frames(sent) {
        match letter {
            b'D' => macros.define(data),
            b'A' | b'H' => transaction = Transaction::default(),
            b'K' => {
                transaction = Transaction::default();
                is_connection_accepted = false;
            }
            b'L' | b'N' | b'R' | b'T' if transaction.is_accepted => {}
            // A command out of order ends the mail transaction.
            b'L' | b'N' | b'R' | b'T' if transaction.header_may_pass.is_some() => {
                transaction = Transaction::default();
            }
            b'L' => {
                transaction.has_signature |= is_signature(data);
                transaction.fields += 1;
            }
            _ => {}
        }
        if letter == b'N' {
            transaction.header_may_pass = Some(
                transaction.begun
                    && transaction.recipients > 0
                    && (transaction.has_signature
                        || knowledge == Knowledge::PtrAndSpf
                        // The signature may be in the body.
                        || (transaction.fields == 0 && agreed & LEADING_SPACE == 0)),
            );
        }
        let is_answered = match letter {
            b'O' | b'C' | b'M' | b'R' | b'B' | b'E' | b'T' | b'U' => true,
            b'H' => agreed & NR_HELO == 0,
            b'L' => agreed & NR_HEADER == 0,
            b'N' => agreed & NR_EOH == 0,
            _ => false,
        };
        if !is_answered {
            continue;
        }
        // A connection that is closed is a temporary failure.
        let Some((answer, edits)) = next_answer(&mut answers) else {
            return;
        };
        let pass = answer.0 == b'c';
        assert!(
            answer.0 != b's' || agreed & SKIP != 0,
            "SKIP was not agreed on"
        );
        let is_accepted =
            is_connection_accepted || (transaction.is_accepted && !b"OCMH".contains(&letter));
        match letter {
            b'O' => {
                assert_eq!(answer.0, b'O');
                agreed = check_agreement(data, answer.1);
            }
            b'C' => {
                assert!(pass || (answer.0 == b'a' && !is_checked(data)));
                is_connection_accepted = !pass;
            }
            _ if is_accepted => {
                assert!(pass || (letter == b'B' && answer.0 == b's'), "{answer:?}");
                assert!(edits.is_empty(), "{edits:?} in an accepted message");
                if letter == b'E' {
                    transaction = Transaction::default();
                }
            }
            b'H' | b'L' | b'T' | b'U' => assert!(pass, "{letter} {answer:?}"),
            b'N' if is_refusal(answer) => transaction = Transaction::default(),
            b'N' => {
                let may_pass = transaction.header_may_pass == Some(true);
                assert!(pass && may_pass, "the end of headers {answer:?}");
            }
            b'M' => {
                transaction = Transaction {
                    begun: pass,
                    is_accepted: answer.0 == b'a',
                    ..Transaction::default()
                };
                let exempt = answer.0 == b'a' && macros.authenticated();
                assert!(pass || exempt || is_refusal(answer), "MAIL {answer:?}");
                macros.mail.clear();
            }
            b'R' => {
                transaction.recipients += usize::from(pass);
                let may_pass = knowledge >= Knowledge::Ptr
                    && (mentions(data, b"contoso") || mentions(&macros.rcpt, b"contoso"));
                assert!((pass && may_pass) || is_refusal(answer), "RCPT {answer:?}");
                macros.rcpt.clear();
            }
            b'B' if is_refusal(answer) && transaction.header_may_pass.is_some() => {
                transaction = Transaction::default();
            }
            b'B' => {
                let was_refused = transaction.header_may_pass == Some(false);
                assert!(
                    (pass || answer.0 == b's') && !was_refused,
                    "body {answer:?}"
                );
            }
            _ => {
                let may_pass =
                    transaction.header_may_pass == Some(true) && knowledge == Knowledge::PtrAndSpf;
                let reported = edits.iter().any(|edit| mentions(edit, b"spf=pass"));
                let passed = pass && may_pass && reported;
                assert!(passed || is_refusal(answer), "EOM {answer:?} {edits:?}");
                transaction = Transaction::default();
            }
        }
    }
    assert!(answers.next().is_none(), "a reply to no command");
}

/// Checks that the reply stays within the offer, and returns the negotiated options.
fn check_agreement(offer: &[u8], answer: &[u8]) -> u32 {
    let word = |bytes: &[u8], place: usize| {
        let bytes = bytes.get(4 * place..4 * place + 4).expect("a word");
        u32::from_be_bytes(bytes.try_into().expect("four bytes"))
    };
    let (offered, agreed) = (
        [0, 1, 2].map(|n| word(offer, n)),
        [0, 1, 2].map(|n| word(answer, n)),
    );
    assert!(
        (2..=6).contains(&agreed[0]) && agreed[0] <= offered[0],
        "{agreed:?}"
    );
    assert_eq!(agreed[1] & !offered[1], 0, "actions that were not offered");
    assert_eq!(agreed[2] & !offered[2], 0, "options that were not offered");
    let takes_macros = agreed[0] == 6 && offered[1] & 0x100 != 0;
    assert!(
        answer.len() == 12 || takes_macros,
        "macros for an MTA that does not support them"
    );
    agreed[2]
}

/// The macros that affect decisions, from the last packet for their stage.
#[derive(Debug, Default)]
struct Macros {
    mail: Vec<u8>,
    rcpt: Vec<u8>,
}

impl Macros {
    fn define(&mut self, packet: &[u8]) {
        match packet.split_first() {
            Some((b'M', pairs)) => self.mail = pairs.to_vec(),
            Some((b'R', pairs)) => self.rcpt = pairs.to_vec(),
            _ => {}
        }
    }

    fn authenticated(&self) -> bool {
        mentions(&self.mail, b"auth_authen")
    }
}

fn is_checked(connect: &[u8]) -> bool {
    let mut rest = connect.splitn(2, |&byte| byte == 0).skip(1);
    let Some([b'6', _, _, address @ ..]) = rest.next() else {
        return false;
    };
    let address = address.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(address);
    let text = text
        .get(5..)
        .filter(|_| text.starts_with("IPv6:"))
        .unwrap_or(&text);
    text.parse::<Ipv6Addr>().is_ok_and(|ip| {
        !ip.is_loopback() && !ip.is_unicast_link_local() && ip.to_ipv4_mapped().is_none()
    })
}

fn is_signature(field: &[u8]) -> bool {
    let name = field.split(|&byte| byte == 0).next().unwrap_or_default();
    name.trim_ascii_end()
        .eq_ignore_ascii_case(b"DKIM-Signature")
}

/// Returns whether a reply is a 4xx or 5xx whose text is safe for MTAs that use it as a format
/// string.
fn is_refusal((letter, data): Frame<'_>) -> bool {
    let Some(text) = data.strip_suffix(b"\0") else {
        return false;
    };
    let percent = text.iter().filter(|&&c| c == b'%').count();
    let doubled = text.windows(2).filter(|pair| pair == b"%%").count();
    letter == b'y'
        && matches!(text.first(), Some(b'4' | b'5'))
        && text.iter().all(|c| matches!(c, b' '..=b'~'))
        && percent % 2 == 0
        && doubled >= percent / 2
}

fn mentions(bytes: &[u8], word: &[u8]) -> bool {
    let mut windows = bytes.windows(word.len());
    windows.any(|window| window.eq_ignore_ascii_case(word))
}

/// Returns the next reply, and the edits before it.
fn next_answer<'a>(
    answers: &mut impl Iterator<Item = Frame<'a>>,
) -> Option<(Frame<'a>, Vec<&'a [u8]>)> {
    let mut edits = Vec::new();
    for (letter, data) in answers {
        match letter {
            b'i' | b'm' => edits.push(data),
            b'p' => {}
            _ => return Some(((letter, data), edits)),
        }
    }
    assert!(edits.is_empty(), "edits without an answer");
    None
}

/// Returns the frames of a stream, up to the first invalid one.
fn frames(bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some(([letter, data @ ..], next)) = after.split_at_checked(length) else {
            break;
        };
        frames.push((*letter, data));
        rest = next;
    }
    frames
}
