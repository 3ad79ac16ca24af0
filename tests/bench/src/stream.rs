//! Addresses of milters, and connections to them.

use crate::polled::Polled;
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::sleep,
};

/// A stream to a milter.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// The address of a milter.
#[derive(Clone)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("inet", address)) => match address.parse() {
                Ok(address) => Ok(Self::Tcp(address)),
                Err(_) => Err("write inet:ADDRESS:PORT".to_owned()),
            },
            _ => Err("write unix:PATH or inet:ADDRESS:PORT".to_owned()),
        }
    }
}

impl Address {
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(Polled::new(stream.into_std()?)?))
            }
            Self::Unix(path) => {
                let stream = connect_unix(path).await?;
                Ok(Box::new(Polled::new(stream.into_std()?)?))
            }
        }
    }
}

/// Connects to a unix socket. Unlike TCP, connecting fails instead of waiting while the
/// backlog of the listener is full, so it is retried.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                sleep(Duration::from_millis(1)).await;
            }
            connected => return connected,
        }
    }
}
