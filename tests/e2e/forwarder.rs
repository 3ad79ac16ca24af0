//! Forwarding mail servers as there are many in the fixture: a Postfix with a virtual alias
//! that passes mail on to a recipient of ours over IPv6, with the sender's address as it is
//! or rewritten by postsrsd.

use super::{
    fixture::{Fixture, ROLL_OUT},
    messages,
    namespace::{SCRATCH, is_installed, run},
    postfix,
    release::Release,
    support::{daemon::TIMEOUT, mta::POSTFIX_SERVICES, port::lasting_address},
};
use std::{
    fs, io,
    net::{Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A known forwarder: SPF of alumni.example names it.
const KNOWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xf0);
/// A host that claims its name, by PTR record and at EHLO.
const IMPOSTOR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xf1);

/// Why there is no forwarding here.
pub fn obstacle() -> Option<String> {
    (!is_installed("postsrsd")).then(|| "postsrsd is missing: install postsrsd".to_owned())
}

/// Run by its own `postfix` command; it ends with its PID namespace.
struct Forwarder {
    directory: PathBuf,
}

impl Forwarder {
    /// Starts one that sends from `address` to the mail server at `to`, by the name of the
    /// known forwarder. With `srs`, senders are rewritten there.
    fn start(
        directory: &Path,
        address: Ipv6Addr,
        to: SocketAddr,
        srs: Option<&Srs>,
    ) -> io::Result<Self> {
        let main_cf = main_cf(address, to, srs);
        postfix::start(Release::Own, directory, &main_cf, &master_cf())?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Has it take a message of `sender` for its user.
    fn feed(&self, sender: &str, message: &str) -> io::Result<()> {
        let file = self.directory.join("message");
        fs::write(&file, message.replace("\r\n", "\n"))?;
        let socket = self.directory.join("queue/public/submission");
        let to = format!("unix:{}", socket.display());
        let file = file.to_string_lossy().into_owned();
        let arguments = ["-f", sender, "-t", "pupil@alumni.example", "-F", &file, &to];
        run("smtp-source", &arguments)
    }

    /// The line about the delivery that has these words, once there is one.
    fn wait_for(&self, words: &str) -> Result<String, String> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                return Ok(line.to_owned());
            }
            if Instant::now() > deadline {
                return Err(format!("no line with {words:?}: {log}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn main_cf(address: Ipv6Addr, to: SocketAddr, srs: Option<&Srs>) -> String {
    let rewriting = srs.map_or_else(String::new, |srs| {
        format!(
            "sender_canonical_maps = tcp:{}\nsender_canonical_classes = envelope_sender\n",
            srs.address
        )
    });
    let (ip, port) = (to.ip(), to.port());
    format!(
        "myhostname = mx.alumni.example
mydestination =
mynetworks = 127.0.0.0/8
virtual_alias_domains = alumni.example
virtual_alias_maps = inline:{{pupil@alumni.example=b@open.example}}
relayhost = [{ip}]:{port}
smtp_bind_address6 = {address}
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
{rewriting}"
    )
}

fn master_cf() -> String {
    format!(
        "submission unix n  -  n  -     -  smtpd
smtp       unix  -  -  n  -     -  smtp
{POSTFIX_SERVICES}"
    )
}

/// A postsrsd for alumni.example. Dropping it ends it.
struct Srs {
    address: SocketAddr,
    process: Child,
}

impl Srs {
    fn start(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let secret = directory.join("srs.secret");
        fs::write(&secret, "a secret of the test\n")?;
        let (forward, reverse) = (lasting_address(), lasting_address());
        let process = Command::new("postsrsd")
            .arg("-s")
            .arg(&secret)
            .args(["-d", "alumni.example", "-l", "127.0.0.1"])
            .args(["-f", &forward.port().to_string()])
            .args(["-r", &reverse.port().to_string()])
            .stdin(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + TIMEOUT;
        while std::net::TcpStream::connect(forward).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other("postsrsd does not listen"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            address: forward,
            process,
        })
    }
}

impl Drop for Srs {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Mail that a real Postfix forwards is taken from the known forwarder, with senders as they
/// are and with rewritten ones, and not from who only claims to be it.
pub fn are_known_by_proof(fixture: &Fixture) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let _shared = fixture.setup.turn.shared();
    let directory = Path::new(SCRATCH).join(format!("forwarders-{}", fixture.kind));
    let to = fixture.address(ROLL_OUT, KNOWN.into());
    let srs = Srs::start(&directory).map_err(text)?;
    // Its name, from where, rewriting, and what happens.
    let table = [
        ("plain", KNOWN, None, "rule=known-forwarder"),
        ("rewriting", KNOWN, Some(&srs), "rule=spf-pass"),
        ("impostor", IMPOSTOR, None, "rule=unauthenticated"),
        (
            "rewriting-impostor",
            IMPOSTOR,
            Some(&srs),
            "rule=unauthenticated",
        ),
    ];
    for (name, address, srs, rule) in table {
        let token = format!("[forwarder-{name}-{}]", fixture.kind);
        let message = messages::message("plain", &token, &fixture.setup.keys);
        let forwarder = Forwarder::start(&directory.join(name), address, to, srs).map_err(text)?;
        let sender = format!("{name}@fail.example");
        forwarder.feed(&sender, &message).map_err(text)?;
        let is_known = address == KNOWN;
        let status = match is_known {
            true => "status=sent",
            false => "status=deferred",
        };
        let line = forwarder.wait_for(status)?;
        if !is_known && !line.contains(" 450 4.7.26 Service unavailable, message sent over IPv6") {
            return Err(format!("{name}: {line}"));
        }
        let from = match srs {
            Some(_) => format!("=fail.example={name}@alumni.example>"),
            None => format!("from=<{sender}>"),
        };
        let words = [rule, from.as_str()];
        let decision = fixture.gate(ROLL_OUT).log_line(&words);
        let decision = decision.ok_or_else(|| format!("{name}: no line with {words:?}"))?;
        let proof = match (is_known, srs) {
            (true, None) => " forwarder=spf:alumni.example ",
            // Not asked for: SPF has passed for the rewritten sender.
            (true, Some(_)) => " dkim=none ms=",
            (false, _) => " forwarder=none ",
        };
        if !decision.contains(proof) {
            return Err(format!("{name}: {decision}"));
        }
        let delivered = match is_known {
            true => fixture.sink.wait_for(&token, 1).len(),
            false => fixture.sink.with_token(&token).len(),
        };
        if delivered != usize::from(is_known) {
            return Err(format!("{name}: delivered {delivered} times"));
        }
    }
    Ok(())
}
