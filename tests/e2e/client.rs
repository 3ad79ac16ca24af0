//! An SMTP client that says what it is told to and judges nothing.
//!
//! It speaks from a given source address, in plain text or, through `openssl
//! s_client`, in TLS.

use socket2::{Domain, Socket, Type};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Longer than an MTA's own deadlines with a milter.
const PATIENCE: Duration = Duration::from_secs(120);

/// One SMTP connection.
pub struct SmtpClient {
    reader: BufReader<Box<dyn Read + Send>>,
    writer: Box<dyn Write + Send>,
    tls: Option<Child>,
}

/// How to secure a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// STARTTLS, with a certificate and its key in one file perhaps.
    StartTls { certificate: Option<PathBuf> },
}

impl SmtpClient {
    /// Connects; the greeting is still to be read.
    pub fn connect(from: IpAddr, to: SocketAddr, security: &Security) -> io::Result<Self> {
        match security {
            Security::Plain => Self::connect_plain(from, to),
            Security::StartTls { certificate } => Self::connect_tls(from, to, certificate.as_ref()),
        }
    }

    fn connect_plain(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&to.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(Box::new(stream.try_clone()?)),
            writer: Box::new(stream),
            tls: None,
        })
    }

    /// Greeting, EHLO and STARTTLS are spoken by openssl.
    fn connect_tls(
        from: IpAddr,
        to: SocketAddr,
        certificate: Option<&PathBuf>,
    ) -> io::Result<Self> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-starttls", "smtp"]);
        command.args(["-connect", &to.to_string()]);
        command.args(["-bind", &SocketAddr::new(from, 0).to_string()]);
        if let Some(file) = certificate {
            command.arg("-cert").arg(file).arg("-key").arg(file);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let missing = || io::Error::other("no pipe to openssl");
        Ok(Self {
            reader: BufReader::new(Box::new(stdout.ok_or_else(missing)?)),
            writer: Box::new(stdin.ok_or_else(missing)?),
            tls: Some(child),
        })
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.writer.write_all(octets)?;
        self.writer.flush()
    }

    /// The next reply, its lines joined with LF.
    pub fn reply(&mut self) -> io::Result<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                return Ok(lines.join("\n"));
            }
        }
    }

    /// Closes the connection without a word; nothing can be said afterwards.
    pub fn hang_up(&mut self) {
        self.reader = BufReader::new(Box::new(io::empty()));
        self.writer = Box::new(io::sink());
    }
}

impl Drop for SmtpClient {
    fn drop(&mut self) {
        if let Some(child) = &mut self.tls {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
