//! A private Sendmail, from Debian's packages but not installed, with a
//! configuration, queue and ports of its own.
//!
//! `tests/extract-sendmail.sh` unpacks it. The first gate is attached by
//! `packaging/sendmail/sixgate.m4`, the others by lines such as it writes.

use super::{
    credentials::{make_account, make_certificates},
    mta::Mta,
    namespace::{put_over, run},
    support::daemon::PATIENCE,
    world::{Gate, IPV4_APART, IPV4_APART_TIMEOUT, SERVER},
};
use std::{
    env, fs, io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

/// What a dialogue has as Postfix's own reply, and Sendmail's in its place.
const OWN_REPLIES: [(&str, &str); 3] = [
    (
        "554 5.5.1 Error: no valid recipients",
        "503 5.0.0 Need RCPT (recipient)",
    ),
    (
        "451 4.7.1 Service unavailable - try again later",
        "451 4.3.2 Please try again later",
    ),
    (
        "235 2.7.0 Authentication successful",
        "235 2.0.0 OK Authenticated",
    ),
];

/// One daemon that listens on all ports.
pub struct Sendmail {
    queue: PathBuf,
    /// It ends with its PID namespace.
    _daemon: Child,
}

impl Mta for Sendmail {
    fn is_idle(&self) -> bool {
        fs::read_dir(&self.queue).is_ok_and(|mut entries| entries.next().is_none())
    }

    fn passes_on(&self, said: &str, reply: &str) -> String {
        let own = OWN_REPLIES.iter().find(|(postfix, _)| *postfix == reply);
        match (own, path(said)) {
            (Some((_, own)), _) => (*own).to_owned(),
            (None, Some(path)) => with_prefix(path, reply),
            (None, None) => reply.to_owned(),
        }
    }

    /// White space in the header is Sendmail's to choose.
    fn plain_spelling(&self, message: &str) -> String {
        let without_header = || ("", message.trim_start_matches('\n'));
        let parts = message.split_once("\n\n");
        let (header, body) = parts.unwrap_or_else(without_header);
        let unfolded = header.replace("\n\t", "").replace("\n ", "");
        unfolded.replace([' ', '\t'], "") + "\n\n" + body
    }
}

/// The path in MAIL or RCPT, as the client wrote it.
fn path(said: &str) -> Option<&str> {
    let (verb, argument) = said.split_once(':')?;
    let has_path = ["MAIL FROM", "RCPT TO"].contains(&verb.to_ascii_uppercase().as_str());
    let end = argument.rfind('>').map_or(argument.len(), |end| end + 1);
    has_path.then(|| argument[..end].trim())
}

/// A whole reply with the path between the enhanced code and the text of its first
/// line. Sendmail leaves it out after 451 and 452.
fn with_prefix(path: &str, reply: &str) -> String {
    let is_prefixed = !reply.starts_with("451") && !reply.starts_with("452");
    // The code is followed by a space, or by a hyphen if more lines follow.
    let enhanced = reply.get(4..).and_then(|rest| rest.split_once(' '));
    match enhanced {
        Some((enhanced, text)) if is_prefixed => {
            format!("{}{enhanced} {path}... {text}", &reply[..4])
        }
        Some(_) | None => reply.to_owned(),
    }
}

impl Sendmail {
    /// Why it can't be run here.
    pub fn obstacle() -> Option<String> {
        let missing = |what| Some(format!("needs {what}"));
        match program().exists() {
            false => missing("Sendmail: run tests/extract-sendmail.sh"),
            true if !Path::new("/usr/bin/m4").exists() => missing("m4: install m4"),
            true => None,
        }
    }

    /// Starts in that directory, with a port for each gate. What is accepted
    /// goes to `relay`, an LMTP server.
    pub fn start(directory: &Path, gates: &[Gate], relay: SocketAddr) -> io::Result<Self> {
        let queue = directory.join("queue");
        fs::create_dir_all(&queue)?;
        make_certificates(directory)?;
        make_account(
            &directory.join("sasldb2"),
            "root",
            &directory.join("Sendmail.conf"),
        )?;
        let cf = directory.join("sendmail.cf");
        fs::write(
            &cf,
            configuration(directory, &sendmail_mc(directory, gates, relay))?,
        )?;
        // It logs to the machine's syslog otherwise.
        if Path::new("/dev/log").exists() {
            put_over("/dev/log", "")?;
        }
        let daemon = run_daemon(&cf)?;
        wait_until_listening(gates)?;
        Ok(Self {
            queue,
            _daemon: daemon,
        })
    }
}

/// Where `extract-sendmail.sh` has put it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sendmail")
}

fn program() -> PathBuf {
    root().join("usr/libexec/sendmail/sendmail")
}

/// What m4 makes of a sendmail.mc, with the feature installed.
pub fn configuration(directory: &Path, mc: &str) -> io::Result<String> {
    let cf = directory.join("cf");
    if !cf.exists() {
        let original = root().join("usr/share/sendmail/cf");
        run(
            "cp",
            &["-r", &original.to_string_lossy(), &cf.to_string_lossy()],
        )?;
        let feature = include_str!("../../packaging/sendmail/sixgate.m4");
        fs::write(cf.join("feature/sixgate.m4"), feature)?;
    }
    let file = directory.join("sendmail.mc");
    fs::write(&file, mc)?;
    let output = Command::new("m4")
        .arg(format!("-D_CF_DIR_={}/", cf.display()))
        .arg(cf.join("m4/cf.m4"))
        .arg(&file)
        .output()?;
    match output.status.success() && output.stderr.is_empty() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
    }
}

fn run_daemon(cf: &Path) -> io::Result<Child> {
    let library = |folder: &str| {
        let folder = root().join(folder);
        format!("{}/{}-linux-gnu", folder.display(), env::consts::ARCH)
    };
    let libraries = [library("usr/lib"), library("lib")];
    Command::new(program())
        .arg("-bD")
        .arg(format!("-C{}", cf.display()))
        .env("LD_LIBRARY_PATH", libraries.join(":"))
        .stdin(Stdio::null())
        .spawn()
}

fn wait_until_listening(gates: &[Gate]) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for gate in gates {
        let address = (SERVER, gate.port);
        while let Err(error) = TcpStream::connect(address) {
            if Instant::now() > deadline {
                return Err(error);
            }
            thread::yield_now();
        }
    }
    Ok(())
}

fn sendmail_mc(directory: &Path, gates: &[Gate], relay: SocketAddr) -> String {
    let directory = directory.display();
    let ports: String = gates.iter().map(port).collect();
    format!(
        "OSTYPE(`linux')
define(`confDOMAIN_NAME', `mx.sixgate.test')
define(`QUEUE_DIR', `{directory}/queue')
define(`STATUS_FILE', `{directory}/statistics')
define(`confPID_FILE', `{directory}/pid')
define(`ALIAS_FILE', `')
define(`confDONT_PROBE_INTERFACES', `True')
define(`confLOG_LEVEL', `0')

dnl However busy the machine is.
define(`confQUEUE_LA', `10000')
define(`confREFUSE_LA', `10000')
define(`confDELAY_LA', `10000')
define(`confTO_IDENT', `0')
dnl 32 KiB otherwise
define(`confMAX_HEADERS_LENGTH', `1048576')

define(`confCACERT', `{directory}/tls/ca.crt')
define(`confCACERT_PATH', `{directory}/tls')
define(`confSERVER_CERT', `{directory}/tls/server.crt')
define(`confSERVER_KEY', `{directory}/tls/server.key')
define(`confAUTH_MECHANISMS', `PLAIN')
TRUST_AUTH_MECH(`PLAIN')

dnl Everything accepted is delivered to the test.
FEATURE(`nocanonify')
FEATURE(`accept_unresolvable_domains')
FEATURE(`accept_unqualified_senders')
define(`SMART_HOST', `sink:[{relay_host}]')

FEATURE(`no_default_msa')
{ports}
LOCAL_CONFIG
ESASL_CONF_PATH={directory}
MAILER_DEFINITIONS
Msink, P=[IPC], F=mzuX8, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n,
	T=DNS/RFC822/SMTP, A=TCP $h {relay_port}
MAILER(`smtp')
LOCAL_RULESETS
SLocal_check_rcpt
R$*	$#OK
",
        relay_host = relay.ip(),
        relay_port = relay.port(),
    )
}

/// The first gate's filter is the one of all ports that name no other.
fn port(gate: &Gate) -> String {
    let (name, port, socket) = (gate.name, gate.port, gate.milter.display());
    let address = format!("Name={name}, Port={port}, Family=inet6, Addr=::");
    match name {
        "enforce" => format!("FEATURE(`sixgate', `local:{socket}')\nDAEMON_OPTIONS(`{address}')\n"),
        IPV4_APART => format!(
            "MAIL_FILTER(`{name}', `S=local:{socket}, F=T, T=C:{timeout}s;S:{timeout}s;R:{timeout}s;E:5m')
DAEMON_OPTIONS(`Family=inet, Name={name}-4, Port={port}, InputMailFilters=')
DAEMON_OPTIONS(`Family=inet6, Name={name}-6, Port={port}, Addr={SERVER}, InputMailFilters={name}')\n",
            timeout = IPV4_APART_TIMEOUT.as_secs(),
        ),
        _ => format!(
            "MAIL_FILTER(`{name}', `S=local:{socket}, F=T, T=C:10s;S:30s;R:30s;E:5m')
DAEMON_OPTIONS(`{address}, InputMailFilters={name}')\n"
        ),
    }
}
