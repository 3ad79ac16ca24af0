//! Builds the messages that the MTA accepted from its log lines, by queue ID.

use super::json;
use crate::logs::{
    MtaEvent, MtaLine,
    decision::comparable_address,
    escape::{escape, readable},
    mta_line::Peer,
    recent,
};
use quick_cache::unsync::Cache;
use serde::Serialize;
use std::{collections::hash_map::RandomState, hash::BuildHasher, net::IpAddr, rc::Rc};

/// The maximum number of messages in progress. The lines of a message up to its first
/// delivery are close together.
const CAPACITY: usize = 1 << 13;

/// The maximum length of a value from a line, in bytes. Together with [`CAPACITY`] it
/// bounds memory.
const MAX_VALUE: usize = 320;

/// A message that the MTA accepted from a client. Texts are escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Mail {
    /// When its client began the message, in seconds since 1970.
    #[serde(rename = "time", serialize_with = "json::timestamp")]
    pub(super) arrived: i64,
    pub(super) queue_id: Box<str>,
    pub(super) client: IpAddr,
    pub(super) client_name: Box<str>,
    /// Whether the client authenticated by SASL.
    #[serde(rename = "authenticated")]
    pub(super) is_login: bool,
    /// The Message-ID without angle brackets; empty if it was not logged.
    pub(super) message_id: Box<str>,
    /// The sender's address in comparable form; `None` until the MTA has logged it.
    #[serde(skip)]
    pub(super) from: Option<Box<str>>,
}

/// The most recently logged messages, by queue ID.
#[derive(Debug)]
pub(super) struct Mails {
    by_queue_id: Cache<u64, Rc<Mail>>,
    hasher: RandomState,
}

impl Mails {
    pub(super) fn new() -> Self {
        Self {
            by_queue_id: recent::cache(CAPACITY),
            hasher: RandomState::new(),
        }
    }

    /// Records what a line says about the origin of a message.
    pub(super) fn add(&mut self, line: &MtaLine<'_>, time: i64) {
        let id = self.hasher.hash_one(line.queue_id);
        match &line.event {
            // Queue IDs are reused after a while.
            MtaEvent::Client(peer) => {
                let mail = Mail::new(line.queue_id, time, peer);
                self.by_queue_id.insert(id, Rc::new(mail));
            }
            MtaEvent::Received {
                peer,
                from,
                message_id,
            } => {
                let mail = Mail {
                    from: Some(sender(from)),
                    message_id: value(message_id),
                    ..Mail::new(line.queue_id, time, peer)
                };
                self.by_queue_id.insert(id, Rc::new(mail));
            }
            MtaEvent::MessageId(message_id) => {
                self.change(id, |mail| mail.message_id = value(message_id));
            }
            MtaEvent::Sender { from } => {
                self.change(id, |mail| {
                    mail.from.get_or_insert_with(|| sender(from));
                });
            }
            MtaEvent::Expired { .. } | MtaEvent::Delivery(_) | MtaEvent::Refused { .. } => {}
        }
    }

    pub(super) fn get(&self, queue_id: &[u8]) -> Option<Rc<Mail>> {
        let id = self.hasher.hash_one(queue_id);
        self.by_queue_id.get(&id).cloned()
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Mail)) {
        if let Some(mut mail) = self.by_queue_id.get_mut(&id) {
            change(Rc::make_mut(&mut mail));
        }
    }
}

impl Mail {
    fn new(queue_id: &[u8], arrived: i64, peer: &Peer<'_>) -> Self {
        Self {
            queue_id: value(queue_id),
            arrived,
            client: peer.address,
            client_name: name(peer.name),
            is_login: peer.is_login,
            message_id: Box::default(),
            from: None,
        }
    }
}

/// Converts a sender's address that the MTA logged to comparable form.
pub(super) fn sender(raw: &[u8]) -> Box<str> {
    let raw = &raw[..raw.len().min(MAX_VALUE)];
    comparable_address(&escape(&String::from_utf8_lossy(raw))).into()
}

/// Returns a client's host name; empty if the MTA has none.
pub(super) fn name(raw: &[u8]) -> Box<str> {
    match raw {
        b"unknown" => Box::default(),
        raw => value(raw),
    }
}

/// Escapes a value as in decision lines, limited in length.
pub(super) fn value(raw: &[u8]) -> Box<str> {
    let raw = &raw[..raw.len().min(MAX_VALUE)];
    escape(&String::from_utf8_lossy(raw)).into()
}

/// Makes the text of a peer or the MTA readable.
pub(super) fn sentence(raw: &[u8]) -> Box<str> {
    readable(&value(raw)).into()
}
