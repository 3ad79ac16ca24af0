//! The MTA's mails that came in over IPv4, by queue id: who began them, until
//! it is told who gets them.

use super::retries::Sender;
use crate::recent::Recent;
use std::{collections::hash_map::RandomState, hash::BuildHasher};

/// How many are remembered. The three lines of a mail stand close together.
const CAPACITY: usize = 1 << 16;

/// A mail on its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mail {
    /// When its client began it.
    pub(super) arrived: i64,
    /// `None` until the MTA has told.
    pub(super) sender: Option<Sender>,
}

#[derive(Debug)]
pub(super) struct Queue {
    mails: Recent<u64, Mail>,
    hasher: RandomState,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            mails: Recent::new(CAPACITY),
            hasher: RandomState::new(),
        }
    }

    /// A client over IPv4 began a mail. Queue ids come back after a while, so
    /// the one before is forgotten.
    pub(super) fn begin(&mut self, queue_id: &[u8], mail: Mail) {
        self.mails.insert(self.hasher.hash_one(queue_id), mail);
    }

    /// The MTA tells who sent it.
    pub(super) fn name(&mut self, queue_id: &[u8], sender: impl FnOnce() -> Sender) {
        let id = self.hasher.hash_one(queue_id);
        if let Some(mail) = self.mails.get(&id) {
            let sender = Some(sender());
            self.mails.insert(id, Mail { sender, ..mail });
        }
    }

    /// `None` for mail that did not come over IPv4.
    pub(super) fn get(&mut self, queue_id: &[u8]) -> Option<Mail> {
        self.mails.get(&self.hasher.hash_one(queue_id))
    }
}
