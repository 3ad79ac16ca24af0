//! An SMTP client that sends given commands and checks nothing.
//!
//! It connects from a given source address, in plain text or, through `openssl s_client`,
//! with TLS.

use socket2::{Domain, Socket, Type};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Longer than an MTA's own deadlines with a milter.
const TIMEOUT: Duration = Duration::from_secs(120);

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
    /// STARTTLS, optionally with a certificate and its key in one file.
    StartTls {
        certificate: Option<PathBuf>,
        /// Resumes the TLS session of an earlier connection.
        resumed: bool,
    },
}

impl SmtpClient {
    /// Connects without reading the greeting.
    pub fn connect(from: IpAddr, to: SocketAddr, security: &Security) -> io::Result<Self> {
        match security {
            Security::Plain => Self::connect_plain(from, to),
            Security::StartTls {
                certificate,
                resumed,
            } => {
                let file = certificate.iter().map(|file| file.as_os_str());
                let credentials: Vec<OsString> = file
                    .flat_map(|file| [OsStr::new("-cert"), file, OsStr::new("-key"), file])
                    .map(OsStr::to_owned)
                    .collect();
                match resumed {
                    true => Self::resume_tls(from, to, &credentials),
                    false => Self::connect_tls(from, to, &credentials, Stdio::null()),
                }
            }
        }
    }

    fn connect_plain(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&to.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(Box::new(stream.try_clone()?)),
            writer: Box::new(stream),
            tls: None,
        })
    }

    /// openssl handles greeting, EHLO and STARTTLS.
    fn connect_tls(
        from: IpAddr,
        to: SocketAddr,
        options: &[OsString],
        stderr: Stdio,
    ) -> io::Result<Self> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-state", "-starttls", "smtp"]);
        command.args(["-connect", &to.to_string()]);
        command.args(["-bind", &SocketAddr::new(from, 0).to_string()]);
        command.args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(stderr).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let missing = || io::Error::other("no pipe to openssl");
        Ok(Self {
            reader: BufReader::new(Box::new(stdout.ok_or_else(missing)?)),
            writer: Box::new(stdin.ok_or_else(missing)?),
            tls: Some(child),
        })
    }

    /// Connects twice; the second connection resumes the session of the first without a
    /// certificate. Fails if the server does not resume the session.
    fn resume_tls(from: IpAddr, to: SocketAddr, credentials: &[OsString]) -> io::Result<Self> {
        // Sendmail expires a session after one second, which may pass between the two
        // connections on a busy machine.
        for _ in 0..20 {
            if let Some(client) = Self::try_to_resume_tls(from, to, credentials)? {
                return Ok(client);
            }
        }
        Err(io::Error::other("the server resumes no TLS session"))
    }

    /// `None` if the server made a new session.
    fn try_to_resume_tls(
        from: IpAddr,
        to: SocketAddr,
        credentials: &[OsString],
    ) -> io::Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let session = folder.path().join("session").into_os_string();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let begin = [credentials, &["-sess_out".into(), session.clone()]].concat();
        let mut client = Self::connect_tls(from, to, &begin, File::create(&first)?.into())?;
        for command in ["EHLO first.example", "QUIT"] {
            client.say(command)?;
        }
        drop(client);
        let resume = ["-sess_in".into(), session];
        let mut client = Self::connect_tls(from, to, &resume, File::create(&second)?.into())?;
        client.say("NOOP")?;
        let shows_certificate = |states: &Path| {
            let states = fs::read_to_string(states)?;
            io::Result::Ok(states.contains("read server certificate"))
        };
        match (shows_certificate(&first)?, shows_certificate(&second)?) {
            (true, false) => Ok(Some(client)),
            (true, true) => Ok(None),
            (false, _) => Err(io::Error::other("openssl does not report the state")),
        }
    }

    fn say(&mut self, command: &str) -> io::Result<String> {
        self.send(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends raw bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
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

    /// Closes the connection without QUIT; it cannot be used afterwards.
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
