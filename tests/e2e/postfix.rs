//! A private Postfix with its own configuration, queue and ports. It never touches the
//! machine's.

use super::{
    credentials::{make_account, make_certificates},
    fixture::{
        Gate, IPV4_APART, IPV4_APART_TIMEOUT, NOT_DELAYED, OTHER_MILTER_FIRST, OTHER_MILTER_LAST,
        POSTSCREEN, POSTSCREEN_PROXIED, PROXIED, RELAYED, RELAYED_WITH_ADDRESS,
    },
    mta::Mta,
    other_milter,
    release::Release,
    support::mta::POSTFIX_SERVICES,
};
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Run by its own `postfix` command.
pub struct Postfix {
    release: Release,
    directory: PathBuf,
}

impl Mta for Postfix {
    fn version(&self) -> io::Result<String> {
        let mut postconf = self.release.command("postconf");
        let output = postconf.args(["-d", "-h", "mail_version"]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn is_idle(&self) -> bool {
        // Deferred mail will not arrive, and is reported as missing.
        let queues = ["maildrop", "incoming", "active"];
        queues
            .iter()
            .all(|queue| is_empty(&self.directory.join("queue").join(queue)))
    }

    fn passes_on(&self, _said: &str, reply: &str) -> String {
        reply.to_owned()
    }

    /// Postfix 3.7 answers MAIL, 3.10 greets the client so.
    fn replies_without_milter(&self) -> &[&str] {
        &[
            "451 4.7.1 Service unavailable - try again later",
            "421 mx.sixgate.test Service unavailable - try again later",
        ]
    }

    fn plain_spelling(&self, message: &str) -> String {
        message.to_owned()
    }
}

impl Postfix {
    /// Starts in that directory, with a port for each gate. What is accepted
    /// goes to `relay`, an LMTP server. It ends with its PID namespace.
    pub fn start(
        release: Release,
        directory: &Path,
        gates: &[Gate],
        relay: SocketAddr,
    ) -> io::Result<Self> {
        fs::create_dir_all(directory.join("etc/sasl"))?;
        make_certificates(directory)?;
        make_account(
            release,
            &directory.join("sasldb2"),
            "postfix",
            &directory.join("etc/sasl/smtpd.conf"),
        )?;
        let main_cf = main_cf(directory, relay);
        start(release, directory, &main_cf, &master_cf(directory, gates))?;
        Ok(Self {
            release,
            directory: directory.to_owned(),
        })
    }
}

/// Runs a Postfix with those files and a queue in that directory.
pub fn start(release: Release, directory: &Path, main_cf: &str, master_cf: &str) -> io::Result<()> {
    let (etc, data) = (directory.join("etc"), directory.join("data"));
    for folder in [&etc, &data, &directory.join("queue")] {
        fs::create_dir_all(folder)?;
    }
    release.run("chown", &["postfix", &data.to_string_lossy()])?;
    fs::write(etc.join("main.cf"), places(directory) + main_cf)?;
    fs::write(etc.join("master.cf"), master_cf)?;
    // Returns when it is ready.
    release.run("postfix", &["-c", &etc.to_string_lossy(), "start"])
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// The folder of a Postfix of the tests.
fn places(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
"
    )
}

fn main_cf(directory: &Path, relay: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "myhostname = mx.sixgate.test
mydestination =
mynetworks =
inet_interfaces = all
inet_protocols = all

# Everything accepted is delivered to the test.
relay_domains = static:all
relay_transport = lmtp:inet:{relay}
default_transport = $relay_transport
smtpd_relay_restrictions = reject_unauth_destination
# Otherwise Postfix itself refuses an '@' in a local part.
allow_untrusted_routing = yes
message_size_limit = 60000000

# Otherwise Postfix adds fields to mail from loopback addresses.
local_header_rewrite_clients =

# A client that is refused is answered at once.
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_client_connection_count_limit = 0

smtpd_tls_security_level = may
smtpd_tls_chain_files = {directory}/tls/server.pem
smtpd_tls_CAfile = {directory}/tls/ca.pem
smtpd_tls_ask_ccert = yes

smtpd_sasl_auth_enable = yes
cyrus_sasl_config_path = {directory}/etc/sasl
smtpd_authorized_xclient_hosts = [2001:db8:c::]/48
"
    )
}

fn master_cf(directory: &Path, gates: &[Gate]) -> String {
    let mut text = String::new();
    let other = format!("unix:{}", other_milter::socket(directory).display());
    for gate in gates {
        let (name, port) = (gate.name, gate.port);
        match name {
            POSTSCREEN | POSTSCREEN_PROXIED => text.push_str(&postscreen(gate)),
            _ => text.push_str(&format!("{port} inet n - n - 200 smtpd\n")),
        }
        let ours = format!("unix:{}", gate.milter.display());
        // Private addresses are not excluded, as in the documentation.
        let private = format!(
            "    -o {{ smtpd_milter_maps = cidr:{{{{10.0.0.0/8 {ours}}}, {{172.16.0.0/12 {ours}}}, \
             {{192.168.0.0/16 {ours}}}, {{0.0.0.0/0 DISABLE}}}} }}\n"
        );
        let milters = match name {
            OTHER_MILTER_FIRST => format!("{other},{ours}"),
            OTHER_MILTER_LAST => format!("{ours},{other}"),
            _ => ours,
        };
        text.push_str(&format!("    -o smtpd_milters={milters}\n"));
        match name {
            NOT_DELAYED => text.push_str("    -o smtpd_delay_reject=no\n"),
            RELAYED => text.push_str(&private),
            PROXIED | RELAYED_WITH_ADDRESS => {
                text.push_str("    -o smtpd_upstream_proxy_protocol=haproxy\n")
            }
            _ => {}
        }
        if name == IPV4_APART {
            let timeout = IPV4_APART_TIMEOUT.as_secs();
            text.push_str(&format!(
                "    -o {{ smtpd_milter_maps = cidr:{{{{0.0.0.0/0 DISABLE}}}} }}
    -o milter_connect_timeout={timeout}s
    -o milter_command_timeout={timeout}s\n"
            ));
        }
    }
    text + POSTFIX_SERVICES
}

/// A postscreen that requires each client to wait for the greeting; the rest are options of
/// the smtpd behind it.
fn postscreen(gate: &Gate) -> String {
    let (name, port) = (gate.name, gate.port);
    let proxy = match name {
        POSTSCREEN_PROXIED => "    -o postscreen_upstream_proxy_protocol=haproxy\n",
        _ => "",
    };
    format!(
        "{port} inet n - n - 1 postscreen
    -o smtpd_service_name={name}-smtpd
    -o postscreen_cache_map=
    -o postscreen_greet_action=enforce
    -o postscreen_greet_wait=1s
{proxy}{name}-smtpd pass - - n - - smtpd\n"
    )
}
