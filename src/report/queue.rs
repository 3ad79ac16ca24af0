//! Messages over IPv4 by queue ID. The MTA logs client, sender and recipients on separate
//! lines.

use super::retries::Sender;
use crate::logs::recent;
use quick_cache::unsync::Cache;
use std::{collections::hash_map::RandomState, hash::BuildHasher};

/// The maximum number of messages. The three lines of a message are close together.
const CAPACITY: usize = 1 << 16;

/// An incoming message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mail {
    /// When its client began the message.
    pub(super) arrived: i64,
    /// The sender; `None` until the MTA has logged it.
    pub(super) sender: Option<Sender>,
}

#[derive(Debug)]
pub(super) struct Queue {
    mails: Cache<u64, Mail>,
    hasher: RandomState,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            mails: recent::cache(CAPACITY),
            hasher: RandomState::new(),
        }
    }

    /// Adds a message from a client over IPv4. Queue IDs are reused after a while, so it
    /// replaces an earlier message.
    pub(super) fn begin(&mut self, queue_id: &[u8], mail: Mail) {
        self.mails.insert(self.hasher.hash_one(queue_id), mail);
    }

    /// Sets the sender of a message.
    pub(super) fn name(&mut self, queue_id: &[u8], sender: impl FnOnce() -> Sender) {
        let id = self.hasher.hash_one(queue_id);
        if let Some(mut mail) = self.mails.get_mut(&id) {
            mail.sender = Some(sender());
        }
    }

    /// Returns a message; `None` if it did not arrive over IPv4.
    pub(super) fn get(&self, queue_id: &[u8]) -> Option<Mail> {
        self.mails.get(&self.hasher.hash_one(queue_id)).copied()
    }
}
