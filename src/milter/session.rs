//! The session of a milter connection: its client, and the mail transaction in progress.
//!
//! A session gets events, not packets. An event out of order is answered with a temporary
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

/// The response to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Response {
    /// Continue.
    Continue,
    /// Accept the mail transaction without checks. Only at MAIL: later it would accept the
    /// message for every recipient.
    Accept,
    /// Refuse the recipient (at RCPT) or the message.
    Refuse(Reply),
}

/// Changes to the header of an accepted message, in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// The Authentication-Results fields to remove, counted from 1 among the fields of this
    /// name. Descending, so that a removal does not change the numbers that follow.
    pub remove: Vec<i32>,
    /// The values of the Authentication-Results fields to insert at the top, from top to
    /// bottom.
    pub insert: Vec<String>,
}

/// The negotiated features that a session depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether the MTA passes header fields with the white space after the colon.
    pub keeps_leading_space: bool,
    /// Whether the MTA adds header fields to a message.
    pub adds_fields: bool,
    /// Whether the MTA removes header fields.
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
    /// Creates the session of a client; `None` if the whole connection is accepted without
    /// checks.
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

    /// Processes HELO or EHLO.
    pub fn helo(&mut self, name: String) {
        self.peer.helo = Some(name);
    }

    /// Processes MAIL. It ends the previous mail transaction, because Sendmail sends no ABORT.
    pub fn mail(&mut self, command: MailCommand) -> Response {
        self.transaction = None;
        let Some(pending) = self.drain.begin() else {
            return Response::Refuse(Reply::shutting_down());
        };
        self.transaction = Transaction::begin(&self.snapshot, &self.peer, command, pending);
        match self.transaction {
            Some(_) => Response::Continue,
            None => Response::Accept,
        }
    }

    /// Processes RCPT.
    pub async fn rcpt(&mut self, recipient: Recipient, queue_id: Option<&str>) -> Response {
        match &mut self.transaction {
            Some(transaction) => transaction.rcpt(&mut self.peer, recipient, queue_id).await,
            None => self.out_of_order(),
        }
    }

    /// Processes a header field: the name without the colon, and the text after the colon,
    /// with a space if the MTA has removed the white space there.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        if let Some(transaction) = &mut self.transaction {
            transaction.header(name, value);
        }
    }

    /// Processes the end of the header fields.
    pub async fn end_of_headers(&mut self, queue_id: Option<&str>) -> Response {
        let Some(transaction) = &mut self.transaction else {
            return self.out_of_order();
        };
        let response = transaction.end_of_headers(&mut self.peer, queue_id).await;
        if let Response::Refuse(_) = response {
            // Sendmail sends no ABORT, and the drain would wait for it.
            self.transaction = None;
        }
        response
    }

    /// Processes a body chunk; returns whether more of the body is needed.
    pub fn body(&mut self, chunk: &[u8]) -> bool {
        let transaction = self.transaction.as_mut();
        transaction.is_some_and(|transaction| transaction.body(chunk))
    }

    /// Starts the work that will be needed. It is called when the MTA has its replies and no
    /// frame has arrived. What is not done here is done when it is needed.
    pub fn work_ahead(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.work_ahead(&self.peer);
        }
    }

    /// Processes the end of the message. The edits are empty unless it is accepted.
    pub async fn end_of_message(&mut self, queue_id: Option<&str>) -> (Response, Edits) {
        let Some(transaction) = &mut self.transaction else {
            return (self.out_of_order(), Edits::default());
        };
        // Borrowed, because a transaction that was taken out would be part of the future.
        let answer = transaction.end_of_message(&mut self.peer, queue_id).await;
        self.transaction = None;
        answer
    }

    /// Ends the mail transaction without a message. The HELO name is kept, because Postfix
    /// sends ABORT after a second HELO.
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

/// Returns the configured reply for a refusal.
fn reply<R>(snapshot: &Snapshot<R>, address: IpAddr, refusal: Refusal, domain: &str) -> Reply {
    let template = snapshot.config.replies.get(refusal);
    template.render(Values { address, domain })
}
