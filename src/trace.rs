//! Traces the messages of one sender or recipient through the logs.
//!
//! The logs are read twice, so that memory does not depend on their size: a [`Search`]
//! finds the senders and recipient domains of the attempts that match a [`Query`], and a
//! [`Collection`] collects all lines about these. [`Trace`] builds a timeline of each
//! message from them. Attempts are assigned to messages by the rules of [`crate::logs`],
//! as in `report`. This module opens no files and reads no clock.

use crate::logs::decision::raw_domain;

mod advice;
mod collection;
mod events;
mod json;
mod mails;
mod message;
mod query;
mod search;
pub mod text;

pub use collection::Collection;
pub use events::Event;
pub use message::{Message, Trace};
pub use query::{ClientPattern, Mailbox, Query, QueueIds};
pub use search::Search;

/// The identity of a message, which a retry shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    /// The envelope sender in comparable form; empty for the null reverse-path.
    sender: String,
    /// The recipient's domain in comparable form.
    domain: String,
}

impl Key {
    /// Returns the key for a recipient address that the MTA logged.
    fn of_recipient(sender: &str, address: &[u8]) -> Self {
        Self {
            sender: sender.to_owned(),
            domain: raw_domain(address),
        }
    }
}
