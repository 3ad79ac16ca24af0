//! Reads and writes the stream of a milter connection, with an idle timeout for both
//! directions.

use super::{error::ConnectionError, frame::Frames, idle_timeout::IdleTimeout, replies::Replies};
use std::{pin::Pin, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    select,
    time::timeout,
};

/// The interval of progress replies at the end of a message. Sendmail's default timeout is
/// 10 s.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

/// The stream of a connection, the replies to write to it, and its idle timeout.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    idle_timeout: IdleTimeout,
    /// What [`Wire::flush`] writes.
    pub(super) replies: Replies,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Wraps a stream; there are no replies yet.
    pub(super) fn new(stream: S, idle_timeout: Duration) -> Self {
        Self {
            stream,
            idle_timeout: IdleTimeout::new(idle_timeout),
            replies: Replies::default(),
        }
    }

    /// Restarts the idle timeout, which applies to the whole next frame.
    pub(super) fn expect_frame(&mut self) {
        self.idle_timeout.restart();
    }

    /// Reads the available data. Cancel safe.
    ///
    /// # Errors
    /// If the MTA has closed the connection, or the idle timeout expires.
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
    /// If the MTA has closed the connection, or the idle timeout expires because it does not
    /// read.
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

    /// Awaits `work`, and sends progress replies meanwhile so that the MTA does not time out
    /// at the end of a message. The first one is sent at once, because the MTA may already
    /// have waited at the end of headers. `work` is pinned by the caller: taken by value, it
    /// would take its memory twice.
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
                Err(_elapsed) => {
                    self.replies.progress();
                    self.flush().await?;
                    interval = PROGRESS_INTERVAL;
                }
            }
        }
    }
}
