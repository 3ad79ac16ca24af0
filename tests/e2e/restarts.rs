//! Restarts under load, with a socket that stays open across restarts, as with a service
//! manager. Clients retry after a 4xx, like mail servers.

use super::{
    fixture::{COMMON, Fixture, RESTARTED, recipients},
    messages,
    sender::Sender,
    sink::Delivery,
    support::daemon::Daemon,
};
use std::{collections::BTreeSet, io, net::IpAddr, thread};

const RESTARTS: usize = 20;
const MESSAGES: usize = 600;
const TOKEN: &str = "[restarts]";

/// Every message is delivered once, and with our results, whatever happened to the daemon
/// in the meantime.
pub fn lose_nothing(fixture: &Fixture) -> Result<(), String> {
    let _alone = fixture.setup.turn.alone();
    let sender = start_sender(fixture).map_err(|error| error.to_string())?;
    let message = messages::message("plain", TOKEN, &fixture.setup.keys);
    thread::scope(|scope| {
        let fed = scope.spawn(|| sender.feed(&message, MESSAGES));
        restart_while_mail_comes(fixture).map_err(io::Error::other)?;
        fed.join()
            .unwrap_or_else(|_| Err(io::Error::other("panic")))
    })
    .map_err(|error| error.to_string())?;
    sender.wait_until_removed(MESSAGES)?;
    fixture.wait_until_idle();
    let deferrals = sender.deferrals();
    eprintln!("{RESTARTS} restarts: {deferrals} times a message was put off and came back");
    let deliveries = fixture.sink.with_token(TOKEN);
    arrived_once(&deliveries)?;
    deliveries.iter().try_for_each(was_checked)
}

fn start_sender(fixture: &Fixture) -> io::Result<Sender> {
    let from: IpAddr = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10].into();
    let to = fixture.address(RESTARTED, from);
    Sender::start(&fixture.directory().join("sender"), to)
}

/// Replaces the daemon as soon as it has accepted a message, while others are in progress.
/// As with `systemctl restart`, there is no daemon for a while, and connections wait.
fn restart_while_mail_comes(fixture: &Fixture) -> Result<(), String> {
    for _ in 0..RESTARTS {
        let daemon = start(fixture)?;
        let accepted = daemon.log().find(&["accept: "]);
        accepted.ok_or("no mail came before a restart")?;
        stop(daemon)?;
    }
    let daemon = start(fixture)?;
    let arrived = fixture.sink.wait_for(TOKEN, MESSAGES).len();
    stop(daemon)?;
    match arrived {
        MESSAGES.. => Ok(()),
        _ => Err(format!("{arrived} of {MESSAGES} messages arrived")),
    }
}

fn start(fixture: &Fixture) -> Result<Daemon, String> {
    let socket = fixture.gate(RESTARTED).passed_on.as_ref();
    let socket = socket.ok_or("no socket")?;
    Ok(Daemon::start_with_passed_on(socket, COMMON))
}

fn stop(daemon: Daemon) -> Result<(), String> {
    match daemon.stop() {
        status if status.success() => Ok(()),
        status => Err(format!("the daemon ended with {status}")),
    }
}

fn arrived_once(deliveries: &[Delivery]) -> Result<(), String> {
    let arrived = recipients(deliveries);
    // smtp-source numbers the recipients: 1b, 2b in Postfix 3.7, b0, b1 in 3.10.
    let different: BTreeSet<&String> = arrived.iter().collect();
    match arrived.len() == MESSAGES && different.len() == MESSAGES {
        true => Ok(()),
        false => Err(format!("of {MESSAGES} messages these arrived: {arrived:?}")),
    }
}

fn was_checked(delivery: &Delivery) -> Result<(), String> {
    let fields = delivery.fields();
    let results = fields
        .iter()
        .find(|field| field.starts_with("Authentication-Results: "));
    match results {
        Some(results) if results.contains("spf=pass") => Ok(()),
        _ => Err(format!("a message arrived unchecked: {fields:?}")),
    }
}
