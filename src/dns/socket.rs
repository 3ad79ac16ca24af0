//! Sockets connected to one DNS server.
//!
//! hickory sends from unconnected UDP sockets, which do not report a closed port, drops
//! the scope of a link-local address, and reports any socket error as "no connections
//! available". These sockets are connected to the address with its scope, and remember
//! the last error.

use super::Failure;
use crate::config::DnsServer;
use async_trait::async_trait;
use hickory_resolver::net::runtime::{
    DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{Interest, ReadBuf},
    net::UdpSocket,
};

/// Creates sockets connected to one server, whatever address hickory passes.
#[derive(Clone)]
pub(super) struct Sockets {
    server: Arc<DnsServer>,
    runtime: TokioRuntimeProvider,
    last_error: LastError,
}

/// Why the last socket failed.
#[derive(Clone, Default)]
pub(super) struct LastError(Arc<Mutex<Option<Failure>>>);

/// A UDP socket that sends to one server and receives from no other.
pub(super) struct ConnectedUdp {
    socket: UdpSocket,
    last_error: LastError,
}

type Opening<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl Sockets {
    pub(super) fn new(server: &DnsServer) -> Self {
        Self {
            server: Arc::new(server.clone()),
            runtime: TokioRuntimeProvider::default(),
            last_error: LastError::default(),
        }
    }

    pub(super) fn last_error(&self) -> &LastError {
        &self.last_error
    }
}

impl LastError {
    pub(super) fn get(&self) -> Option<Failure> {
        self.lock().clone()
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            *self.lock() = Some(failure(error));
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Describes an error of the operating system by its kind, without its number: "network
/// unreachable".
pub(super) fn failure(error: &io::Error) -> Failure {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::ConnectionRefused, _) => Failure::Other("port closed".to_owned()),
        (io::ErrorKind::TimedOut, _) => Failure::Timeout,
        (kind, Some(_)) => Failure::Other(kind.to_string()),
        (_, None) => Failure::Other(error.to_string()),
    }
}

impl RuntimeProvider for Sockets {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = ConnectedUdp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.runtime.create_handle()
    }

    fn connect_tcp(
        &self,
        _server: SocketAddr,
        local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        let this = self.clone();
        Box::pin(async move {
            let server = this.last_error.note(this.server.socket_addr())?;
            let opened = this.runtime.connect_tcp(server, local, timeout).await;
            this.last_error.note(opened)
        })
    }

    fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> Opening<Self::Udp> {
        let this = self.clone();
        Box::pin(async move {
            let opened = async {
                let socket = UdpSocket::bind(local).await?;
                socket.connect(this.server.socket_addr()?).await?;
                Ok(socket)
            };
            Ok(ConnectedUdp {
                socket: this.last_error.note(opened.await)?,
                last_error: this.last_error,
            })
        })
    }
}

#[async_trait]
impl DnsUdpSocket for ConnectedUdp {
    type Time = TokioTime;

    /// Also waits for the error state: a closed port makes a socket neither readable nor
    /// writable, so tokio would not wake a reader.
    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let ready = self.socket.ready(Interest::READABLE | Interest::ERROR);
            let ready = ready.await?;
            if ready.is_readable() {
                match self.socket.try_recv_from(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    received => return self.last_error.note(received),
                }
            }
            if ready.is_error() {
                let clear = || match self.socket.take_error()? {
                    Some(error) => Err(error),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                };
                match self.socket.try_io(Interest::ERROR, clear) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    failed => return self.last_error.note(failed),
                }
            }
        }
    }

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        let received = self.socket.poll_recv_from(cx, &mut buffer);
        received.map(|from| Ok((buffer.filled().len(), self.last_error.note(from)?)))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buffer: &[u8],
        _server: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let sent = self.socket.poll_send(cx, buffer);
        sent.map(|sent| self.last_error.note(sent))
    }
}
