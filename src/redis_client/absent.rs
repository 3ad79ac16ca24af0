//! The Redis client in a build without the cargo feature `redis`, where no configuration
//! can use it.

mod types;

use crate::config;
use std::time::Duration;

pub use types::{Change, Fields, Notice, RedisFailure};

/// Never used, because a configuration with a URL is rejected.
#[derive(Clone, Debug)]
pub struct RedisClient;

/// The notices of one hash.
#[derive(Debug)]
pub struct Notices;

impl Notices {
    /// Returns `None`.
    pub async fn next(&mut self) -> Option<Notice> {
        None
    }
}

impl RedisClient {
    /// Does nothing.
    pub fn new(_config: &config::Redis) -> Self {
        Self
    }

    /// Does nothing.
    pub fn with_timeout(&self, _timeout: Duration) -> Self {
        Self
    }

    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub async fn fields(&self, _key: &str, _fields: &[String]) -> Result<Fields, RedisFailure> {
        Err(missing())
    }

    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub async fn hash(&self, _key: &str) -> Result<Option<Vec<(String, String)>>, RedisFailure> {
        Err(missing())
    }

    /// Returns an empty list.
    pub async fn check(&self, _key: &str) -> Vec<(String, Result<u64, RedisFailure>)> {
        Vec::new()
    }

    /// Fails.
    ///
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

    /// Returns a stream without notices.
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
