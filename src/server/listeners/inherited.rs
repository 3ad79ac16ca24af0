//! Sockets that systemd opened and passes on (sd_listen_fds(3)).

use super::{Owner, Socket};
use listenfd::ListenFd;
use std::io;
use tokio::net::{TcpListener, UnixListener};

/// What was passed on, by number; each is taken once.
pub(super) struct Inherited {
    sockets: ListenFd,
    names: Vec<String>,
}

impl Inherited {
    /// Takes everything over.
    pub(super) fn take() -> Self {
        // Read first: taking the sockets over removes the variables.
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            sockets: ListenFd::from_env(),
            names: names.split(':').map(str::to_owned).collect(),
        }
    }

    /// The sockets of that name.
    pub(super) fn named(&mut self, name: &str) -> io::Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        for number in 0..self.sockets.len() {
            if self.names.get(number).is_some_and(|given| given == name) {
                sockets.extend(self.take_socket(number)?);
            }
        }
        match sockets.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "systemd passes no socket of this name on; \
                     a .socket unit with FileDescriptorName={name} does"
                ),
            )),
            false => Ok(sockets),
        }
    }

    fn take_socket(&mut self, number: usize) -> io::Result<Option<Socket>> {
        // Of the two, the one that it is not says so with an error.
        if let Ok(Some(listener)) = self.sockets.take_unix_listener(number) {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            return Ok(Some(Socket::Unix(listener, Owner::Systemd)));
        }
        let listener = self.sockets.take_tcp_listener(number)?;
        let listener = listener.map(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener).map(|listener| Socket::Tcp(listener, Owner::Systemd))
        });
        listener.transpose()
    }
}
