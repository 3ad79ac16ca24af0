//! Redis in a program that was built without the cargo feature `redis`: no configuration
//! has a server of it.

use crate::config;
use std::{fmt, time::Duration};

/// Never used: a configuration with a URL is refused.
#[derive(Clone, Debug)]
pub struct RedisClient;

/// What a hash has in some of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// In the order in which they were asked for.
    pub values: Vec<Option<Vec<u8>>>,
    /// Whether there is a hash of this name.
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
    /// Changes are received from now on.
    Subscribed,
    /// These fields have changed.
    Changed(Vec<String>),
    /// Any number of fields have changed.
    AllChanged,
    /// Changes are not received.
    Lost(String),
}

/// The notices of one hash.
#[derive(Debug)]
pub struct Notices;

impl Notices {
    /// None ever comes.
    pub async fn next(&mut self) -> Option<Notice> {
        None
    }
}

/// The feature is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisFailure {
    /// That it is missing.
    pub reason: String,
    /// Always.
    pub is_unreachable: bool,
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for RedisFailure {}

impl RedisClient {
    /// Does nothing, and so do the others.
    pub fn new(_config: &config::Redis) -> Self {
        Self
    }

    /// The same.
    pub fn with_timeout(&self, _timeout: Duration) -> Self {
        Self
    }

    /// # Errors
    /// Always.
    pub async fn fields(&self, _key: &str, _fields: &[String]) -> Result<Fields, RedisFailure> {
        Err(missing())
    }

    /// # Errors
    /// Always.
    pub async fn hash(&self, _key: &str) -> Result<Option<Vec<(String, String)>>, RedisFailure> {
        Err(missing())
    }

    /// Nothing to check.
    pub async fn check(&self, _key: &str) -> Vec<(String, Result<u64, RedisFailure>)> {
        Vec::new()
    }

    /// # Errors
    /// Always.
    pub async fn edit(
        &self,
        _key: &str,
        _fields: &[String],
        _decide: impl FnMut(usize, Option<&str>) -> Change + Send,
    ) -> Result<bool, RedisFailure> {
        Err(missing())
    }

    /// No notice ever comes.
    pub fn follow(&self, _key: &str) -> Notices {
        Notices
    }
}

fn missing() -> RedisFailure {
    RedisFailure {
        reason: "this sixgate was built without the cargo feature \"redis\"".to_owned(),
        is_unreachable: true,
    }
}
