//! Where a milter listens, and the way there.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd},
    net::{TcpStream, UnixStream},
    time::sleep,
};

/// A stream to a milter.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Where a milter listens.
#[derive(Clone)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("inet", address)) => match address.parse() {
                Ok(address) => Ok(Self::Tcp(address)),
                Err(_) => Err("an address and a port have to follow inet:".to_owned()),
            },
            _ => Err("it begins with unix: or inet:".to_owned()),
        }
    }
}

impl Address {
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(Polled::new(stream.into_std()?)?))
            }
            Self::Unix(path) => {
                let stream = connect_unix(path).await?;
                Ok(Box::new(Polled::new(stream.into_std()?)?))
            }
        }
    }
}

/// Where too many others wait to be accepted it does not wait by itself, as over
/// TCP.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                sleep(Duration::from_millis(1)).await;
            }
            connected => return connected,
        }
    }
}

/// A stream that is waited for as an MTA does it: for what comes, and for room to
/// write only when there is none. One that waited for both all the time would be
/// woken by each read of the milter, at the milter's cost.
struct Polled<S: AsRawFd> {
    stream: AsyncFd<S>,
    /// There while a write waits for room.
    room: Option<AsyncFd<OwnedFd>>,
}

impl<S: AsFd + AsRawFd> Polled<S> {
    fn new(stream: S) -> io::Result<Self> {
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
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.get_mut().write(octets) {
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
    // SAFETY: it is a stream of std's or an `OwnedFd`. They have one descriptor from
    // beginning to end, which is theirs, and open for as long.
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}
