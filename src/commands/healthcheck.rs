//! `sixgate healthcheck`: asks the running daemon whether it is ready, in place of curl.
//!
//! Each socket of `listen` must answer the milter negotiation. If there is
//! `metrics.listen`, `/readyz` must answer 200, too, which includes DNS and the opt-in
//! sources. The verdict goes to standard output.

use super::milter_probe;
use crate::{
    cli::Healthcheck,
    commands,
    config::{Config, HttpSocket, Socket},
    exit::{Exit, Failure},
};
use anyhow::{Context as _, Result, anyhow, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::HOST,
};
use hyper_util::rt::TokioIo;
use std::{io::Write as _, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// For one socket. `/readyz` waits up to 2 s for DNS.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read.
const MAX_BODY: usize = 64 * 1024;

/// Prints `ready`.
///
/// # Errors
/// When the daemon is not ready, with [`Exit::Unavailable`]; otherwise as `check-config`.
pub(super) fn run(arguments: &Healthcheck) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let runtime = commands::runtime()?;
    runtime
        .block_on(check(&config))
        .map_err(|error| Failure::new(Exit::Unavailable, error.context("not ready")))?;
    writeln!(std::io::stdout(), "ready").map_err(|error| Failure::new(Exit::Io, error))
}

async fn check(config: &Config) -> Result<()> {
    // systemd accepts connections on its sockets whether or not the daemon runs, and
    // where they are is not in the configuration.
    let is_ours = |socket: &&Socket| !matches!(socket, Socket::Systemd(_));
    let sockets: Vec<&Socket> = config.listen.iter().filter(is_ours).collect();
    if sockets.is_empty() && config.metrics.listen.is_empty() {
        bail!(
            "set metrics.listen: systemd opens all sockets of listen, so there is nothing to ask"
        );
    }
    for socket in sockets {
        let negotiated = milter_probe::negotiate(socket).await;
        negotiated.map_err(|refused| anyhow!("listen: {socket}: {refused}"))?;
    }
    for address in &config.metrics.listen {
        check_readyz(address)
            .await
            .with_context(|| format!("metrics.listen: {address}"))?;
    }
    Ok(())
}

async fn check_readyz(address: &HttpSocket) -> Result<()> {
    let asked = async {
        match address {
            HttpSocket::Unix(path) => get(UnixStream::connect(path).await?).await,
            HttpSocket::Inet(place) => {
                get(TcpStream::connect((place.host.as_str(), place.port)).await?).await
            }
        }
    };
    timeout(TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| bail!("no answer in {TIMEOUT:?}"))
}

async fn get(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<()> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz").header(HOST, "localhost");
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?;
    match response.status() {
        StatusCode::OK => Ok(()),
        _ => Err(anyhow!("{}", reason(response.into_body()).await?)),
    }
}

/// The first line of an answer.
async fn reason(body: Incoming) -> Result<String> {
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|error| anyhow!("{error}"))?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
