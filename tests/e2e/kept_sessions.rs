//! SMTP sessions that clients keep open for several messages, as large senders do,
//! while the daemon behind the mail server is replaced.

use super::{
    client::{Security, SmtpClient},
    messages,
    sink::Delivery,
    support::daemon::Daemon,
    world::{COMMON, KEPT_SESSIONS, RESTARTED, World, recipients},
};
use nix::sys::signal::Signal;
use std::{
    io,
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

const CLOSING: &str = "421 4.3.2 Service not available, closing transmission channel";

/// What both mail servers do with our 421: they pass it on, close the connection,
/// and answer nothing that the client has sent after it.
pub fn drain_ends_them(world: &World) -> Result<(), String> {
    let daemon = start(world)?;
    let mut plain = session(world, KEPT_SESSIONS, client_address(1))?;
    let mut pipelining = session(world, KEPT_SESSIONS, client_address(1))?;
    let mut after_a_message = session(world, KEPT_SESSIONS, client_address(1))?;
    let mut in_transaction = session(world, KEPT_SESSIONS, client_address(1))?;
    let mut ipv4 = session(world, KEPT_SESSIONS, [198, 51, 100, 10].into())?;
    let mail = "MAIL FROM:<a@ip6.example>";
    let rcpt = "RCPT TO:<b@open.example>";
    for client in [&mut after_a_message, &mut in_transaction] {
        for command in [mail, rcpt, "DATA"] {
            say(client, command).map_err(text)?;
        }
    }
    expect(&say(&mut after_a_message, ".").map_err(text)?, "250 ")?;

    daemon.signal(Signal::SIGTERM);
    daemon.log().find(&["stopping"]).ok_or("no drain")?;
    let ended = |client: &mut SmtpClient, commands: &str| {
        client.send(commands.as_bytes()).map_err(text)?;
        expect(&client.reply().map_err(text)?, CLOSING)?;
        match client.reply() {
            Ok(more) => Err(format!("after 421: {more:?}")),
            Err(_closed) => Ok(()),
        }
    };
    ended(&mut plain, &format!("{mail}\r\n"))?;
    ended(&mut pipelining, &format!("{mail}\r\n{rcpt}\r\nDATA\r\n"))?;
    ended(&mut after_a_message, &format!("{mail}\r\n"))?;
    expect(&say(&mut in_transaction, ".").map_err(text)?, "250 ")?;
    ended(&mut in_transaction, &format!("{mail}\r\n"))?;
    // sixgate accepted the whole connection, and the MTA needs it no more.
    for command in [mail, rcpt, "DATA"] {
        say(&mut ipv4, command).map_err(text)?;
    }
    expect(&say(&mut ipv4, ".").map_err(text)?, "250 ")?;
    stop(daemon)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

const CLIENTS: u8 = 8;
const RESTARTS: usize = 4;

/// With the listening socket passed on by a service manager.
pub fn survive_restarts(world: &World) -> Result<(), String> {
    let _alone = world.ground.turn.alone();
    let socket = world.gate(RESTARTED).passed_on.as_ref();
    let socket = socket.ok_or("no socket")?;
    let mut daemon = Daemon::start_with_passed_on(socket, COMMON);
    let load = Load::new("[kept-restarts]", RESTARTED);
    thread::scope(|scope| {
        load.begin(scope, world);
        let restarted = (0..RESTARTS).try_for_each(|_| {
            load.wait_for_more(100)?;
            daemon.signal(Signal::SIGTERM);
            daemon.log().find(&["all milter connections are closed"]);
            daemon = Daemon::start_with_passed_on(socket, COMMON);
            Ok(())
        });
        let rested = restarted.and_then(|()| load.wait_for_more(100));
        load.end();
        rested
    })?;
    load.judge(world, "SIGTERM restarts", RESTARTS, usize::from(CLIENTS))?;
    stop(daemon)
}

/// Clients that keep their sessions and open another one only after 421 or a closed
/// connection, and what they were answered.
struct Load {
    token: &'static str,
    gate: &'static str,
    ended: AtomicBool,
    accepted: AtomicUsize,
    told_421: AtomicUsize,
    told_451: AtomicUsize,
    /// Closed without 421.
    closed: AtomicUsize,
    failed: AtomicUsize,
}

impl Load {
    fn new(token: &'static str, gate: &'static str) -> Self {
        Self {
            token,
            gate,
            ended: AtomicBool::default(),
            accepted: AtomicUsize::default(),
            told_421: AtomicUsize::default(),
            told_451: AtomicUsize::default(),
            closed: AtomicUsize::default(),
            failed: AtomicUsize::default(),
        }
    }

    fn begin<'scope>(&'scope self, scope: &'scope thread::Scope<'scope, '_>, world: &'scope World) {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                if let Err(error) = self.send_until_ended(world, client) {
                    eprintln!("a client failed: {error}");
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Waits until that many more messages were accepted.
    fn wait_for_more(&self, messages: usize) -> Result<(), String> {
        let wanted = self.accepted.load(Ordering::Relaxed) + messages;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.accepted.load(Ordering::Relaxed) < wanted {
            if Instant::now() > deadline {
                return Err(format!("{} messages in 60 s", self.summary()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn send_until_ended(&self, world: &World, client: u8) -> Result<(), String> {
        let message = messages::message("plain", self.token, &world.ground.keys);
        let message = messages::stuffed(&message);
        let mut connection = None;
        while !self.ended.load(Ordering::Relaxed) {
            let mut smtp = match connection.take() {
                Some(smtp) => smtp,
                None => session(world, self.gate, client_address(client))?,
            };
            let mut reply = Ok(String::new());
            for line in [
                "MAIL FROM:<a@ip6.example>",
                "RCPT TO:<b@open.example>",
                "DATA",
                message.trim_end(),
            ] {
                reply = say(&mut smtp, line);
                if !reply
                    .as_ref()
                    .is_ok_and(|reply| reply.starts_with(['2', '3']))
                {
                    break;
                }
            }
            match reply {
                Ok(reply) if reply.starts_with("250 ") => {
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    connection = Some(smtp);
                }
                Ok(reply) if reply.starts_with("421 ") => {
                    self.told_421.fetch_add(1, Ordering::Relaxed);
                }
                Ok(reply) if reply.starts_with("451 ") => {
                    self.told_451.fetch_add(1, Ordering::Relaxed);
                    say(&mut smtp, "RSET").map_err(text)?;
                    connection = Some(smtp);
                    // As a sender with more mail in its queue.
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(reply) => return Err(reply),
                Err(_closed) => _ = self.closed.fetch_add(1, Ordering::Relaxed),
            }
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        format!(
            "{} accepted, {} answered 451, {} answered 421, {} closed without a reply",
            count(&self.accepted),
            count(&self.told_451),
            count(&self.told_421),
            count(&self.closed)
        )
    }

    /// Each session was told 421 at most once per replacement of the daemon, none
    /// 451, and what was accepted was delivered with our results.
    fn judge(
        &self,
        world: &World,
        what: &str,
        times: usize,
        sessions: usize,
    ) -> Result<(), String> {
        world.wait_until_idle();
        let accepted = self.accepted.load(Ordering::Relaxed);
        let deliveries = world.sink.wait_for(self.token, accepted);
        let unchecked = deliveries.iter().filter(|d| !was_checked(d)).count();
        let delivered = recipients(&deliveries).len();
        let summary = self.summary();
        eprintln!(
            "{}: {times} {what}, {CLIENTS} clients with kept sessions: {summary}; {delivered} delivered, {unchecked} of \
             them unchecked",
            world.kind
        );
        let told_421 = self.told_421.load(Ordering::Relaxed);
        let holds = self.failed.load(Ordering::Relaxed) == 0
            && self.told_451.load(Ordering::Relaxed) == 0
            && self.closed.load(Ordering::Relaxed) == 0
            && told_421 <= times * sessions
            && delivered == accepted
            && unchecked == 0;
        if holds { Ok(()) } else { Err(summary) }
    }
}

fn was_checked(delivery: &Delivery) -> bool {
    let fields = delivery.fields();
    fields
        .iter()
        .any(|field| field.starts_with("Authentication-Results: ") && field.contains("spf=pass"))
}

/// A daemon with a socket of its own.
fn start(world: &World) -> Result<Daemon, String> {
    let socket = &world.gate(KEPT_SESSIONS).milter;
    Ok(Daemon::start_at(socket, COMMON))
}

fn stop(daemon: Daemon) -> Result<(), String> {
    match daemon.stop() {
        status if status.success() => Ok(()),
        status => Err(format!("the daemon ended with {status}")),
    }
}

/// 2001:db8::10 has a PTR record and may send for ip6.example.
fn client_address(_client: u8) -> IpAddr {
    [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10].into()
}

/// A client that has said EHLO.
fn session(world: &World, gate: &str, from: IpAddr) -> Result<SmtpClient, String> {
    let to = world.address(gate, from);
    let mut client = SmtpClient::connect(from, to, &Security::Plain).map_err(text)?;
    client.reply().map_err(text)?;
    say(&mut client, "EHLO mail.sender.example").map_err(text)?;
    Ok(client)
}

fn say(client: &mut SmtpClient, line: &str) -> io::Result<String> {
    client.send(format!("{line}\r\n").as_bytes())?;
    client.reply()
}

fn expect(reply: &str, beginning: &str) -> Result<(), String> {
    match reply.starts_with(beginning) {
        true => Ok(()),
        false => Err(format!("{reply:?} instead of {beginning:?}")),
    }
}
