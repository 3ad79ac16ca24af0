//! The final delivery: an LMTP server (RFC 2033) that accepts and stores everything.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Only this many bytes of a message are stored.
const KEPT: usize = 256 * 1024;

const TIMEOUT: Duration = Duration::from_secs(120);

/// A message that arrived.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// In angle brackets, as given to RCPT.
    pub recipients: Vec<String>,
    /// The beginning of the message, dots unstuffed, line ends as LF.
    pub message: String,
    /// The length of the whole message in bytes.
    pub bytes: usize,
}

impl Delivery {
    /// The header fields in order, folds kept.
    pub fn fields(&self) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        for line in self.message.lines().take_while(|line| !line.is_empty()) {
            match fields.last_mut() {
                Some(field) if line.starts_with([' ', '\t']) => {
                    field.push('\n');
                    field.push_str(line);
                }
                _ => fields.push(line.to_owned()),
            }
        }
        fields
    }
}

/// The server; it ends with the process.
pub struct Sink {
    address: SocketAddr,
    inbox: Arc<Inbox>,
}

#[derive(Default)]
struct Inbox {
    deliveries: Mutex<Vec<Delivery>>,
    arrived: Condvar,
}

impl Sink {
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let inbox = Arc::new(Inbox::default());
        let server = Arc::clone(&inbox);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let inbox = Arc::clone(&server);
                thread::spawn(move || inbox.serve(&connection));
            }
        });
        Ok(Self { address, inbox })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The deliveries so far with the token in their text.
    pub fn with_token(&self, token: &str) -> Vec<Delivery> {
        matching(&self.inbox.lock(), token)
    }

    /// Waits until the deliveries with the token in their text have that many recipients
    /// and returns them; at the timeout, those that have arrived.
    pub fn wait_for(&self, token: &str, recipients: usize) -> Vec<Delivery> {
        let incomplete = |arrived: &mut Vec<Delivery>| {
            let deliveries = matching(arrived, token);
            deliveries.iter().map(|d| d.recipients.len()).sum::<usize>() < recipients
        };
        let inbox = &self.inbox;
        let wait = inbox
            .arrived
            .wait_timeout_while(inbox.lock(), TIMEOUT, incomplete);
        let (arrived, _) = wait.unwrap_or_else(PoisonError::into_inner);
        matching(&arrived, token)
    }
}

fn matching(arrived: &[Delivery], token: &str) -> Vec<Delivery> {
    let has_token = |delivery: &&Delivery| delivery.message.contains(token);
    arrived.iter().filter(has_token).cloned().collect()
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, connection: &TcpStream) {
        // Ends when the MTA disconnects.
        let _ = self.converse(BufReader::new(connection), connection);
    }

    fn converse(&self, mut reader: impl BufRead, mut writer: impl Write) -> io::Result<()> {
        let mut recipients = Vec::new();
        writer.write_all(b"220 sink LMTP\r\n")?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            match verb.to_ascii_uppercase().as_str() {
                "LHLO" => writer.write_all(b"250-sink\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")?,
                "MAIL" => {
                    recipients = Vec::new();
                    writer.write_all(b"250 2.1.0 ok\r\n")?;
                }
                "RCPT" => {
                    recipients.push(path(line));
                    writer.write_all(b"250 2.1.5 ok\r\n")?;
                }
                "DATA" => {
                    writer.write_all(b"354 go on\r\n")?;
                    let (message, bytes) = read_message(&mut reader)?;
                    let replies = b"250 2.0.0 ok\r\n".repeat(recipients.len());
                    self.lock().push(Delivery {
                        recipients: std::mem::take(&mut recipients),
                        message,
                        bytes,
                    });
                    self.arrived.notify_all();
                    writer.write_all(&replies)?;
                }
                "QUIT" => return writer.write_all(b"221 2.0.0 bye\r\n"),
                _ => writer.write_all(b"250 2.0.0 ok\r\n")?,
            }
        }
    }
}

/// What follows the first colon, up to the closing bracket.
fn path(line: &str) -> String {
    let (_, rest) = line.split_once(':').unwrap_or_default();
    let end = rest.rfind('>').map_or(rest.len(), |end| end + 1);
    rest[..end].to_owned()
}

fn read_message(reader: &mut impl BufRead) -> io::Result<(String, usize)> {
    let (mut message, mut bytes) = (Vec::new(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok((String::from_utf8_lossy(&message).into(), bytes));
        }
        let unstuffed = line.strip_prefix(b".").unwrap_or(&line);
        bytes += unstuffed.len();
        if message.len() < KEPT {
            message.extend_from_slice(unstuffed.strip_suffix(b"\r\n").unwrap_or(unstuffed));
            message.push(b'\n');
        }
    }
}
