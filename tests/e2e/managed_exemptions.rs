//! A network that `sixgate exempt` exempts while the daemon runs: its mail is refused, then
//! accepted, then refused again after the entry has expired, without a reload.

use super::{
    client::{Security, SmtpClient},
    fixture::{Fixture, MANAGED_EXEMPTIONS},
    messages,
    support::daemon::TIMEOUT,
};
use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// A client without reverse DNS, and its network.
const CLIENT: &str = "2001:db8:7::25";
const NETWORK: &str = "2001:db8:7::/48";

/// The duration of the entry. It has to be used within this time even on a busy machine.
const LASTS: i64 = 15;

const TOKEN: &str = "[managed exemption]";
const RECIPIENT: &str = "b@closed.example";

pub fn are_added_used_and_end(fixture: &Fixture) -> Result<(), String> {
    let _shared = fixture.setup.turn.shared();
    run(fixture).map_err(|error| error.to_string())
}

fn run(fixture: &Fixture) -> io::Result<()> {
    let config = fixture.gate(MANAGED_EXEMPTIONS).daemon().config_file();
    let before = try_recipient(fixture)?;
    expect(before.starts_with("550 5.2.1 "), &before)?;

    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(LASTS);
    let added = sixgate(
        &[
            "exempt",
            "add",
            NETWORK,
            "--until",
            &format!("{end:.0}"),
            "--comment",
            "ticket 4711",
            "-c",
        ],
        &config,
    )?;
    expect(added.contains(": added, until "), &added)?;
    let in_force = wait_for(fixture, "250 ")?;
    eprintln!(
        "{}: in force after {} ms",
        fixture.kind,
        in_force.as_millis()
    );
    expect(in_force < Duration::from_secs(5), "late")?;
    send_message(fixture)?;
    let line = fixture
        .gate(MANAGED_EXEMPTIONS)
        .log_line(&["exempt_entry=2001:db8:7::/48 exempt_comment=ticket\\x204711"]);
    let line = line.ok_or_else(|| io::Error::other("no log line names the entry"))?;
    expect(
        line.contains("rule=exempt-network client=") && line.contains(CLIENT),
        &line,
    )?;
    // It is accepted for any recipient domain, and only there.
    let status = sixgate(
        &["exempt", "status", CLIENT, "2001:db8:8::25", "-c"],
        &config,
    )?;
    expect(
        status.contains("2001:db8:7::25: exempt, by 2001:db8:7::/48 in "),
        &status,
    )?;
    expect(status.contains("2001:db8:8::25: not exempt"), &status)?;

    wait_for(fixture, "550 5.2.1 ")?;
    let late = jiff::Timestamp::now().duration_since(end);
    eprintln!(
        "{}: refused again {:.1} s after the end",
        fixture.kind,
        late.as_secs_f64()
    );
    // The list has whole seconds.
    expect(late.as_secs_f64() > -1.1, "it ended early")?;
    let list = sixgate(&["exempt", "list", "--managed", "-c"], &config)?;
    expect(
        list.contains("2001:db8:7::/48") && list.contains("  ended "),
        &list,
    )?;
    let log = fixture.gate(MANAGED_EXEMPTIONS).daemon().log().text();
    expect(!log.contains("configuration reloaded"), &log)?;
    Ok(())
}

fn session(fixture: &Fixture) -> io::Result<SmtpClient> {
    let client: IpAddr = CLIENT.parse().map_err(io::Error::other)?;
    let to = fixture.address(MANAGED_EXEMPTIONS, client);
    let mut session = SmtpClient::connect(client, to, &Security::Plain)?;
    session.reply()?;
    say(&mut session, "EHLO mail.fabrikam.example")?;
    say(&mut session, "MAIL FROM:<a@fail.example>")?;
    Ok(session)
}

/// Returns the reply to a recipient in a new session.
fn try_recipient(fixture: &Fixture) -> io::Result<String> {
    let mut session = session(fixture)?;
    let reply = say(&mut session, &format!("RCPT TO:<{RECIPIENT}>"))?;
    say(&mut session, "QUIT")?;
    Ok(reply)
}

fn wait_for(fixture: &Fixture, wanted: &str) -> io::Result<Duration> {
    let start = Instant::now();
    loop {
        let reply = try_recipient(fixture)?;
        if reply.starts_with(wanted) {
            return Ok(start.elapsed());
        }
        expect(start.elapsed() < TIMEOUT, &reply)?;
        thread::sleep(Duration::from_millis(50));
    }
}

/// Delivered unchecked: SPF fails and nothing is signed.
fn send_message(fixture: &Fixture) -> io::Result<()> {
    let mut session = session(fixture)?;
    let reply = say(&mut session, &format!("RCPT TO:<{RECIPIENT}>"))?;
    expect(reply.starts_with("250 "), &reply)?;
    let reply = say(&mut session, "DATA")?;
    expect(reply.starts_with("354 "), &reply)?;
    let message = messages::message("plain", TOKEN, &fixture.setup.keys);
    session.send(message.as_bytes())?;
    let reply = say(&mut session, ".")?;
    expect(reply.starts_with("250 "), &reply)?;
    fixture.remember(TOKEN, &[RECIPIENT.to_owned()]);
    say(&mut session, "QUIT").map(drop)
}

fn say(session: &mut SmtpClient, command: &str) -> io::Result<String> {
    session.send(format!("{command}\r\n").as_bytes())?;
    session.reply()
}

fn sixgate(arguments: &[&str], config: &PathBuf) -> io::Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    let output = command.args(arguments).arg(config).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    expect(output.status.success(), &said)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn expect(is_so: bool, found: &str) -> io::Result<()> {
    match is_so {
        true => Ok(()),
        false => Err(io::Error::other(found.to_owned())),
    }
}
