//! Sockets that this process inherits: from systemd (sd_listen_fds(3)), or from the previous
//! process at a handover, with the same protocol.
//!
//! A socket is used for the configured address that it is bound to, or by its name
//! (`systemd:NAME`).

use super::handover::{self, Predecessor};
use crate::deferrals::Deferrals;
use listenfd::ListenFd;
use nix::libc::{AF_UNIX, SOCK_STREAM};
use std::{
    fs, io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::TcpListener, time::sleep};

/// The name of sockets that sixgate opened itself.
pub(super) const OWN: &str = "sixgate-own";

/// The name of the connection to the previous process.
pub(super) const PREDECESSOR: &str = "sixgate-handover";

/// The name of the connection over which the previous process sends the deferred senders.
pub(super) const DEFERRALS: &str = "sixgate-deferrals";

/// The number of attempts to bind a port that systemd is closing, and their interval.
const FREE_ATTEMPTS: u32 = 100;
const FREE_INTERVAL: Duration = Duration::from_millis(20);

/// The timeout to read from the previous process.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The inherited sockets that are not in use yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Inherit>,
    predecessor: Option<UnixStream>,
    deferrals: Option<UnixStream>,
    is_handover: bool,
}

#[derive(Debug)]
struct Inherit {
    name: String,
    socket: Listener,
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(StdTcpListener),
    Unix(UnixListener),
}

/// Who opened a socket, and removes it at the end.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// sixgate, which removes the file of a unix socket.
    Us(Option<PathBuf>),
    /// systemd, under this name. Connections wait in the backlog for the next process.
    Systemd(String),
}

impl Inherited {
    /// Takes all inherited sockets. Changes the environment, so no other thread may run yet.
    ///
    /// # Errors
    /// If an inherited descriptor is not a listening socket.
    pub fn take() -> io::Result<Self> {
        // Read first, because taking the sockets removes the variables.
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for number in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            if name == PREDECESSOR {
                let kind = "unix stream socket";
                inherited.predecessor = passed.take_custom(number, AF_UNIX, SOCK_STREAM, kind)?;
                inherited.is_handover = true;
                continue;
            }
            if name == DEFERRALS {
                let kind = "unix stream socket";
                inherited.deferrals = passed.take_custom(number, AF_UNIX, SOCK_STREAM, kind)?;
                continue;
            }
            // The call for the other kind of socket fails.
            let socket = match passed.take_unix_listener(number) {
                Ok(socket) => socket.map(Listener::Unix),
                Err(_tcp) => passed.take_tcp_listener(number)?.map(Listener::Tcp),
            };
            if let Some(socket) = socket {
                socket.set_nonblocking()?;
                inherited.sockets.push(Inherit { name, socket });
            }
        }
        Ok(inherited)
    }

    /// Returns the previous process if this is a handover.
    pub fn predecessor(&mut self) -> Option<Predecessor> {
        self.predecessor.take().map(Predecessor::new)
    }

    /// Reads the senders that the previous process has deferred; `None` if it sends none.
    ///
    /// # Errors
    /// If the connection fails or is silent for 5 s.
    pub fn deferrals(&mut self) -> Option<io::Result<Deferrals>> {
        let stream = self.deferrals.take()?;
        let read = stream.set_read_timeout(Some(READ_TIMEOUT));
        Some(read.and_then(|()| Deferrals::read(stream)))
    }

    /// Returns the sockets that systemd passes with this name.
    pub(super) fn named(&mut self, name: &str) -> io::Result<Vec<(Listener, Owner)>> {
        let is_named = |socket: &mut Inherit| socket.name == name && name != OWN;
        let named: Vec<_> = self.sockets.extract_if(.., is_named).collect();
        match named.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "systemd passes no socket with this name; \
                     it needs a .socket unit with FileDescriptorName={name}"
                ),
            )),
            false => Ok(named.into_iter().map(Inherit::with_owner).collect()),
        }
    }

    /// Returns the TCP socket that is bound to this address, or a new one.
    pub(crate) async fn bind_tcp(
        &mut self,
        address: SocketAddr,
    ) -> io::Result<(TcpListener, Owner)> {
        match self.find(|socket| socket.address() == Some(address)) {
            Some((Listener::Tcp(listener), owner)) => Ok((TcpListener::from_std(listener)?, owner)),
            Some(_) | None => Ok((self.bind_new(address).await?, Owner::Us(None))),
        }
    }

    /// Binds a new socket. If its port is in use by a socket of an earlier process that systemd
    /// keeps open, has systemd close that one and retries.
    async fn bind_new(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let bound = TcpListener::bind(address).await;
        let is_in_use = |bound: &io::Result<TcpListener>| {
            let error = bound.as_ref().err();
            error.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
        };
        if !is_in_use(&bound) || !self.close_kept_sockets(address.port()) {
            return bound;
        }
        let mut attempts = 0..FREE_ATTEMPTS;
        loop {
            let bound = TcpListener::bind(address).await;
            if !is_in_use(&bound) || attempts.next().is_none() {
                return bound;
            }
            sleep(FREE_INTERVAL).await;
        }
    }

    /// Has systemd close the sockets with this port that it keeps; returns whether there were
    /// any. At a handover there are none, because the previous process uses them.
    fn close_kept_sockets(&mut self, port: u16) -> bool {
        let is_kept = |socket: &mut Inherit| {
            let address = socket.socket.address();
            socket.name == OWN && address.is_some_and(|address| address.port() == port)
        };
        if self.is_handover || self.sockets.extract_if(.., is_kept).count() == 0 {
            return false;
        }
        handover::remove_stored().is_ok()
    }

    /// Returns the unix socket that is bound to this path.
    pub(crate) fn unix(&mut self, path: &Path) -> Option<(UnixListener, Owner)> {
        match self.find(|socket| socket.path().as_deref() == Some(path))? {
            (Listener::Unix(listener), owner) => Some((listener, owner)),
            (Listener::Tcp(_), _) => None,
        }
    }

    fn find(&mut self, is_wanted: impl Fn(&Listener) -> bool) -> Option<(Listener, Owner)> {
        let wanted = |inherit: &Inherit| is_wanted(&inherit.socket);
        let index = self.sockets.iter().position(wanted)?;
        Some(self.sockets.swap_remove(index).with_owner())
    }

    /// Closes the sockets that the configuration does not use. Must be called after the
    /// previous process has stopped accepting.
    pub fn close_unused(self) {
        for Inherit { name, socket } in self.sockets {
            match (name == OWN, socket.path()) {
                (true, Some(path)) => _ = fs::remove_file(path),
                (true, None) => {}
                (false, _) => tracing::warn!(
                    "systemd passes a socket named {name}, which listen does not use: \
                     connections to it are not answered"
                ),
            }
        }
    }
}

impl Inherit {
    fn with_owner(self) -> (Listener, Owner) {
        let owner = match self.name.as_str() {
            OWN => Owner::Us(self.socket.path()),
            _ => Owner::Systemd(self.name),
        };
        (self.socket, owner)
    }
}

impl Listener {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(listener) => {
                let address = listener.local_addr().ok()?;
                address.as_pathname().map(Path::to_owned)
            }
        }
    }
}
