//! The replies that the protocol and the policy allow.

use super::Knowledge;
use std::net::Ipv6Addr;

/// A frame: a letter and its data.
type Frame<'a> = (u8, &'a [u8]);

/// What the MTA knows of its mail transaction.
#[derive(Debug, Default)]
struct Transaction {
    /// MAIL was let pass.
    begun: bool,
    recipients: usize,
    has_signature: bool,
    /// Whether what the end of headers came to, once that was sent, may be to go
    /// on. It is said at the next command.
    header_may_pass: Option<bool>,
}

/// Looks at each answer.
///
/// # Panics
/// If there is one that must not be.
pub(super) fn check_answers(knowledge: Knowledge, sent: &[u8], answered: &[u8]) {
    let mut answers = frames(answered).into_iter();
    let mut transaction = Transaction::default();
    let mut macros = Macros::default();
    for (letter, data) in frames(sent) {
        match letter {
            b'D' => macros.define(data),
            b'A' | b'H' | b'K' => transaction = Transaction::default(),
            // What comes out of order ends the mail transaction.
            b'L' | b'N' | b'R' if transaction.header_may_pass.is_some() => {
                transaction = Transaction::default();
            }
            b'L' => transaction.has_signature |= is_signature(data),
            _ => {}
        }
        if letter == b'N' {
            transaction.header_may_pass = Some(
                transaction.begun
                    && transaction.recipients > 0
                    && (transaction.has_signature || knowledge == Knowledge::PtrAndSpf),
            );
        }
        if !b"OCMRBE".contains(&letter) {
            continue;
        }
        // A connection that is closed is a temporary failure.
        let Some((answer, edits)) = next_answer(&mut answers) else {
            return;
        };
        let pass = answer.0 == b'c';
        match letter {
            b'O' => assert_eq!(answer.0, b'O'),
            b'C' => assert!(pass || (answer.0 == b'a' && !is_checked(data))),
            b'M' => {
                transaction = Transaction {
                    begun: pass,
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
    assert!(answers.next().is_none(), "an answer to nothing");
}

/// The macros that matter, as the last packet for their stage has them.
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
    let mut rest = connect.splitn(2, |&octet| octet == 0).skip(1);
    let Some([b'6', _, _, address @ ..]) = rest.next() else {
        return false;
    };
    let address = address
        .split(|&octet| octet == 0)
        .next()
        .unwrap_or_default();
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
    let name = field.split(|&octet| octet == 0).next().unwrap_or_default();
    name.trim_ascii_end()
        .eq_ignore_ascii_case(b"DKIM-Signature")
}

/// A reply with 4xx or 5xx whose text is whole for MTAs that take it for a
/// format.
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

fn mentions(octets: &[u8], word: &[u8]) -> bool {
    let mut windows = octets.windows(word.len());
    windows.any(|window| window.eq_ignore_ascii_case(word))
}

/// An answer, and the edits before it.
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

/// The frames of a stream, up to what is none.
fn frames(octets: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    let mut rest = octets;
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
