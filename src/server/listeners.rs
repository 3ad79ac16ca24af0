//! The listening sockets for MTAs, and accepting from all of them.

use super::{
    handover::Passable,
    inherited::{Inherited, Listener, Owner},
};
use crate::{
    config::{self, Config},
    telemetry::{log::Limit, metrics},
};
use indymilter::EitherStream;
use ipnet::IpNet;
use std::{
    fs,
    future::poll_fn,
    io,
    net::IpAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt, chown},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// The open sockets. Dropping this closes them and removes the files of unix sockets, unless
/// another process has taken them over.
pub struct Listeners {
    sockets: Vec<Socket>,
    is_handed_over: bool,
    /// The index of the socket to poll first, so that a busy socket does not starve the
    /// others.
    turn: usize,
    /// Set after an error: no connection is accepted before it has elapsed.
    pause: Option<Pin<Box<Sleep>>>,
    /// One permit for each connection of `limits.connections`.
    permits: Arc<Semaphore>,
    allow_peers: Vec<IpNet>,
}

type Stream = EitherStream<TcpStream, UnixStream>;

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: Stream,
    /// Counts towards `limits.connections`.
    pub(super) permit: OwnedSemaphorePermit,
}

/// The pause after an error in accept, so that a lasting error does not keep a processor
/// busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
enum Socket {
    Tcp(Arc<TcpListener>, Owner),
    Unix(Arc<UnixListener>, Owner),
}

/// Opens all configured sockets that are not inherited. A unix socket without a listening
/// process is replaced.
///
/// # Errors
/// If a socket can't be opened, or another process listens on a unix socket; the text names
/// the socket and says what to do.
pub async fn bind(config: &Config, inherited: &mut Inherited) -> io::Result<Listeners> {
    let mut sockets = Vec::with_capacity(config.listen.len());
    for socket in &config.listen {
        let bound = match socket {
            config::Socket::Unix(path) => bind_unix(path, config, inherited)
                .await
                .map(|socket| vec![socket]),
            config::Socket::Inet { host, port } => bind_inet(host, *port, inherited).await,
            config::Socket::Systemd(name) => passed_by_systemd(name, inherited),
        };
        sockets.extend(bound.map_err(|error| named(socket, &error))?);
    }
    Ok(Listeners {
        sockets,
        is_handed_over: false,
        turn: 0,
        pause: None,
        permits: Arc::new(Semaphore::new(config.limits.connections)),
        allow_peers: config.allow_peers.clone(),
    })
}

fn named(socket: &config::Socket, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't listen on {socket}: {error}"))
}

/// Opens all addresses of a host name: `localhost` is both 127.0.0.1 and ::1 where both
/// exist.
async fn bind_inet(host: &str, port: u16, inherited: &mut Inherited) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for address in lookup_host((host, port)).await? {
        let (listener, owner) = inherited.bind_tcp(address).await?;
        sockets.push(Socket::Tcp(Arc::new(listener), owner));
    }
    Ok(sockets)
}

async fn bind_unix(path: &Path, config: &Config, inherited: &mut Inherited) -> io::Result<Socket> {
    let (listener, owner) = match inherited.unix(path) {
        Some((listener, owner)) => (UnixListener::from_std(listener)?, owner),
        None => {
            let owner = Owner::Us(Some(path.to_owned()));
            (bind_path(path).await?, owner)
        }
    };
    // The permissions of systemd's sockets are set in their unit.
    if let Owner::Us(_) = owner {
        if let Some(group) = &config.socket_group {
            set_group(group, path)?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(config.socket_mode))?;
    }
    Ok(Socket::Unix(Arc::new(listener), owner))
}

fn passed_by_systemd(name: &str, inherited: &mut Inherited) -> io::Result<Vec<Socket>> {
    let socket = |(listener, owner)| match listener {
        Listener::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            Ok(Socket::Tcp(Arc::new(listener), owner))
        }
        Listener::Unix(listener) => {
            let listener = UnixListener::from_std(listener)?;
            Ok(Socket::Unix(Arc::new(listener), owner))
        }
    };
    inherited.named(name)?.into_iter().map(socket).collect()
}

fn set_group(group: &str, path: &Path) -> io::Result<()> {
    let id = config::group_id(group).map_err(io::Error::other)?;
    chown(path, None, Some(id.as_raw())).map_err(|error| {
        let text = format!(
            "its group can't be changed to {group}: {error}; the daemon must be in that group, \
             and its sandbox must allow chown (docs/operations.md)"
        );
        io::Error::new(error.kind(), text)
    })
}

/// Listens on a unix socket. A socket that an earlier process left behind is replaced.
///
/// # Errors
/// If the file is not a socket, or another process listens on it.
pub(super) async fn bind_path(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path).await?;
    UnixListener::bind(path)
}

/// Removes a socket without a listening process.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::other("the file exists and is not a socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens on it",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn is_allowed(peer: IpAddr, allow_peers: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    let contains = |network: &IpNet| network.contains(&peer);
    allow_peers.is_empty() || peer.is_loopback() || allow_peers.iter().any(contains)
}

static OVER_LIMIT: Limit = Limit::same_text();
static STRANGERS: Limit = Limit::same_text();
static FAILURES: Limit = Limit::same_text();

impl Drop for Listeners {
    fn drop(&mut self) {
        if !self.is_handed_over {
            self.sockets.iter().for_each(Socket::remove_file);
        }
    }
}

impl Listeners {
    /// Returns the sockets that can be passed on while they are open.
    pub fn passable(&self) -> Passable {
        let mut passable = Passable::default();
        for socket in &self.sockets {
            match socket {
                Socket::Tcp(listener, owner) => passable.add(listener, owner),
                Socket::Unix(listener, owner) => passable.add(listener, owner),
            }
        }
        passable
    }

    /// Sets whether another process has taken over the sockets, and with them the removal of
    /// the files of unix sockets.
    pub(super) fn set_handed_over(&mut self, is_handed_over: bool) {
        self.is_handed_over = is_handed_over;
    }

    /// Closes the sockets. Returns the connections in their backlogs: if those were reset, the
    /// MTA would reply 451, and not the 421 of the caller.
    pub(super) async fn close(mut self) -> Vec<Accepted> {
        self.sockets
            .retain(|socket| matches!(socket.owner(), Owner::Us(_)));
        // From now on, no MTA can connect to a unix socket.
        self.sockets.iter().for_each(Socket::remove_file);
        let mut accepted = Vec::new();
        poll_fn(|cx| {
            while let Poll::Ready(connection) = self.poll_accept(cx) {
                accepted.push(connection);
            }
            Poll::Ready(())
        })
        .await;
        accepted
    }

    /// Accepts the next connection. Cancel safe.
    pub(super) async fn accept(&mut self) -> Accepted {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Accepted> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if let Some(accepted) = ready!(self.poll_connection(cx)) {
                return Poll::Ready(accepted);
            }
        }
    }

    /// Accepts the next connection; `None` if it was closed or failed.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Option<Accepted>> {
        match ready!(self.poll_sockets(cx)) {
            Ok(Some(stream)) => Poll::Ready(self.admit(stream)),
            Ok(None) => {
                metrics::get().connections.strangers.inc();
                STRANGERS.log(
                    "a host that is not in allow_peers connected: its milter connections are closed",
                );
                Poll::Ready(None)
            }
            // Concerns one connection (the peer has closed it), or is temporary (there is no
            // file descriptor left): not a reason to exit.
            Err(error) => {
                FAILURES.log(format_args!(
                    "a milter connection could not be accepted: {error}"
                ));
                self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                Poll::Ready(None)
            }
        }
    }

    /// Closes a connection above the limit immediately, so that the MTA defers its mail
    /// without a timeout.
    fn admit(&mut self, stream: Stream) -> Option<Accepted> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Some(Accepted { stream, permit }),
            Err(_none_left) => {
                metrics::get().connections.over_limit.inc();
                OVER_LIMIT.log("limits.connections is reached: milter connections are closed");
                None
            }
        }
    }

    fn poll_sockets(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Stream>>> {
        for offset in 0..self.sockets.len() {
            let index = (self.turn + offset) % self.sockets.len();
            if let Poll::Ready(accepted) = self.sockets[index].poll_accept(cx, &self.allow_peers) {
                self.turn = index + 1;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

impl Socket {
    fn owner(&self) -> &Owner {
        match self {
            Self::Tcp(_, owner) | Self::Unix(_, owner) => owner,
        }
    }

    fn remove_file(&self) {
        if let Owner::Us(Some(path)) = self.owner() {
            // It may have been removed already.
            let _ = fs::remove_file(path);
        }
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
        allow_peers: &[IpNet],
    ) -> Poll<io::Result<Option<Stream>>> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, peer) = ready!(TcpListener::poll_accept(listener, cx))?;
                if !is_allowed(peer.ip(), allow_peers) {
                    return Poll::Ready(Ok(None));
                }
                // Nagle's algorithm would delay the small packets of the protocol.
                stream.set_nodelay(true)?;
                Poll::Ready(Ok(Some(EitherStream::Tcp(stream))))
            }
            Self::Unix(listener, _) => {
                let (stream, _peer) = ready!(UnixListener::poll_accept(listener, cx))?;
                Poll::Ready(Ok(Some(EitherStream::Unix(stream))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_allowed_by_network_and_always_from_loopback() {
        let table = [
            // allow_peers, peer, want
            ("", "203.0.113.1", true),
            ("192.0.2.0/24", "192.0.2.7", true),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("192.0.2.0/24", "203.0.113.1", false),
            ("192.0.2.0/24", "2001:db8::1", false),
            ("192.0.2.0/24", "127.0.0.1", true),
            ("192.0.2.0/24", "::1", true),
            ("192.0.2.0/24 2001:db8::/32", "2001:db8::1", true),
        ];
        for (networks, peer, want) in table {
            let networks: Vec<IpNet> = networks
                .split_whitespace()
                .map(|network| network.parse().unwrap())
                .collect();
            assert_eq!(is_allowed(peer.parse().unwrap(), &networks), want, "{peer}");
        }
    }
}
