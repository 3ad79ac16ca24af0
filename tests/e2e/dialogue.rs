//! Parses dialogues: the commands of a client and the expected replies.
//!
//! ```text
//! == name_of_the_dialogue
//! from 2001:db8::10            the client's address
//! at observe                   which gate it meets; `enforce` if left out
//! over TLS [with NAME]         STARTTLS, with a client certificate perhaps
//! resumed                      in a TLS session that an earlier connection began
//! only postfix: REASON         why it can't be held with another mail server
//! pipelined                    everything up to DATA, or to the last BDAT, in one go
//! proxy v1 2001:db8::20        a PROXY header for that client, `v1` or `v2`
//! without EHLO                 which is sent first otherwise
//! demo Rule 1: ...             a title; this one is shown in the demonstration
//! C: MAIL FROM:<a@b.example>   a line of the client
//! S: 250                       the reply: a code alone, or all of it
//! M: plain                     DATA and a message
//! M/2: plain                   the first half of one, then the client hangs up
//! B: plain                     a message in one BDAT command
//! B/7: plain                   in chunks of 7 bytes
//! R: spf=pass, iprev=pass      what its Authentication-Results field has
//! R: none                      it arrives as it was sent
//! A: mx.example; spf=pass      what its topmost Authentication-Results field has;
//! A: elsewhere.example         and the next; there are no more than these
//! D: Subject: changed          a field of the header that arrives
//! L: rule=spf-pass             what the decision line has
//! ```
//!
//! Without `S:` a reply must be positive. Accepted mail must arrive and refused mail must
//! not; this is always checked.

use super::proxy_header::ProxyHeader;
use std::net::IpAddr;

/// One SMTP connection.
#[derive(Clone, Debug)]
pub struct Dialogue {
    pub name: String,
    pub from: IpAddr,
    pub gate: String,
    pub tls: Tls,
    pub resumes_tls: bool,
    pub pipelined: bool,
    pub says_ehlo: bool,
    pub proxy_header: Option<ProxyHeader>,
    pub only: Option<Only>,
    pub demo: Option<String>,
    pub steps: Vec<Step>,
}

/// The mail server that it is limited to, and the reason.
#[derive(Clone, Debug)]
pub struct Only {
    pub mta: String,
    pub reason: String,
}

/// `over TLS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    No,
    Yes,
    /// With the client certificate of that name.
    WithCertificate(String),
}

/// What happens, in order.
#[derive(Clone, Debug)]
pub enum Step {
    /// The client sends a line.
    Say(Exchange),
    /// The client sends DATA and, after 354, the message of that name.
    Send(Exchange),
    /// The same with BDAT, in chunks of at most that many bytes.
    SendChunks(Exchange, usize),
    /// The same, but the client sends only half of it and disconnects.
    HangUp(String),
    /// What the last message's field contains; nothing stands for no field.
    Results(Vec<String>),
    /// What each of its Authentication-Results fields contains, from the top.
    AllResults(Vec<String>),
    /// A field that it has.
    Field(String),
    /// The words of a decision line.
    Log(Vec<String>),
}

/// A command and its expected reply: a code, a whole reply, or any positive one.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub said: String,
    pub reply: Option<String>,
}

impl Dialogue {
    /// Parses a file of dialogues.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let mut dialogues: Vec<Self> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let place = |error| format!("line {}: {error}: {line}", number + 1);
            match (line.strip_prefix("== "), dialogues.last_mut()) {
                _ if line.trim().is_empty() || line.starts_with('#') => {}
                (Some(name), _) => dialogues.push(Self::new(name)),
                (None, Some(dialogue)) => dialogue.add(line).map_err(place)?,
                (None, None) => return Err(place("outside a dialogue")),
            }
        }
        Ok(dialogues)
    }

    fn new(name: &str) -> Self {
        Self {
            name: name.trim().to_owned(),
            from: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10]),
            gate: "enforce".to_owned(),
            tls: Tls::No,
            resumes_tls: false,
            pipelined: false,
            says_ehlo: true,
            proxy_header: None,
            only: None,
            demo: None,
            steps: Vec::new(),
        }
    }

    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = value.trim();
        match key {
            "from" => self.from = value.parse().map_err(|_| "no address")?,
            "at" => self.gate = value.to_owned(),
            "only" => self.only = Some(only(value)?),
            "over" => self.tls = tls(value)?,
            "demo" => self.demo = Some(value.to_owned()),
            "without" if value == "EHLO" => self.says_ehlo = false,
            "proxy" => self.proxy_header = Some(ProxyHeader::parse(value)?),
            "pipelined" => self.pipelined = true,
            "resumed" => self.resumes_tls = true,
            "C:" => self.steps.push(Step::Say(Exchange::new(value))),
            "M:" => self.steps.push(Step::Send(Exchange::new(value))),
            "M/2:" => self.steps.push(Step::HangUp(value.to_owned())),
            "B:" => self
                .steps
                .push(Step::SendChunks(Exchange::new(value), usize::MAX)),
            "S:" => self.expect(value)?,
            "R:" if value == "none" => self.steps.push(Step::Results(Vec::new())),
            "R:" => self.steps.push(Step::Results(list(value))),
            "A:" => self.add_result(value),
            "D:" => self.steps.push(Step::Field(value.to_owned())),
            "L:" => self.steps.push(Step::Log(list(value))),
            _ => {
                let size = key.strip_prefix("B/").and_then(|k| k.strip_suffix(':'));
                let size = size.ok_or("not understood")?;
                let size = size.parse().map_err(|_| "no size of a chunk")?;
                let exchange = Exchange::new(value);
                self.steps.push(Step::SendChunks(exchange, size));
            }
        }
        Ok(())
    }

    fn add_result(&mut self, value: &str) {
        match self.steps.last_mut() {
            Some(Step::AllResults(results)) => results.push(value.to_owned()),
            _ => self.steps.push(Step::AllResults(vec![value.to_owned()])),
        }
    }

    fn expect(&mut self, reply: &str) -> Result<(), &'static str> {
        let exchange = match self.steps.last_mut() {
            Some(Step::Say(exchange) | Step::Send(exchange) | Step::SendChunks(exchange, _)) => {
                exchange
            }
            _ => return Err("a reply to nothing"),
        };
        exchange.reply = match exchange.reply.take() {
            // A reply of several lines.
            Some(first) => Some(format!("{first}\n{reply}")),
            None => Some(reply.to_owned()),
        };
        Ok(())
    }
}

impl Exchange {
    fn new(said: &str) -> Self {
        Self {
            said: said.to_owned(),
            reply: None,
        }
    }

    /// Whether this is the expected reply.
    pub fn is_answered_by(&self, reply: &str) -> bool {
        match self.reply.as_deref() {
            None => reply.starts_with(['2', '3']),
            Some(code) if code.len() == 3 => reply.starts_with(code),
            Some(whole) => reply == whole,
        }
    }
}

fn tls(words: &str) -> Result<Tls, &'static str> {
    match words.split_once(" with ") {
        None if words == "TLS" => Ok(Tls::Yes),
        Some(("TLS", name)) => Ok(Tls::WithCertificate(name.to_owned())),
        _ => Err("not TLS"),
    }
}

fn only(words: &str) -> Result<Only, &'static str> {
    let (mta, reason) = words.split_once(": ").ok_or("without a reason")?;
    Ok(Only {
        mta: mta.to_owned(),
        reason: reason.to_owned(),
    })
}

fn list(value: &str) -> Vec<String> {
    value.split(", ").map(str::to_owned).collect()
}
