//! Sockets that this process inherits: from systemd (sd_listen_fds(3)), or from the
//! process that hands over to this one, by the same protocol.
//!
//! A socket is used for the address in the configuration that it is bound to, or by
//! its name (`systemd:NAME`).

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

/// The name of sockets that sixgate opened itself and hands over.
pub(super) const OWN: &str = "sixgate-own";

/// The name of the connection to the process that hands over.
pub(super) const PREDECESSOR: &str = "sixgate-handover";

/// The name of the connection over which it passes on which senders were deferred.
pub(super) const DEFERRALS: &str = "sixgate-deferrals";

/// How often, and at what interval, a port is tried that systemd is to close.
const FREE_ATTEMPTS: u32 = 100;
const FREE_INTERVAL: Duration = Duration::from_millis(20);

/// How long the process that hands over may take to say more about deferrals.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The sockets that are not in use yet.
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

/// Who opened a socket, and so closes it for good.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// sixgate, which removes the file of a unix socket.
    Us(Option<PathBuf>),
    /// systemd, under that name. Connections wait in the backlog for the next process.
    Systemd(String),
}

impl Inherited {
    /// Takes everything over. Changes the environment, so no thread may run yet.
    ///
    /// # Errors
    /// If something other than a listening socket is passed on.
    pub fn take() -> io::Result<Self> {
        // Read first: taking the sockets over removes the variables.
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
            // Of the two, the one that it is not fails.
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

    /// The process that hands over to this one, if one does.
    pub fn predecessor(&mut self) -> Option<Predecessor> {
        self.predecessor.take().map(Predecessor::new)
    }

    /// Which senders the process that hands over has deferred.
    pub fn deferrals(&mut self) -> Option<io::Result<Deferrals>> {
        let stream = self.deferrals.take()?;
        let read = stream.set_read_timeout(Some(READ_TIMEOUT));
        Some(read.and_then(|()| Deferrals::read(stream)))
    }

    /// The sockets that systemd passes on under that name.
    pub(super) fn named(&mut self, name: &str) -> io::Result<Vec<(Listener, Owner)>> {
        let is_named = |socket: &mut Inherit| socket.name == name && name != OWN;
        let named: Vec<_> = self.sockets.extract_if(.., is_named).collect();
        match named.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "systemd passes no socket of this name on; \
                     a .socket unit with FileDescriptorName={name} does"
                ),
            )),
            false => Ok(named.into_iter().map(Inherit::with_owner).collect()),
        }
    }

    /// The TCP socket bound to that address, or a new one.
    pub(crate) async fn bind_tcp(
        &mut self,
        address: SocketAddr,
    ) -> io::Result<(TcpListener, Owner)> {
        match self.find(|socket| socket.address() == Some(address)) {
            Some((Listener::Tcp(listener), owner)) => Ok((TcpListener::from_std(listener)?, owner)),
            Some(_) | None => Ok((self.bind_new(address).await?, Owner::Us(None))),
        }
    }

    /// A port may still be open at another address: that of the process before, which
    /// systemd has kept. It closes it when told, after a moment.
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

    /// Whether there were any. Those of a process that hands over are in use.
    fn close_kept_sockets(&mut self, port: u16) -> bool {
        let is_kept = |socket: &mut Inherit| {
            let address = socket.socket.address();
            socket.name == OWN && address.is_some_and(|address| address.port() == port)
        };
        if self.is_handover || self.sockets.extract_if(.., is_kept).count() == 0 {
            return false;
        }
        handover::forget_stored().is_ok()
    }

    /// The unix socket bound to that path.
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

    /// Closes the sockets that the configuration does not name. To be called once
    /// the process that hands over has stopped accepting.
    pub fn close_unused(self) {
        for Inherit { name, socket } in self.sockets {
            match (name == OWN, socket.path()) {
                (true, Some(path)) => _ = fs::remove_file(path),
                (true, None) => {}
                (false, _) => tracing::warn!(
                    "systemd passes a socket named {name} on that listen does not name: what \
                     connects to it is not answered"
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
