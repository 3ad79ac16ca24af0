//! Redis in a program that was built without the cargo feature `redis`: no configuration
//! has a server of it.

mod types;

use crate::config;
use std::time::Duration;

pub use types::{Change, Fields, Notice, RedisFailure};

/// Never used: a configuration with a URL is refused.
#[derive(Clone, Debug)]
pub struct RedisClient;

/// The notices of one hash.
#[derive(Debug)]
pub struct Notices;

impl Notices {
    /// None ever comes.
    pub async fn next(&mut self) -> Option<Notice> {
        None
    }
}

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
