//! A host name per domain (`opt_in.mx_zone`), as a sending Postfix sees it through a
//! caching resolver, while `sixgate opt-in` adds and removes its AAAA record.
//!
//! The zone is on Knot, the resolver is BIND, and the sender prefers IPv6. It resolves
//! names in a chroot, whose resolv.conf names the resolver.

use super::{
    fixture::{Fixture, HOST_NAMES, SERVER},
    namespace::run,
    postfix,
    release::Release,
    support::{
        daemon::{Daemon, TIMEOUT},
        mta::POSTFIX_SERVICES,
        name_server::{KEY, Kind, NameServer, write_key},
        programs::{Program, command, program},
    },
};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

/// The customer. Its MX record is in the zone of the test and never changes.
const DOMAIN: &str = "hosted.example";

const SUFFIX: &str = "mx.hoster.example";

const HOST: &str = "hosted-example.mx.hoster.example";

/// The resolver of the sender.
const RESOLVER: &str = "127.0.0.53";

const TTL: Duration = Duration::from_secs(3);

/// Returns the reason if this test cannot run here.
pub fn obstacle() -> Option<String> {
    let missing = ["knotd", "named"]
        .into_iter()
        .find(|name| program(name).is_none());
    let missing = missing.map(|name| format!("there is no {name}"));
    // The sender has a resolv.conf of its own in its chroot.
    let is_read_outside = Release::Own.title().is_ok_and(|title| title == "Debian 13");
    let reason = || "Postfix 3.10 does not use the resolv.conf of its chroot".to_owned();
    missing.or_else(|| is_read_outside.then(reason))
}

pub fn bounce_nothing(fixture: &Fixture) -> Result<(), String> {
    let _shared = fixture.setup.turn.shared();
    let directory = fixture.directory().join("host-names");
    fs::create_dir_all(&directory).map_err(text)?;
    let zone = format!(
        "$ORIGIN {SUFFIX}.\n@ 1 SOA ns.example.org. hostmaster.example.org. 1 600 300 2419200 1\n\
         @ 1 NS ns.example.org.\n"
    );
    let primary = NameServer::start(Kind::Knot, SUFFIX, &zone);
    let _resolver = start_resolver(&directory, &primary)?;
    let site = Site::new(&directory, &primary)?;
    let daemon = Daemon::start_at(&fixture.gate(HOST_NAMES).milter, &site.yaml);
    let port = fixture.address(HOST_NAMES, IpAddr::V6(SERVER)).port();
    let sender = Sender::start(&directory.join("sender"), port)?;

    // Opted out: no sender tries IPv6.
    site.sixgate(&["sync-dns", "--settle", "0s"])?;
    wait_for_a()?;
    for _ in 0..3 {
        sender.send_one()?;
    }
    sender.expect(3, Family::V4)?;

    // Opted in: the next message comes over IPv6.
    site.sixgate(&["add", "--sync-dns", DOMAIN])?;
    wait_for_aaaa(true)?;
    sender.send_one()?;
    sender.expect(1, Family::V6)?;

    // Opted out again, while mail keeps coming and the AAAA record is in the cache.
    let mut deny = site
        .command(&["deny", "--sync-dns", DOMAIN])
        .spawn()
        .map_err(text)?;
    let is_gone = || primary.addresses(HOST).1.is_empty();
    wait_until("the AAAA record is there still", is_gone)?;
    // The resolver still has it cached, so this message goes over IPv6 and must not be
    // refused.
    sender.send_one()?;
    let after_removal = sender.expect_any(1)?;
    let deadline = Instant::now() + TIMEOUT;
    while deny.try_wait().map_err(text)?.is_none() {
        sender.send_one()?;
        sender.expect_any(1)?;
        if Instant::now() > deadline {
            return Err("deny does not end".into());
        }
    }
    site.wait_for_daemon("no")?;
    for _ in 0..3 {
        sender.send_one()?;
    }
    sender.expect(3, Family::V4)?;
    let log = sender.log();
    let bounced = log.matches("status=bounced").count() + log.matches(" 550").count();
    let [ipv4, ipv6] = [Family::V4, Family::V6].map(|family| sender.count(family));
    eprintln!(
        "{}: a host name per domain: {ipv4} messages over IPv4, {ipv6} over IPv6, {bounced} \
         bounced; the first after the AAAA record was gone came over {after_removal:?}",
        fixture.kind
    );
    if bounced > 0 || sender.deferred() > 0 {
        return Err(log);
    }

    // Without the documented order the message is bounced, so the test would detect it.
    site.sixgate(&["add", "--sync-dns", DOMAIN])?;
    wait_for_aaaa(true)?;
    site.sixgate(&["deny", "--no-dns", DOMAIN])?;
    site.wait_for_daemon("no")?;
    sender.send_one()?;
    let refused = || {
        sender
            .log()
            .contains("550 5.2.1 Service unavailable, [hosted.example]")
    };
    wait_until("nothing is bounced", refused)?;
    drop(daemon);
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn wait_until(otherwise: &str, is_so: impl Fn() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(otherwise.to_owned());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Waits until the sender's resolver has an AAAA record or none.
fn wait_for_aaaa(wanted: bool) -> Result<(), String> {
    let has = || !NameServer::ask(resolver(), HOST).1.is_empty();
    wait_until("the resolver does not follow", || has() == wanted)
}

/// Waits until the sender's resolver has an A record. A server may answer an update before
/// it serves it.
fn wait_for_a() -> Result<(), String> {
    let has = || !NameServer::ask(resolver(), HOST).0.is_empty();
    wait_until("the resolver has no A record", has)
}

fn resolver() -> SocketAddr {
    (RESOLVER.parse::<IpAddr>().expect("an address"), 53).into()
}

/// A caching resolver that queries Knot for the zone and the DNS of the test for everything
/// else.
fn start_resolver(directory: &Path, primary: &NameServer) -> Result<Program, String> {
    // BIND listens only on addresses of interfaces.
    run(
        "ip",
        &["address", "replace", &format!("{RESOLVER}/32"), "dev", "lo"],
    )
    .map_err(text)?;
    let config = directory.join("named.conf");
    let port = primary.address().port();
    let place = directory.display();
    let lines = format!(
        "options {{\n  directory \"{place}\";\n  listen-on port 53 {{ {RESOLVER}; }};\n  \
         listen-on-v6 {{ none; }};\n  pid-file none;\n  session-keyfile none;\n  recursion yes;\n  \
         allow-recursion {{ any; }};\n  dnssec-validation no;\n  qname-minimization off;\n  \
         forward only;\n  forwarders {{ 127.0.0.1; }};\n}};\ncontrols {{ }};\n\
         zone \"{SUFFIX}\" {{ type forward; forward only; forwarders {{ 127.0.0.1 port {port}; }}; \
         }};\n"
    );
    fs::write(&config, lines).map_err(text)?;
    let mut named = command("named");
    named.args(["-g", "-n", "1", "-c"]).arg(config);
    Ok(Program::start(named, "all zones loaded"))
}

/// The site that hosts the domain.
struct Site {
    config: PathBuf,
    yaml: String,
}

impl Site {
    fn new(directory: &Path, primary: &NameServer) -> Result<Self, String> {
        let [config, list, key] = ["milter.yaml", "managed.list", "key"].map(|n| directory.join(n));
        fs::write(&list, format!("!{DOMAIN}\n")).map_err(text)?;
        write_key(&key, KEY);
        let (list, key, server) = (list.display(), key.display(), primary.address());
        let yaml = format!(
            "socket_mode: \"0666\"\n\
             dns: {{timeout: 1s, attempts: 1}}\n\
             opt_in:\n  managed_file: {list}\n  mx_zone: {{suffix: {SUFFIX}, a: 192.0.2.25, aaaa: \
             \"{SERVER}\", ttl: {}s, grace: 2s, server: \"{server}\", key_file: {key}}}\n",
            TTL.as_secs()
        );
        fs::write(&config, &yaml).map_err(text)?;
        Ok(Self { config, yaml })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command
            .arg("opt-in")
            .args(arguments)
            .arg("-c")
            .arg(&self.config);
        command
    }

    fn sixgate(&self, arguments: &[&str]) -> Result<Output, String> {
        let output = self.command(arguments).output().map_err(text)?;
        match output.status.success() {
            true => Ok(output),
            false => Err(format!("{arguments:?}: {output:?}")),
        }
    }

    /// It polls the list twice a second, and applies a state that it has seen twice.
    fn wait_for_daemon(&self, verdict: &str) -> Result<(), String> {
        let status = self.sixgate(&["status", DOMAIN])?;
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        if !said.contains(&format!(": {verdict} (")) {
            return Err(said);
        }
        thread::sleep(Duration::from_secs(2));
        Ok(())
    }
}

/// A Postfix that delivers by MX records and prefers IPv6.
struct Sender {
    directory: PathBuf,
    sent: std::cell::Cell<usize>,
    seen: std::cell::Cell<usize>,
}

impl Sender {
    fn start(directory: &Path, port: u16) -> Result<Self, String> {
        let chroot = directory.join("queue/etc");
        fs::create_dir_all(&chroot).map_err(text)?;
        let resolv_conf = format!("nameserver {RESOLVER}\noptions timeout:1 attempts:2\n");
        fs::write(chroot.join("resolv.conf"), resolv_conf).map_err(text)?;
        let main_cf = format!(
            "myhostname = mail.sender.example
mydestination =
mynetworks = 127.0.0.0/8
smtp_tcp_port = {port}
smtp_address_preference = ipv6
smtp_bind_address6 = 2001:db8::10
smtp_bind_address = 198.51.100.10
smtp_connection_cache_on_demand = no

minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
"
        );
        let master_cf = format!(
            "submission unix n  -  n  -     -  smtpd
smtp       unix  -  -  y  -     -  smtp
{POSTFIX_SERVICES}"
        );
        postfix::start(Release::Own, directory, &main_cf, &master_cf).map_err(text)?;
        Ok(Self {
            directory: directory.to_owned(),
            sent: Default::default(),
            seen: Default::default(),
        })
    }

    fn send_one(&self) -> Result<(), String> {
        let to = format!("unix:{}/queue/public/submission", self.directory.display());
        let recipient = format!("b@{DOMAIN}");
        let arguments = ["-m", "1", "-f", "a@ip6.example", "-t", &recipient, &to];
        run("smtp-source", &arguments).map_err(text)?;
        self.sent.set(self.sent.get() + 1);
        Ok(())
    }

    /// Waits for the outcome of as many messages as were sent, and returns the family
    /// of the last.
    fn expect_any(&self, number: usize) -> Result<Family, String> {
        let seen = self.seen.get() + number;
        self.seen.set(seen);
        let enough = || self.outcomes().len() >= seen;
        if wait_until("", enough).is_err() {
            return Err(format!("mail does not go out: {}", self.log()));
        }
        self.outcomes()[seen - number..]
            .iter()
            .map(|line| family_of(line).ok_or_else(|| format!("not sent: {line}\n{}", self.log())))
            .next_back()
            .ok_or("nothing was sent")?
    }

    fn expect(&self, number: usize, family: Family) -> Result<(), String> {
        let before = self.seen.get();
        self.expect_any(number)?;
        let outcomes = self.outcomes();
        let other = outcomes[before..]
            .iter()
            .find(|line| family_of(line) != Some(family));
        match other {
            None => Ok(()),
            Some(line) => Err(format!("not over {family:?}: {line}")),
        }
    }

    fn outcomes(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains(" status="));
        lines.map(str::to_owned).collect()
    }

    fn count(&self, family: Family) -> usize {
        let outcomes = self.outcomes();
        outcomes
            .iter()
            .filter(|line| family_of(line) == Some(family))
            .count()
    }

    fn deferred(&self) -> usize {
        self.log().matches("status=deferred").count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

/// How a message was delivered; `None` if it was not.
fn family_of(line: &str) -> Option<Family> {
    if !line.contains("status=sent") {
        return None;
    }
    match line.contains(&format!("relay={HOST}[{SERVER}]")) {
        true => Some(Family::V6),
        false => line
            .contains(&format!("relay={HOST}[192.0.2.25]"))
            .then_some(Family::V4),
    }
}
