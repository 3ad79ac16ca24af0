//! One milter connection, as an MTA opens it for one SMTP connection.
//!
//! As in Postfix, frames that need no reply are held back and sent together with the next
//! one that does.

use crate::stream::{Address, Stream};
use crate::{
    envelope::Envelope,
    figures::{Figures, Stage},
    message::Message,
    protocol::{
        BODY, CHUNK, CONNECT, Command, DATA, EOH, EOM, HEADER, HEADER_LEADING_SPACE, HELO, MAIL,
        Negotiated, OFFER, RCPT, put,
    },
};
use std::{cell::RefCell, io, net::IpAddr, time::Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The maximum number of bytes held back.
const HELD_BACK: usize = 128 * 1024;

pub struct Connection<'a> {
    stream: Box<dyn Stream>,
    negotiated: Negotiated,
    out: Vec<u8>,
    incoming: Vec<u8>,
    /// How much of `incoming` has been processed.
    read: usize,
    figures: &'a RefCell<Figures>,
}

/// A reply of the milter.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    Continue,
    /// Accepts further body chunks without seeing them.
    Skip,
    Accept,
    /// Code and enhanced status code, or a description of another reply.
    Refuse(String),
}

/// The outcome of a mail transaction.
pub struct Outcome {
    pub reply: Reply,
    /// The header fields that the milter adds.
    pub fields: Vec<String>,
}

impl<'a> Connection<'a> {
    /// Connects and negotiates.
    pub async fn open(milter: &Address, figures: &'a RefCell<Figures>) -> io::Result<Self> {
        let start = Instant::now();
        let mut connection = Self {
            stream: milter.connect().await?,
            negotiated: Negotiated::default(),
            out: Vec::with_capacity(8192),
            incoming: Vec::with_capacity(4096),
            read: 0,
            figures,
        };
        let offer = OFFER.map(u32::to_be_bytes).concat();
        put(&mut connection.out, b'O', &[&offer]);
        connection.flush().await?;
        let (letter, data) = connection.frame().await?;
        match Negotiated::parse(&data) {
            Some(negotiated) if letter == b'O' => connection.negotiated = negotiated,
            _ => return Err(io::Error::other("no negotiation")),
        }
        connection.count(Stage::Negotiate, start);
        Ok(connection)
    }

    /// Sends CONNECT and HELO. Returns `false` if the milter accepts or refuses the
    /// connection.
    pub async fn greet(&mut self, envelope: &Envelope) -> io::Result<bool> {
        let (family, host) = match envelope.client {
            IpAddr::V4(_) => (b"4", "client.example"),
            IpAddr::V6(_) => (b"6", "client.example"),
        };
        let address = envelope.client.to_string();
        let port = 40000_u16.to_be_bytes();
        let data = [
            host.as_bytes(),
            b"\0",
            family,
            &port,
            address.as_bytes(),
            b"\0",
        ];
        let reply = self.command(&CONNECT, Stage::Connect, &data).await?;
        if reply != Reply::Continue {
            return Ok(false);
        }
        let data = [envelope.helo.as_bytes(), b"\0"];
        let reply = self.command(&HELO, Stage::Helo, &data).await?;
        Ok(reply == Reply::Continue)
    }

    /// Sends a mail transaction, up to its first refusal or its end.
    pub async fn transaction(
        &mut self,
        envelope: &Envelope,
        message: &Message,
    ) -> io::Result<Outcome> {
        match self.envelope(envelope).await? {
            Reply::Continue => {}
            reply => return Ok(ended(reply)),
        }
        match self.header(message).await? {
            Reply::Continue => {}
            reply => return Ok(ended(reply)),
        }
        match self.body(message).await? {
            Reply::Continue | Reply::Skip => self.end().await,
            reply => Ok(ended(reply)),
        }
    }

    /// Ends the connection as Postfix does: sends QUIT and closes it.
    pub async fn quit(mut self) -> io::Result<()> {
        put(&mut self.out, b'Q', &[]);
        self.flush().await
    }

    /// Ends a mail transaction that was refused.
    pub fn abort(&mut self) {
        put(&mut self.out, b'A', &[]);
    }

    async fn envelope(&mut self, envelope: &Envelope) -> io::Result<Reply> {
        let sender = [envelope.sender.as_bytes(), b"\0"];
        let mut reply = self.command(&MAIL, Stage::Mail, &sender).await?;
        for recipient in &envelope.recipients {
            if reply == Reply::Continue {
                let recipient = [recipient.as_bytes(), b"\0"];
                reply = self.command(&RCPT, Stage::Rcpt, &recipient).await?;
            }
        }
        match reply {
            Reply::Continue => self.command(&DATA, Stage::Data, &[]).await,
            reply => Ok(reply),
        }
    }

    async fn header(&mut self, message: &Message) -> io::Result<Reply> {
        let start = Instant::now();
        let keeps_space = self.negotiated.protocol & HEADER_LEADING_SPACE != 0;
        for (name, value) in &message.fields {
            let value = match value.strip_prefix(' ') {
                Some(rest) if !keeps_space => rest,
                _ => value,
            };
            let data = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"];
            match self.step(&HEADER, &data).await? {
                Reply::Continue => {}
                reply => return Ok(reply),
            }
        }
        let reply = self.step(&EOH, &[]).await?;
        self.figures
            .borrow_mut()
            .record(Stage::Headers, start.elapsed());
        Ok(reply)
    }

    async fn body(&mut self, message: &Message) -> io::Result<Reply> {
        let start = Instant::now();
        let mut reply = Reply::Continue;
        for chunk in message.body.chunks(CHUNK) {
            if self.negotiated.wants(&BODY) {
                self.figures.borrow_mut().body_bytes += chunk.len() as u64;
            }
            reply = self.step(&BODY, &[chunk]).await?;
            if reply != Reply::Continue {
                break;
            }
        }
        self.figures
            .borrow_mut()
            .record(Stage::Body, start.elapsed());
        Ok(reply)
    }

    async fn end(&mut self) -> io::Result<Outcome> {
        let start = Instant::now();
        self.put(&EOM, &[]);
        self.flush().await?;
        let mut fields = Vec::new();
        let reply = loop {
            let (letter, data) = self.frame().await?;
            match letter {
                b'h' => fields.push(String::from_utf8_lossy(&data).into_owned()),
                b'i' => fields.push(String::from_utf8_lossy(&data[4..]).into_owned()),
                // Other changes, and progress.
                b'm' | b'p' | b'+' | b'-' | b'2' | b'b' | b'e' | b'q' => {}
                letter => break reply(letter, &data),
            }
        };
        self.count(Stage::EndOfMessage, start);
        Ok(Outcome { reply, fields })
    }

    async fn command(
        &mut self,
        command: &Command,
        stage: Stage,
        data: &[&[u8]],
    ) -> io::Result<Reply> {
        let start = Instant::now();
        let reply = self.step(command, data).await?;
        if self.negotiated.wants(command) && self.negotiated.answers(command) {
            self.figures.borrow_mut().record(stage, start.elapsed());
        }
        Ok(reply)
    }

    /// Sends a command, and reads its reply if the milter sends one.
    async fn step(&mut self, command: &Command, data: &[&[u8]]) -> io::Result<Reply> {
        if !self.negotiated.wants(command) {
            return Ok(Reply::Continue);
        }
        self.put(command, data);
        if !self.negotiated.answers(command) {
            if self.out.len() >= HELD_BACK {
                self.flush().await?;
            }
            return Ok(Reply::Continue);
        }
        self.flush().await?;
        self.figures.borrow_mut().round_trips += 1;
        loop {
            match self.frame().await? {
                (b'p', _) => {}
                (letter, data) => return Ok(reply(letter, &data)),
            }
        }
    }

    /// Appends the macros of a command and the command.
    fn put(&mut self, command: &Command, data: &[&[u8]]) {
        let out = &mut self.out;
        let begin = out.len();
        put(out, b'D', &[&[command.letter]]);
        let wanted = command
            .macros
            .and_then(|stage| self.negotiated.macros.get(&stage));
        match wanted {
            Some(names) => names.iter().for_each(|name| put_macro(out, name)),
            None => defaults(command)
                .iter()
                .for_each(|name| put_macro(out, name)),
        }
        let length = (out.len() - begin - 4) as u32;
        out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
        put(out, command.letter, data);
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = self.buffered() {
                return Ok(frame);
            }
            self.incoming.drain(..self.read);
            self.read = 0;
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn buffered(&mut self) -> Option<(u8, Vec<u8>)> {
        let unread = &self.incoming[self.read..];
        let (length, rest) = unread.split_first_chunk()?;
        let frame = rest.get(..u32::from_be_bytes(*length) as usize)?;
        let (letter, data) = frame.split_first()?;
        self.read += 4 + frame.len();
        Some((*letter, data.to_vec()))
    }

    fn count(&self, stage: Stage, start: Instant) {
        let mut figures = self.figures.borrow_mut();
        figures.round_trips += 1;
        figures.record(stage, start.elapsed());
    }
}

fn ended(reply: Reply) -> Outcome {
    Outcome {
        reply,
        fields: Vec::new(),
    }
}

fn reply(letter: u8, data: &[u8]) -> Reply {
    match letter {
        b'c' => Reply::Continue,
        b's' => Reply::Skip,
        b'a' => Reply::Accept,
        b'y' => Reply::Refuse(code_and_status(data)),
        letter => Reply::Refuse(format!("milter reply {:?}", char::from(letter))),
    }
}

fn code_and_status(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    let words: Vec<&str> = text.split(' ').take(2).collect();
    words.join(" ")
}

/// Returns the macros that Postfix sends if the milter requests none.
fn defaults(command: &Command) -> &'static [&'static str] {
    match command.letter {
        b'C' => &["j", "daemon_name", "v"],
        b'M' => &["mail_addr", "mail_host", "mail_mailer"],
        b'R' => &["rcpt_addr", "rcpt_host", "rcpt_mailer"],
        b'H' => &[],
        _ => &["i"],
    }
}

/// Appends a macro, if it has a value in a session without TLS and SASL.
fn put_macro(out: &mut Vec<u8>, name: &str) {
    let value = match name {
        "j" => "mx.example",
        "i" => "4F9D195432C",
        "daemon_name" => "mx.example",
        "v" => "Postfix 3.7.11",
        "client_addr" => "2001:db8:1::1",
        "mail_mailer" | "rcpt_mailer" => "smtp",
        "mail_addr" => "sender@d0.fail.example",
        "rcpt_addr" => "r0@opted-in.example",
        "mail_host" => "d0.fail.example",
        "rcpt_host" => "opted-in.example",
        _ => return,
    };
    let written = match name.len() {
        1 => [b"".as_slice(), name.as_bytes(), b"\0"],
        _ => [b"{".as_slice(), name.as_bytes(), b"}\0"],
    };
    for part in written {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(value.as_bytes());
    out.push(0);
}
