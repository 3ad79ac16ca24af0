//! Sends HTTP requests to `metrics.listen` or `status.listen` of the running daemon.

use crate::config::HttpSocket;
use anyhow::{Result, anyhow, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// The timeout for one socket. `/readyz` may wait 2 s for DNS.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of bytes read of a response.
const MAX_BODY: usize = 64 * 1024;

/// A response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) first_line: String,
}

/// Requests a path.
///
/// # Errors
/// Fails if there is no response in time.
pub(crate) async fn get(address: &HttpSocket, path: &str) -> Result<Answer> {
    let response = async {
        match address {
            HttpSocket::Unix(socket) => request(UnixStream::connect(socket).await?, path).await,
            HttpSocket::Inet(place) => {
                let host = reachable(&place.host);
                request(TcpStream::connect((host.as_str(), place.port)).await?, path).await
            }
        }
    };
    timeout(TIMEOUT, response)
        .await
        .unwrap_or_else(|_| bail!("no answer in {TIMEOUT:?}"))
}

/// Replaces an unspecified address (all addresses of this machine) by that of loopback.
fn reachable(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
        Ok(_) | Err(_) => host.to_owned(),
    }
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "localhost");
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| anyhow!("{error}"))?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    Ok(Answer {
        status,
        first_line: text.lines().next().unwrap_or_default().to_owned(),
    })
}
