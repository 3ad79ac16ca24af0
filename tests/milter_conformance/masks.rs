//! The versions, actions and options that MTAs offer.

use crate::support::milter::{Options, protocol};

/// An offer, and how the MTA that makes it hands a message over.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    pub name: &'static str,
    pub offer: Options,
    /// Header values come trimmed, and the whole message comes as the body.
    pub is_stalwart: bool,
}

pub const ADD_HEADER: u32 = 0x01;
pub const CHANGE_HEADER: u32 = 0x10;
const ALL_ACTIONS: u32 = 0x1ff;
const ALL: u32 = 0x001f_ffff;
const NO_REPLIES: u32 = protocol::NR_HEADERS
    | protocol::NR_CONNECT
    | protocol::NR_HELO
    | protocol::NR_MAIL
    | protocol::NR_RCPT
    | protocol::NR_DATA
    | protocol::NR_UNKNOWN
    | protocol::NR_EOH
    | protocol::NR_BODY;

const fn mask(name: &'static str, version: u32, actions: u32, protocol: u32) -> Mask {
    Mask {
        name,
        offer: Options {
            version,
            actions,
            protocol,
        },
        is_stalwart: false,
    }
}

/// The offers of MTAs and libraries, and what each part of one is worth.
pub const MASKS: [Mask; 11] = [
    mask("full", 6, ALL_ACTIONS, ALL),
    // maddy: OptAddHeader and OptQuarantine, no protocol options.
    mask("maddy", 6, ADD_HEADER | 0x20, 0),
    // Stalwart 0.13: NOHELO and NOEOH, all actions but SETSYMLIST.
    Mask {
        is_stalwart: true,
        ..mask("stalwart", 6, 0xff, 0x42)
    },
    mask("without SKIP", 6, ALL_ACTIONS, ALL & !protocol::SKIP),
    mask("without NR", 6, ALL_ACTIONS, ALL & !NO_REPLIES),
    mask(
        "without leading space",
        6,
        ALL_ACTIONS,
        ALL & !protocol::HEADER_LEADING_SPACE,
    ),
    mask(
        "without header changes",
        6,
        ALL_ACTIONS & !CHANGE_HEADER,
        ALL,
    ),
    // Postfix with milter_protocol = 2, 3 and 4.
    mask("version 2", 2, 0x3f, 0x7f),
    mask("version 3", 3, 0x3f, 0x17f),
    mask("version 4", 4, 0x3f, 0x37f),
    // Offers what its version does not have.
    mask("version 2, all bits", 2, ALL_ACTIONS, ALL),
];

impl Mask {
    /// Whether header fields come as they were transmitted.
    pub fn keeps_leading_space(&self) -> bool {
        self.offer.version >= 6 && self.offer.protocol & protocol::HEADER_LEADING_SPACE != 0
    }

    pub fn changes_headers(&self) -> bool {
        self.offer.actions & CHANGE_HEADER != 0
    }
}
