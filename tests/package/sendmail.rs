//! The package under Debian's Sendmail, booted: attached by the packaged FEATURE.

use super::{
    debian::{Debian, Release, package},
    handover::main_pid,
    lifecycle::{
        Outcome, accepts_a_message, enforce, expect, on_a_booted_system, recipient_reply, refuses,
        repack,
    },
};
use std::{fs, io};

pub fn lifecycle_with_sendmail(release: Release) -> Outcome {
    on_a_booted_system(release, live)
}

fn live(system: &Debian) -> Outcome {
    replace_postfix(system)?;
    let this = package().ok_or_else(|| io::Error::other("no package"))?;
    fs::copy(this, system.root().join("srv/this.deb"))?;
    system.run("dpkg -i /srv/this.deb 2>&1")?;
    attach(system)?;
    let observed = recipient_reply("2001:db8::20", "b@open.example")?;
    expect(observed.starts_with("250 "), "an acceptance", &observed)?;

    enforce(system)?;
    refuses()?;
    accepts_a_message("2001:db8::10")?;
    upgrades(system)?;
    refuses()?;
    accepts_a_message("2001:db8::10")?;

    system.run("dpkg --purge sixgate")?;
    let deferred = recipient_reply("2001:db8::10", "b@open.example")?;
    let is_deferred = deferred.starts_with('4');
    expect(
        is_deferred,
        "a deferral while Sendmail still asks",
        &deferred,
    )
}

/// The packages of the two exclude each other.
fn replace_postfix(system: &Debian) -> Outcome {
    system.run(
        "systemctl stop postfix && dpkg --purge --force-depends postfix 2>&1 && dpkg -i /srv/sendmail/*.deb 2>&1 && \
         echo open.example >>/etc/mail/local-host-names && \
         echo shut.example >>/etc/mail/local-host-names && \
         echo 'b: /dev/null' >>/etc/aliases && newaliases",
    )?;
    Ok(())
}

/// As in docs/sendmail.md. The rest is needed because the test's zone has no mail hosts and
/// its clients no ident server.
const SENDMAIL_MC: &str = "
FEATURE(`sixgate')dnl
FEATURE(`accept_unresolvable_domains')dnl
define(`confTO_IDENT', `0')dnl
DAEMON_OPTIONS(`Family=inet6, Name=MTA-v6, Port=smtp, Addr=2001:db8::25')dnl
";

fn attach(system: &Debian) -> Outcome {
    let file = system.root().join("etc/mail/sendmail.mc");
    let text = fs::read_to_string(&file)?;
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("DAEMON_OPTIONS"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let (before, mailers) = text
        .split_once("MAILER_DEFINITIONS")
        .ok_or_else(|| io::Error::other(text.clone()))?;
    fs::write(
        &file,
        format!("{before}{SENDMAIL_MC}MAILER_DEFINITIONS{mailers}"),
    )?;
    // Debian 13's script does not stop the daemon.
    system.run(
        "sendmailconfig --no-reload 2>&1 && systemctl stop sendmail && \
         (pkill -KILL '^sendmail' || true) && systemctl start sendmail",
    )?;
    Ok(())
}

/// Upgrades while Sendmail runs, by a handover.
fn upgrades(system: &Debian) -> Outcome {
    let newer = repack("sendmail-newer", "~f1", "true")?;
    fs::copy(newer, system.root().join("srv/newer.deb"))?;
    let old = main_pid(system)?;
    let said = system.run("dpkg --force-confold -i /srv/newer.deb 2>&1")?;
    expect(said.contains("has taken over"), "a handover", &said)?;
    let new = main_pid(system)?;
    expect(new != old, "another process", &new)
}
