//! The MTA's side of the milter protocol, for dialogues with the real daemon.
//!
//! It offers what Postfix and Sendmail offer and follows the negotiation: it does not send
//! steps that the milter has excluded, and does not wait for replies that the milter does
//! not send. It decides nothing: the test decides whether to continue after a refusal. It
//! has its own codec, so that it shares no defect with the library under test.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

/// A message without a signature.
pub const UNSIGNED: &[u8] = b"From: a@good.example\r\nSubject: x\r\n\r\nA body of some length.\r\n";

/// The address of a milter.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// One milter connection, as an MTA opens it for one SMTP connection.
pub struct MilterClient {
    stream: Box<dyn Stream>,
    negotiated: Negotiated,
    skips_body: bool,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// The offer of an MTA, or the request of a milter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub version: u32,
    /// The `SMFIF_` bits: permitted changes of a message.
    pub actions: u32,
    /// The `SMFIP_` bits, see [`protocol`].
    pub protocol: u32,
}

/// The offer of Postfix 3.7 and Sendmail 8.17.
pub const OFFER: Options = Options {
    version: 6,
    actions: 0x1ff,
    protocol: 0x001f_ffff,
};

/// The `SMFIP_` bits.
pub mod protocol {
    pub const NO_CONNECT: u32 = 0x1;
    pub const NO_HELO: u32 = 0x2;
    pub const NO_MAIL: u32 = 0x4;
    pub const NO_RCPT: u32 = 0x8;
    pub const NO_BODY: u32 = 0x10;
    pub const NO_HEADERS: u32 = 0x20;
    pub const NO_EOH: u32 = 0x40;
    pub const NR_HEADERS: u32 = 0x80;
    pub const NO_UNKNOWN: u32 = 0x100;
    pub const NO_DATA: u32 = 0x200;
    pub const SKIP: u32 = 0x400;
    pub const RCPT_REJECTED: u32 = 0x800;
    pub const NR_CONNECT: u32 = 0x1000;
    pub const NR_HELO: u32 = 0x2000;
    pub const NR_MAIL: u32 = 0x4000;
    pub const NR_RCPT: u32 = 0x8000;
    pub const NR_DATA: u32 = 0x1_0000;
    pub const NR_UNKNOWN: u32 = 0x2_0000;
    pub const NR_EOH: u32 = 0x4_0000;
    pub const NR_BODY: u32 = 0x8_0000;
    pub const HEADER_LEADING_SPACE: u32 = 0x10_0000;
}

/// The request of the milter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    pub options: Options,
    /// Requested macro names by stage; for other stages the MTA's defaults apply.
    pub macros: BTreeMap<MacroStage, Vec<String>>,
}

/// A stage, numbered as in macro requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MacroStage {
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    EndOfMessage,
    EndOfHeaders,
    /// A stage that the protocol does not define.
    Other(u32),
}

impl MacroStage {
    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Connect,
            1 => Self::Helo,
            2 => Self::Mail,
            3 => Self::Rcpt,
            4 => Self::Data,
            5 => Self::EndOfMessage,
            6 => Self::EndOfHeaders,
            other => Self::Other(other),
        }
    }
}

/// A command whose macros are sent before it; the letters of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Connect = b'C' as isize,
    Helo = b'H' as isize,
    Mail = b'M' as isize,
    Rcpt = b'R' as isize,
    Data = b'T' as isize,
    Header = b'L' as isize,
    EndOfHeaders = b'N' as isize,
    Body = b'B' as isize,
    EndOfMessage = b'E' as isize,
    Unknown = b'U' as isize,
}

impl Command {
    fn letter(self) -> u8 {
        self as isize as u8
    }

    /// The protocol version that introduced it.
    fn version(self) -> u32 {
        match self {
            Self::Unknown => 3,
            Self::Data => 4,
            _ => 0,
        }
    }

    /// The bits with which a milter excludes it, or does not reply to it.
    fn bits(self) -> (u32, u32) {
        match self {
            Self::Connect => (protocol::NO_CONNECT, protocol::NR_CONNECT),
            Self::Helo => (protocol::NO_HELO, protocol::NR_HELO),
            Self::Mail => (protocol::NO_MAIL, protocol::NR_MAIL),
            Self::Rcpt => (protocol::NO_RCPT, protocol::NR_RCPT),
            Self::Data => (protocol::NO_DATA, protocol::NR_DATA),
            Self::Header => (protocol::NO_HEADERS, protocol::NR_HEADERS),
            Self::EndOfHeaders => (protocol::NO_EOH, protocol::NR_EOH),
            Self::Body => (protocol::NO_BODY, protocol::NR_BODY),
            Self::EndOfMessage => (0, 0),
            Self::Unknown => (protocol::NO_UNKNOWN, protocol::NR_UNKNOWN),
        }
    }
}

/// The milter's reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Also if the command is excluded or has no reply.
    Continue,
    Accept,
    Reject,
    Tempfail,
    Discard,
    /// The milter wants no more commands of this kind.
    Skip,
    /// A whole SMTP reply, as the milter sent it (`%` doubled).
    Smtp(String),
    /// The milter closed the connection.
    Closed,
}

/// A change that the milter makes at the end of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modification {
    AddHeader {
        name: String,
        value: String,
    },
    InsertHeader {
        index: u32,
        name: String,
        value: String,
    },
    /// An empty value deletes the field.
    ChangeHeader {
        index: u32,
        name: String,
        value: String,
    },
    AddRecipient(String),
    DeleteRecipient(String),
    ReplaceBody(Vec<u8>),
    ChangeSender(String),
    Quarantine(String),
}

/// All replies of the milter at the end of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndOfMessage {
    pub modifications: Vec<Modification>,
    /// The number of progress replies.
    pub progress: usize,
    pub reply: Reply,
}

impl MilterClient {
    /// Connects and negotiates what Postfix and Sendmail offer.
    pub fn open(address: &Address) -> Self {
        Self::open_with(address, OFFER).expect("the milter negotiates")
    }

    /// Connects with a given offer; `None` if the milter then closes the connection.
    pub fn open_with(address: &Address, offer: Options) -> Option<Self> {
        let mut client = Self::connect_only(address);
        client.negotiate(offer).then_some(client)
    }

    /// Connects without negotiation, for raw frames.
    pub fn connect_only(address: &Address) -> Self {
        Self {
            stream: connect_stream(address).expect("the milter listens"),
            negotiated: Negotiated {
                options: OFFER,
                macros: BTreeMap::new(),
            },
            skips_body: false,
        }
    }

    fn negotiate(&mut self, offer: Options) -> bool {
        let words = [offer.version, offer.actions, offer.protocol];
        self.send_frame(b'O', &words.map(u32::to_be_bytes).concat());
        match self.receive_frame() {
            Some((b'O', data)) => {
                self.negotiated = parse_negotiated(&data).expect("a negotiation packet");
                true
            }
            Some((letter, _)) => panic!("{:?} in place of a negotiation", char::from(letter)),
            None => false,
        }
    }

    /// What the milter asked for.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Sends the macros of the next command.
    pub fn macros(&mut self, command: Command, macros: &[(&str, &str)]) {
        let pairs = macros.iter().flat_map(|&(name, value)| [name, value]);
        let data = [vec![command.letter()], strings(pairs)].concat();
        self.send_frame(b'D', &data);
    }

    /// An IPv4 or IPv6 client, with its address as Postfix writes it.
    pub fn connect_from(&mut self, host: &str, address: SocketAddr) -> Reply {
        let family = if address.is_ipv4() { b'4' } else { b'6' };
        self.connect(host, family, &address.ip().to_string(), address.port())
    }

    /// Any client: family is `4`, `6`, `L` (unix socket) or `U` (unknown),
    /// which has neither port nor address.
    pub fn connect(&mut self, host: &str, family: u8, address: &str, port: u16) -> Reply {
        let mut data = strings([host]);
        data.push(family);
        if family != b'U' {
            data.extend(port.to_be_bytes());
            data.extend(strings([address]));
        }
        self.command(Command::Connect, &data)
    }

    pub fn helo(&mut self, name: &str) -> Reply {
        self.command(Command::Helo, &strings([name]))
    }

    /// The reverse-path in its brackets, and the ESMTP parameters.
    pub fn mail(&mut self, arguments: &[&str]) -> Reply {
        self.skips_body = false;
        self.command(Command::Mail, &strings(arguments.iter().copied()))
    }

    /// A recipient in its brackets, and the ESMTP parameters.
    pub fn rcpt(&mut self, arguments: &[&str]) -> Reply {
        self.command(Command::Rcpt, &strings(arguments.iter().copied()))
    }

    pub fn data(&mut self) -> Reply {
        self.command(Command::Data, &[])
    }

    /// A field as in the message, with folds as LF; the value starts after the colon. One
    /// leading space is removed unless the milter has requested it.
    pub fn header(&mut self, name: &str, value: &str) -> Reply {
        let keeps_space = self.has_asked_for(protocol::HEADER_LEADING_SPACE);
        let value = match value.strip_prefix(' ') {
            Some(rest) if !keeps_space => rest,
            _ => value,
        };
        self.command(Command::Header, &strings([name, value]))
    }

    /// The end of headers, which has a reply unless the milter has excluded it.
    pub fn eoh(&mut self) -> Reply {
        self.command(Command::EndOfHeaders, &[])
    }

    /// A chunk of at most 65535 bytes; not sent after the milter has replied Skip.
    pub fn body(&mut self, chunk: &[u8]) -> Reply {
        if self.skips_body {
            return Reply::Continue;
        }
        let reply = self.command(Command::Body, chunk);
        self.skips_body = reply == Reply::Skip;
        reply
    }

    /// The end of the message, and all replies to it.
    pub fn eom(&mut self) -> EndOfMessage {
        self.send_frame(b'E', &[]);
        let mut modifications = Vec::new();
        let mut progress = 0;
        loop {
            match self.receive_reply() {
                Received::Modification(modification) => modifications.push(modification),
                Received::Progress => progress += 1,
                Received::Reply(reply) => {
                    return EndOfMessage {
                        modifications,
                        progress,
                        reply,
                    };
                }
            }
        }
    }

    /// Ends the mail transaction; has no reply.
    pub fn abort(&mut self) {
        self.send_frame(b'A', &[]);
    }

    /// Ends the connection; returns whether the milter closed it, too.
    pub fn quit(mut self) -> bool {
        self.send_frame(b'Q', &[]);
        self.receive_frame().is_none()
    }

    /// From `DATA` to the end of a message with CRLF lines, in chunks of
    /// `chunk` bytes; stops at the first reply that is not `Continue` or
    /// `Skip`.
    pub fn message(&mut self, message: &[u8], chunk: usize) -> EndOfMessage {
        match self.message_before_its_end(message, chunk) {
            Reply::Continue | Reply::Skip => self.eom(),
            reply => EndOfMessage {
                modifications: Vec::new(),
                progress: 0,
                reply,
            },
        }
    }

    fn message_before_its_end(&mut self, message: &[u8], chunk: usize) -> Reply {
        let (headers, body) = split_message(message);
        let mut reply = self.data();
        for (name, value) in headers {
            if reply == Reply::Continue {
                reply = self.header(&name, &value);
            }
        }
        if reply == Reply::Continue {
            reply = self.eoh();
        }
        for chunk in body.chunks(chunk) {
            if reply == Reply::Continue {
                reply = self.body(chunk);
            }
        }
        reply
    }

    /// Any frame: a letter and its data.
    pub fn send_frame(&mut self, letter: u8, data: &[u8]) {
        self.send_bytes(&frame(letter, data));
    }

    /// Raw bytes that need not be a frame.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        // If the milter has disconnected, the next reply shows it.
        let _ = self.stream.write_all(bytes);
    }

    /// The same; returns whether the milter still accepts them.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame; `None` once the milter has closed the connection.
    pub fn receive_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        let mut frame = vec![0; length];
        self.read_exact(&mut frame)?;
        let (letter, data) = frame.split_first()?;
        Some((*letter, data.to_vec()))
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if is_closed(&error) => None,
            Err(error) => panic!("no answer from the milter: {error}"),
        }
    }

    fn has_asked_for(&self, bit: u32) -> bool {
        self.negotiated.options.protocol & bit != 0
    }

    fn command(&mut self, command: Command, data: &[u8]) -> Reply {
        let (unwanted, unanswered) = command.bits();
        if self.has_asked_for(unwanted) || self.negotiated.options.version < command.version() {
            return Reply::Continue;
        }
        self.send_frame(command.letter(), data);
        if self.has_asked_for(unanswered) {
            return Reply::Continue;
        }
        loop {
            match self.receive_reply() {
                Received::Reply(reply) => return reply,
                Received::Progress => {}
                Received::Modification(early) => panic!("before the end of message: {early:?}"),
            }
        }
    }

    fn receive_reply(&mut self) -> Received {
        match self.receive_frame() {
            Some((letter, data)) => parse_reply(letter, &data),
            None => Received::Reply(Reply::Closed),
        }
    }
}

enum Received {
    Reply(Reply),
    Modification(Modification),
    Progress,
}

fn parse_reply(letter: u8, data: &[u8]) -> Received {
    let string = |index: usize| {
        parse_strings(data)
            .into_iter()
            .nth(index)
            .unwrap_or_default()
    };
    let reply = match letter {
        b'c' => Reply::Continue,
        b'a' => Reply::Accept,
        b'r' => Reply::Reject,
        b't' => Reply::Tempfail,
        b'd' => Reply::Discard,
        b's' => Reply::Skip,
        b'y' => Reply::Smtp(string(0)),
        b'p' => return Received::Progress,
        _ => return Received::Modification(parse_modification(letter, data)),
    };
    Received::Reply(reply)
}

fn parse_modification(letter: u8, data: &[u8]) -> Modification {
    let string = |index: usize| {
        parse_strings(data)
            .into_iter()
            .nth(index)
            .unwrap_or_default()
    };
    match letter {
        b'h' => Modification::AddHeader {
            name: string(0),
            value: string(1),
        },
        b'i' => {
            let (index, name, value) = parse_indexed_header(data);
            Modification::InsertHeader { index, name, value }
        }
        b'm' => {
            let (index, name, value) = parse_indexed_header(data);
            Modification::ChangeHeader { index, name, value }
        }
        b'+' | b'2' => Modification::AddRecipient(string(0)),
        b'-' => Modification::DeleteRecipient(string(0)),
        b'b' => Modification::ReplaceBody(data.to_vec()),
        b'e' => Modification::ChangeSender(string(0)),
        b'q' => Modification::Quarantine(string(0)),
        other => panic!("{:?} is not a reply of a milter", char::from(other)),
    }
}

fn parse_indexed_header(data: &[u8]) -> (u32, String, String) {
    let (index, rest) = data.split_first_chunk().expect("an index");
    let mut strings = parse_strings(rest).into_iter();
    let mut next = || strings.next().unwrap_or_default();
    (u32::from_be_bytes(*index), next(), next())
}

fn parse_negotiated(data: &[u8]) -> Option<Negotiated> {
    let (version, data) = data.split_first_chunk()?;
    let (actions, data) = data.split_first_chunk()?;
    let (protocol, mut data) = data.split_first_chunk()?;
    let mut macros = BTreeMap::new();
    while let Some((stage, rest)) = data.split_first_chunk() {
        let end = rest.iter().position(|&byte| byte == 0)?;
        let names = String::from_utf8_lossy(&rest[..end]);
        let names = names.split_ascii_whitespace().map(str::to_owned).collect();
        macros.insert(MacroStage::from_number(u32::from_be_bytes(*stage)), names);
        data = &rest[end + 1..];
    }
    let options = Options {
        version: u32::from_be_bytes(*version),
        actions: u32::from_be_bytes(*actions),
        protocol: u32::from_be_bytes(*protocol),
    };
    Some(Negotiated { options, macros })
}

/// NUL-terminated strings.
fn strings<'a>(strings: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut data = Vec::new();
    for string in strings {
        data.extend(string.as_bytes());
        data.push(0);
    }
    data
}

fn parse_strings(data: &[u8]) -> Vec<String> {
    let data = data.strip_suffix(b"\0").unwrap_or(data);
    let strings = data.split(|&byte| byte == 0);
    strings.map(|s| String::from_utf8_lossy(s).into()).collect()
}

/// A frame in wire format.
pub fn frame(letter: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).expect("a frame of 4 GiB at most");
    [&length.to_be_bytes(), [letter].as_slice(), data].concat()
}

/// The fields, with folds as LF and values from after the colon, and the body.
pub fn split_message(message: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let end = message.windows(4).position(|w| w == b"\r\n\r\n");
    let (headers, body) = match end {
        Some(end) => (&message[..end], &message[end + 4..]),
        None => (message, [].as_slice()),
    };
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in String::from_utf8_lossy(headers).split("\r\n") {
        match (fields.last_mut(), line.split_once(':')) {
            (Some((_, value)), _) if line.starts_with([' ', '\t']) => {
                value.push('\n');
                value.push_str(line);
            }
            (_, Some((name, value))) => fields.push((name.trim_end().into(), value.into())),
            (_, None) => {}
        }
    }
    (fields, body)
}

fn connect_stream(address: &Address) -> io::Result<Box<dyn Stream>> {
    // Longer than any deadline of the daemon.
    let timeout = Some(Duration::from_secs(30));
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(timeout)?;
            Ok(Box::new(stream))
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(timeout)?;
            Ok(Box::new(stream))
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}
