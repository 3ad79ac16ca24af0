//! The MTA's mails that came in over IPv4, by queue id: who began them, until
//! it is told who gets them.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
};

use super::returns::Sender;

/// How many are remembered; the oldest go first. The three lines of a mail
/// stand close together.
const CAPACITY: usize = 1 << 16;

/// A mail on its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mail {
    /// When its client began it.
    pub(super) arrived: i64,
    /// `None` until the MTA has told.
    pub(super) sender: Option<Sender>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    mails: HashMap<u64, Mail>,
    order: VecDeque<u64>,
    hasher: RandomState,
}

impl Queue {
    /// A client over IPv4 began a mail. Queue ids come back after a while, so
    /// the one before is forgotten.
    pub(super) fn begin(&mut self, queue_id: &[u8], mail: Mail) {
        let id = self.hasher.hash_one(queue_id);
        if self.mails.insert(id, mail).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.mails.remove(&oldest);
        }
    }

    /// `None` for mail that did not come over IPv4.
    pub(super) fn get(&mut self, queue_id: &[u8]) -> Option<&mut Mail> {
        self.mails.get_mut(&self.hasher.hash_one(queue_id))
    }
}
