//! The life cycle of a package, from installation to purge.

use super::{
    client::{Security, SmtpClient},
    debian::{Debian, Release, package},
    handover, namespace, restart, sandbox,
    support::dns::{DnsServer, Zone},
    upgrade,
};
use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

const ZONE: &str = r#"
2001:db8::10          PTR   mail.sender.example
mail.sender.example   AAAA  2001:db8::10
sender.example        TXT   "v=spf1 ip6:2001:db8::10 -all"
"#;

/// The server's own address.
const SERVER: &str = "[2001:db8::25]:25";

const NO_PTR: &str = "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8::20] must have reverse DNS record.";

/// As an administrator would write it.
pub const CONFIGURATION: &str = "# ours\nopt_in: {domains: [open.example]}\n";

pub type Outcome = io::Result<()>;

pub fn with_postfix(release: Release) -> Outcome {
    on_a_booted_system(release, live)
}

/// Runs a test with its own DNS server, and adds the logs to its error.
pub fn on_a_booted_system(release: Release, test: impl FnOnce(&Debian) -> Outcome) -> Outcome {
    let system = Debian::boot(release)?;
    let zone = Zone::parse(ZONE).map_err(io::Error::other)?;
    let _dns = DnsServer::start_at(zone, ([127, 0, 0, 1], 53).into())?;
    test(&system).map_err(|error| {
        let log = system.run(
            "journalctl --no-pager -n 60; journalctl --no-pager -n 20 -u sixgate; \
             tail -n 20 /var/log/mail.log || true",
        );
        io::Error::other(format!("{error}\n{}", log.unwrap_or_default()))
    })
}

fn live(system: &Debian) -> Outcome {
    prepare_postfix(system)?;
    let before = system.inventory()?;
    keeps_enforcing_when_upgraded_from_0_1(system)?;

    let beginning = Instant::now();
    install_and_attach(system)?;
    its_configuration_is_the_example_but_for_the_mode(system)?;
    refuses_nothing_before_it_is_told_to(system)?;
    eprintln!(
        "from dpkg -i to the first decision: {:?}",
        beginning.elapsed()
    );
    enforce(system)?;
    refuses_and_accepts(system)?;

    runs_in_its_sandbox(system)?;
    its_log_is_understood(system)?;
    handover::works_under_systemd(system)?;
    restart::keeps_sockets(system)?;
    sandbox::is_loosened_as_documented(system)?;
    upgrade::hands_over_or_restarts(system)?;
    serves_a_chrooted_postfix_through_a_unix_socket(system)?;
    keeps_what_the_administrator_made_when_upgraded(system)?;
    stops_when_removed(system)?;
    leaves_nothing_when_purged(system, &before)
}

/// Debian's own configuration, with its chroot.
pub fn prepare_postfix(system: &Debian) -> Outcome {
    system.run(
        "cp /usr/share/postfix/main.cf.debian /etc/postfix/main.cf && newaliases && \
         postconf -e myhostname=mx.sixgate.test mydestination=open.example,shut.example \
           local_recipient_maps= inet_interfaces=all maillog_file=/var/log/mail.log \
           'maillog_file_prefixes=/var' local_transport=discard && \
         postconf -M smtp/inet | grep -q 'inet  *n  *-  *y' && \
         systemctl restart postfix",
    )?;
    Ok(())
}

fn install_and_attach(system: &Debian) -> Outcome {
    fs::copy(older_package()?, system.root().join("srv/older.deb"))?;
    let said = system.run("dpkg -i /srv/older.deb 2>&1")?;
    let attach: Vec<_> = said
        .lines()
        .filter_map(|line| line.trim().split_once(" = "))
        .filter(|(key, _)| key.contains("milter"))
        .map(|(key, value)| format!("postconf -e '{key}={value}'"))
        .collect();
    expect(attach.len() == 3, "the three lines that attach it", &said)?;
    warns_of_nothing(&said)?;
    system.run("systemctl is-active sixgate")?;
    // The package does not attach itself to the mail server.
    let milters = system.run("postconf -h smtpd_milters")?;
    expect(milters.trim().is_empty(), "no milter", &milters)?;
    system.run(&attach.join(" && "))?;
    system.run("postfix reload")?;
    Ok(())
}

/// And there it is `observe` instead of `enforce`.
fn its_configuration_is_the_example_but_for_the_mode(system: &Debian) -> Outcome {
    let example = include_str!("../../milter.yaml.example");
    let want = example.replacen("\nmode: enforce\n", "\nmode: observe\n", 1);
    expect(want != example, "a mode in the example", example)?;
    let packaged = fs::read_to_string(system.root().join("etc/sixgate/milter.yaml"))?;
    let packaged = packaged.replace("# an earlier word\n", "");
    expect(packaged == want, &want, &packaged)
}

/// As installed, it decides and logs.
fn refuses_nothing_before_it_is_told_to(system: &Debian) -> Outcome {
    let no_ptr = recipient_reply("2001:db8::20", "b@open.example")?;
    expect(no_ptr.starts_with("250 "), "an acceptance", &no_ptr)?;
    let log = system.run("journalctl --sync; journalctl -u sixgate --no-pager")?;
    expect(
        log.contains("reject_warning: RCPT") && log.contains("mode=observe would=reject"),
        "what would have been refused",
        &log,
    )
}

/// As an administrator who has read what would have been refused.
pub fn enforce(system: &Debian) -> Outcome {
    fs::write(system.root().join("etc/sixgate/milter.yaml"), CONFIGURATION)?;
    system.run("systemctl reload sixgate")?;
    Ok(())
}

/// The default of 0.1.0 was to enforce, and dpkg replaces an unchanged configuration.
fn keeps_enforcing_when_upgraded_from_0_1(system: &Debian) -> Outcome {
    let as_in_0_1 = "sed -i 's/^Version: .*/Version: 0.1.0/' DEBIAN/control
        sed -i 's/^mode: observe/mode: enforce/' etc/sixgate/milter.yaml
        if [ -d usr/lib/systemd ]; then mkdir lib; mv usr/lib/systemd lib/systemd; fi";
    fs::copy(
        repack("earliest", "", as_in_0_1)?,
        system.root().join("srv/earliest.deb"),
    )?;
    let this = package().ok_or_else(|| io::Error::other("no package"))?;
    fs::copy(this, system.root().join("srv/this.deb"))?;
    system.run("dpkg -i /srv/earliest.deb 2>&1")?;
    let said = system.run("dpkg -i /srv/this.deb 2>&1")?;
    expect(
        said.contains("here mode stays \"enforce\""),
        "that it keeps refusing",
        &said,
    )?;
    // That version's directories belong to Debian 13's base system, too.
    let old = |line: &&str| line.contains("unable to delete old directory '/lib/systemd");
    let others: Vec<_> = said.lines().filter(|line| !old(line)).collect();
    warns_of_nothing(&others.join("\n"))?;
    system.run("grep -q '^mode: enforce$' /etc/sixgate/milter.yaml")?;
    // The units have moved from /lib to /usr/lib, which is the same directory.
    system.run("systemctl is-active sixgate && test -e /usr/lib/systemd/system/sixgate.socket")?;
    system.run("dpkg --purge sixgate")?;
    Ok(())
}

/// The complaints of dpkg.
pub fn warns_of_nothing(said: &str) -> Outcome {
    let warns = said.lines().any(|line| line.contains("warning"));
    expect(!warns, "no warning of dpkg's", said)
}

/// The package of this tree, as if of an earlier version that came with another
/// configuration.
fn older_package() -> io::Result<PathBuf> {
    repack(
        "older",
        "~earlier",
        "echo '# an earlier word' >>etc/sixgate/milter.yaml",
    )
}

/// The package of this tree with that after its version, changed by commands.
pub fn repack(name: &str, version: &str, change: &str) -> io::Result<PathBuf> {
    let package = package().ok_or_else(|| io::Error::other("no package"))?;
    let folder = Path::new(namespace::SCRATCH).join(name);
    let file = folder.with_extension("deb");
    let script = r#"
        rm -rf "$2"
        dpkg-deb --raw-extract "$1" "$2"
        sed -i "s/^Version: .*/&$4/" "$2/DEBIAN/control"
        (cd "$2" && eval "$5")
        dpkg-deb --build --root-owner-group -Znone "$2" "$3" >/dev/null
    "#;
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", script, "sh"])
        .args([&package, &folder, &file])
        .args([version, change]);
    match shell.status()?.success() {
        true => Ok(file),
        false => Err(io::Error::other("dpkg-deb fails")),
    }
}

fn refuses_and_accepts(system: &Debian) -> Outcome {
    refuses()?;
    accepts_a_message("2001:db8::10")?;
    let log = system.run("journalctl --sync; journalctl -u sixgate -o short-iso --no-pager")?;
    expect(
        log.contains("accept: rule=spf-pass"),
        "a decision line",
        &log,
    )
}

/// A client without reverse DNS, and a domain that has not opted in.
pub fn refuses() -> Outcome {
    let refused = recipient_reply("2001:db8::20", "b@open.example")?;
    // Sendmail names the recipient.
    let reply = refused.replace("<b@open.example>... ", "");
    expect(reply == NO_PTR, "a refusal", &refused)?;
    let refused = recipient_reply("2001:db8::10", "b@shut.example")?;
    expect(refused.starts_with("550 5.2.1 "), "a refusal", &refused)
}

/// In a session of its own.
pub fn accepts_a_message(from: &str) -> Outcome {
    let reply = message_reply(from, "a@sender.example", "b@open.example")?;
    expect(reply.starts_with("250 2.0.0 "), "an acceptance", &reply)
}

/// The first refusal, or the acceptance of the recipient.
pub fn recipient_reply(from: &str, recipient: &str) -> io::Result<String> {
    let mut client = greeted(from)?;
    let reply = say(&mut client, "MAIL FROM:<a@sender.example>")?;
    match reply.starts_with('2') {
        true => say(&mut client, &format!("RCPT TO:<{recipient}>")),
        false => Ok(reply),
    }
}

fn message_reply(from: &str, sender: &str, recipient: &str) -> io::Result<String> {
    let mut client = greeted(from)?;
    say(&mut client, &format!("MAIL FROM:<{sender}>"))?;
    say(&mut client, &format!("RCPT TO:<{recipient}>"))?;
    say(&mut client, "DATA")?;
    say(
        &mut client,
        &format!("From: {sender}\r\nTo: {recipient}\r\n\r\nHello\r\n."),
    )
}

pub fn greeted(from: &str) -> io::Result<SmtpClient> {
    let from: IpAddr = from.parse().map_err(io::Error::other)?;
    let server: SocketAddr = SERVER.parse().map_err(io::Error::other)?;
    let mut client = SmtpClient::connect(from, server, &Security::Plain)?;
    client.reply()?;
    say(&mut client, "HELO mail.sender.example")?;
    Ok(client)
}

pub fn say(client: &mut SmtpClient, line: &str) -> io::Result<String> {
    client.send(format!("{line}\r\n").as_bytes())?;
    Ok(client.reply()?.trim_end().to_owned())
}

pub fn runs_in_its_sandbox(system: &Debian) -> Outcome {
    let status = system.run(
        "pid=$(systemctl show -P MainPID sixgate); cat /proc/$pid/status; \
         stat -c 'user %U' /proc/$pid; \
         nsenter --target $pid --mount sh -c 'touch /var/lib/dpkg/x || echo read-only'",
    )?;
    for sign in [
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "user sixgate",
        "read-only",
    ] {
        expect(status.contains(sign), sign, &status)?;
    }
    let log = system.run("journalctl --sync; journalctl -u sixgate --no-pager")?;
    expect(
        !log.contains("WARN can't"),
        "no complaint about the sandbox",
        &log,
    )?;
    // systemd has no watchdog for a service that does not support it.
    let watchdog = system.run("systemctl show -P WatchdogTimestampMonotonic sixgate")?;
    expect(watchdog.trim() != "0", "a word for the watchdog", &watchdog)
}

fn its_log_is_understood(system: &Debian) -> Outcome {
    system.run("journalctl --sync; journalctl -u sixgate -o short --no-pager | grep -v systemd >/run/sixgate.log")?;
    let unknown = system.run(
        "grep -E -v -f /etc/logcheck/ignore.d.server/sixgate /run/sixgate.log | \
         grep -E 'accept|reject' || true",
    )?;
    expect(
        unknown.is_empty(),
        "nothing for logcheck to report",
        &unknown,
    )?;
    let banned = system.run("fail2ban-regex /run/sixgate.log sixgate")?;
    expect(
        banned.contains("1 matched"),
        "one client for fail2ban",
        &banned,
    )
}

fn serves_a_chrooted_postfix_through_a_unix_socket(system: &Debian) -> Outcome {
    let configuration = format!("{CONFIGURATION}listen: systemd:milter\n");
    fs::write(system.root().join("etc/sixgate/milter.yaml"), configuration)?;
    system.run("systemctl stop sixgate && systemctl enable --now sixgate.socket && systemctl start sixgate")?;
    // Not a reload, because sessions might keep the old configuration.
    system
        .run("postconf -e smtpd_milters=unix:/sixgate/milter.sock && systemctl restart postfix")?;
    let refused = recipient_reply("2001:db8::20", "b@open.example")?;
    expect(refused == NO_PTR, "a refusal", &refused)
}

fn keeps_what_the_administrator_made_when_upgraded(system: &Debian) -> Outcome {
    let files = [
        "etc/sixgate/milter.yaml",
        "etc/sixgate/opt-in.d/ours.list",
        "var/lib/sixgate/opt-in.list",
        "var/lib/sixgate/exempt.list",
    ];
    for file in &files[1..3] {
        fs::write(system.root().join(file), "open.example\n")?;
    }
    system.run("sixgate exempt add 2001:db8:77::/48 --for 14d --comment 'ticket 4711'")?;
    let read = || files.map(|file| fs::read_to_string(system.root().join(file)).ok());
    let before = read();
    upgrade::leaves_the_old_version_or_restarts(system)?;
    expect(read() == before, "the same files", &format!("{:?}", read()))?;
    let exempt = system.run("sixgate exempt status 2001:db8:77::1")?;
    expect(exempt.contains("ticket 4711"), "the exemption", &exempt)?;
    let refused = recipient_reply("2001:db8::20", "b@open.example")?;
    expect(refused == NO_PTR, "a refusal", &refused)
}

fn stops_when_removed(system: &Debian) -> Outcome {
    system.run("dpkg --remove sixgate")?;
    let left = system
        .run("pgrep -x sixgate || systemctl is-active sixgate.service sixgate.socket || true")?;
    expect(
        !left
            .lines()
            .any(|line| line == "active" || line.parse::<u32>().is_ok()),
        "no daemon",
        &left,
    )?;
    let deferred = recipient_reply("2001:db8::10", "b@open.example")?;
    expect(
        deferred.starts_with('4'),
        "a deferral while Postfix still asks",
        &deferred,
    )?;
    expect(
        system.root().join("etc/sixgate/milter.yaml").exists(),
        "the configuration",
        "",
    )
}

fn leaves_nothing_when_purged(
    system: &Debian,
    before: &std::collections::BTreeSet<String>,
) -> Outcome {
    let said = system.run("dpkg --purge sixgate 2>&1")?;
    // These two files belong to the administrator.
    let own = |line: &&str| line.contains("directory") && line.contains("not empty");
    let said: Vec<_> = said.lines().filter(|line| !own(line)).collect();
    warns_of_nothing(&said.join("\n"))?;
    let after = system.inventory()?;
    let left: Vec<_> = after.difference(before).map(String::as_str).collect();
    let gone: Vec<_> = before.difference(&after).map(String::as_str).collect();
    let own = [
        "/etc/sixgate",
        "/etc/sixgate/opt-in.d",
        "/etc/sixgate/opt-in.d/ours.list",
    ];
    expect(
        left == own,
        "only the administrator's own",
        &left.join("\n"),
    )?;
    expect(gone.is_empty(), "nothing else gone", &gone.join("\n"))
}

pub fn expect(holds: bool, what: &str, seen: &str) -> Outcome {
    match holds {
        true => Ok(()),
        false => Err(io::Error::other(format!("expected {what}, saw:\n{seen}"))),
    }
}
