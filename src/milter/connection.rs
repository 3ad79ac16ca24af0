//! One milter connection: translates commands to session events, and responses to replies.
//!
//! It enforces the order of commands and the timeouts, and sends a reply when the MTA waits
//! for one. Decisions are made by the session.

use super::{
    command::{Command, declared_size},
    drain::{Drain, Draining, Grace},
    error::ConnectionError,
    frame::Frames,
    macros::Macros,
    negotiation::Negotiated,
    session::{MailCommand, Response, Session},
    wire::Wire,
};
use crate::{
    address::{Client, ClientAddr, Recipient, ReversePath},
    dns::Resolve,
    reply::Reply,
    snapshot::Snapshot,
};
use indymilter::{MacroStage, ProtoOpts, message::command::OptNegPayload};
use std::{borrow::Cow, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    select,
    sync::watch,
};

/// A connection of an MTA.
pub struct Connection<S, R> {
    wire: Wire<S>,
    grace: Grace,
    drain: Arc<Drain>,
    current: watch::Receiver<Arc<Snapshot<R>>>,
    negotiated: Negotiated,
    macros: Macros,
    phase: Phase,
    accepted: Accepted,
    /// The refusal at the end of headers. The MTA does not wait for a reply there, so it is
    /// sent as the reply to the next command.
    pending_refusal: Option<Reply>,
    /// Set by CONNECT, unless the whole connection was accepted.
    session: Option<Box<Session<R>>>,
}

/// What was accepted without a check. Most MTAs send nothing more of it. What others send,
/// such as Stalwart, is answered with continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepted {
    Nothing,
    /// The mail transaction, at MAIL.
    Transaction,
    /// The connection, at CONNECT.
    Connection,
}

/// The progress of the connection and its mail transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Before negotiation.
    Connected,
    /// Negotiated, before CONNECT.
    Negotiated,
    /// No checked mail transaction is in progress.
    Idle,
    /// MAIL was accepted.
    Mail,
    /// At least one recipient was accepted.
    Recipients,
    /// A header field has arrived.
    Header,
    /// The header is complete; the body follows.
    Body,
    /// The MTA sent QUIT.
    Ended,
}

impl<S, R> Connection<S, R>
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Resolve,
{
    /// Creates a connection, before negotiation. Its session uses the snapshot that is
    /// current when the client connects. Mail transactions are registered with `drain`. If
    /// the MTA sends or reads nothing for `idle_timeout`, the connection is closed.
    pub fn new(
        stream: S,
        idle_timeout: Duration,
        draining: Draining,
        current: watch::Receiver<Arc<Snapshot<R>>>,
        drain: Arc<Drain>,
    ) -> Self {
        Self {
            wire: Wire::new(stream, idle_timeout),
            grace: Grace::new(draining, &drain),
            drain,
            current,
            negotiated: Negotiated::NOTHING,
            macros: Macros::default(),
            phase: Phase::Connected,
            accepted: Accepted::Nothing,
            pending_refusal: None,
            session: None,
        }
    }

    /// Serves the MTA until it sends QUIT, or during the drain until no mail transaction is in
    /// progress and the grace period is over.
    ///
    /// # Errors
    /// If the MTA closes the connection, exceeds the idle timeout or violates the protocol.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function that takes self by value reserves memory for it twice"
    )]
    pub fn serve(mut self) -> impl Future<Output = Result<(), ConnectionError>> {
        async move { self.serve_all().await }
    }

    async fn serve_all(&mut self) -> Result<(), ConnectionError> {
        let mut frames = Frames::default();
        while self.phase != Phase::Ended {
            if !self.await_frame(&mut frames).await? {
                break;
            }
            let was_mid_frame = frames.is_mid_frame();
            if let Some(frame) = frames.next()? {
                self.handle(Command::parse(frame)?).await?;
            }
            // Processing its first part may have taken long, at the end of headers.
            if frames.is_mid_frame() && !was_mid_frame {
                self.wire.expect_frame();
            }
        }
        Ok(())
    }

    /// Waits for a frame; returns `false` if the connection has to be closed. If none has
    /// been received yet, writes the replies, and the session works ahead.
    async fn await_frame(&mut self, frames: &mut Frames) -> Result<bool, ConnectionError> {
        let has_next = frames.has_next()?;
        if !has_next || self.wire.replies.should_flush() {
            self.wire.flush().await?;
            if !frames.is_mid_frame() {
                self.wire.expect_frame();
            }
        }
        if has_next {
            return Ok(true);
        }
        if let Some(session) = &mut self.session {
            session.work_ahead();
        }
        self.receive(frames).await
    }

    /// Reads until there is a frame; returns `false` if the connection has to be closed.
    async fn receive(&mut self, frames: &mut Frames) -> Result<bool, ConnectionError> {
        let is_idle = self.phase <= Phase::Idle;
        let is_accepted = self.phase == Phase::Idle && self.session.is_none();
        while !frames.has_next()? {
            select! {
                biased;
                // First, so that an MTA that keeps sending can't delay it.
                () = self.grace.expired(is_accepted), if is_idle => return Ok(false),
                filled = self.wire.fill(frames, is_idle) => filled?,
            }
        }
        Ok(true)
    }

    async fn handle(&mut self, command: Command<'_>) -> Result<(), ConnectionError> {
        if self.accepted != Accepted::Nothing && self.is_accepted(&command) {
            self.respond_to_accepted(&command);
            return Ok(());
        }
        match command {
            Command::Negotiate(offer) => self.negotiate(&offer)?,
            Command::Macros(packet) => self.macros.define(packet),
            Command::Connect { name, addr } => {
                self.expect(self.phase == Phase::Negotiated, "CONNECT")?;
                self.connect(name, addr);
            }
            Command::Helo(name) => self.helo(name)?,
            Command::Mail(argument, parameters) => self.mail(argument, parameters)?,
            // Futures that wait for lookups are large, and most connections are idle.
            Command::Rcpt(argument) => Box::pin(self.rcpt(argument)).await?,
            Command::Data => self.data()?,
            Command::Header(name, value) => self.header(name, value)?,
            Command::EndOfHeaders => Box::pin(self.end_of_headers()).await?,
            Command::BodyPart(part) => _ = self.body_part(part)?,
            Command::Body(last_part) => self.body(last_part)?,
            Command::EndOfMessage(piece) => Box::pin(self.end_of_message(piece)).await?,
            Command::Unknown => self.unknown()?,
            Command::Abort => self.abort(),
            Command::Quit => self.phase = Phase::Ended,
            Command::QuitForNext => {
                self.abort();
                self.session = None;
                self.accepted = Accepted::Nothing;
                self.macros = Macros::default();
                self.phase = self.phase.min(Phase::Negotiated);
            }
        }
        Ok(())
    }

    /// Returns whether a command belongs to what was accepted.
    fn is_accepted(&self, command: &Command<'_>) -> bool {
        match command {
            Command::Negotiate(_)
            | Command::Macros(_)
            | Command::Connect { .. }
            | Command::Abort
            | Command::Quit
            | Command::QuitForNext => false,
            Command::Helo(_) | Command::Mail(..) => self.accepted == Accepted::Connection,
            Command::Rcpt(_)
            | Command::Data
            | Command::Header(..)
            | Command::EndOfHeaders
            | Command::BodyPart(_)
            | Command::Body(_)
            | Command::EndOfMessage(_)
            | Command::Unknown => true,
        }
    }

    /// Answers a command of what was accepted, without reading its data.
    fn respond_to_accepted(&mut self, command: &Command<'_>) {
        match command {
            Command::BodyPart(_) => {}
            Command::Body(_) => self.respond_to_body(false),
            Command::Helo(_) => self.continue_if_awaited(ProtoOpts::NOREPLY_HELO),
            Command::Header(..) => self.continue_if_awaited(ProtoOpts::NOREPLY_HEADER),
            Command::EndOfHeaders => self.continue_if_awaited(ProtoOpts::NOREPLY_EOH),
            _ => self.wire.replies.respond(&Response::Continue),
        }
        if matches!(command, Command::EndOfMessage(_)) && self.accepted == Accepted::Transaction {
            self.accepted = Accepted::Nothing;
        }
    }

    fn negotiate(&mut self, offer: &OptNegPayload) -> Result<(), ConnectionError> {
        self.expect(self.phase == Phase::Connected, "a negotiation")?;
        let snapshot = self.current.borrow();
        let results = &snapshot.config.authentication_results;
        self.negotiated = Negotiated::from_offer(offer, results)?;
        self.negotiated.log(results);
        let tls_exempts = snapshot.config.policy.exempts_by_tls();
        self.negotiated.answer(tls_exempts, &mut self.wire.replies);
        self.phase = Phase::Negotiated;
        Ok(())
    }

    /// Replies with continue if the MTA waits for a reply.
    fn continue_if_awaited(&mut self, no_reply: ProtoOpts) {
        if self.negotiated.awaits_reply(no_reply) {
            self.wire.replies.respond(&Response::Continue);
        }
    }

    fn expect(&self, is_expected: bool, what: &'static str) -> Result<(), ConnectionError> {
        match is_expected {
            true => Ok(()),
            false => Err(ConnectionError::Unexpected(what)),
        }
    }

    fn connect(&mut self, name: &[u8], addr: ClientAddr) {
        self.macros.enter(MacroStage::Connect);
        let client = Client {
            addr,
            name: host_name(name),
            mta: self.macros.get("j").map(Cow::into_owned),
        };
        let snapshot = Arc::clone(&self.current.borrow());
        let mta = self.negotiated.abilities();
        let session = Session::connect(snapshot, Arc::clone(&self.drain), client, mta);
        self.accepted = match session {
            Some(_) => Accepted::Nothing,
            None => Accepted::Connection,
        };
        self.wire.replies.respond(&match session {
            Some(_) => Response::Continue,
            None => Response::Accept,
        });
        self.session = session.map(Box::new);
        self.phase = Phase::Idle;
    }

    fn helo(&mut self, name: &[u8]) -> Result<(), ConnectionError> {
        self.macros.enter(MacroStage::Helo);
        self.abort();
        let session = session(&mut self.session, "HELO")?;
        session.helo(String::from_utf8_lossy(name).into_owned());
        self.continue_if_awaited(ProtoOpts::NOREPLY_HELO);
        Ok(())
    }

    fn mail(&mut self, argument: &[u8], parameters: &[u8]) -> Result<(), ConnectionError> {
        self.macros.enter(MacroStage::Mail);
        self.abort();
        let command = MailCommand {
            reverse_path: ReversePath::parse(&String::from_utf8_lossy(argument)),
            authenticated: self.macros.get("{auth_authen}").is_some(),
            tls: self.macros.tls(),
            certificate: self.macros.certificate().map(Cow::into_owned),
            size: declared_size(parameters),
        };
        let response = session(&mut self.session, "MAIL")?.mail(command);
        (self.phase, self.accepted) = match response {
            Response::Continue => (Phase::Mail, Accepted::Nothing),
            Response::Accept => (Phase::Idle, Accepted::Transaction),
            Response::Refuse(_) => (Phase::Idle, Accepted::Nothing),
        };
        self.wire.replies.respond(&response);
        Ok(())
    }

    async fn rcpt(&mut self, argument: &[u8]) -> Result<(), ConnectionError> {
        self.macros.enter(MacroStage::Rcpt);
        self.expect_phase(Phase::Mail, Phase::Recipients);
        let resolved = self.macros.resolved_recipient();
        let argument = String::from_utf8_lossy(argument);
        let recipient = Recipient::parse(&argument, resolved.as_deref());
        let queue_id = self.macros.get("i");
        let session = session(&mut self.session, "RCPT")?;
        let response = session.rcpt(recipient, queue_id.as_deref()).await;
        if response == Response::Continue {
            self.phase = Phase::Recipients;
        }
        self.wire.replies.respond(&response);
        Ok(())
    }

    /// DATA decides nothing. MTAs that do not support NO_DATA send it.
    fn data(&mut self) -> Result<(), ConnectionError> {
        let is_wanted = !self.negotiated.excludes(ProtoOpts::NO_DATA);
        self.expect(is_wanted, "DATA")?;
        session(&mut self.session, "DATA")?;
        self.expect_phase(Phase::Recipients, Phase::Recipients);
        self.wire.replies.respond(&Response::Continue);
        Ok(())
    }

    /// An unknown SMTP command decides nothing.
    fn unknown(&mut self) -> Result<(), ConnectionError> {
        let is_wanted = !self.negotiated.excludes(ProtoOpts::NO_UNKNOWN);
        self.expect(is_wanted, "an unknown SMTP command")?;
        session(&mut self.session, "an unknown SMTP command")?;
        self.wire.replies.respond(&Response::Continue);
        Ok(())
    }

    fn header(&mut self, name: &[u8], value: &[u8]) -> Result<(), ConnectionError> {
        if self.expect_phase(Phase::Recipients, Phase::Header) {
            self.phase = Phase::Header;
        }
        let session = session(&mut self.session, "a header field")?;
        match self.negotiated.abilities().keeps_leading_space {
            true => session.header(name, value),
            // Nearly every field has one, and simple canonicalization needs it.
            false => session.header(name, &[b" ", value].concat()),
        }
        self.continue_if_awaited(ProtoOpts::NOREPLY_HEADER);
        Ok(())
    }

    async fn end_of_headers(&mut self) -> Result<(), ConnectionError> {
        self.expect_phase(Phase::Recipients, Phase::Header);
        let queue_id = self.macros.get("i");
        let session = session(&mut self.session, "the end of headers")?;
        let response = session.end_of_headers(queue_id.as_deref()).await;
        self.phase = Phase::Body;
        self.pending_refusal = match response {
            Response::Refuse(reply) => Some(reply),
            // Accepting at the next command would accept the message.
            Response::Continue | Response::Accept => None,
        };
        if self.negotiated.awaits_reply(ProtoOpts::NOREPLY_EOH) && !self.send_pending_refusal() {
            self.wire.replies.respond(&Response::Continue);
        }
        Ok(())
    }

    fn body(&mut self, last_part: &[u8]) -> Result<(), ConnectionError> {
        let is_more_needed = self.body_part(last_part)?;
        if !self.send_pending_refusal() {
            self.respond_to_body(is_more_needed);
        }
        Ok(())
    }

    fn respond_to_body(&mut self, is_more_needed: bool) {
        let needs_more = is_more_needed || !self.negotiated.can_skip();
        self.wire.replies.body(needs_more);
    }

    /// Passes a part of the body to the session; returns whether more of the body is needed.
    fn body_part(&mut self, part: &[u8]) -> Result<bool, ConnectionError> {
        if self.pending_refusal.is_some() {
            return Ok(false);
        }
        self.expect_phase(Phase::Recipients, Phase::Body);
        Ok(session(&mut self.session, "a body")?.body(part))
    }

    async fn end_of_message(&mut self, last_piece: &[u8]) -> Result<(), ConnectionError> {
        if self.send_pending_refusal() {
            return Ok(());
        }
        self.expect_phase(Phase::Recipients, Phase::Body);
        let session = session(&mut self.session, "the end of a message")?;
        if !last_piece.is_empty() {
            session.body(last_piece);
        }
        let queue_id = self.macros.get("i");
        let decision = pin!(session.end_of_message(queue_id.as_deref()));
        let (response, edits) = self.wire.report_progress(decision).await?;
        self.wire.replies.edit(&edits);
        self.wire.replies.respond(&response);
        self.phase = Phase::Idle;
        Ok(())
    }

    fn abort(&mut self) {
        if let Some(session) = &mut self.session {
            session.abort();
        }
        if self.accepted == Accepted::Transaction {
            self.accepted = Accepted::Nothing;
        }
        self.pending_refusal = None;
        self.phase = self.phase.min(Phase::Idle);
    }

    /// Sends the pending refusal as the reply to this command, which ends the mail
    /// transaction. Returns `false` if there is none.
    fn send_pending_refusal(&mut self) -> bool {
        let Some(reply) = self.pending_refusal.take() else {
            return false;
        };
        self.wire.replies.respond(&Response::Refuse(reply));
        self.phase = Phase::Idle;
        true
    }

    /// Returns whether the phase is in this range. If not, the mail transaction ends, and the
    /// session answers commands that need one with a temporary failure.
    fn expect_phase(&mut self, from: Phase, to: Phase) -> bool {
        let is_expected = (from..=to).contains(&self.phase);
        if !is_expected {
            self.abort();
        }
        is_expected
    }
}

/// Returns the session, which the command `what` needs.
fn session<'a, R>(
    session: &'a mut Option<Box<Session<R>>>,
    what: &'static str,
) -> Result<&'a mut Session<R>, ConnectionError> {
    session
        .as_deref_mut()
        .ok_or(ConnectionError::Unexpected(what))
}

/// Returns the host name of CONNECT. An address in brackets means that the MTA found none.
fn host_name(name: &[u8]) -> String {
    match String::from_utf8_lossy(name) {
        name if name.is_empty() || name.starts_with('[') => "unknown".to_owned(),
        name => name.into_owned(),
    }
}
