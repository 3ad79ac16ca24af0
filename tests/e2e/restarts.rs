//! Restarts under load, with a socket that outlives the daemon as a service
//! manager passes it on: senders come back after a 4xx until their mail is taken.

use super::{
    client::{Security, SmtpClient},
    messages,
    world::{COMMON, RESTARTED, World},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs, io,
    net::IpAddr,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

const RESTARTS: usize = 20;
const SENDERS: usize = 4;
const MESSAGES_EACH: usize = 105;

/// Every message is delivered once, and with our results, whatever happened to
/// the daemon meanwhile.
pub fn lose_nothing(world: &World) -> Result<(), String> {
    let _alone = world.ground.turn.alone();
    let deferrals = AtomicUsize::new(0);
    let deferrals = &deferrals;
    let (taken, progress) = mpsc::channel();
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let taken = taken.clone();
            scope.spawn(move || {
                for number in 0..MESSAGES_EACH {
                    send_until_taken(world, &token(sender, number), deferrals);
                    let _ = taken.send(());
                }
            });
        }
        drop(taken);
        restart_at_every_twentieth(world, &progress)
    })
    .map_err(|error| error.to_string())?;
    let deferrals = deferrals.load(Ordering::Relaxed);
    eprintln!("{RESTARTS} restarts: {deferrals} times a sender had to come back");
    let mut tokens = (0..SENDERS).flat_map(|s| (0..MESSAGES_EACH).map(move |n| token(s, n)));
    tokens.try_for_each(|token| arrived_once(world, &token))
}

/// Another daemon after each twentieth of the messages.
fn restart_at_every_twentieth(world: &World, progress: &mpsc::Receiver<()>) -> io::Result<()> {
    let mut daemon = start(world)?;
    for count in 1.. {
        if progress.recv().is_err() {
            break;
        }
        if count % (SENDERS * MESSAGES_EACH / (RESTARTS + 1)) == 0 && count / 20 <= RESTARTS {
            let successor = start(world)?;
            stop(&mut daemon)?;
            daemon = successor;
        }
    }
    stop(&mut daemon)
}

fn start(world: &World) -> io::Result<Child> {
    let socket = world.gate(RESTARTED).passed_on.as_ref();
    let socket = socket.ok_or_else(|| io::Error::other("no socket"))?;
    let config = world.directory().join("restarted.yaml");
    fs::write(&config, format!("listen: systemd:milter\n{COMMON}"))?;
    Command::new("sh")
        .args(["-c", PASSING_ON, "sh"])
        .args([env!("CARGO_BIN_EXE_sixgate"), "serve", "-c"])
        .arg(config)
        .stdin(OwnedFd::from(UnixListener::try_clone(socket)?))
        .stderr(Stdio::null())
        .spawn()
}

/// As sd_listen_fds(3) has it: descriptor 3 and three variables.
const PASSING_ON: &str = "exec 3<&0 0</dev/null; \
                          LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=milter exec \"$@\"";

fn stop(daemon: &mut Child) -> io::Result<()> {
    let pid = i32::try_from(daemon.id()).map_err(io::Error::other)?;
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    match daemon.wait()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("the daemon ended with {status}"))),
    }
}

fn token(sender: usize, number: usize) -> String {
    format!("[restart {sender}/{number}]")
}

fn send_until_taken(world: &World, token: &str, deferrals: &AtomicUsize) {
    while send(world, token).ok().is_none_or(|taken| !taken) {
        deferrals.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether it was taken; if not, it was put off.
fn send(world: &World, token: &str) -> io::Result<bool> {
    let from: IpAddr = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10].into();
    let to = world.address(RESTARTED, from);
    let message = messages::message("plain", token, &world.ground.keys);
    let mut client = SmtpClient::connect(from, to, &Security::Plain)?;
    let mut reply = client.reply()?;
    let commands = [
        "EHLO sender.example\r\n",
        "MAIL FROM:<a@ip6.example>\r\n",
        "RCPT TO:<b@open.example>\r\n",
        "DATA\r\n",
        &messages::stuffed(&message),
    ];
    for command in commands {
        match reply.as_bytes().first() {
            Some(b'2' | b'3') => {}
            Some(b'4') => return Ok(false),
            _ => panic!("{token}: {reply}"),
        }
        client.send(command.as_bytes())?;
        reply = client.reply()?;
    }
    Ok(reply.starts_with('2'))
}

fn arrived_once(world: &World, token: &str) -> Result<(), String> {
    let deliveries = world.sink.wait_for(token, 1);
    let [delivery] = deliveries.as_slice() else {
        return Err(format!("{token} arrived {} times", deliveries.len()));
    };
    let fields = delivery.fields();
    let results = fields
        .iter()
        .find(|field| field.starts_with("Authentication-Results: "));
    match results {
        Some(results) if results.contains("spf=pass") => Ok(()),
        _ => Err(format!("{token} arrived unchecked: {fields:?}")),
    }
}
