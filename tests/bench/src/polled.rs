//! A stream that polls as an MTA does: for input, and for writability only after a write
//! would have blocked. If it always polled for both, each read of the milter would wake it,
//! at the milter's cost.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// A non-blocking stream of the standard library.
pub struct Polled<S: AsRawFd> {
    stream: AsyncFd<S>,
    /// Registered while a write waits for room in the socket buffer.
    room: Option<AsyncFd<OwnedFd>>,
}

impl<S: AsFd + AsRawFd> Polled<S> {
    pub fn new(stream: S) -> io::Result<Self> {
        Ok(Self {
            stream: register(stream, Interest::READABLE)?,
            room: None,
        })
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = match self.room.take() {
            Some(room) => room,
            None => {
                let again = self.stream.get_ref().as_fd().try_clone_to_owned()?;
                register(again, Interest::WRITABLE)?
            }
        };
        match room.poll_write_ready(context) {
            Poll::Ready(ready) => Poll::Ready(ready.map(drop)),
            Poll::Pending => {
                self.room = Some(room);
                Poll::Pending
            }
        }
    }
}

impl<S: AsFd + AsRawFd + Read + Unpin> AsyncRead for Polled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.stream.poll_read_ready_mut(context))?;
            let room = buffer.initialize_unfilled();
            if let Ok(read) = ready.try_io(|stream| stream.get_mut().read(room)) {
                buffer.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsFd + AsRawFd + Write + Unpin> AsyncWrite for Polled<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.get_mut().write(bytes) {
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_room(context))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn register<S: AsRawFd>(stream: S, interest: Interest) -> io::Result<AsyncFd<S>> {
    // SAFETY: `stream` is a stream of the standard library or an `OwnedFd`. Each owns one
    // descriptor, which stays open and the same for its whole lifetime.
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}
