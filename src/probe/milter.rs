//! Probes a milter socket as an MTA would: negotiates options, then closes.

use crate::config::Socket;
use std::{
    fmt, io,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The offer of Postfix and Sendmail: version, actions, protocol steps.
const OFFER: [u32; 3] = [6, 0x1ff, 0x1f_ffff];

/// The maximum length of an answer, which may contain names of macros.
const LONGEST: u32 = 64 * 1024;

/// A successful negotiation.
#[derive(Debug)]
pub(crate) struct Negotiated {
    /// The version of the milter protocol.
    pub(crate) version: u32,
    /// The time from connecting to the answer.
    pub(crate) elapsed: Duration,
}

/// Why a negotiation failed.
#[derive(Debug)]
pub(crate) enum ProbeError {
    /// The socket file does not exist.
    NoSocket,
    /// No process listens on the socket file or port.
    NotListening,
    /// Permission denied.
    NotAllowed,
    /// The connection was closed without an answer.
    Closed,
    /// The answer is not one of the milter protocol.
    NotMilter(String),
    /// There was no answer in time.
    Timeout,
    /// Another error of the system.
    Other(io::Error),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket => f.write_str("the socket does not exist"),
            Self::NotListening => f.write_str("no process listens"),
            Self::NotAllowed => f.write_str("permission denied"),
            Self::Closed => f.write_str("the connection was closed without an answer"),
            Self::NotMilter(what) => write!(f, "not a milter: the answer is {what}"),
            Self::Timeout => write!(f, "no answer in {TIMEOUT:?}"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoSocket,
            io::ErrorKind::ConnectionRefused => Self::NotListening,
            io::ErrorKind::PermissionDenied => Self::NotAllowed,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Other(error),
        }
    }
}

/// Connects, negotiates and sends QUIT.
pub(crate) async fn negotiate(place: &Socket) -> Result<Negotiated, ProbeError> {
    let dialogue = async {
        match place {
            Socket::Unix(path) => exchange(UnixStream::connect(path).await?).await,
            Socket::Inet { host, port } => {
                exchange(TcpStream::connect((host.as_str(), *port)).await?).await
            }
            Socket::Systemd(_) => Err(ProbeError::NoSocket),
        }
    };
    let start = Instant::now();
    let version = timeout(TIMEOUT, dialogue)
        .await
        .unwrap_or(Err(ProbeError::Timeout))?;
    Ok(Negotiated {
        version,
        elapsed: start.elapsed(),
    })
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<u32, ProbeError> {
    let mut stream = stream;
    let offer: Vec<u8> = OFFER.iter().flat_map(|word| word.to_be_bytes()).collect();
    send(&mut stream, b'O', &offer).await?;
    let version = version(&mut stream).await?;
    // The connection may be closed already, which is fine.
    let _ = send(&mut stream, b'Q', &[]).await;
    Ok(version)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), command: u8, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len() + 1).map_err(io::Error::other)?;
    let packet = [&length.to_be_bytes(), [command].as_slice(), data].concat();
    stream.write_all(&packet).await?;
    stream.flush().await
}

async fn version(stream: &mut (impl AsyncRead + Unpin)) -> Result<u32, ProbeError> {
    let length = stream.read_u32().await?;
    if !(13..=LONGEST).contains(&length) {
        return Err(ProbeError::NotMilter(format!("a packet of {length} bytes")));
    }
    match stream.read_u8().await? {
        b'O' => Ok(stream.read_u32().await?),
        other => Err(ProbeError::NotMilter(format!("{:?}", char::from(other)))),
    }
}
