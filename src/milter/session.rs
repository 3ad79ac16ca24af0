//! One milter connection: who is at the other end, and the mail transaction
//! that is under way.
//!
//! A session knows nothing of packets. Events come in the order in which an MTA
//! sends them; one that comes out of order is answered with a temporary
//! failure, never with an acceptance.

mod message;
mod peer;
mod recipients;
mod results;
mod transaction;

pub use transaction::MailCommand;

use super::drain::Drain;
use crate::{
    address::{Client, Recipient},
    dns::Resolve,
    policy::Refusal,
    reply::{Reply, Values},
    snapshot::Snapshot,
    telemetry::log::Limit,
};
use peer::Peer;
use std::{net::IpAddr, sync::Arc};
use transaction::Transaction;

/// What to answer to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Response {
    /// Go on.
    Continue,
    /// Nothing more of this mail transaction is wanted. At MAIL alone: later it
    /// would wave the message through for every recipient.
    Accept,
    /// Refuse the recipient (at RCPT) or the message.
    Refuse(Reply),
}

/// Changes to the header of a message that goes on, in the order in which to
/// make them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Which Authentication-Results fields to remove, counted from 1 among the
    /// fields of this name. Descending, so that each number still holds when
    /// its turn comes.
    pub remove: Vec<i32>,
    /// The values of the Authentication-Results fields to put first, from top to bottom.
    pub insert: Vec<String>,
}

/// What the MTA can do for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// It hands over header fields with the space that follows their colon.
    pub keeps_leading_space: bool,
    /// It adds header fields to a message.
    pub adds_fields: bool,
    /// It removes header fields.
    pub removes_fields: bool,
}

/// A milter connection whose client is checked.
#[derive(Debug)]
pub struct Session<R> {
    snapshot: Arc<Snapshot<R>>,
    drain: Arc<Drain>,
    peer: Peer,
    transaction: Option<Transaction<R>>,
}

impl<R: Resolve> Session<R> {
    /// A client connected. `None` means that the whole connection is accepted:
    /// nothing of it is checked.
    pub fn connect(
        snapshot: Arc<Snapshot<R>>,
        drain: Arc<Drain>,
        client: Client,
        mta: Abilities,
    ) -> Option<Self> {
        let peer = Peer::connect(&snapshot, client, mta)?;
        Some(Self {
            snapshot,
            drain,
            peer,
            transaction: None,
        })
    }

    /// HELO or EHLO.
    pub fn helo(&mut self, name: String) {
        self.peer.helo = Some(name);
    }

    /// MAIL: whatever was before is over. Sendmail sends no ABORT for it.
    pub fn mail(&mut self, command: MailCommand) -> Response {
        self.transaction = None;
        let Some(under_way) = self.drain.begin() else {
            return Response::Refuse(Reply::shutting_down());
        };
        self.transaction = Transaction::begin(&self.snapshot, &self.peer, command, under_way);
        match self.transaction {
            Some(_) => Response::Continue,
            None => Response::Accept,
        }
    }

    /// RCPT.
    pub async fn rcpt(&mut self, recipient: Recipient, queue_id: Option<&str>) -> Response {
        match &mut self.transaction {
            Some(transaction) => transaction.rcpt(&mut self.peer, recipient, queue_id).await,
            None => self.out_of_order(),
        }
    }

    /// One header field: name without colon, and what follows that, with a space where
    /// the MTA has left out what was there.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        if let Some(transaction) = &mut self.transaction {
            transaction.header(name, value);
        }
    }

    /// All header fields were given.
    pub async fn end_of_headers(&mut self, queue_id: Option<&str>) -> Response {
        let Some(transaction) = &mut self.transaction else {
            return self.out_of_order();
        };
        let response = transaction.end_of_headers(&mut self.peer, queue_id).await;
        if let Response::Refuse(_) = response {
            // Sendmail sends no ABORT, and a drain would wait for it.
            self.transaction = None;
        }
        response
    }

    /// A piece of the body. Says whether more of it is wanted.
    pub fn body(&mut self, chunk: &[u8]) -> bool {
        let transaction = self.transaction.as_mut();
        transaction.is_some_and(|transaction| transaction.body(chunk))
    }

    /// Does what will be needed and can be done by now, while the MTA is busy: it has
    /// its replies, and no frame is there. What is not done here is done where it is
    /// needed.
    pub fn work_ahead(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.work_ahead(&self.peer);
        }
    }

    /// The message is complete. The edits are empty unless it goes on.
    pub async fn end_of_message(&mut self, queue_id: Option<&str>) -> (Response, Edits) {
        let Some(transaction) = &mut self.transaction else {
            return (self.out_of_order(), Edits::default());
        };
        // It stays where it is until then: taken out, it would be part of what waits.
        let answer = transaction.end_of_message(&mut self.peer, queue_id).await;
        self.transaction = None;
        answer
    }

    /// The mail transaction is over without a message. The HELO name stays:
    /// Postfix sends ABORT after a second HELO.
    pub fn abort(&mut self) {
        self.transaction = None;
    }

    fn out_of_order(&self) -> Response {
        static LIMIT: Limit = Limit::warnings();
        LIMIT.log(format_args!(
            "milter command out of order client={}",
            self.peer.ip
        ));
        self.temporary_failure()
    }

    fn temporary_failure(&self) -> Response {
        let refusal = Refusal::Temporary;
        Response::Refuse(reply(&self.snapshot, self.peer.ip, refusal, ""))
    }
}

/// The configured reply for a refusal.
fn reply<R>(snapshot: &Snapshot<R>, address: IpAddr, refusal: Refusal, domain: &str) -> Reply {
    let template = snapshot.config.replies.get(refusal);
    template.render(Values { address, domain })
}
