//! Offers of MTAs: with every version and every subset of the options and actions that sixgate
//! uses, a message with a known verdict gets this verdict or a temporary failure, each command
//! gets its reply, and the connection ends.

use super::{
    Target,
    milter_session::{converse, snapshot_of},
};
use crate::{
    message::{Message, runtime},
    random::Random,
    signed,
    zone::Zone,
};
use sixgate::snapshot::Snapshot;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// The target.
pub const TARGET: Target = Target {
    name: "milter_offer",
    check,
    seeds,
    dictionary: &["\x06\x03\x7f", "\x02\x00\x00", "\x03\x01"],
};

/// The options and actions that sixgate asks for: NR_HDR, NOUNKNOWN, NODATA, SKIP, NR_HELO,
/// NR_EOH, HDR_LEADSPC.
const OPTIONS: [u32; 7] = [0x80, 0x100, 0x200, 0x400, 0x2000, 0x4_0000, 0x10_0000];
/// ADDHDRS, CHGHDRS, SETSYMLIST.
const ACTIONS: [u32; 3] = [0x1, 0x10, 0x100];
const LEADING_SPACE: u32 = 0x10_0000;

/// The number of generated messages. Every second one is changed after signing.
const MESSAGES: u64 = 64;

/// Returns every version with every subset: 8 times 1024 offers.
fn seeds() -> Vec<Vec<u8>> {
    let subsets = 0..1_u16 << (OPTIONS.len() + ACTIONS.len());
    let offers = (0..8).flat_map(|version| subsets.clone().map(move |subset| (version, subset)));
    let seed = |(number, (version, subset)): (usize, (u8, u16))| {
        let [high, low] = subset.to_be_bytes();
        vec![version, high, low, (number * 97 / 8) as u8]
    };
    offers.enumerate().map(seed).collect()
}

/// Checks one offer with one message.
///
/// # Panics
/// If the verdict is wrong, forged results are not removed as agreed, or the connection does not
/// end.
pub fn check(input: &[u8]) {
    let &[version, high, low, number, ..] = input else {
        return;
    };
    let subset = u32::from(u16::from_be_bytes([high, low]));
    let chosen = |bits: &[u32], from: usize| -> u32 {
        let bits = bits.iter().enumerate();
        bits.filter(|(n, _)| subset >> (from + n) & 1 == 1)
            .map(|(_, bit)| bit)
            .sum()
    };
    let version = u32::from(version % 8);
    let (options, actions) = (chosen(&OPTIONS, 0), chosen(&ACTIONS, OPTIONS.len()));
    let case = &cases()[usize::from(number) % cases().len()];
    let agreed_options = if version >= 6 { options } else { 0 };
    let keeps_space = agreed_options & LEADING_SPACE != 0;
    let sent = dialogue([version, actions, options], case, keeps_space);
    let answered = runtime().block_on(converse(fixture(), &sent, number));
    let answers: Vec<u8> = letters(&answered);
    let context = format!("version {version}, {actions:#x}, {options:#x}, {case:?}");
    if version < 2 || actions & 1 == 0 {
        assert!(answers.is_empty(), "{context}: the offer is accepted");
        return;
    }
    let last = String::from_utf8_lossy(&answered);
    let passes = answers.last() == Some(&b'c') && last.contains("dkim=pass");
    let (is_temporary, is_sure) = (last.contains("451 4.4.3"), last.contains("450 4.7.26"));
    let in_doubt = case.is_simple && !keeps_space;
    match (case.is_changed, in_doubt) {
        (false, false) => assert!(passes, "{context}: {last}"),
        (false, true) => assert!(passes || is_temporary, "{context}: {last}"),
        (true, false) => assert!(is_sure && !passes, "{context}: {last}"),
        (true, true) => assert!(is_temporary && !passes, "{context}: {last}"),
    }
    let forged = usize::from(passes && actions & 0x10 != 0);
    let removed = answers.iter().filter(|&&letter| letter == b'm').count();
    assert_eq!(removed, forged, "{context}");
}

/// A signed message and its properties.
#[derive(Debug)]
struct Case {
    message: Message,
    is_simple: bool,
    is_changed: bool,
}

fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let case = |number| {
            let mut random = Random::new(number);
            let message = signed::unsigned(&mut random);
            let message = runtime().block_on(signed::sign(&message, &mut random))?;
            let signature = String::from_utf8_lossy(&message.fields[0].1).into_owned();
            let tags: String = signature.split_ascii_whitespace().collect();
            // These may have expired, or cover only part of the body.
            if tags.contains(";x=") || tags.contains(";l=") {
                return None;
            }
            let is_changed = number % 2 == 1;
            let mut message = message;
            if is_changed {
                message.body.splice(0..0, *b"changed\r\n");
            }
            Some(Case {
                message,
                is_simple: !tags.contains(";c=relaxed"),
                is_changed,
            })
        };
        let cases: Vec<Case> = (0..MESSAGES).filter_map(case).collect();
        assert!(cases.len() > 8, "only {} messages", cases.len());
        cases
    })
}

/// Returns the frames of an MTA that waits for no reply: all commands, except DATA if it was
/// negotiated away.
fn dialogue([version, actions, options]: [u32; 3], case: &Case, keeps_space: bool) -> Vec<u8> {
    let mut sent = Vec::new();
    let mut frame = |letter: u8, parts: &[&[u8]]| {
        let data = parts.concat();
        sent.extend((data.len() as u32 + 1).to_be_bytes());
        sent.push(letter);
        sent.extend(data);
    };
    frame(
        b'O',
        &[&[version, actions, options].map(u32::to_be_bytes).concat()],
    );
    frame(b'C', &[b"[x]\x006\x04\x002001:db8::10\0"]);
    frame(b'H', &[b"mail.good.example\0"]);
    frame(b'M', &[b"<a@bad.example>\0"]);
    frame(b'R', &[b"<b@contoso.com>\0"]);
    if version >= 4 && options & 0x200 == 0 {
        frame(b'T', &[]);
    }
    frame(
        b'L',
        &[b"Authentication-Results\0 mx.contoso.com; spf=pass\0"],
    );
    for (name, value) in &case.message.fields {
        let value = match value.strip_prefix(b" ") {
            Some(rest) if !keeps_space => rest,
            _ => value,
        };
        frame(b'L', &[name, b"\0", value, b"\0"]);
    }
    frame(b'N', &[]);
    for piece in case.message.body.chunks(7) {
        frame(b'B', &[piece]);
    }
    frame(b'E', &[]);
    sent
}

fn letters(mut answered: &[u8]) -> Vec<u8> {
    let mut letters = Vec::new();
    while let Some((length, rest)) = answered.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some(([letter, ..], after)) = rest.split_at_checked(length) else {
            break;
        };
        letters.push(*letter);
        answered = after;
    }
    letters
}

fn fixture() -> watch::Receiver<Arc<Snapshot<Zone>>> {
    static SNAPSHOT: OnceLock<watch::Sender<Arc<Snapshot<Zone>>>> = OnceLock::new();
    let fixture = SNAPSHOT.get_or_init(|| {
        let mut zone = signed::zone();
        zone.ptr = vec![b"mail.good.example".to_vec()];
        watch::Sender::new(snapshot_of(zone))
    });
    fixture.subscribe()
}
