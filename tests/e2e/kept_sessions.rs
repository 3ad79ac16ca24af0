//! SMTP sessions that clients keep open for several messages, as large senders do,
//! while the daemon behind the mail server is replaced.

use super::{
    client::{Security, SmtpClient},
    fixture::{COMMON, Fixture, KEPT_SESSIONS, RESTARTED, recipients},
    messages,
    sender::Sender,
    sink::Delivery,
    support::daemon::{Daemon, Successor},
};
use nix::sys::signal::Signal;
use std::{
    fs, io,
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

const CLOSING: &str = "421 4.3.2 Service not available, closing transmission channel";

/// Both mail servers pass on sixgate's 421, close the connection, and do not answer
/// commands that the client has sent after it.
pub fn drain_ends_them(fixture: &Fixture) -> Result<(), String> {
    // The other scenarios have a daemon at the same socket.
    let _shared = fixture.setup.turn.shared();
    let daemon = start(fixture)?;
    let mut plain = session(fixture, KEPT_SESSIONS, client_address(1))?;
    let mut pipelining = session(fixture, KEPT_SESSIONS, client_address(1))?;
    let mut after_a_message = session(fixture, KEPT_SESSIONS, client_address(1))?;
    let mut in_transaction = session(fixture, KEPT_SESSIONS, client_address(1))?;
    let mut ipv4 = session(fixture, KEPT_SESSIONS, [198, 51, 100, 10].into())?;
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
    // sixgate accepted the whole connection, and the MTA no longer needs it.
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

/// With a listening socket from a service manager.
pub fn survive_restarts(fixture: &Fixture) -> Result<(), String> {
    let _alone = fixture.setup.turn.alone();
    let socket = fixture.gate(RESTARTED).passed_on.as_ref();
    let socket = socket.ok_or("no socket")?;
    let mut daemon = Daemon::start_with_passed_on(socket, COMMON);
    let load = Load::new("[kept-restarts]", RESTARTED);
    thread::scope(|scope| {
        load.begin(scope, fixture);
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
    load.judge(fixture, "SIGTERM restarts", RESTARTS, usize::from(CLIENTS))?;
    stop(daemon)
}

const HANDOVERS: usize = 20;

/// No client is affected, neither one that keeps its session nor one that opens others.
pub fn survive_handovers(fixture: &Fixture) -> Result<(), String> {
    let _alone = fixture.setup.turn.alone();
    let daemon = start(fixture)?;
    let mut load = Load::new("[kept-handovers]", KEPT_SESSIONS);
    load.messages_in_a_session = Some(5);
    let mut processes = Vec::new();
    thread::scope(|scope| {
        load.begin(scope, fixture);
        let handed_over = (0..HANDOVERS).try_for_each(|_| {
            load.wait_for_more(50)?;
            let current = processes.last().map_or(daemon.pid(), Successor::pid);
            Successor::signal_to(current, Signal::SIGUSR2);
            processes.push(daemon.wait_for_successor());
            Ok(())
        });
        let rested = handed_over.and_then(|()| load.wait_for_more(100));
        load.end();
        rested
    })?;
    load.judge(fixture, "handovers", HANDOVERS, 0)
}

/// A sending Postfix with its default session cache defers nothing.
pub fn are_kept_by_postfix_over_handovers(fixture: &Fixture) -> Result<(), String> {
    const MESSAGES: usize = 600;
    let _alone = fixture.setup.turn.alone();
    let token = "[postfix-handovers]";
    let daemon = start(fixture)?;
    let to = fixture.address(KEPT_SESSIONS, client_address(0));
    let sender = Sender::start(&fixture.directory().join("handover-sender"), to).map_err(text)?;
    let message = messages::message("plain", token, &fixture.setup.keys);
    let mut processes = Vec::new();
    thread::scope(|scope| {
        let fed = scope.spawn(|| sender.feed(&message, MESSAGES));
        for number in 1..=HANDOVERS {
            fixture
                .sink
                .wait_for(token, number * MESSAGES / (HANDOVERS + 2));
            let current = processes.last().map_or(daemon.pid(), Successor::pid);
            Successor::signal_to(current, Signal::SIGUSR2);
            processes.push(daemon.wait_for_successor());
        }
        fed.join().map_err(|_| "a panic".to_owned())?.map_err(text)
    })?;
    sender.wait_until_removed(MESSAGES)?;
    fixture.wait_until_idle();
    let deliveries = fixture.sink.wait_for(token, MESSAGES);
    let unchecked = deliveries.iter().filter(|d| !was_checked(d)).count();
    let (delivered, deferrals) = (recipients(&deliveries).len(), sender.deferrals());
    eprintln!(
        "{}: {HANDOVERS} handovers, a Postfix with its session cache: {MESSAGES} sent, {delivered} \
         delivered, {deferrals} times put off, {unchecked} unchecked",
        fixture.kind
    );
    match (delivered, deferrals, unchecked) {
        (MESSAGES, 0, 0) => Ok(()),
        _ => Err(format!(
            "{delivered} delivered, {deferrals} put off, {unchecked} unchecked"
        )),
    }
}

/// Sessions that last longer than the handover timeout end as at a restart.
pub fn end_after_the_handover_timeout(fixture: &Fixture) -> Result<(), String> {
    let _alone = fixture.setup.turn.alone();
    let more = "limits: {handover_timeout: 1s, drain_grace: 2s}\n";
    let socket = &fixture.gate(KEPT_SESSIONS).milter;
    let daemon = Daemon::start_at(socket, &format!("{COMMON}{more}"));
    let open = || session(fixture, KEPT_SESSIONS, client_address(1));
    let (mut in_time, mut within_grace, mut idle) = (open()?, open()?, open()?);
    let mut in_transaction = open()?;
    let mail = "MAIL FROM:<a@ip6.example>";
    let rcpt = "RCPT TO:<b@open.example>";
    for command in [mail, rcpt, "DATA"] {
        say(&mut in_transaction, command).map_err(text)?;
    }
    let _new = daemon.hand_over();
    for command in [mail, rcpt, "DATA", "."] {
        let reply = say(&mut in_time, command).map_err(text)?;
        if reply.starts_with(['4', '5']) {
            return Err(reply);
        }
    }
    let over = daemon.log().find(&["limits.handover_timeout is over"]);
    over.ok_or("the timeout is not over")?;
    for client in [&mut in_time, &mut within_grace] {
        expect_closing(client, mail)?;
    }
    thread::sleep(Duration::from_millis(2500));
    // The mail server has lost its milter; Postfix 3.10 then closes the session.
    let lost = say(&mut idle, mail).map_err(text)?;
    if !lost.starts_with("421 4.7.1 ") {
        expect(&lost, "451 ")?;
    }
    expect(
        &say(&mut in_transaction, "Subject: x\r\n\r\n.").map_err(text)?,
        "250 ",
    )?;
    expect(&say(&mut in_transaction, mail).map_err(text)?, CLOSING)?;
    let mut other = open()?;
    expect(&say(&mut other, mail).map_err(text)?, "250 ")
}

/// Milliseconds after SIGUSR2 at which a process is killed: while the new one starts, and
/// after it has taken over.
const KILLED_AFTER: [u64; 8] = [0, 2, 5, 10, 15, 20, 40, 100];

/// Whichever process is killed and when, the other one keeps serving, and no unchecked mail
/// is delivered.
pub fn survive_the_death_of_either_process(fixture: &Fixture) -> Result<(), String> {
    let _alone = fixture.setup.turn.alone();
    let daemon = start(fixture)?;
    let mut load = Load::new("[killed-handovers]", KEPT_SESSIONS);
    load.messages_in_a_session = Some(5);
    load.is_rough = true;
    let mut current = Successor::of(daemon.pid());
    thread::scope(|scope| {
        load.begin(scope, fixture);
        let killed = KILLED_AFTER.iter().try_for_each(|delay| {
            for is_old_killed in [false, true] {
                load.wait_for_more(50)?;
                let _ = daemon.pending_notifications();
                current.signal(Signal::SIGUSR2);
                let new = child_of(current.pid())?;
                thread::sleep(Duration::from_millis(*delay));
                match is_old_killed {
                    true => current = new,
                    // Dropping a process kills it.
                    false => drop(new),
                }
            }
            load.wait_for_more(50)
        });
        let _ = daemon.pending_notifications();
        load.end();
        killed
    })?;
    load.judge(
        fixture,
        "handovers with a process killed",
        2 * KILLED_AFTER.len(),
        0,
    )
}

/// The process that it has just started.
fn child_of(pid: u32) -> Result<Successor, String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(text)?;
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok());
            if let Some(child) = children.map(Successor::of).find(Successor::is_running) {
                return Ok(child);
            }
        }
    }
    Err("no new process".to_owned())
}

/// Clients that keep their sessions and open another one only after 421 or a closed
/// connection, and the replies that they got.
struct Load {
    token: &'static str,
    gate: &'static str,
    /// Half of the clients end their session after this many messages, and all do after
    /// three answers of 451.
    messages_in_a_session: Option<usize>,
    /// Whether processes are killed, so that 451 and closed connections are expected.
    is_rough: bool,
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
            messages_in_a_session: None,
            is_rough: false,
            ended: AtomicBool::default(),
            accepted: AtomicUsize::default(),
            told_421: AtomicUsize::default(),
            told_451: AtomicUsize::default(),
            closed: AtomicUsize::default(),
            failed: AtomicUsize::default(),
        }
    }

    fn begin<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        fixture: &'scope Fixture,
    ) {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                if let Err(error) = self.send_until_ended(fixture, client) {
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

    fn send_until_ended(&self, fixture: &Fixture, client: u8) -> Result<(), String> {
        let message = messages::message("plain", self.token, &fixture.setup.keys);
        let message = messages::stuffed(&message);
        let mut connection = None;
        let (mut in_session, mut failures) = (0, 0);
        while !self.ended.load(Ordering::Relaxed) {
            let mut smtp = match connection.take() {
                Some(smtp) => smtp,
                None => session(fixture, self.gate, client_address(client))?,
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
                    (in_session, failures) = (in_session + 1, 0);
                    let is_last = self
                        .messages_in_a_session
                        .is_some_and(|most| client % 2 == 1 && in_session >= most);
                    if is_last {
                        say(&mut smtp, "QUIT").map_err(text)?;
                        in_session = 0;
                    } else {
                        connection = Some(smtp);
                    }
                }
                Ok(reply) if reply.starts_with("421 ") => {
                    self.told_421.fetch_add(1, Ordering::Relaxed);
                }
                Ok(reply) if reply.starts_with("451 ") => {
                    self.told_451.fetch_add(1, Ordering::Relaxed);
                    failures += 1;
                    // Postfix 3.10 closes a session that has lost its milter.
                    let is_open = say(&mut smtp, "RSET").is_ok();
                    if is_open && (self.messages_in_a_session.is_none() || failures < 3) {
                        connection = Some(smtp);
                    }
                    // Like a sender with more mail in its queue.
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

    /// Each session got 421 at most once per replacement of the daemon, none
    /// 451, and what was accepted was delivered with our results.
    fn judge(
        &self,
        fixture: &Fixture,
        what: &str,
        times: usize,
        sessions: usize,
    ) -> Result<(), String> {
        fixture.wait_until_idle();
        let accepted = self.accepted.load(Ordering::Relaxed);
        let deliveries = fixture.sink.wait_for(self.token, accepted);
        let unchecked = deliveries.iter().filter(|d| !was_checked(d)).count();
        let delivered = recipients(&deliveries).len();
        let summary = self.summary();
        eprintln!(
            "{}: {times} {what}, {CLIENTS} clients with kept sessions: {summary}; {delivered} delivered, {unchecked} of \
             them unchecked",
            fixture.kind
        );
        let told_421 = self.told_421.load(Ordering::Relaxed);
        if self.is_rough {
            let holds = self.failed.load(Ordering::Relaxed) == 0 && delivered == accepted;
            return if holds && unchecked == 0 {
                Ok(())
            } else {
                Err(summary)
            };
        }
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

/// A daemon with its own socket.
fn start(fixture: &Fixture) -> Result<Daemon, String> {
    let socket = &fixture.gate(KEPT_SESSIONS).milter;
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

/// A client that has sent EHLO.
fn session(fixture: &Fixture, gate: &str, from: IpAddr) -> Result<SmtpClient, String> {
    let to = fixture.address(gate, from);
    let mut client = SmtpClient::connect(from, to, &Security::Plain).map_err(text)?;
    client.reply().map_err(text)?;
    say(&mut client, "EHLO mail.sender.example").map_err(text)?;
    Ok(client)
}

fn say(client: &mut SmtpClient, line: &str) -> io::Result<String> {
    client.send(format!("{line}\r\n").as_bytes())?;
    client.reply()
}

/// Sends MAIL until it is answered 421. The log line comes a moment before the drain.
fn expect_closing(client: &mut SmtpClient, mail: &str) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let reply = say(client, mail).map_err(text)?;
        if !reply.starts_with("250 ") || Instant::now() > deadline {
            return expect(&reply, CLOSING);
        }
        expect(&say(client, "RSET").map_err(text)?, "250 ")?;
    }
}

fn expect(reply: &str, beginning: &str) -> Result<(), String> {
    match reply.starts_with(beginning) {
        true => Ok(()),
        false => Err(format!("{reply:?} instead of {beginning:?}")),
    }
}
