//! Frames, letters and bits of milter protocol 6.

use std::collections::BTreeMap;

/// The offer of Postfix 3.7 and Sendmail 8.17: version, actions, protocol options.
pub const OFFER: [u32; 3] = [6, 0x1ff, 0x001f_ffff];

/// Postfix's largest chunk of a body.
pub const CHUNK: usize = 65535;

pub const HEADER_LEADING_SPACE: u32 = 0x10_0000;

/// A command.
pub struct Command {
    pub letter: u8,
    /// The bit with which a milter declines the command.
    pub unwanted: u32,
    /// The bit with which a milter declines to reply to it.
    pub unanswered: u32,
    /// The number of its stage, in requests for macros.
    pub macros: Option<u32>,
}

pub const CONNECT: Command = command(b'C', 0x1, 0x1000, Some(0));
pub const HELO: Command = command(b'H', 0x2, 0x2000, Some(1));
pub const MAIL: Command = command(b'M', 0x4, 0x4000, Some(2));
pub const RCPT: Command = command(b'R', 0x8, 0x8000, Some(3));
pub const DATA: Command = command(b'T', 0x200, 0x1_0000, Some(4));
pub const HEADER: Command = command(b'L', 0x20, 0x80, Some(6));
pub const EOH: Command = command(b'N', 0x40, 0x4_0000, Some(6));
pub const BODY: Command = command(b'B', 0x10, 0x8_0000, Some(5));
pub const EOM: Command = command(b'E', 0, 0, Some(5));

const fn command(letter: u8, unwanted: u32, unanswered: u32, macros: Option<u32>) -> Command {
    Command {
        letter,
        unwanted,
        unanswered,
        macros,
    }
}

/// The negotiated options and macros.
#[derive(Default)]
pub struct Negotiated {
    pub protocol: u32,
    /// The macros that the milter requests, by stage.
    pub macros: BTreeMap<u32, Vec<String>>,
}

impl Negotiated {
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (words, mut rest) = data.split_at_checked(12)?;
        let mut macros = BTreeMap::new();
        while let Some((stage, more)) = rest.split_first_chunk() {
            let end = more.iter().position(|byte| *byte == 0)?;
            let names = String::from_utf8_lossy(&more[..end]);
            let names = names.split_whitespace().map(bare).collect();
            macros.insert(u32::from_be_bytes(*stage), names);
            rest = &more[end + 1..];
        }
        Some(Self {
            protocol: u32::from_be_bytes(words[8..12].try_into().ok()?),
            macros,
        })
    }

    pub fn wants(&self, command: &Command) -> bool {
        self.protocol & command.unwanted == 0
    }

    pub fn answers(&self, command: &Command) -> bool {
        self.protocol & command.unanswered == 0
    }
}

fn bare(name: &str) -> String {
    name.trim_matches(['{', '}']).to_owned()
}

/// Appends a frame to `out`.
pub fn put(out: &mut Vec<u8>, letter: u8, parts: &[&[u8]]) {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.push(letter);
    for part in parts {
        out.extend_from_slice(part);
    }
}
