//! A small HTTP server: one request a connection, few connections at a time,
//! each with a time-out.

use crate::{
    server::{handover::Accepting, inherited::Owner},
    telemetry::log::Limit,
};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use indymilter::EitherStream;
use std::{convert::Infallible, fs, io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    select,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Connections at a time; those beyond are closed.
const MAX_CONNECTIONS: usize = 16;

/// How long one may take in all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest request head, in octets.
const MAX_HEAD: usize = 8192;

/// How long requests in progress may take when the program ends.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// How long accepting rests after an error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

static FAILURES: Limit = Limit::same_text();

/// A socket that is listened on.
#[derive(Debug)]
pub(super) enum Listener {
    /// A TCP address.
    Tcp(Arc<TcpListener>),
    /// A unix socket and who opened it.
    Unix(Arc<UnixListener>, Owner),
}

type Stream = EitherStream<TcpStream, UnixStream>;

impl Listener {
    async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(listener) => EitherStream::Tcp(listener.accept().await?.0),
            Self::Unix(listener, _) => EitherStream::Unix(listener.accept().await?.0),
        })
    }
}

/// Removes the file of a unix socket at the end, unless another process accepts there.
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
            // It may be gone already.
            let _ = fs::remove_file(path);
        }
    }
}

/// What to answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) media_type: String,
    pub(super) body: Vec<u8>,
}

/// The listening tasks, which end when this is dropped, and the requests in progress.
#[derive(Debug)]
pub struct Requests {
    listening: JoinSet<()>,
    permits: Arc<Semaphore>,
}

impl Requests {
    /// Accepts no more and waits until the others are answered, for a second at most:
    /// after a handover the program may end right after it has accepted one.
    pub async fn finish(mut self) {
        self.listening.shutdown().await;
        // MAX_CONNECTIONS is small.
        let all = self.permits.acquire_many(MAX_CONNECTIONS as u32);
        // Those that take longer are cut off.
        let _ = timeout(END_TIMEOUT, all).await;
    }
}

/// Answers GET (and HEAD) requests in the background while this process accepts;
/// `answer` gets the path.
pub(super) fn serve<A, F>(
    listeners: Vec<Listener>,
    accepting: watch::Receiver<Accepting>,
    answer: A,
) -> Requests
where
    A: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut listening = JoinSet::new();
    for listener in listeners {
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
                    () = accept(&listener, &permits, &answer) => {}
                    Ok(_) = accepting.wait_for(|state| !is_accepting(state)) => {}
                }
            }
        });
    }
    Requests { listening, permits }
}

async fn accept<A, F>(listener: &Listener, permits: &Arc<Semaphore>, answer: &A)
where
    A: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok(stream) => match Arc::clone(permits).try_acquire_owned() {
                Ok(permit) => drop(tokio::spawn(talk(stream, permit, answer.clone()))),
                Err(_too_many) => {}
            },
            Err(error) => {
                FAILURES.log(format_args!(
                    "a connection to metrics.listen could not be accepted: {error}"
                ));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn talk<A, F>(stream: Stream, _permit: OwnedSemaphorePermit, answer: A)
where
    A: Fn(String) -> F,
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| respond(request, &answer));
    let connection = http1::Builder::new()
        .keep_alive(false)
        // The time-out below is for all of it.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong is the asker's business.
    let _ = timeout(TIMEOUT, connection).await;
}

async fn respond<A, F>(
    request: Request<Incoming>,
    answer: &A,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    A: Fn(String) -> F,
    F: Future<Output = Answer>,
{
    let answer = match *request.method() {
        Method::GET | Method::HEAD => answer(request.uri().path().to_owned()).await,
        _ => Answer {
            status: StatusCode::METHOD_NOT_ALLOWED,
            media_type: TEXT.to_owned(),
            body: b"use GET\n".to_vec(),
        },
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    if let Ok(media_type) = HeaderValue::try_from(answer.media_type) {
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    Ok(response)
}
