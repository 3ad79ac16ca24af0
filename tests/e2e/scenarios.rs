//! Scenarios that a dialogue cannot express.

use super::{
    client::{Security, SmtpClient},
    dialogue::Dialogue,
    fixture::{
        Fixture, IPV4_APART, IPV4_APART_TIMEOUT, KILLABLE, MEASURED, POSTSCREEN, ROLL_OUT, TAPPED,
    },
    forwarder, hidden_clients, host_names, kept_sessions, managed_exemptions, messages,
    mta::{Kind, Program},
    play::play,
    release::Release,
    restarts, sendmail,
    support::daemon::{Daemon, TIMEOUT},
    tap::Frame,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

type Scenario = fn(&Fixture) -> Result<(), String>;

/// Returns the scenarios of a mail server.
pub fn of(kind: Kind) -> impl Iterator<Item = (&'static str, Scenario)> {
    let more: &[_] = match (kind.program, kind.release) {
        (Program::Postfix, Release::Own) => &OF_POSTFIX,
        (Program::Sendmail, Release::Own) => &OF_SENDMAIL,
        (_, Release::Debian13) => &[],
    };
    let heavy: &[_] = match kind.release {
        Release::Own => &HEAVY,
        Release::Debian13 => &[],
    };
    OF_ALL.iter().chain(heavy).chain(more).copied()
}

/// Sendmail's log goes to the machine's syslog, and there is none here.
const OF_POSTFIX: [(&str, Scenario); 4] = [
    (
        "report_and_trace_show_who_came_back_over_ipv4",
        logs_show_returns,
    ),
    (HIDDEN_CLIENTS, hidden_clients::are_noticed),
    (HOST_NAMES, host_names::bounce_nothing),
    (
        "clients_that_postscreen_rejects_are_not_seen",
        rejected_by_postscreen,
    ),
];

const HIDDEN_CLIENTS: &str =
    "clients_that_docker_proxy_hides_are_noticed_and_those_that_a_proxy_names_are_not";

const HOST_NAMES: &str = "a_host_name_per_domain_makes_a_sending_postfix_bounce_nothing";

/// Returns the reason if a scenario cannot run here.
pub fn obstacle(name: &str) -> Option<String> {
    match name {
        HIDDEN_CLIENTS => hidden_clients::obstacle(),
        FORWARDING => forwarder::obstacle(),
        HOST_NAMES => host_names::obstacle(),
        _ => None,
    }
}

const OF_SENDMAIL: [(&str, Scenario); 1] = [(
    "the_m4_feature_adds_the_filter_with_the_socket_given",
    m4_feature,
)];

const FORWARDING: &str =
    "mail_that_a_postfix_forwards_is_known_by_proof_with_and_without_srs_and_an_impostors_is_not";

const OF_ALL: [(&str, Scenario); 8] = [
    (FORWARDING, forwarder::are_known_by_proof),
    (
        "who_never_falls_back_to_ipv4_is_given_up_and_nobody_else",
        given_up,
    ),
    ("ipv4_mail_is_answered_by_one_accept_at_connect", one_accept),
    ("a_daemon_that_has_died_defers_mail", dead_daemon_defers),
    (
        "ipv4_mail_is_taken_at_once_while_the_daemon_is_stopped_killed_or_hangs",
        ipv4_mail_is_independent,
    ),
    (
        "a_network_is_exempted_while_the_daemon_runs_used_and_its_entry_ends",
        managed_exemptions::are_added_used_and_end,
    ),
    (
        "kept_sessions_end_with_421_while_the_daemon_drains",
        kept_sessions::drain_ends_them,
    ),
    (
        "kept_sessions_end_with_421_after_the_handover_timeout",
        kept_sessions::end_after_the_handover_timeout,
    ),
];

/// Scenarios about the daemon rather than the mail server; they run with one release.
const HEAVY: [(&str, Scenario); 6] = [
    (
        "twenty_signed_messages_of_30_megabytes_at_once_leave_the_daemon_below_40_megabytes",
        small_with_large_messages,
    ),
    (
        "twenty_restarts_under_load_lose_no_mail_and_let_none_in_unchecked",
        restarts::lose_nothing,
    ),
    (
        "kept_sessions_are_never_answered_451_because_of_restarts_under_load",
        kept_sessions::survive_restarts,
    ),
    (
        "twenty_handovers_under_load_are_noticed_by_no_client",
        kept_sessions::survive_handovers,
    ),
    (
        "twenty_handovers_under_load_make_a_sending_postfix_defer_nothing",
        kept_sessions::are_kept_by_postfix_over_handovers,
    ),
    (
        "the_death_of_either_process_of_a_handover_lets_no_mail_in_unchecked",
        kept_sessions::survive_the_death_of_either_process,
    ),
];

/// Retries the same message from a host without reverse DNS, and sends others at the same
/// time.
fn given_up(fixture: &Fixture) -> Result<(), String> {
    let _shared = fixture.setup.turn.shared();
    let attempt = |client: &str, sender: &str| {
        let reply = recipient_reply(fixture, client, sender);
        reply.map_err(|error| format!("{client} {sender}: {error}"))
    };
    let start = Instant::now();
    loop {
        let reply = attempt("2001:db8:0:6::1", "insists@ip6.example")?;
        if reply.contains("550 5.7.25 ") {
            break;
        }
        // Sendmail inserts the recipient before the text.
        let is_deferred = reply.starts_with("450 4.7.25 ") && reply.contains("must have reverse");
        if !is_deferred || start.elapsed() > TIMEOUT {
            return Err(reply);
        }
        thread::sleep(Duration::from_millis(300));
    }
    let took = start.elapsed();
    if took < Duration::from_secs(3) {
        return Err(format!("given up after {took:?}"));
    }
    let table = [
        ("2001:db8:0:6::2", "another@ip6.example", "550 5.7.25 "),
        ("2001:db8:0:6::1", "a@other.example", "450 4.7.25 "),
        ("2001:db8:0:7::1", "insists@ip6.example", "450 4.7.25 "),
        ("2001:db8:0:6::1", "", "450 4.7.25 "),
    ];
    for (client, sender, want) in table {
        let reply = attempt(client, sender)?;
        if !reply.starts_with(want) {
            return Err(format!("{client} {sender}: {reply}"));
        }
    }
    let words = [
        "reject: RCPT",
        ": 550 5.7.25 ",
        "rule=no-ptr",
        "deferred_for=",
    ];
    let line = fixture.gate(ROLL_OUT).log_line(&words);
    line.map(|_| ()).ok_or("no decision line".to_owned())
}

/// Returns the reply to a recipient.
fn recipient_reply(fixture: &Fixture, client: &str, sender: &str) -> io::Result<String> {
    let from: IpAddr = client.parse().map_err(io::Error::other)?;
    let to = fixture.address(ROLL_OUT, from);
    let mut smtp = SmtpClient::connect(from, to, &Security::Plain)?;
    smtp.reply()?;
    let mut last = String::new();
    for line in [
        "EHLO client.example\r\n".to_owned(),
        format!("MAIL FROM:<{sender}> SIZE=500\r\n"),
        "RCPT TO:<b@open.example>\r\n".to_owned(),
    ] {
        smtp.send(line.as_bytes())?;
        last = smtp.reply()?;
    }
    Ok(last)
}

fn one_accept(fixture: &Fixture) -> Result<(), String> {
    let _shared = fixture.setup.turn.shared();
    play_text(
        fixture,
        "from 198.51.100.10
C: MAIL FROM:<a@fail.example>
C: RCPT TO:<b@closed.example>
M: plain
R: none
C: QUIT",
        TAPPED,
    )?;
    let tap = fixture.gate(TAPPED).tap.as_ref().ok_or("no tap")?;
    let frames = tap.frames("198.51.100.10").ok_or("no milter connection")?;
    let commands: String = frames.iter().filter_map(command).collect();
    let answers: String = frames.iter().filter_map(answer).collect();
    // Negotiation, macros and CONNECT, and perhaps QUIT.
    let commands = commands.trim_end_matches('Q');
    match (commands, answers.as_str()) {
        ("ODC", "Oa") => Ok(()),
        _ => Err(format!("{frames:?}")),
    }
}

/// postscreen itself rejects a client that talks before the greeting; one that waits
/// reaches sixgate.
fn rejected_by_postscreen(fixture: &Fixture) -> Result<(), String> {
    let _shared = fixture.setup.turn.shared();
    // Whether the client waits, the reply to the recipient, and whether sixgate saw it.
    let table = [
        ("2001:db8:5c::1", false, "550 5.5.1 Protocol error", false),
        ("2001:db8:5c::2", true, "550 5.2.1 ", true),
    ];
    for (client, waits, wanted, is_seen) in table {
        let reply =
            talk_to_postscreen(fixture, client, waits).map_err(|error| error.to_string())?;
        let tap = fixture.gate(POSTSCREEN).tap.as_ref().ok_or("no tap")?;
        let was_seen = tap.frames(client).is_some();
        if !reply.starts_with(wanted) || was_seen != is_seen {
            return Err(format!("{client}: {reply}, seen: {was_seen}"));
        }
    }
    Ok(())
}

/// The first reply that is not positive: to a recipient that has not opted in.
fn talk_to_postscreen(fixture: &Fixture, client: &str, waits: bool) -> io::Result<String> {
    let from: IpAddr = client.parse().map_err(io::Error::other)?;
    let to = fixture.address(POSTSCREEN, from);
    let mut smtp = SmtpClient::connect(from, to, &Security::Plain)?;
    if !waits {
        smtp.send(b"NOOP\r\n")?;
    }
    smtp.reply()?;
    for line in [
        "EHLO client.example\r\n",
        "MAIL FROM:<a@ip6.example>\r\n",
        "RCPT TO:<b@closed.example>\r\n",
    ] {
        smtp.send(line.as_bytes())?;
    }
    // postscreen may answer early commands or discard them.
    loop {
        let reply = smtp.reply()?;
        if !reply.starts_with('2') {
            return Ok(reply);
        }
    }
}

fn command(frame: &Frame) -> Option<char> {
    match frame {
        Frame::Command(letter) => Some(*letter),
        Frame::Answer(_) => None,
    }
}

fn answer(frame: &Frame) -> Option<char> {
    match frame {
        Frame::Answer(letter) => Some(*letter),
        Frame::Command(_) => None,
    }
}

/// The sender's SPF record refuses everybody, so that the signature decides and
/// the whole body has to be hashed.
fn small_with_large_messages(fixture: &Fixture) -> Result<(), String> {
    let _alone = fixture.setup.turn.alone();
    let message = messages::message("rsa-30-megabytes", "[huge]", &fixture.setup.keys);
    let message = messages::stuffed(&message);
    let before = fixture.gate(MEASURED).daemon().peak_memory();
    let replies: Vec<Result<String, String>> = thread::scope(|scope| {
        let send = || scope.spawn(|| send_large(fixture, &message));
        let threads: Vec<_> = (0..20).map(|_| send()).collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results
            .map(|r| r.unwrap_or_else(|_| Err("panic".into())))
            .collect()
    });
    for reply in replies {
        let reply = reply?;
        if !reply.starts_with("250 ") {
            return Err(reply);
        }
    }
    let peak = fixture.gate(MEASURED).daemon().peak_memory();
    let deliveries = fixture.sink.wait_for("[huge]", 20);
    if deliveries.len() != 20 || deliveries.iter().any(|d| d.bytes < message.len()) {
        return Err(format!("{} of 20 arrived whole", deliveries.len()));
    }
    eprintln!("peak memory of the daemon: {before} KiB before, {peak} KiB after");
    match peak < 40 * 1024 {
        true => Ok(()),
        false => Err(format!("{peak} KiB")),
    }
}

fn send_large(fixture: &Fixture, message: &str) -> Result<String, String> {
    let from: IpAddr = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11].into();
    let to = fixture.address(MEASURED, from);
    let mut client = SmtpClient::connect(from, to, &Security::Plain).map_err(|e| e.to_string())?;
    let mut reply = client.reply().map_err(|e| e.to_string())?;
    let commands = [
        "EHLO stranger.example\r\n",
        "MAIL FROM:<a@signed.example>\r\n",
        "RCPT TO:<b@open.example>\r\n",
        "DATA\r\n",
        message,
    ];
    for command in commands {
        if !reply.starts_with(['2', '3']) {
            return Err(reply);
        }
        client.send(command.as_bytes()).map_err(|e| e.to_string())?;
        reply = client.reply().map_err(|e| e.to_string())?;
    }
    Ok(reply)
}

fn logs_show_returns(fixture: &Fixture) -> Result<(), String> {
    let _shared = fixture.setup.turn.shared();
    let mail = "C: MAIL FROM:<a@returning.example>\nC: RCPT TO:<b@open.example>\n";
    let refused = "S: 450 4.7.25 Service unavailable, sending IPv6 address [2001:db8::20] must have \
                   reverse DNS record.";
    play_text(
        fixture,
        &format!("from 2001:db8::20\n{mail}{refused}"),
        TAPPED,
    )?;
    play_text(
        fixture,
        &format!("from 198.51.100.20\n{mail}M: plain\nR: none"),
        TAPPED,
    )?;
    let theirs = fixture.directory().join("log");
    wait_for_delivery(&theirs, "a@returning.example")?;
    let ours = fixture.directory().join("sixgate.log");
    let log = fixture.gate(TAPPED).daemon().log().text();
    fs::write(&ours, log).map_err(|e| e.to_string())?;
    let ask = |arguments: &[&str]| -> Result<Value, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(arguments)
            .args([&ours, &theirs])
            .output();
        let output = output.map_err(|e| e.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {output:?}"))
    };
    let traced = ask(&["trace", "--json", "--from", "a@returning.example"])?;
    came_back_and_was_delivered(&traced)?;
    let summary = ask(&["report", "--json", "--top=1000"])?;
    let returned = summary["returns"]["ipv4"].as_array().ok_or("no list")?;
    match returned
        .iter()
        .find(|entry| entry["name"] == "returning.example")
    {
        Some(entry) if entry["mails"] == 1 && entry["rule"] == "no-ptr" => Ok(()),
        _ => Err(format!("{:#}", summary["returns"])),
    }
}

fn came_back_and_was_delivered(traced: &Value) -> Result<(), String> {
    let message = &traced["messages"][0];
    let events = message["events"].as_array().ok_or("no events")?;
    let names: Vec<_> = events.iter().map(|event| &event["event"]).collect();
    let is_whole = message["result"] == "ipv4"
        && message["delivery"] == "sent"
        && names == ["decision", "received", "delivery"]
        && events[0]["rule"] == "no-ptr"
        && events[1]["client"] == "198.51.100.20";
    match is_whole {
        true => Ok(()),
        false => Err(format!("{traced:#}")),
    }
}

/// Postfix logs the recipient of a message when it has delivered it.
fn wait_for_delivery(log: &Path, from: &str) -> Result<(), String> {
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        let log = fs::read(log).map_err(|e| e.to_string())?;
        let log = String::from_utf8_lossy(&log);
        let queue_id = log
            .split_once(&format!(": from=<{from}>"))
            .and_then(|(before, _)| before.rsplit_once("]: "))
            .map(|(_, queue_id)| queue_id);
        if queue_id.is_some_and(|id| log.contains(&format!("]: {id}: to=<"))) {
            return Ok(());
        }
        thread::yield_now();
    }
    Err(format!("no mail from {from} in Postfix's log"))
}

/// The mail server's own reply because of `milter_default_action` or `F=T`.
fn dead_daemon_defers(fixture: &Fixture) -> Result<(), String> {
    let _shared = fixture.setup.turn.shared();
    fixture.gate(KILLABLE).daemon().kill();
    is_deferred(fixture, KILLABLE)
}

/// A client over IPv6 gets the mail server's own temporary failure before it can
/// name a recipient.
fn is_deferred(fixture: &Fixture, gate: &str) -> Result<(), String> {
    let from = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10]);
    let to = fixture.address(gate, from);
    let mut client = SmtpClient::connect(from, to, &Security::Plain).map_err(|e| e.to_string())?;
    let mut reply = client.reply().map_err(|e| e.to_string())?;
    for command in ["EHLO mail.example\r\n", "MAIL FROM:<a@ip6.example>\r\n"] {
        if !reply.starts_with('2') {
            break;
        }
        client.send(command.as_bytes()).map_err(|e| e.to_string())?;
        reply = client.reply().map_err(|e| e.to_string())?;
    }
    match fixture
        .mta
        .replies_without_milter()
        .contains(&reply.as_str())
    {
        true => Ok(()),
        false => Err(format!("answered {reply}")),
    }
}

/// As in the documentation, the mail server does not query sixgate about IPv4 clients.
fn ipv4_mail_is_independent(fixture: &Fixture) -> Result<(), String> {
    let _shared = fixture.setup.turn.shared();
    let socket = &fixture.gate(IPV4_APART).milter;
    let listen = format!("unix:{}", socket.display());
    let over_ipv6 = "C: MAIL FROM:<a@ip6.example>\nC: RCPT TO:<b@open.example>\n";
    for (state, end) in ENDS {
        let daemon = Daemon::start_listening(&[&listen]);
        fs::set_permissions(socket, fs::Permissions::from_mode(0o666))
            .map_err(|e| e.to_string())?;
        // Nothing has opted in.
        let checked = "S: 550 5.2.1 Service unavailable, [open.example] does not accept email over \
                       IPv6.";
        play_text(fixture, &format!("{over_ipv6}{checked}"), IPV4_APART)?;
        // A process that has exited but whose folder still exists.
        let _daemon = end(daemon);
        let began = Instant::now();
        play_text(
            fixture,
            "from 198.51.100.10
C: MAIL FROM:<a@fail.example>
C: RCPT TO:<b@closed.example>
M: plain
R: none",
            IPV4_APART,
        )
        .map_err(|error| format!("{state}: {error}"))?;
        let took = began.elapsed();
        eprintln!(
            "{}: {state}: IPv4 mail was delivered in {took:?}",
            fixture.kind
        );
        if took > IPV4_APART_TIMEOUT / 2 {
            return Err(format!("{state}: IPv4 mail took {took:?}"));
        }
        is_deferred(fixture, IPV4_APART).map_err(|error| format!("{state}: {error}"))?;
    }
    Ok(())
}

type End = fn(Daemon) -> Option<Daemon>;

const ENDS: [(&str, End); 3] = [
    ("stopped", |daemon| {
        daemon.stop();
        None
    }),
    ("killed", |mut daemon| {
        daemon.kill();
        Some(daemon)
    }),
    ("hanging", |daemon| {
        daemon.signal(Signal::SIGSTOP);
        Some(daemon)
    }),
];

fn m4_feature(fixture: &Fixture) -> Result<(), String> {
    let table = [
        // sendmail.mc, want: filters, the line of ours
        (
            "FEATURE(`sixgate')",
            "sixgate",
            "S=inet:8894@127.0.0.1, F=T, T=C:10s;S:30s;R:30s;E:5m",
        ),
        (
            "FEATURE(`sixgate', `local:/run/sixgate/milter.sock')",
            "sixgate",
            "S=local:/run/sixgate/milter.sock, F=T, T=C:10s;S:30s;R:30s;E:5m",
        ),
        (
            "INPUT_MAIL_FILTER(`other', `S=inet:1@::1')FEATURE(`sixgate', `inet6:8894@::1')",
            "other, sixgate",
            "S=inet6:8894@::1, F=T, T=C:10s;S:30s;R:30s;E:5m",
        ),
    ];
    for (mc, filters, line) in table {
        let mc = format!("OSTYPE(`linux')\n{mc}\nMAILER(`smtp')\n");
        let cf = sendmail::configuration(fixture.kind.release, &fixture.directory(), &mc)
            .map_err(|e| e.to_string())?;
        for want in [
            format!("O InputMailFilters={filters}"),
            format!("Xsixgate, {line}"),
        ] {
            if !cf.lines().any(|line| line == want) {
                return Err(format!("no {want:?} from {mc}"));
            }
        }
    }
    Ok(())
}

fn play_text(fixture: &Fixture, text: &str, gate: &str) -> Result<(), String> {
    // Deliveries are distinguished by the dialogue's name.
    static PLAYED: AtomicUsize = AtomicUsize::new(0);
    let number = PLAYED.fetch_add(1, Ordering::Relaxed);
    let text = format!("== {gate}-{number}\nat {gate}\n{text}");
    for dialogue in Dialogue::parse(&text)? {
        play(0, &dialogue, fixture)?;
    }
    Ok(())
}
