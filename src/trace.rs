//! The messages of one sender or recipient, followed through the logs.
//!
//! The logs are read twice, so that memory does not depend on their size: a
//! [`Search`] finds the senders and recipient domains of what matches a [`Query`],
//! a [`Collection`] takes everything that the logs say about these. From that,
//! [`Trace`] makes a timeline of each message. A message is recognized by the rules
//! of [`crate::logs`], which `report` follows too. No file is opened here and no
//! clock is read.

use crate::logs::decision::raw_domain;

mod advice;
mod collection;
mod events;
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

/// What identifies a message: a retry has the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    /// The envelope sender, in the form in which addresses compare equal. Empty for
    /// the null reverse-path.
    sender: String,
    /// The recipient's domain, in the form in which domains compare equal.
    domain: String,
}

impl Key {
    /// That of a recipient whose address the MTA logged.
    fn of_recipient(sender: &str, address: &[u8]) -> Self {
        Self {
            sender: sender.to_owned(),
            domain: raw_domain(address),
        }
    }
}
