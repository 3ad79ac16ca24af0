//! The environment of the dialogues: the DNS and, for each mail server, one daemon for each
//! gate (a port with its own configuration) and the final delivery.

use super::{
    client::Security,
    dialogue::{Dialogue, Tls},
    messages::Keys,
    mta::{Kind, Mta, Program},
    namespace::{SCRATCH, has_complete_results},
    other_milter,
    sink::{Delivery, Sink},
    support::{
        daemon::{Daemon, TIMEOUT},
        dns::{DnsServer, Zone},
    },
    tap::Tap,
};
use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
    time::{Duration, Instant},
};

/// The settings of all gates.
pub const COMMON: &str = "
socket_mode: \"0666\"
opt_in:
  domains: [open.example, xn--bcher-kva.example]
dns: {timeout: 1s, attempts: 1}
";

/// A port of the MTA with its own daemon: name and configuration.
const GATES: &[(&str, &str)] = &[
    ("enforce", ""),
    ("observe", "mode: observe"),
    ("confirmed", "reverse_dns: confirmed"),
    ("lenient", "on_dns_failure: accept"),
    ("any-tls", "exempt: {tls: any}"),
    ("verified-tls", "exempt: {tls: verified}"),
    (
        "named-certificates",
        "exempt: {certificates: [mx.partner.example, \"*.branch.example\"]}",
    ),
    ("no-exemptions", "exempt: {tls: none, authenticated: false}"),
    (
        MANAGED_EXEMPTIONS,
        "exempt: {networks: [\"2001:db8::20/128\"], managed_file: SCRATCH/exempt.list}\nauthentication_results: {add: false}",
    ),
    (
        "translated",
        "ipv4_prefixes: [\"64:ff9b::/96\", \"2001:db8:122:344::/64\"]\nlog: {level: debug}",
    ),
    (
        "own-words",
        "replies: {no_ptr: \"450 4.7.1 100% of {address} must have a name, 50%s [x]: try %d\"}",
    ),
    ("details", DETAILS),
    (
        "longest-details",
        "replies: {details: yes, url: \"https://mx.example.org/%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x%20x\"}",
    ),
    (
        "confirmed-details",
        "reverse_dns: confirmed\nreplies: {preset: exchange-ndr, details: yes}",
    ),
    (
        ROLL_OUT,
        "observe_rules: [ptr-temperror]\nenforce_share: {unauthenticated: 50%}\n\
         replies: {give_up_after: 4s}\n\
         exempt: {forwarders: {spf_of: [alumni.example], names: [.relay.example]}}",
    ),
    (TAPPED, ""),
    (MEASURED, ""),
    (KILLABLE, ""),
    (RESTARTED, ""),
    (IPV4_APART, ""),
    (KEPT_SESSIONS, ""),
    (OTHER_MILTER_FIRST, ""),
    (OTHER_MILTER_LAST, ""),
    (NOT_DELAYED, ""),
    (PROXIED, ""),
    (POSTSCREEN, ""),
    (POSTSCREEN_PROXIED, ""),
    (RELAYED, ""),
    (RELAYED_WITH_ADDRESS, ""),
    (HOST_NAMES, ""),
];

/// Replies of several lines. The percent signs show how an MTA handles them.
const DETAILS: &str = "
replies:
  details: yes
  url: \"https://mx.example.org/ipv6%20mail?from={address}&to={domain}#{rule}\"
";

/// The gate of a site during a rollout: one rule is only observed and one is enforced for
/// half of the networks, senders that retry for long are given up, and there are known
/// forwarders. Sendmail supports 24 filters, so these share one.
pub const ROLL_OUT: &str = "roll-out";

/// The gate at which the milter protocol is recorded.
pub const TAPPED: &str = "tapped";

/// The gate with an exempt network, and with a list that `sixgate exempt` edits.
pub const MANAGED_EXEMPTIONS: &str = "own-network";

/// The gate whose daemon's memory is measured.
pub const MEASURED: &str = "measured";

/// The gate whose daemon is killed.
pub const KILLABLE: &str = "killable";

/// The gate whose socket stays open across restarts of its daemon, as with a service
/// manager.
pub const RESTARTED: &str = "restarted";

/// The gate that is attached as the documentation recommends, only for IPv6 clients. The
/// tests start and stop its daemons.
pub const IPV4_APART: &str = "ipv4-apart";

/// How long the MTA waits there for a daemon that does not answer.
pub const IPV4_APART_TIMEOUT: Duration = Duration::from_secs(10);

/// The gate at which clients keep their SMTP sessions while daemons are replaced. The tests
/// start the daemons.
pub const KEPT_SESSIONS: &str = "kept-sessions";

/// The gates with [`other_milter`] before or after sixgate.
pub const OTHER_MILTER_FIRST: &str = "other-milter-first";
pub const OTHER_MILTER_LAST: &str = "other-milter-last";

/// The gate where Postfix has `smtpd_delay_reject = no`. This gate and
/// those below are for Postfix alone.
pub const NOT_DELAYED: &str = "not-delayed";

/// The gates where Postfix expects a PROXY header, where postscreen takes the
/// connection, and where postscreen expects the header.
pub const PROXIED: &str = "proxied";
pub const POSTSCREEN: &str = "postscreen";
pub const POSTSCREEN_PROXIED: &str = "postscreen-proxied";

/// The gates behind relays, one of which sends a PROXY header. The tests start their
/// daemons.
pub const RELAYED: &str = "relayed";
pub const RELAYED_WITH_ADDRESS: &str = "relayed-with-address";

/// The gate of a domain with its own host name. The test starts its daemon.
pub const HOST_NAMES: &str = "host-names";

/// The address of the mail server for IPv6 clients.
pub const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x2525);

/// Whether a gate tests something that Sendmail does not support. Sendmail supports 24
/// filters (MAXFILTERS is 25, and it counts from 1), and each gate needs one.
fn is_for_postfix(gate: &str) -> bool {
    [
        NOT_DELAYED,
        PROXIED,
        POSTSCREEN,
        POSTSCREEN_PROXIED,
        RELAYED,
        RELAYED_WITH_ADDRESS,
        HOST_NAMES,
    ]
    .contains(&gate)
}

pub struct Gate {
    pub name: &'static str,
    pub port: u16,
    /// The socket that the MTA connects to.
    pub milter: PathBuf,
    daemon: Mutex<Daemon>,
    /// Only at [`TAPPED`] and [`POSTSCREEN`].
    pub tap: Option<Tap>,
    /// Only at [`RESTARTED`]: its socket, which the scenario passes to daemons.
    pub passed_on: Option<UnixListener>,
}

/// The state that all mail servers share.
pub struct SharedSetup {
    pub keys: Keys,
    pub turn: Turn,
    _dns: DnsServer,
}

impl SharedSetup {
    /// Only inside a prepared namespace.
    pub fn prepare(zone: &str) -> io::Result<Arc<Self>> {
        let keys = Keys::generate();
        Ok(Arc::new(Self {
            _dns: start_dns(zone, &keys)?,
            keys,
            turn: Turn::default(),
        }))
    }
}

/// One mail server and its peers.
pub struct Fixture {
    pub setup: Arc<SharedSetup>,
    pub kind: Kind,
    pub mta: Box<dyn Mta>,
    pub sink: Sink,
    gates: Vec<Gate>,
    /// The expected recipients of each message so far, by its token.
    sent: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Fixture {
    /// Starts everything of one mail server.
    pub fn start(kind: Kind, setup: &Arc<SharedSetup>) -> io::Result<Self> {
        let directory = directory(kind);
        fs::create_dir_all(&directory)?;
        let sink = Sink::start()?;
        other_milter::start(&directory)?;
        let gates = (0..)
            .zip(GATES.iter().copied())
            .filter(|(_, (name, _))| kind.program == Program::Postfix || !is_for_postfix(name))
            .map(|(index, gate)| start_gate(kind, index, gate));
        let gates = gates.collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            setup: Arc::clone(setup),
            kind,
            mta: kind.start(&directory, &gates, sink.address())?,
            sink,
            gates,
            sent: Mutex::default(),
        })
    }

    /// The folder of the mail server's files.
    pub fn directory(&self) -> PathBuf {
        directory(self.kind)
    }

    pub fn gate(&self, name: &str) -> &Gate {
        let gate = self.gates.iter().find(|gate| gate.name == name);
        gate.unwrap_or_else(|| panic!("there is no gate {name:?}"))
    }

    /// The address at which a client with that address reaches a gate.
    pub fn address(&self, gate: &str, client: IpAddr) -> SocketAddr {
        let port = self.gate(gate).port;
        match client {
            // A loopback client needs no route to the other addresses.
            _ if client.is_loopback() => (client, port).into(),
            IpAddr::V4(_) => ([192, 0, 2, 25], port).into(),
            IpAddr::V6(_) => (SERVER, port).into(),
        }
    }

    pub fn security(&self, dialogue: &Dialogue) -> Security {
        let file = |name: &str| self.directory().join(format!("tls/{name}.pem"));
        match &dialogue.tls {
            Tls::No => Security::Plain,
            Tls::Yes => Security::StartTls {
                certificate: None,
                resumed: dialogue.resumes_tls,
            },
            Tls::WithCertificate(name) => Security::StartTls {
                certificate: Some(file(name)),
                resumed: dialogue.resumes_tls,
            },
        }
    }

    /// Records the expected recipients of the message with the token: none if it was
    /// refused.
    pub fn remember(&self, token: &str, recipients: &[String]) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.insert(token.to_owned(), sorted(recipients.to_vec()));
    }

    /// Waits, with a limit, until the MTA has delivered everything.
    pub fn wait_until_idle(&self) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.mta.is_idle() && Instant::now() < deadline {
            thread::yield_now();
        }
    }

    /// Waits until the MTA has delivered everything, and compares that with what was
    /// accepted. Returns the differences.
    pub fn unlike_what_was_accepted(&self) -> Vec<String> {
        self.wait_until_idle();
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let differences = sent.iter().filter_map(|(token, wanted)| {
            let arrived = recipients(&self.sink.with_token(token));
            (arrived != *wanted).then(|| format!("{token}: {arrived:?} and not {wanted:?}"))
        });
        differences.collect()
    }
}

/// Dialogues run in parallel; some scenarios must run alone.
#[derive(Default)]
pub struct Turn(RwLock<()>);

impl Turn {
    pub fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// The first line of the daemon's log with all these words.
    pub fn log_line(&self, words: &[&str]) -> Option<String> {
        let log = self.daemon().log();
        log.find(words)
    }

    pub fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn directory(kind: Kind) -> PathBuf {
    Path::new(SCRATCH).join(kind.to_string())
}

fn start_dns(zone: &str, keys: &Keys) -> io::Result<DnsServer> {
    let zone = zone
        .replace("{rsa}", &keys.rsa.public())
        .replace("{ed25519}", &keys.ed25519.public());
    let zone = Zone::parse(&zone).map_err(io::Error::other)?;
    DnsServer::start_at(zone, ([127, 0, 0, 1], 53).into())
}

fn start_gate(kind: Kind, index: u16, (name, config): (&'static str, &str)) -> io::Result<Gate> {
    let room = directory(kind);
    fs::write(room.join("exempt.list"), "# empty\n")?;
    let mut config = config.replace("SCRATCH", &room.to_string_lossy());
    if has_complete_results() && !config.contains("authentication_results:") {
        config.push_str("\nauthentication_results: {complete: yes}");
    }
    let daemon = Daemon::start(&format!("{COMMON}{config}\n"));
    let mut gate = Gate {
        name,
        port: kind.port(index),
        milter: daemon.socket(),
        tap: None,
        passed_on: None,
        daemon: Mutex::new(daemon),
    };
    match name {
        TAPPED | POSTSCREEN => {
            let socket = directory(kind).join(format!("{name}.sock"));
            gate.tap = Some(Tap::start(&socket, gate.milter)?);
            gate.milter = socket;
        }
        RESTARTED => {
            let socket = directory(kind).join("passed-on.sock");
            gate.passed_on = Some(UnixListener::bind(&socket)?);
            fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
            gate.milter = socket;
        }
        IPV4_APART => gate.milter = directory(kind).join("ipv4-apart.sock"),
        KEPT_SESSIONS | RELAYED | RELAYED_WITH_ADDRESS | HOST_NAMES => {
            gate.milter = directory(kind).join(format!("{name}.sock"));
        }
        _ => {}
    }
    Ok(gate)
}

/// All recipients of the deliveries, in the form of [`plain_address`].
pub fn recipients(deliveries: &[Delivery]) -> Vec<String> {
    let all = deliveries.iter().flat_map(|d| &d.recipients);
    sorted(all.map(|recipient| plain_address(recipient)).collect())
}

/// An address without what an MTA may rewrite: brackets, a source route, a
/// trailing dot, upper case.
pub fn plain_address(path: &str) -> String {
    let path = path.trim_start_matches('<').trim_end_matches('>');
    let address = match path.strip_prefix('@').and_then(|p| p.split_once(':')) {
        Some((_, address)) => address,
        None => path,
    };
    address.trim_end_matches('.').to_lowercase()
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}
