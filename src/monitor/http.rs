//! A small HTTP server: one request a connection, few connections at a time,
//! each with a time-out.

use crate::server::handover::Accepting;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

/// Connections at a time; those beyond are closed.
const MAX_CONNECTIONS: usize = 16;

/// How long one may take in all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest request head, in octets.
const MAX_HEAD: usize = 8192;

/// How long accepting rests after an error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// What to answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) media_type: String,
    pub(super) body: Vec<u8>,
}

/// Answers GET (and HEAD) requests in the background while this process accepts;
/// `answer` gets the path.
pub(super) fn serve<A, F>(
    listeners: Vec<Arc<TcpListener>>,
    accepting: watch::Receiver<Accepting>,
    answer: A,
) where
    A: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for listener in listeners {
        let (permits, answer) = (Arc::clone(&permits), answer.clone());
        let mut accepting = accepting.clone();
        tokio::spawn(async move {
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
}

async fn accept<A, F>(listener: &TcpListener, permits: &Arc<Semaphore>, answer: &A)
where
    A: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => match Arc::clone(permits).try_acquire_owned() {
                Ok(permit) => drop(tokio::spawn(talk(stream, permit, answer.clone()))),
                Err(_too_many) => {}
            },
            Err(error) => {
                tracing::debug!("a connection to metrics.listen could not be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn talk<A, F>(stream: TcpStream, _permit: OwnedSemaphorePermit, answer: A)
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
