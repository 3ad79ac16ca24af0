//! Plays a dialogue against the real mail server and checks the replies.

use super::{
    client::SmtpClient,
    dialogue::{Dialogue, Exchange, Step},
    fixture::{Fixture, plain_address, recipients},
    messages::{self, AUTHSERV_ID},
    mta::Mta,
    namespace::has_complete_results,
    sink::Delivery,
};
use std::{collections::VecDeque, io};

/// A readable transcript.
pub type Transcript = String;

/// Plays it; the error describes the difference and has the transcript.
pub fn play(number: usize, dialogue: &Dialogue, fixture: &Fixture) -> Result<Transcript, String> {
    let mut play = match Play::start(number, dialogue, fixture) {
        Ok(play) => play,
        Err(error) => return Err(format!("no connection: {error}")),
    };
    match play.run() {
        Ok(()) => Ok(play.transcript),
        Err(error) => Err(format!("{error}\n\n{}", play.transcript)),
    }
}

struct Play<'a> {
    dialogue: &'a Dialogue,
    fixture: &'a Fixture,
    client: SmtpClient,
    helo: String,
    /// Commands sent whose replies were not read yet.
    pending: VecDeque<Exchange>,
    /// Accepted in this mail transaction.
    recipients: Vec<String>,
    messages: usize,
    /// The last accepted message and its delivery.
    delivered: Option<(String, Delivery)>,
    /// Whether a step has looked at its Authentication-Results field.
    results_checked: bool,
    transcript: Transcript,
}

impl<'a> Play<'a> {
    fn start(number: usize, dialogue: &'a Dialogue, fixture: &'a Fixture) -> io::Result<Self> {
        let address = fixture.address(&dialogue.gate, dialogue.from);
        let security = fixture.security(dialogue);
        let mut client = SmtpClient::connect(dialogue.from, address, &security)?;
        if let Some(header) = &dialogue.proxy_header {
            client.send(&header.bytes())?;
        }
        Ok(Self {
            dialogue,
            fixture,
            client,
            helo: format!("dialogue-{number}.example"),
            pending: VecDeque::new(),
            recipients: Vec::new(),
            messages: 0,
            delivered: None,
            results_checked: true,
            transcript: Transcript::new(),
        })
    }

    fn run(&mut self) -> Result<(), String> {
        if self.dialogue.tls == super::dialogue::Tls::No {
            let greeting = self.client.reply().map_err(no_reply)?;
            self.note("S", &greeting);
        }
        if self.dialogue.says_ehlo {
            self.say(&positive(&format!("EHLO {}", self.helo)))?;
        }
        for step in &self.dialogue.steps {
            self.step(step)?;
        }
        self.check_results_once()?;
        self.flush_pending()
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Say(exchange) if self.dialogue.pipelined => {
                self.pending.push_back(exchange.clone());
                Ok(())
            }
            Step::Say(exchange) => self.say(exchange),
            Step::Send(exchange) => self.send(exchange),
            Step::SendChunks(exchange, size) => self.send_chunks(exchange, *size),
            Step::HangUp(message) => self.hang_up(message),
            Step::Results(wanted) => self.check_results(wanted),
            Step::AllResults(wanted) => self.check_all_results(wanted),
            Step::Field(wanted) => self.check_field(wanted),
            Step::Log(words) => self.check_log(words),
        }
    }

    fn say(&mut self, exchange: &Exchange) -> Result<(), String> {
        self.pending.push_back(exchange.clone());
        self.flush_pending()
    }

    fn flush_pending(&mut self) -> Result<(), String> {
        self.send_pending()?;
        self.read_pending()
    }

    fn send_pending(&mut self) -> Result<(), String> {
        let lines: String = self
            .pending
            .iter()
            .map(|e| e.said.clone() + "\r\n")
            .collect();
        self.client.send(lines.as_bytes()).map_err(not_sent)
    }

    fn read_pending(&mut self) -> Result<(), String> {
        while let Some(exchange) = self.pending.pop_front() {
            self.note("C", &exchange.said);
            let reply = self.client.reply().map_err(no_reply)?;
            self.note("S", &reply);
            self.judge(&exchange, &reply)?;
            self.keep_recipients(&exchange.said, &reply);
        }
        Ok(())
    }

    fn judge(&self, exchange: &Exchange, reply: &str) -> Result<(), String> {
        let mut wanted = exchange.clone();
        wanted.reply = exchange
            .reply
            .as_ref()
            .map(|reply| self.fixture.mta.passes_on(&exchange.said, reply));
        if wanted.is_answered_by(reply) {
            return Ok(());
        }
        let wanted = wanted.reply.unwrap_or_else(|| "2xx or 3xx".to_owned());
        Err(format!(
            "{}\nwanted: {wanted}\ngot:    {reply}",
            exchange.said
        ))
    }

    fn keep_recipients(&mut self, said: &str, reply: &str) {
        let said_upper = said.to_ascii_uppercase();
        if said_upper.starts_with("RCPT TO:") {
            if reply.starts_with('2') {
                let argument = said["RCPT TO:".len()..].trim();
                // ESMTP parameters follow the path.
                let path = match argument.rfind('>') {
                    Some(end) => &argument[..=end],
                    None => argument,
                };
                self.recipients.push(plain_address(path));
            }
        } else if !reply.starts_with('3') {
            self.recipients.clear();
        }
    }

    fn send(&mut self, exchange: &Exchange) -> Result<(), String> {
        self.check_results_once()?;
        let token = self.next_token();
        let message = messages::message(&exchange.said, &token, &self.fixture.setup.keys);
        let begins = self.begin_data()?;
        if !begins.starts_with("354") {
            return self.judge(exchange, &begins);
        }
        let recipients = std::mem::take(&mut self.recipients);
        self.note("C", &format!("[the message \"{}\"]", exchange.said));
        let stuffed = messages::stuffed(&message);
        self.client.send(stuffed.as_bytes()).map_err(not_sent)?;
        let reply = self.client.reply().map_err(no_reply)?;
        self.note("S", &reply);
        self.end_message(exchange, &reply, &token, &recipients, &message)
    }

    /// Checks the reply to a whole message, and waits for its delivery if it was accepted.
    fn end_message(
        &mut self,
        exchange: &Exchange,
        reply: &str,
        token: &str,
        recipients: &[String],
        message: &str,
    ) -> Result<(), String> {
        let is_accepted = reply.starts_with('2');
        self.fixture
            .remember(token, if is_accepted { recipients } else { &[] });
        self.judge(exchange, reply)?;
        match is_accepted {
            true => self.wait_for_delivery(token, recipients, message),
            false => Ok(()),
        }
    }

    /// The message in chunks (RFC 3030). A pipelining client waits for no reply
    /// until it has sent everything.
    fn send_chunks(&mut self, exchange: &Exchange, size: usize) -> Result<(), String> {
        self.check_results_once()?;
        let token = self.next_token();
        let message = messages::message(&exchange.said, &token, &self.fixture.setup.keys);
        let commands = chunk_commands(message.as_bytes(), size);
        let mut replies = Vec::new();
        if self.dialogue.pipelined {
            self.send_pending()?;
            self.client.send(&commands.concat()).map_err(not_sent)?;
            self.read_pending()?;
            for _ in &commands {
                replies.push(self.client.reply().map_err(no_reply)?);
            }
        } else {
            for command in &commands {
                self.client.send(command).map_err(not_sent)?;
                replies.push(self.client.reply().map_err(no_reply)?);
            }
        }
        let chunks = commands.len();
        self.note(
            "C",
            &format!("[the message \"{}\" in {chunks} chunks]", exchange.said),
        );
        let recipients = std::mem::take(&mut self.recipients);
        let last = replies.pop().ok_or("nothing to send")?;
        self.note("S", &last);
        // If all recipients were refused, so is each chunk, and else none but the last.
        let is_refused = recipients.is_empty();
        for (number, reply) in (1..).zip(&replies) {
            if reply.starts_with('2') == is_refused {
                return Err(format!("chunk {number} was answered {reply}"));
            }
            if is_refused {
                self.note("S", reply);
            }
        }
        self.end_message(exchange, &last, &token, &recipients, &message)
    }

    /// The reply to DATA, which is sent with everything pending.
    fn begin_data(&mut self) -> Result<String, String> {
        let pending = self.pending.len();
        self.pending.push_back(positive("DATA"));
        self.send_pending()?;
        self.pending.truncate(pending);
        self.read_pending()?;
        self.note("C", "DATA");
        let reply = self.client.reply().map_err(no_reply)?;
        self.note("S", &reply);
        Ok(reply)
    }

    fn hang_up(&mut self, name: &str) -> Result<(), String> {
        let token = self.next_token();
        let message = messages::message(name, &token, &self.fixture.setup.keys);
        self.begin_data()?;
        let half = &message.as_bytes()[..message.len() / 2];
        self.client.send(half).map_err(not_sent)?;
        self.note("C", &format!("[half of \"{name}\", and hangs up]"));
        self.fixture.remember(&token, &[]);
        self.client.hang_up();
        Ok(())
    }

    fn next_token(&mut self) -> String {
        self.messages += 1;
        format!("[{}#{}]", self.dialogue.name, self.messages)
    }

    /// Waits until it is delivered to exactly the accepted recipients.
    fn wait_for_delivery(
        &mut self,
        token: &str,
        wanted: &[String],
        message: &str,
    ) -> Result<(), String> {
        let deliveries = self.fixture.sink.wait_for(token, wanted.len());
        let mut wanted = wanted.to_vec();
        wanted.sort();
        let arrived = recipients(&deliveries);
        if arrived != wanted {
            return Err(format!("delivered to {arrived:?} and not to {wanted:?}"));
        }
        let delivery = deliveries.into_iter().next().ok_or("no recipients")?;
        self.delivered = Some((message.replace("\r\n", "\n"), delivery));
        self.results_checked = false;
        Ok(())
    }

    /// If no step checks more: the field is there, first and once.
    fn check_results_once(&mut self) -> Result<(), String> {
        match self.results_checked {
            true => Ok(()),
            false => self.check_results(&[String::new()]),
        }
    }

    fn check_results(&mut self, wanted: &[String]) -> Result<(), String> {
        self.results_checked = true;
        let (sent, delivery) = self.delivered.as_ref().ok_or("nothing was delivered")?;
        let mta = self.fixture.mta.as_ref();
        if wanted.is_empty() {
            return check_untouched(sent, delivery, mta);
        }
        let found = our_only_field(delivery)?;
        check_text(sent, delivery, mta)?;
        self.note("delivered with", &found);
        let missing = |wanted: &&String| !found.contains(&as_complete(wanted));
        match wanted.iter().find(missing) {
            None => Ok(()),
            Some(missing) => Err(format!("no {missing:?} in {found}")),
        }
    }

    fn check_all_results(&mut self, wanted: &[String]) -> Result<(), String> {
        self.results_checked = true;
        let (_, delivery) = self.delivered.as_ref().ok_or("nothing was delivered")?;
        let found = delivery.fields().into_iter().filter_map(|field| {
            let (name, value) = field.split_once(':')?;
            let is_results = name.eq_ignore_ascii_case("Authentication-Results");
            let words: Vec<&str> = value.split_whitespace().collect();
            is_results.then(|| words.join(" "))
        });
        let found: Vec<String> = found.collect();
        found
            .iter()
            .for_each(|field| self.note("delivered with", field));
        let mut pairs = found.iter().zip(wanted);
        match found.len() == wanted.len() && pairs.all(|(found, wanted)| found.contains(wanted)) {
            true => Ok(()),
            false => Err(format!("wanted {wanted:#?}, found {found:#?}")),
        }
    }

    fn check_field(&self, wanted: &str) -> Result<(), String> {
        let (_, delivery) = self.delivered.as_ref().ok_or("nothing was delivered")?;
        let fields = delivery.fields();
        match fields.iter().any(|field| field == wanted) {
            true => Ok(()),
            false => Err(format!("no {wanted:?} in {fields:#?}")),
        }
    }

    fn check_log(&mut self, wanted: &[String]) -> Result<(), String> {
        let helo = format!("helo=<{}>", self.helo);
        let mut words: Vec<&str> = wanted.iter().map(String::as_str).collect();
        if has_complete_results() {
            // Signatures are verified then.
            words.retain(|word| *word != "dkim=not-needed");
        }
        // The line of an exemption has no HELO name.
        let is_exemption = |word: &String| word.starts_with("rule=exempt-") || word == "rule=ipv4";
        let is_exemption = wanted.iter().any(is_exemption);
        if self.dialogue.says_ehlo && !is_exemption {
            words.push(&helo);
        }
        let line = self.fixture.gate(&self.dialogue.gate).log_line(&words);
        let line = line.ok_or_else(|| format!("no line in the log with {words:?}"))?;
        self.note("logged", &line);
        Ok(())
    }

    fn note(&mut self, who: &str, text: &str) {
        for line in text.lines() {
            self.transcript.push_str(&format!("{who}: {line}\n"));
        }
    }
}

/// A BDAT command with its data for each chunk.
fn chunk_commands(message: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = message.len().div_ceil(size);
    let chunks = (1..).zip(message.chunks(size));
    let commands = chunks.map(|(number, chunk)| {
        let last = if number == count { " LAST" } else { "" };
        let command = format!("BDAT {}{last}\r\n", chunk.len());
        [command.as_bytes(), chunk].concat()
    });
    commands.collect()
}

/// Checks that the delivered message is the one sent, below the MTA's own Received field.
fn check_untouched(sent: &str, delivery: &Delivery, mta: &dyn Mta) -> Result<(), String> {
    let arrived = mta.plain_spelling(&delivery.message);
    let above = arrived.strip_suffix(&mta.plain_spelling(sent));
    match above {
        Some(above)
            if !above
                .to_ascii_lowercase()
                .contains("authentication-results") =>
        {
            Ok(())
        }
        _ => Err(format!("sent:\n{sent}\narrived:\n{}", delivery.message)),
    }
}

/// What a complete field has in place of what a dialogue says: of MAIL FROM the domain.
fn as_complete(wanted: &str) -> String {
    let address = wanted.strip_prefix("smtp.mailfrom=");
    match address.and_then(|address| address.split_once('@')) {
        Some((_, domain)) if has_complete_results() => format!("smtp.mailfrom={domain}"),
        _ => wanted.to_owned(),
    }
}

/// Our field, which has to be the first and the only one with our authserv-id.
fn our_only_field(delivery: &Delivery) -> Result<String, String> {
    let fields = delivery.fields();
    let ours: Vec<&String> = fields.iter().filter(|f| is_our_field(f)).collect();
    match ours.as_slice() {
        [only] if fields.first() == Some(*only) => Ok((*only).clone()),
        _ => Err(format!("not one field of ours, and first: {fields:#?}")),
    }
}

/// Nothing is removed except forged fields; only a part of long messages is stored.
fn check_text(sent: &str, delivery: &Delivery, mta: &dyn Mta) -> Result<(), String> {
    let is_forged = |field: &&str| is_our_field(field);
    let forgeries = sent.split("\n\n").next().unwrap_or_default();
    if forgeries.lines().filter(is_forged).count() > 0 || sent.len() > 200_000 {
        return Ok(());
    }
    let arrived = mta.plain_spelling(&delivery.message);
    match arrived.ends_with(&mta.plain_spelling(sent)) {
        true => Ok(()),
        false => Err(format!("sent:\n{sent}\narrived:\n{}", delivery.message)),
    }
}

/// Whether a field has the MTA's authserv-id, in any spelling.
fn is_our_field(field: &str) -> bool {
    let text: String = field
        .to_ascii_lowercase()
        .split(['"', '\n', '\t', ' '])
        .collect();
    text.starts_with(&format!("authentication-results:{AUTHSERV_ID};"))
}

fn positive(said: &str) -> Exchange {
    Exchange {
        said: said.to_owned(),
        reply: None,
    }
}

fn no_reply(error: io::Error) -> String {
    format!("no reply: {error}")
}

fn not_sent(error: io::Error) -> String {
    format!("can't send: {error}")
}
