//! Whether a deferred message came back, and how.
//!
//! A message is known by its sender's address and the recipient's domain; a
//! retry has the same. `report` and `trace` follow messages by these rules.

use serde::Serialize;

/// Postfix and Sendmail give up after five days by default. In seconds.
pub(crate) const GIVES_UP_AFTER: i64 = 5 * 86400;

/// A mail deferred so shortly before the end of the log may still come back:
/// Postfix retries after 4000 s at the latest by default, Sendmail mostly each
/// hour; some wait longer.
const MAY_COME_BACK: i64 = 4 * 3600;

/// A client that tries the next MX, or the next recipient, is still at the same
/// attempt.
pub(crate) const SAME_ATTEMPT: i64 = 60;

/// What happened to a deferred message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The MTA took it over IPv4.
    Ipv4,
    /// It came over IPv4, and a rule of the MTA's own refused it there.
    Ipv4Refused,
    /// It passed over IPv6 later.
    Ipv6,
    /// It was tried again, over IPv6 alone, and never passed: the sender is a
    /// real mail server and its mail does not arrive.
    Retrying,
    /// It was never seen again.
    Gone,
    /// It was first deferred within the last four hours of the log.
    Waiting,
}

impl Fate {
    /// Every fate.
    pub const ALL: [Self; 6] = [
        Self::Ipv4,
        Self::Ipv4Refused,
        Self::Ipv6,
        Self::Retrying,
        Self::Gone,
        Self::Waiting,
    ];
}

/// The attempts of a message that was deferred, so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    first: i64,
    last: i64,
    attempts: u32,
    refused_over_ipv4: bool,
}

impl Retries {
    /// A message that was deferred for the first time.
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

    /// It was deferred again.
    pub(crate) fn deferred(&mut self, time: i64) {
        self.attempts += u32::from(time - self.last >= SAME_ATTEMPT);
        self.last = self.last.max(time);
    }

    /// The MTA refused it over IPv4. It may still take it, as greylisting does.
    pub(crate) fn refused_over_ipv4(&mut self, time: i64) {
        self.refused_over_ipv4 |= self.first <= time;
    }

    /// Whether its sender still tries at `time`, so that what is deferred then is
    /// this message.
    pub(crate) fn may_be_tried(&self, time: i64) -> bool {
        time - self.first <= GIVES_UP_AFTER
    }

    /// Whether what the MTA takes at `time` is this message.
    pub(crate) fn may_come_back(&self, time: i64) -> bool {
        self.first <= time && self.may_be_tried(time)
    }

    /// The fate of a message that has not come back by `end`.
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
