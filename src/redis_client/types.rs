//! The types of the Redis client, with and without the cargo feature `redis`.

use std::fmt;

/// The values of some fields of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// The values in the requested order; `None` if there is no such field.
    pub values: Vec<Option<Vec<u8>>>,
    /// Whether the hash exists. In Redis, a hash without fields does not exist.
    pub exists: bool,
}

/// The change of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The field is unchanged, or still missing.
    Keep,
    /// The field gets this value.
    Set(String),
    /// The field is removed.
    Remove,
}

/// A notice about a followed hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Changes are received from now on. Earlier ones may have been missed.
    Subscribed,
    /// These fields have changed.
    Changed(Vec<String>),
    /// Any number of fields have changed.
    AllChanged,
    /// Changes are not received until [`Notice::Subscribed`], for this reason.
    Lost(String),
}

/// Why a server did not execute a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisFailure {
    /// The reason, in one line of limited length.
    pub reason: String,
    /// Whether it could not be reached or did not answer, as opposed to refusing the
    /// command.
    pub is_unreachable: bool,
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for RedisFailure {}
