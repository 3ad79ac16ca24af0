//! A private Sendmail from Debian's packages, which are not installed, with its own
//! configuration, queue and ports.
//!
//! `tests/extract-sendmail.sh` unpacks it. The first gate is attached with
//! `packaging/sendmail/sixgate.m4`, the others with similar lines.

use super::{
    credentials::{make_account, make_certificates},
    fixture::{
        Gate, IPV4_APART, IPV4_APART_TIMEOUT, OTHER_MILTER_FIRST, OTHER_MILTER_LAST, SERVER,
    },
    mta::Mta,
    namespace::{put_over, run},
    other_milter,
    release::Release,
    support::daemon::TIMEOUT,
    support::mta,
};
use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

/// Postfix's own replies in dialogues, and Sendmail's equivalents.
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
    /// Its greeting.
    greeting: String,
    queue: PathBuf,
    /// It ends with its PID namespace.
    _daemon: Child,
}

impl Mta for Sendmail {
    /// From `220 mx.sixgate.test ESMTP Sendmail 8.17.1.9/...`.
    fn version(&self) -> io::Result<String> {
        let version = self
            .greeting
            .split_once(" Sendmail ")
            .and_then(|(_, rest)| rest.split(['/', ';']).next());
        let no_version = || io::Error::other(format!("no version: {}", self.greeting));
        version.map(str::to_owned).ok_or_else(no_version)
    }

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

    fn replies_without_milter(&self) -> &[&str] {
        &["451 4.3.2 Please try again later"]
    }

    /// Sendmail may change white space in the header.
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

/// A whole reply with the path between the enhanced code and the text of its first line.
/// Sendmail omits it after 451 and 452.
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
    /// Returns the reason if it cannot run here.
    pub fn obstacle(release: Release) -> Option<String> {
        let missing = |what| Some(format!("needs {what}"));
        match cf_folder(release).exists() {
            false => missing("Sendmail: run tests/extract-sendmail.sh"),
            true if !Path::new("/usr/bin/m4").exists() => missing("m4: install m4"),
            true => None,
        }
    }

    /// Starts in that directory, with a port for each gate. What is accepted
    /// goes to `relay`, an LMTP server.
    pub fn start(
        release: Release,
        directory: &Path,
        gates: &[Gate],
        relay: SocketAddr,
    ) -> io::Result<Self> {
        let queue = directory.join("queue");
        fs::create_dir_all(&queue)?;
        make_certificates(directory)?;
        make_account(
            release,
            &directory.join("sasldb2"),
            "root",
            &directory.join("Sendmail.conf"),
        )?;
        let cf = directory.join("sendmail.cf");
        fs::write(
            &cf,
            configuration(release, directory, &sendmail_mc(directory, gates, relay))?,
        )?;
        let daemon = run_daemon(release, &cf)?;
        wait_until_listening(gates)?;
        Ok(Self {
            greeting: greeting(&gates[0])?,
            queue,
            _daemon: daemon,
        })
    }
}

/// The folder of its unpacked packages, as its programs see it: by `extract-sendmail.sh`,
/// or by `make-mail-servers.sh`.
fn unpacked(release: Release) -> PathBuf {
    match release {
        Release::Own => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sendmail"),
        Release::Debian13 => PathBuf::from("/opt/sendmail"),
    }
}

/// The folder of its macros, as this program sees it.
fn cf_folder(release: Release) -> PathBuf {
    let unpacked = unpacked(release);
    let below_root = unpacked.strip_prefix("/").unwrap_or(&unpacked);
    release
        .root()
        .join(below_root)
        .join("usr/share/sendmail/cf")
}

/// Returns the output of m4 for a sendmail.mc, with the feature installed.
pub fn configuration(release: Release, directory: &Path, mc: &str) -> io::Result<String> {
    let cf = directory.join("cf");
    if !cf.exists() {
        let original = cf_folder(release);
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

fn run_daemon(release: Release, cf: &Path) -> io::Result<Child> {
    // Otherwise it would log to the machine's syslog.
    if Path::new("/dev/log").exists() {
        put_over("/dev/log", "")?;
    }
    let unpacked = unpacked(release);
    let library = |folder: &str| {
        let folder = unpacked.join(folder);
        format!("{}/{}-linux-gnu", folder.display(), env::consts::ARCH)
    };
    let libraries = [library("usr/lib"), library("lib")];
    release
        .command(unpacked.join("usr/libexec/sendmail/sendmail"))
        .arg("-bD")
        .arg(format!("-C{}", cf.display()))
        .env("LD_LIBRARY_PATH", libraries.join(":"))
        .stdin(Stdio::null())
        .spawn()
}

fn wait_until_listening(gates: &[Gate]) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
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

fn greeting(gate: &Gate) -> io::Result<String> {
    let stream = TcpStream::connect((SERVER, gate.port))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

fn sendmail_mc(directory: &Path, gates: &[Gate], relay: SocketAddr) -> String {
    let other = other_milter::socket(directory);
    let common = mta::sendmail_mc(directory);
    let directory = directory.display();
    let ports: String = gates.iter().map(port).collect();
    format!(
        "{common}dnl 32 KiB otherwise
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
MAIL_FILTER(`other', `S=local:{other}, F=T, T=C:10s;S:30s;R:30s;E:5m')
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
        other = other.display(),
        relay_host = relay.ip(),
        relay_port = relay.port(),
    )
}

/// The first gate's filter applies to all ports without InputMailFilters.
fn port(gate: &Gate) -> String {
    let (name, port, socket) = (gate.name, gate.port, gate.milter.display());
    let address = format!("Name={name}, Port={port}, Family=inet6, Addr=::");
    let filters = match name {
        OTHER_MILTER_FIRST => format!("other;{name}"),
        OTHER_MILTER_LAST => format!("{name};other"),
        _ => name.to_owned(),
    };
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
DAEMON_OPTIONS(`{address}, InputMailFilters={filters}')\n"
        ),
    }
}
