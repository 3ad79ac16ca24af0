//! The HTTP server for metrics and for the status page: one request per connection, a limited
//! number of connections, each with a timeout.
//!
//! The two servers differ in their settings and in the function that answers requests.

use super::{
    handover::{Accepting, Passable},
    inherited::{Inherited, Owner},
    listeners::bind_path,
};
use crate::{config::HttpSocket, telemetry::log::Limit};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use indymilter::EitherStream;
use std::{
    convert::Infallible,
    error::Error,
    fs, io,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host},
    select,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// The maximum length of a request head, in bytes.
const MAX_HEAD: usize = 8192;

/// How long requests in progress may take at shutdown.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause after an error in accept, so that a lasting error does not keep a processor
/// busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The settings of one server.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The configuration key, for error messages.
    pub(crate) key: &'static str,
    /// The maximum number of connections; further ones are closed.
    pub(crate) max_connections: u32,
    /// The timeout for the head of a request.
    pub(crate) head_timeout: Duration,
    /// The timeout for a whole connection.
    pub(crate) timeout: Duration,
    /// The permission bits of unix sockets.
    pub(crate) socket_mode: u32,
    /// Limits the log line for a connection that can't be accepted.
    pub(crate) accept_failures: &'static Limit,
}

/// A listening socket.
#[derive(Debug)]
enum Listener {
    /// A TCP address.
    Tcp(Arc<TcpListener>),
    /// A unix socket, and who opened it.
    Unix(Arc<UnixListener>, Owner),
}

type Stream = EitherStream<TcpStream, UnixStream>;

/// The client's address; `None` on a unix socket.
pub(crate) type Peer = Option<IpAddr>;

impl Listener {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (EitherStream::Tcp(stream), Some(peer.ip().to_canonical()))
            }
            Self::Unix(listener, _) => (EitherStream::Unix(listener.accept().await?.0), None),
        })
    }
}

/// Opens all addresses that are not inherited. If a host name has several addresses, all of
/// them are opened.
///
/// # Errors
/// If an address can't be opened; the text names it.
pub(crate) async fn bind(
    addresses: &[HttpSocket],
    inherited: &mut Inherited,
    settings: &'static Settings,
) -> io::Result<Listeners> {
    let mut listeners = Listeners {
        sockets: Vec::new(),
        passable: Passable::default(),
        settings,
    };
    for address in addresses {
        let bound = listeners.bind(address, inherited).await;
        bound.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{}: can't listen on {address}: {error}", settings.key),
            )
        })?;
    }
    Ok(listeners)
}

/// Open sockets.
pub struct Listeners {
    sockets: Vec<Listener>,
    passable: Passable,
    settings: &'static Settings,
}

impl Listeners {
    async fn bind(&mut self, socket: &HttpSocket, inherited: &mut Inherited) -> io::Result<()> {
        let address = match socket {
            HttpSocket::Unix(path) => return self.bind_unix(path, inherited).await,
            HttpSocket::Inet(address) => address,
        };
        for address in lookup_host((address.host.as_str(), address.port)).await? {
            let (socket, owner) = inherited.bind_tcp(address).await?;
            let socket = Arc::new(socket);
            self.passable.add(&socket, &owner);
            self.sockets.push(Listener::Tcp(socket));
        }
        Ok(())
    }

    async fn bind_unix(&mut self, path: &Path, inherited: &mut Inherited) -> io::Result<()> {
        let (socket, owner) = match inherited.unix(path) {
            Some((socket, owner)) => (UnixListener::from_std(socket)?, owner),
            None => {
                let socket = bind_path(path).await?;
                let mode = fs::Permissions::from_mode(self.settings.socket_mode);
                fs::set_permissions(path, mode)?;
                (socket, Owner::Us(Some(path.to_owned())))
            }
        };
        let socket = Arc::new(socket);
        self.passable.add(&socket, &owner);
        self.sockets.push(Listener::Unix(socket, owner));
        Ok(())
    }

    /// The addresses of the TCP sockets.
    #[cfg(feature = "status")]
    pub(crate) fn addresses(&self) -> impl Iterator<Item = io::Result<IpAddr>> {
        self.sockets.iter().filter_map(|socket| match socket {
            Listener::Tcp(socket) => Some(socket.local_addr().map(|address| address.ip())),
            Listener::Unix(..) => None,
        })
    }

    /// Returns the sockets that can be passed on while they are open.
    pub fn passable(&mut self) -> Passable {
        std::mem::take(&mut self.passable)
    }
}

/// Removes the file of a unix socket on drop, unless another process accepts connections
/// there.
struct SocketFile {
    path: Option<PathBuf>,
    accepting: watch::Receiver<Accepting>,
}

impl SocketFile {
    fn of(listener: &Listener, accepting: &watch::Receiver<Accepting>) -> Self {
        let path = match listener {
            Listener::Unix(_, Owner::Us(path)) => path.clone(),
            Listener::Unix(_, Owner::Systemd(_)) | Listener::Tcp(_) => None,
        };
        Self {
            path,
            accepting: accepting.clone(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && *self.accepting.borrow() == Accepting::Yes
        {
            // It may have been removed already.
            let _ = fs::remove_file(path);
        }
    }
}

/// The listening tasks, which are stopped on drop, and the requests in progress.
#[derive(Debug)]
pub struct Requests {
    listening: JoinSet<()>,
    permits: Arc<Semaphore>,
    settings: &'static Settings,
}

impl Requests {
    /// Stops accepting, and waits for requests in progress, for at most 1 s: after a handover,
    /// the process may end right after it has accepted one.
    pub async fn finish(mut self) {
        self.listening.shutdown().await;
        let all = self.permits.acquire_many(self.settings.max_connections);
        // Requests that take longer are aborted.
        let _ = timeout(END_TIMEOUT, all).await;
    }
}

/// Answers requests in the background while this process accepts connections. The tasks run
/// in the runtime of the caller.
pub(crate) fn serve<A, F, B>(
    listeners: Listeners,
    accepting: watch::Receiver<Accepting>,
    answer: A,
) -> Requests
where
    A: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let settings = listeners.settings;
    let permits = Arc::new(Semaphore::new(settings.max_connections as usize));
    let mut listening = JoinSet::new();
    for listener in listeners.sockets {
        let answer = answer.clone();
        let mut accepting = accepting.clone();
        let file = SocketFile::of(&listener, &accepting);
        let permits = Arc::clone(&permits);
        listening.spawn(async move {
            let _file = file;
            let is_paused = |state: &Accepting| *state == Accepting::Paused;
            let is_accepting = |state: &Accepting| *state == Accepting::Yes;
            while accepting
                .wait_for(|state| !is_paused(state))
                .await
                .is_ok_and(|s| is_accepting(&s))
            {
                select! {
                    () = accept(&listener, settings, &permits, &answer) => {}
                    Ok(_) = accepting.wait_for(|state| !is_accepting(state)) => {}
                }
            }
        });
    }
    Requests {
        listening,
        permits,
        settings,
    }
}

async fn accept<A, F, B>(
    listener: &Listener,
    settings: &'static Settings,
    permits: &Arc<Semaphore>,
    answer: &A,
) where
    A: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match Arc::clone(permits).try_acquire_owned() {
                Ok(permit) => {
                    let answer = answer.clone();
                    let answer = move |request| answer(request, peer);
                    drop(tokio::spawn(serve_connection(
                        stream, settings, permit, answer,
                    )));
                }
                Err(_none_left) => {}
            },
            Err(error) => {
                settings.accept_failures.log(format_args!(
                    "a connection to {} could not be accepted: {error}",
                    settings.key
                ));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection<A, F, B>(
    stream: Stream,
    settings: &Settings,
    _permit: OwnedSemaphorePermit,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let service = service_fn(|request| {
        let response = answer(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // An error concerns only the client.
    let _ = timeout(settings.timeout, connection).await;
}
