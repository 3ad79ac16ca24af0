//! The rules that decide whether a deferred message was retried, and with which outcome.
//!
//! A message is identified by its sender's address and the recipient's domain, which a
//! retry shares. `report` and `trace` use these rules.

use serde::Serialize;

/// The time until Postfix and Sendmail bounce a message by default, in seconds.
pub(crate) const GIVES_UP_AFTER: i64 = 5 * 86400;

/// The time before the end of the log, in seconds, during which a deferred message may
/// still be retried: Postfix retries within 4000 s by default, Sendmail usually every
/// hour; some wait longer.
const MAY_COME_BACK: i64 = 4 * 3600;

/// Decisions within this many seconds belong to the same attempt: a client may try the
/// next MX or the next recipient.
pub(crate) const SAME_ATTEMPT: i64 = 60;

/// What happened to a deferred message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The MTA accepted the message over IPv4.
    Ipv4,
    /// The message was retried over IPv4, where the MTA refused it by a rule of its own.
    Ipv4Refused,
    /// The message passed over IPv6 in a later attempt.
    Ipv6,
    /// The message was retried over IPv6 only and never passed: the sender is a real mail
    /// server and its mail does not arrive.
    Retrying,
    /// The message was never retried.
    Gone,
    /// The message was first deferred within the last four hours of the log.
    Waiting,
}

impl Fate {
    /// All fates.
    pub const ALL: [Self; 6] = [
        Self::Ipv4,
        Self::Ipv4Refused,
        Self::Ipv6,
        Self::Retrying,
        Self::Gone,
        Self::Waiting,
    ];
}

/// The attempts so far of a deferred message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    first: i64,
    last: i64,
    attempts: u32,
    refused_over_ipv4: bool,
}

impl Retries {
    /// Creates the record of a message that was deferred for the first time.
    pub(crate) fn new(time: i64) -> Self {
        Self {
            first: time,
            last: time,
            attempts: 1,
            refused_over_ipv4: false,
        }
    }

    pub(crate) fn first(&self) -> i64 {
        self.first
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Records another deferral.
    pub(crate) fn deferred(&mut self, time: i64) {
        self.attempts += u32::from(time - self.last >= SAME_ATTEMPT);
        self.last = self.last.max(time);
    }

    /// Records that the MTA refused it over IPv4. It may still be accepted later, as with
    /// greylisting.
    pub(crate) fn refused_over_ipv4(&mut self, time: i64) {
        self.refused_over_ipv4 |= self.first <= time;
    }

    /// Returns whether its sender may still retry at `time`, so that a deferral then is
    /// of this message.
    pub(crate) fn may_be_tried(&self, time: i64) -> bool {
        time - self.first <= GIVES_UP_AFTER
    }

    /// Returns whether a message that the MTA accepts at `time` may be this one.
    pub(crate) fn may_come_back(&self, time: i64) -> bool {
        self.first <= time && self.may_be_tried(time)
    }

    /// Returns the fate of a message that was not accepted by `end`.
    pub(crate) fn fate(&self, end: i64) -> Fate {
        if self.refused_over_ipv4 {
            Fate::Ipv4Refused
        } else if self.first > end - MAY_COME_BACK {
            Fate::Waiting
        } else if self.attempts > 1 {
            Fate::Retrying
        } else {
            Fate::Gone
        }
    }
}
