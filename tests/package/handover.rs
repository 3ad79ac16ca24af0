//! Handover (SIGUSR2) of the service, in its sandbox and under systemd.

use super::{
    client::SmtpClient,
    debian::Debian,
    lifecycle::{Outcome, accepts_a_message, expect, greeted, runs_in_its_sandbox, say},
};
use std::{
    io, thread,
    time::{Duration, Instant},
};

const CLIENT: &str = "2001:db8::10";

/// The documented command.
const HAND_OVER: &str = "systemctl kill --kill-whom=main -s USR2 sixgate";

/// Leaves the service running.
pub fn works_under_systemd(system: &Debian) -> Outcome {
    let first = main_pid(system)?;
    let mut kept = greeted(CLIENT)?;
    send(&mut kept)?;
    system.run(HAND_OVER)?;
    let second = wait_for_other_main_pid(system, &first)?;
    send(&mut kept)?;
    accepts_a_message(CLIENT)?;
    // Watchdog included.
    runs_in_its_sandbox(system)?;

    // The new process crashes: only its own clients are affected.
    system.run(&format!("kill -9 {second}"))?;
    let third = wait_for_other_main_pid(system, &second)?;
    expect(third == first, "the first process again", &third)?;
    send(&mut kept)?;
    accepts_a_message(CLIENT)?;
    let restarts = system.run("systemctl show -P NRestarts sixgate")?;
    expect(restarts.trim() == "0", "no restart", &restarts)?;

    // Once more; a reload applies to the new process.
    system.run(HAND_OVER)?;
    let fourth = wait_for_other_main_pid(system, &first)?;
    system.run("systemctl reload sixgate")?;
    send(&mut kept)?;
    say(&mut kept, "QUIT")?;
    drop(kept);
    wait_until("the first process ends", || {
        Ok(system.run(&format!("kill -0 {first}")).is_err())
    })?;
    accepts_a_message(CLIENT)?;

    // Without another process, systemd restarts the service after a crash.
    system.run(&format!("kill -9 {fourth}"))?;
    wait_for_other_main_pid(system, &fourth)?;
    wait_until("it restarts", || Ok(accepts_a_message(CLIENT).is_ok()))?;

    // A restart ends both processes.
    let fifth = main_pid(system)?;
    let mut kept = greeted(CLIENT)?;
    send(&mut kept)?;
    system.run(HAND_OVER)?;
    wait_for_other_main_pid(system, &fifth)?;
    system.run("systemctl restart sixgate")?;
    let running = system.run("cat /proc/[0-9]*/comm | grep -cx sixgate")?;
    expect(running.trim() == "1", "one process", &running)?;
    accepts_a_message(CLIENT)?;
    let log = system.run("journalctl --sync; journalctl --no-pager -u sixgate -b")?;
    for complaint in ["reception only permitted", "watchdog timeout", "core-dump"] {
        expect(!log.contains(complaint), "no complaint of systemd's", &log)?;
    }
    Ok(())
}

/// The main process according to systemd.
pub fn main_pid(system: &Debian) -> io::Result<String> {
    let pid = system.run("systemctl show -P MainPID sixgate")?;
    Ok(pid.trim().to_owned())
}

fn wait_for_other_main_pid(system: &Debian, old: &str) -> io::Result<String> {
    let mut pid = String::new();
    wait_until("there is another main process", || {
        pid = main_pid(system)?;
        Ok(pid != old && pid != "0")
    })?;
    Ok(pid)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> io::Result<bool>) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !holds()? {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("not in 40 s: {what}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Sends a message in a session that stays open.
fn send(client: &mut SmtpClient) -> Outcome {
    for command in [
        "MAIL FROM:<a@sender.example>",
        "RCPT TO:<b@open.example>",
        "DATA",
    ] {
        let reply = say(client, command)?;
        expect(reply.starts_with(['2', '3']), command, &reply)?;
    }
    let reply = say(client, "From: a@sender.example\r\n\r\nHello\r\n.")?;
    expect(reply.starts_with("250 "), "an acceptance", &reply)
}
