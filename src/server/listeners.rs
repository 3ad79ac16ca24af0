//! The sockets that MTAs connect to, accepted from as if they were one.

use crate::{
    config::{self, Config},
    milter::stream::MilterStream,
};
use indymilter::{EitherStream, Listener};
use nix::unistd::Group;
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt, chown},
    path::Path,
    task::{Context, Poll},
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Open sockets. Dropping it closes them and removes the files of unix sockets.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<Socket>,
    /// Where to begin to look for the next connection, so that a busy socket
    /// does not starve the others.
    turn: usize,
}

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
    Ok(Listeners { sockets, turn: 0 })
}

fn named(socket: &config::Socket, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't listen on {socket}: {error}"))
}

async fn bind_unix(path: &Path, config: &Config) -> io::Result<UnixListener> {
    remove_stale(path).await?;
    let listener = UnixListener::bind(path)?;
    if let Some(group) = &config.socket_group {
        chown(path, None, Some(group_id(group)?))?;
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

fn group_id(name: &str) -> io::Result<u32> {
    match Group::from_name(name)? {
        Some(group) => Ok(group.gid.as_raw()),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no group {name}"),
        )),
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for socket in &self.sockets {
            if let Socket::Unix(listener) = socket
                && let Ok(address) = listener.local_addr()
                && let Some(path) = address.as_pathname()
            {
                // It may be gone already, which is as well.
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Listener for Listeners {
    type Io = MilterStream<EitherStream<TcpStream, UnixStream>>;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Io>> {
        for offset in 0..self.sockets.len() {
            let index = (self.turn + offset) % self.sockets.len();
            if let Poll::Ready(accepted) = self.sockets[index].poll_accept(cx) {
                self.turn = index + 1;
                return Poll::Ready(accepted.map(MilterStream::new));
            }
        }
        Poll::Pending
    }
}

impl Socket {
    /// Errors of one connection (it is gone before it was accepted) or of the
    /// moment (no file descriptor left) must not end the daemon: they are told
    /// and the next connection is waited for.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<EitherStream<TcpStream, UnixStream>>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| {
                // Small packets go back and forth; waiting to fill them would
                // cost each its delay.
                let _ = stream.set_nodelay(true);
                EitherStream::Tcp(stream)
            }),
            Self::Unix(listener) => listener
                .poll_accept(cx)
                .map_ok(|(stream, _)| EitherStream::Unix(stream)),
        }
    }
}
