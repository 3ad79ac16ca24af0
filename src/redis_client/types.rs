//! What a Redis client says about a hash, with and without the cargo feature `redis`.

use std::fmt;

/// What a hash has in some of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// In the order in which they were asked for; `None` where there is no such field.
    pub values: Vec<Option<Vec<u8>>>,
    /// Whether there is a hash of this name. One without fields does not exist.
    pub exists: bool,
}

/// What is to happen to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is, or stays away.
    Keep,
    /// It gets this value.
    Set(String),
    /// It goes away.
    Remove,
}

/// What is known of a hash that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Changes are received from now on. What changed before may have been missed.
    Subscribed,
    /// These fields have changed.
    Changed(Vec<String>),
    /// Any number of fields have changed.
    AllChanged,
    /// Changes are not received until [`Notice::Subscribed`], for this reason.
    Lost(String),
}

/// Why a server did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisFailure {
    /// One line of limited length.
    pub reason: String,
    /// Whether it could not be reached or did not answer, rather than refuse.
    pub is_unreachable: bool,
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for RedisFailure {}
