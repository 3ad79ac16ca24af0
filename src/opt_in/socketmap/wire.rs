//! The socketmap protocol on the wire: the request is a netstring with `MAP KEY`, the
//! reply a netstring with a status and, after a space, data.

use crate::config::SocketmapServer;
use std::{fmt, io};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
};

/// The maximum size of a reply in bytes, as in Postfix (socketmap_table(5)).
const LONGEST_REPLY: usize = 100_000;

/// The maximum length of quoted server text in the log, in characters.
const LONGEST_QUOTE: usize = 200;

/// The reply of a server for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// `OK`, with the data.
    Found(Vec<u8>),
    /// `NOTFOUND`
    NotFound,
    /// `TEMP`, `TIMEOUT`, `PERM`: the lookup failed. The text is for the log. PERM counts
    /// as temporary too: it is about the table, not about the domain.
    Failed(String),
}

/// An open connection without a pending request.
pub(super) struct Connection(BufReader<Box<dyn Stream>>);

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    pub(super) async fn open(server: &SocketmapServer) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match server {
            SocketmapServer::Inet { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            SocketmapServer::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        Ok(Self(BufReader::new(stream)))
    }

    /// # Errors
    /// Fails if the connection fails or the reply is malformed. The connection can't be
    /// used afterwards.
    pub(super) async fn query(&mut self, request: &str) -> io::Result<Response> {
        let response = self.exchange(request).await;
        response.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it hung up"),
            _ => error,
        })
    }

    async fn exchange(&mut self, request: &str) -> io::Result<Response> {
        let netstring = format!("{}:{request},", request.len());
        self.0.write_all(netstring.as_bytes()).await?;
        self.0.flush().await?;
        let length = self.read_length().await?;
        let mut reply = vec![0; length];
        self.0.read_exact(&mut reply).await?;
        match self.0.read_u8().await? {
            // It would be taken for the reply to the next request.
            b',' if !self.0.buffer().is_empty() => Err(broken("a reply has another behind it")),
            b',' => parse(&reply),
            _ => Err(broken("a reply does not end with a comma")),
        }
    }

    async fn read_length(&mut self) -> io::Result<usize> {
        let mut length = 0;
        for _ in 0..=LONGEST_REPLY.ilog10() + 1 {
            match self.0.read_u8().await? {
                digit @ b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
                b':' if length <= LONGEST_REPLY => return Ok(length),
                b':' => break,
                _ => return Err(broken("a reply is not a valid netstring")),
            }
        }
        Err(broken("a reply has more than 100000 bytes"))
    }
}

fn parse(reply: &[u8]) -> io::Result<Response> {
    let space = reply.iter().position(|byte| *byte == b' ');
    let (status, data) = match space {
        Some(space) => (&reply[..space], &reply[space + 1..]),
        None => (reply, &[][..]),
    };
    match status {
        b"OK" => Ok(Response::Found(data.to_owned())),
        b"NOTFOUND" => Ok(Response::NotFound),
        b"TEMP" | b"TIMEOUT" | b"PERM" => Ok(Response::Failed(printable(reply))),
        _ => Err(broken(&format!(
            "\"{}\" is not a valid status",
            printable(status)
        ))),
    }
}

fn broken(complaint: &str) -> io::Error {
    let complaint = format!("it does not speak the socketmap protocol: {complaint}");
    io::Error::new(io::ErrorKind::InvalidData, complaint)
}

/// Reduces text from the server to one printable line for the log.
pub(super) fn printable(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(LONGEST_QUOTE)];
    start.trim_ascii().escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queries a server that sends `reply` to any request.
    async fn answer_of(reply: &[u8]) -> Result<Response, String> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(reply).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut connection = Connection(BufReader::new(Box::new(ours)));
        let response = connection.query("map key").await;
        let mut request = [0; 10];
        theirs.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"7:map key,");
        response.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn replies_are_those_of_the_protocol() {
        let failed = |text: &str| Response::Failed(text.to_owned());
        let table: [(&[u8], Response); 9] = [
            (b"6:OK yes,", Response::Found(b"yes".to_vec())),
            (b"9:OK a b  c,", Response::Found(b"a b  c".to_vec())),
            (b"3:OK ,", Response::Found(Vec::new())),
            (b"9:NOTFOUND ,", Response::NotFound),
            (b"8:NOTFOUND,", Response::NotFound),
            (b"14:TEMP overload!,", failed("TEMP overload!")),
            (b"8:TIMEOUT ,", failed("TIMEOUT")),
            (b"12:PERM a\n\x1b[1mb,", failed("PERM a\\n\\x1b[1mb")),
            (b"006:OK yes,", Response::Found(b"yes".to_vec())),
        ];
        for (reply, want) in table {
            let name = reply.escape_ascii();
            assert_eq!(answer_of(reply).await, Ok(want), "{name}");
        }
    }

    #[tokio::test]
    async fn malformed_replies_are_errors_and_never_answers() {
        let longest = format!("100000:OK {},", "x".repeat(99_997));
        assert!(answer_of(longest.as_bytes()).await.is_ok());
        let longer = format!("100001:OK {},", "x".repeat(99_998));
        let table: [(&[u8], &str); 13] = [
            (b"9:NOTFOUND ,9:NOTFOUND ,", "another behind it"),
            (b"", "it hung up"),
            (b"6:OK y", "it hung up"),
            (b"6:OK yes", "it hung up"),
            (b"6:OK yesX", "does not end with a comma"),
            (b"OK yes\n", "not a valid netstring"),
            (b"HTTP/1.1 400 Bad Request\r\n", "not a valid netstring"),
            (b"-1:,", "not a valid netstring"),
            (b"3:yes,", "\"yes\" is not a valid status"),
            (b"6:ok yes,", "\"ok\" is not a valid status"),
            (b"0:,", "\"\" is not a valid status"),
            (longer.as_bytes(), "more than 100000"),
            (b"99999999999999999999:", "more than 100000"),
        ];
        for (reply, want) in table {
            let error = answer_of(reply).await.unwrap_err();
            assert!(error.contains(want), "{}: {error}", reply.escape_ascii());
        }
    }
}
