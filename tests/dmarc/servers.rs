//! The milters, and two mail servers with a port for each set of them.

use super::{
    namespace::{self, SCRATCH, run},
    support::{
        daemon::TIMEOUT,
        mta::{self, POSTFIX_SERVICES},
    },
};
use std::{
    env, fs, io,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const OPENDKIM: u16 = 8891;
const PYSPF: u16 = 8893;
const OPENDMARC: u16 = 8895;

/// What OpenDMARC needs beyond Debian's defaults: where it listens, whose results it
/// believes, and to decide nothing.
const OPENDMARC_CONF: &str = "\
AuthservID mx.sixgate.test
TrustedAuthservIDs mx.sixgate.test
Socket inet:8895@127.0.0.1
PublicSuffixList /srv/public_suffix_list.dat
IgnoreAuthenticatedClients true
RejectFailures false
UserID root
";

const OPENDKIM_CONF: &str = "\
Mode v
Socket inet:8891@127.0.0.1
AlwaysAddARHeader yes
AuthservID mx.sixgate.test
Nameservers 127.0.0.1
On-DNSError accept
UserID root
";

const PYSPF_CONF: &str = "\
debugLevel = 1
TestOnly = 1
HELO_reject = False
Mail_From_reject = False
PermError_reject = False
TempError_Defer = False
skip_addresses = 127.0.0.0/8,::1
Socket = inet:8893@127.0.0.1
UserID = root
InternalHosts = 127.0.0.1
Authserv_Id = mx.sixgate.test
";

/// Why the servers can't be run here.
pub fn obstacle() -> Option<String> {
    let tools = ["opendmarc", "opendkim", "pyspf-milter"];
    let missing = tools
        .into_iter()
        .find(|tool| !namespace::is_installed(tool));
    let sendmail = unpacked_sendmail().join("usr/share/sendmail/cf");
    match missing {
        Some(tool) => Some(format!("{tool} is missing: run tests/extended.sh")),
        None if !sendmail.exists() => Some("run tests/extract-sendmail.sh".to_owned()),
        None => None,
    }
}

/// Each set of milters as an MTA asks them, in that order. They end with the namespace.
pub struct Milters {
    sixgate: PathBuf,
    _processes: [Child; 3],
}

impl Milters {
    pub fn start(room: &Path, sixgate: &Path) -> io::Result<Self> {
        let file = |name: &str, text: &str| {
            let path = room.join(name);
            fs::write(&path, text)?;
            io::Result::Ok(path)
        };
        let log = |name: &str| fs::File::create(room.join(name).with_extension("log"));
        let start = |program: &str, arguments: &[&str], config: PathBuf| {
            Command::new(program)
                .args(arguments)
                .arg(config)
                .stdin(Stdio::null())
                .stdout(log(program)?)
                .stderr(log(program)?)
                .spawn()
        };
        // The real list does not have the names for examples.
        file("public_suffix_list.dat", "example\n")?;
        let pid = format!("PidFile = {SCRATCH}/pyspf.pid\n");
        let processes = [
            start(
                "opendmarc",
                &["-f", "-c"],
                file("opendmarc.conf", OPENDMARC_CONF)?,
            )?,
            start(
                "opendkim",
                &["-f", "-x"],
                file("opendkim.conf", OPENDKIM_CONF)?,
            )?,
            start(
                "pyspf-milter",
                &[],
                file("pyspf.conf", &(PYSPF_CONF.to_owned() + &pid))?,
            )?,
        ];
        for port in [OPENDMARC, OPENDKIM, PYSPF] {
            wait_for_port(([127, 0, 0, 1], port).into())?;
        }
        Ok(Self {
            sixgate: sixgate.to_owned(),
            _processes: processes,
        })
    }
}

fn wait_for_port(address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    while let Err(error) = TcpStream::connect(address) {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("{address}: {error}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A mail server: its name, and the ports with sixgate and with the others.
pub struct MtaPorts {
    pub name: &'static str,
    sixgate: u16,
    others: u16,
    _process: Option<Child>,
}

impl MtaPorts {
    pub fn ports(&self) -> [(&'static str, u16); 2] {
        [("sixgate", self.sixgate), ("others", self.others)]
    }

    pub fn start_postfix(folder: &Path, milters: &Milters, relay: SocketAddr) -> io::Result<Self> {
        let etc = folder.join("etc");
        for part in ["etc", "queue", "data"] {
            fs::create_dir_all(folder.join(part))?;
        }
        run(
            "chown",
            &["postfix", &folder.join("data").to_string_lossy()],
        )?;
        let directory = folder.display();
        let main_cf = format!(
            "compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
myhostname = mx.sixgate.test
mydestination =
mynetworks =
inet_interfaces = all
inet_protocols = all
relay_domains = static:all
relay_transport = lmtp:inet:{relay}
default_transport = $relay_transport
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 0
"
        );
        let sixgate = format!(
            "unix:{},inet:127.0.0.1:{OPENDMARC}",
            milters.sixgate.display()
        );
        let others =
            format!("inet:127.0.0.1:{PYSPF},inet:127.0.0.1:{OPENDKIM},inet:127.0.0.1:{OPENDMARC}");
        let master_cf = format!(
            "2601 inet n - n - - smtpd\n    -o smtpd_milters={sixgate}\n\
             2602 inet n - n - - smtpd\n    -o smtpd_milters={others}\n{POSTFIX_SERVICES}"
        );
        fs::write(etc.join("main.cf"), main_cf)?;
        fs::write(etc.join("master.cf"), master_cf)?;
        run("postfix", &["-c", &etc.to_string_lossy(), "start"])?;
        Ok(Self {
            name: "postfix",
            sixgate: 2601,
            others: 2602,
            _process: None,
        })
    }

    pub fn start_sendmail(folder: &Path, milters: &Milters, relay: SocketAddr) -> io::Result<Self> {
        fs::create_dir_all(folder.join("queue"))?;
        fs::set_permissions(folder.join("queue"), fs::Permissions::from_mode(0o700))?;
        let filter = |name: &str, socket: &str| {
            format!("MAIL_FILTER(`{name}', `S={socket}, F=T, T=C:10s;S:30s;R:30s;E:5m')\n")
        };
        let inet = |port: u16| format!("inet:{port}@127.0.0.1");
        let port = |port: u16, filters: &str| {
            format!(
                "DAEMON_OPTIONS(`Name=M{port}, Family=inet6, Addr=::, Port={port}, \
                 InputMailFilters={filters}')\n"
            )
        };
        let ports = port(2603, "sixgate;opendmarc") + &port(2604, "pyspf;opendkim;opendmarc");
        let (relay_port, relay_ip) = (relay.port(), relay.ip());
        let common = mta::sendmail_mc(folder);
        let mc = format!(
            "{common}FEATURE(`no_default_msa')
FEATURE(`nocanonify')
FEATURE(`accept_unresolvable_domains')
define(`SMART_HOST', `sink:[{relay_ip}]')
{}{}{}{}{ports}MAILER_DEFINITIONS
Msink, P=[IPC], F=mzuX8, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n,
\tT=DNS/RFC822/SMTP, A=TCP $h {relay_port}
MAILER(`smtp')
LOCAL_RULESETS
SLocal_check_rcpt
R$*\t$#OK
",
            filter("sixgate", &format!("local:{}", milters.sixgate.display())),
            filter("pyspf", &inet(PYSPF)),
            filter("opendkim", &inet(OPENDKIM)),
            filter("opendmarc", &inet(OPENDMARC)),
        );
        let source = folder.join("sendmail.mc");
        fs::write(&source, mc)?;
        let unpacked = unpacked_sendmail();
        let macros = unpacked.join("usr/share/sendmail/cf");
        let made = Command::new("m4")
            .arg(format!("-D_CF_DIR_={}/", macros.display()))
            .arg(macros.join("m4/cf.m4"))
            .arg(&source)
            .output()?;
        if !made.status.success() || !made.stderr.is_empty() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr)));
        }
        let cf = folder.join("sendmail.cf");
        fs::write(&cf, made.stdout)?;
        if Path::new("/dev/log").exists() {
            namespace::put_over("/dev/log", "")?;
        }
        let library = |part: &str| unpacked.join(format!("{part}/{}-linux-gnu", env::consts::ARCH));
        let libraries = format!(
            "{}:{}",
            library("usr/lib").display(),
            library("lib").display()
        );
        let process = Command::new(unpacked.join("usr/libexec/sendmail/sendmail"))
            .arg("-bD")
            .arg(format!("-C{}", cf.display()))
            .env("LD_LIBRARY_PATH", libraries)
            .stdin(Stdio::null())
            .spawn()?;
        for server in super::SERVER {
            for port in [2603, 2604] {
                wait_for_port((server, port).into())?;
            }
        }
        Ok(Self {
            name: "sendmail",
            sixgate: 2603,
            others: 2604,
            _process: Some(process),
        })
    }
}

/// Where `tests/extract-sendmail.sh` has put it.
fn unpacked_sendmail() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sendmail")
}
