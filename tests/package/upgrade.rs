//! Upgrades of the package while clients send mail, in kept and in new sessions.

use super::{
    debian::Debian,
    handover::main_pid,
    lifecycle::{Outcome, expect, greeted, repack, say},
};
use std::{
    fmt, fs, io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

const UNIT: &str = "[ -d usr/lib/systemd ] && lib=usr/lib || lib=lib; \
                    echo '# another word' >>$lib/systemd/system/sixgate.service";

/// To a version with the same unit, and to one with another unit.
pub fn hands_over_or_restarts(system: &Debian) -> Outcome {
    let by_handover = upgrade(system, "~f1", "true", "has taken over")?;
    expect(
        by_handover.told_421 == 0 && by_handover.is_whole(),
        "nothing but acceptances",
        &by_handover.to_string(),
    )?;
    let restarted = upgrade(system, "~f2", UNIT, "sixgate.service has changed")?;
    expect(restarted.is_whole(), "421 at most", &restarted.to_string())
}

/// To a version that does not start, and from one that can't hand over.
pub fn leaves_the_old_version_or_restarts(system: &Debian) -> Outcome {
    // If the new version does not start, the old one keeps running.
    let broken = "printf '#!/bin/sh\\necho broken >&2; exit 1\\n' >usr/sbin/sixgate";
    let broken = format!("{UNIT}; {broken}");
    let old = main_pid(system)?;
    let kept = upgrade(
        system,
        "~f3",
        &broken,
        "does not start; the old one keeps running",
    )?;
    expect(
        kept.told_421 == 0 && kept.is_whole() && main_pid(system)? == old,
        "the old process",
        &kept.to_string(),
    )?;

    let corrected = upgrade(system, "~f4", UNIT, "has taken over")?;
    expect(corrected.is_whole(), "acceptances", &corrected.to_string())?;

    // As before 0.2.0, when SIGUSR2 ended the main process.
    let deaf = r#"mv usr/sbin/sixgate usr/sbin/sixgate-real
        printf '#!/bin/sh\n/usr/sbin/sixgate-real "$@" & trap "kill $!" TERM; wait; wait\n' >usr/sbin/sixgate
        chmod 755 usr/sbin/sixgate"#;
    upgrade(system, "~f5", &format!("{UNIT}; {deaf}"), "has taken over")?;
    let restarted = upgrade(system, "~f6", UNIT, "the version that runs can't hand over")?;
    expect(restarted.is_whole(), "421 at most", &restarted.to_string())
}

/// Installs the package as another version while clients send mail.
fn upgrade(system: &Debian, version: &str, change: &str, words: &str) -> io::Result<Seen> {
    let name = format!("newer{}", &version[1..]);
    fs::copy(
        repack(&name, version, change)?,
        system.root().join("srv/newer.deb"),
    )?;
    let old = main_pid(system)?;
    let (seen, said) =
        meanwhile(|| system.run("dpkg --force-confold -i /srv/newer.deb 2>&1 && sleep 0.5"))?;
    expect(said.contains(words), words, &said)?;
    let new = main_pid(system)?;
    eprintln!("upgrade ({words}; process {old} to {new}): {seen}");
    Ok(seen)
}

/// The replies to clients.
#[derive(Default)]
struct Seen {
    accepted: usize,
    told_421: usize,
    told_451: usize,
    /// Other replies, and the last of them.
    other: Option<String>,
}

impl Seen {
    fn is_whole(&self) -> bool {
        self.accepted > 20 && self.told_451 == 0 && self.other.is_none()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} accepted, {} answered 421, {} answered 451, otherwise {:?}",
            self.accepted, self.told_421, self.told_451, self.other
        )
    }
}

/// Sends mail while something is done: three clients keep their sessions, and two open one
/// for each message.
fn meanwhile<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<(Seen, T)> {
    let (is_over, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    let acted = thread::scope(|scope| {
        for is_kept in [true, true, true, false, false] {
            let (seen, is_over) = (&seen, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    if let Err(error) = session(is_kept, is_over, seen) {
                        let other = error.to_string();
                        seen.lock().expect("no panic").other = Some(other);
                    }
                }
            });
        }
        thread::sleep(Duration::from_secs(1));
        let acted = act();
        is_over.store(true, Ordering::Relaxed);
        acted
    })?;
    let seen = seen.into_inner();
    Ok((seen.map_err(|_| io::Error::other("a panic"))?, acted))
}

/// Runs a session for one message, or until the action is over or a 421 ends it.
fn session(is_kept: bool, is_over: &AtomicBool, seen: &Mutex<Seen>) -> io::Result<()> {
    let mut client = greeted("2001:db8::10")?;
    loop {
        let mut reply = String::new();
        for line in [
            "MAIL FROM:<a@sender.example>",
            "RCPT TO:<b@open.example>",
            "DATA",
            "From: a@sender.example\r\n\r\nHello\r\n.",
        ] {
            reply = say(&mut client, line)?;
            if !reply.starts_with(['2', '3']) {
                break;
            }
        }
        let mut seen = seen.lock().map_err(|_| io::Error::other("a panic"))?;
        match reply.get(..3) {
            Some("250") => seen.accepted += 1,
            Some("421") => {
                seen.told_421 += 1;
                return Ok(());
            }
            Some("451") => {
                seen.told_451 += 1;
                say(&mut client, "RSET")?;
            }
            _ => return Err(io::Error::other(reply)),
        }
        drop(seen);
        if !is_kept || is_over.load(Ordering::Relaxed) {
            say(&mut client, "QUIT")?;
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
}
