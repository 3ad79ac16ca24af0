//! The sockets that MTAs connect to, accepted from as if they were one.

use crate::{
    config::{self, Config},
    milter::stream::MilterStream,
};
use indymilter::{EitherStream, Listener};
use std::{
    fs,
    future::pending,
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt, chown},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    time::{Sleep, sleep},
};

/// Open sockets. Dropping it closes them and removes the files of unix sockets.
pub struct Listeners {
    sockets: Vec<Socket>,
    /// Where to begin to look for the next connection, so that a busy socket
    /// does not starve the others.
    turn: usize,
    /// Set after an error: the next connection is not accepted before it ends.
    pause: Option<Pin<Box<Sleep>>>,
    /// When it is done, the sockets are closed.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// One permit for each connection that may be open.
    permits: Arc<Semaphore>,
    /// `limits.idle_timeout`, for replies that are not read.
    patience: Duration,
    refusals: Refusals,
}

type Stream = EitherStream<TcpStream, UnixStream>;

/// How long accepting rests after an error, so that one that stays does not
/// keep a processor busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Opens every configured socket.
///
/// # Errors
/// When one can't be opened; the text names it and says what to do. A unix
/// socket that another process serves is left alone, one that nobody serves is
/// replaced.
pub async fn bind(config: &Config) -> io::Result<Listeners> {
    let mut sockets = Vec::with_capacity(config.listen.len());
    for socket in &config.listen {
        let bound = match socket {
            config::Socket::Unix(path) => bind_unix(path, config).await.map(Socket::Unix),
            config::Socket::Inet { host, port } => {
                let listener = TcpListener::bind((host.as_str(), *port)).await;
                listener.map(Socket::Tcp)
            }
        };
        sockets.push(bound.map_err(|error| named(socket, &error))?);
    }
    Ok(Listeners {
        sockets,
        turn: 0,
        pause: None,
        end: Box::pin(pending()),
        permits: Arc::new(Semaphore::new(config.limits.connections)),
        patience: config.limits.idle_timeout,
        refusals: Refusals::default(),
    })
}

fn named(socket: &config::Socket, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't listen on {socket}: {error}"))
}

async fn bind_unix(path: &Path, config: &Config) -> io::Result<UnixListener> {
    remove_stale(path).await?;
    let listener = UnixListener::bind(path)?;
    if let Some(group) = &config.socket_group {
        let group = config::group_id(group).map_err(io::Error::other)?;
        chown(path, None, Some(group.as_raw()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(config.socket_mode))?;
    Ok(listener)
}

/// Removes a socket that a process which is no more has left behind.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::other("there is a file that is no socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process serves it",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// Connections refused because as many are open as may be.
#[derive(Debug, Default)]
struct Refusals {
    number: usize,
    told: Option<Instant>,
}

/// A full house is told this often, however many knock.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

impl Refusals {
    fn count(&mut self) {
        self.number += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
            tracing::warn!(
                refused = self.number,
                "limits.connections is reached: more milter connections are closed at once"
            );
            self.told = Some(Instant::now());
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.close();
    }
}

impl Listener for Listeners {
    type Io = MilterStream<Stream>;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Io>> {
        loop {
            if self.end.as_mut().poll(cx).is_ready() {
                self.end = Box::pin(pending());
                self.close();
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if let Some(stream) = ready!(self.poll_connection(cx)) {
                return Poll::Ready(Ok(stream));
            }
        }
    }
}

impl Listeners {
    /// The same sockets, closed when `end` is done.
    #[must_use]
    pub fn until(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        let mut listeners = self;
        listeners.end = Box::pin(end);
        listeners
    }

    /// The next connection; `None` if it was none that can be served.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Option<MilterStream<Stream>>> {
        let stream = match ready!(self.poll_sockets(cx)) {
            Ok(stream) => stream,
            // Of one connection (it is gone already) or of the moment (no file
            // descriptor is left): no reason to end the daemon.
            Err(error) => {
                tracing::warn!("a milter connection could not be accepted: {error}");
                self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                return Poll::Ready(None);
            }
        };
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        Poll::Ready(match permit {
            Ok(permit) => Some(MilterStream::new(stream, self.patience, permit)),
            // Closed at once, so that the MTA defers its mail at once.
            Err(_none_left) => {
                self.refusals.count();
                None
            }
        })
    }

    fn close(&mut self) {
        for socket in self.sockets.drain(..) {
            socket.remove_file();
        }
    }

    fn poll_sockets(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        for offset in 0..self.sockets.len() {
            let index = (self.turn + offset) % self.sockets.len();
            if let Poll::Ready(accepted) = self.sockets[index].poll_accept(cx) {
                self.turn = index + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

impl Socket {
    fn remove_file(self) {
        if let Self::Unix(listener) = self
            && let Ok(address) = listener.local_addr()
            && let Some(path) = address.as_pathname()
        {
            // It may be gone already, which is as well.
            let _ = fs::remove_file(path);
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _peer) = ready!(TcpListener::poll_accept(listener, cx))?;
                // Small packets go back and forth; waiting to fill them would
                // cost each its delay.
                stream.set_nodelay(true)?;
                Poll::Ready(Ok(EitherStream::Tcp(stream)))
            }
            Self::Unix(listener) => {
                let (stream, _peer) = ready!(UnixListener::poll_accept(listener, cx))?;
                Poll::Ready(Ok(EitherStream::Unix(stream)))
            }
        }
    }
}
