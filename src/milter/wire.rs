//! The two directions of a milter connection, neither of which waits for ever.

use super::{error::ConnectionError, frame::Frames, idle_timeout::IdleTimeout, replies::Replies};
use std::{pin::Pin, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    select,
    time::timeout,
};

/// How often a waiting MTA is told at end of message that we are still at work.
/// Sendmail's default patience is 10 s.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

/// A connection's stream, the replies that are to go out on it, and how long the
/// MTA may be silent or leave them unread.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    idle_timeout: IdleTimeout,
    /// What [`Wire::flush`] writes.
    pub(super) replies: Replies,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Begins with nothing to write.
    pub(super) fn new(stream: S, idle_timeout: Duration) -> Self {
        Self {
            stream,
            idle_timeout: IdleTimeout::new(idle_timeout),
            replies: Replies::default(),
        }
    }

    /// Begins to wait for a frame: the MTA has the idle time for all of it.
    pub(super) fn expect_frame(&mut self) {
        self.idle_timeout.restart();
    }

    /// Reads what there is; cancel safe.
    ///
    /// # Errors
    /// When the MTA has gone or has been silent too long.
    pub(super) async fn fill(
        &mut self,
        frames: &mut Frames,
        is_idle: bool,
    ) -> Result<(), ConnectionError> {
        select! {
            biased;
            read = frames.fill(&mut self.stream, is_idle) => read,
            () = self.idle_timeout.expired() => Err(ConnectionError::IdleTimeout),
        }
    }

    /// Writes the replies.
    ///
    /// # Errors
    /// When the MTA has gone or does not read.
    pub(super) async fn flush(&mut self) -> Result<(), ConnectionError> {
        if self.replies.bytes().is_empty() {
            return Ok(());
        }
        self.idle_timeout.restart();
        select! {
            biased;
            written = self.stream.write_all(self.replies.bytes()) => written?,
            () = self.idle_timeout.expired() => return Err(ConnectionError::IdleTimeout),
        }
        self.replies.clear();
        Ok(())
    }

    /// Awaits `work` and keeps an MTA that waits for the end of a message
    /// patient: from the beginning, for it may have waited for the end of headers
    /// before. Taken by value, a future would have its room twice.
    ///
    /// # Errors
    /// As [`Wire::flush`].
    pub(super) async fn report_progress<T>(
        &mut self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, ConnectionError> {
        let mut interval = Duration::ZERO;
        loop {
            match timeout(interval, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_still_at_work) => {
                    self.replies.progress();
                    self.flush().await?;
                    interval = PROGRESS_INTERVAL;
                }
            }
        }
    }
}
