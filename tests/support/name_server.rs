//! Authoritative name servers of Debian with one zone, started privately: NSD, Knot
//! and BIND.

use super::{
    port::lasting_address,
    programs::{Program, command},
};
use sixgate::{
    address::Domain,
    config,
    dns::{Answer, Dns, Name, Resolve},
};
use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The kind of name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nsd,
    Knot,
    Bind,
}

impl Kind {
    pub fn program(self) -> &'static str {
        match self {
            Self::Nsd => "nsd",
            Self::Knot => "knotd",
            Self::Bind => "named",
        }
    }
}

/// The key for updates and transfers, as tsig-keygen writes it.
pub const KEY: &str = "key \"sixgate-mx\" {\n\talgorithm hmac-sha256;\n\t\
                       secret \"cGp1c3RhcmFuZG9ta2V5b2Z0aGlydHl0d29vY3RldHM=\";\n};\n";

const SECRET: &str = "cGp1c3RhcmFuZG9ta2V5b2Z0aGlydHl0d29vY3RldHM=";

/// The primary server of a zone. Dropping it kills the server.
pub struct NameServer {
    pub kind: Kind,
    zone: String,
    folder: TempDir,
    address: SocketAddr,
    /// Whether the key may transfer the zone.
    pub allows_transfer: bool,
    /// Whether the key may update the zone.
    pub allows_update: bool,
    running: Option<Program>,
}

impl NameServer {
    /// Starts with the text of a zone.
    pub fn start(kind: Kind, zone: &str, text: &str) -> Self {
        let mut server = Self::new(kind, zone, text);
        server.run();
        server
    }

    /// Prepares a server without starting it.
    pub fn new(kind: Kind, zone: &str, text: &str) -> Self {
        let server = Self {
            kind,
            zone: zone.to_owned(),
            folder: TempDir::new().expect("a folder"),
            address: lasting_address(),
            allows_transfer: true,
            allows_update: true,
            running: None,
        };
        fs::write(server.file("zone"), text).expect("a zone");
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it with the current zone.
    pub fn run(&mut self) {
        let config = self.file("config");
        let (text, arguments, ready): (String, &[&str], &str) = match self.kind {
            Kind::Nsd => (self.nsd_config(), &["-d", "-c"], "nsd started"),
            Kind::Knot => (self.knot_config(), &["-c"], "server started"),
            Kind::Bind => (
                self.bind_config(),
                &["-g", "-n", "1", "-c"],
                "all zones loaded",
            ),
        };
        fs::write(&config, text).expect("a configuration");
        let mut server = command(self.kind.program());
        server.args(arguments).arg(config);
        self.running = Some(Program::start(server, ready));
    }

    pub fn kill(&mut self) {
        self.running = None;
    }

    fn nsd_config(&self) -> String {
        let (folder, zone) = (self.folder.path().display(), &self.zone);
        format!(
            "server:\n  ip-address: 127.0.0.1@{}\n  server-count: 1\n  username: \"\"\n  \
             database: \"\"\n  zonesdir: {folder}\n  xfrdir: {folder}\n  \
             pidfile: {folder}/pid\n  xfrdfile: {folder}/xfrd.state\n  \
             zonelistfile: {folder}/zone.list\n\
             remote-control:\n  control-enable: no\n\
             zone:\n  name: {zone}\n  zonefile: zone\n",
            self.address.port()
        )
    }

    fn knot_config(&self) -> String {
        let (folder, zone) = (self.folder.path().display(), &self.zone);
        let actions = [
            (self.allows_update, "update"),
            (self.allows_transfer, "transfer"),
        ];
        let actions = actions.iter().filter(|(allowed, _)| *allowed);
        let actions: Vec<&str> = actions.map(|(_, action)| *action).collect();
        format!(
            "server:\n    rundir: {folder}\n    listen: 127.0.0.1@{}\n\
             database:\n    storage: {folder}\n\
             log:\n  - target: stderr\n    any: info\n\
             key:\n  - id: sixgate-mx\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
             acl:\n  - id: sixgate\n    key: sixgate-mx\n    action: [{}]\n    \
             update-type: [A, AAAA]\n\
             zone:\n  - domain: {zone}\n    storage: {folder}\n    file: zone\n    acl: sixgate\n    \
             zonefile-sync: -1\n",
            self.address.port(),
            actions.join(", ")
        )
    }

    fn bind_config(&self) -> String {
        let (folder, zone) = (self.folder.path().display(), &self.zone);
        let update = match self.allows_update {
            true => "update-policy { grant sixgate-mx zonesub A AAAA; };",
            false => "",
        };
        let transfer = match self.allows_transfer {
            true => "key sixgate-mx;",
            false => "none;",
        };
        format!(
            "{KEY}options {{\n  directory \"{folder}\";\n  listen-on port {} {{ 127.0.0.1; }};\n  \
             listen-on-v6 {{ none; }};\n  pid-file none;\n  session-keyfile none;\n  \
             recursion no;\n  dnssec-validation no;\n  notify no;\n}};\n\
             controls {{ }};\n\
             zone \"{zone}\" {{\n  type primary;\n  file \"zone\";\n  {update}\n  \
             allow-transfer {{ {transfer} }};\n}};\n",
            self.address.port()
        )
    }

    /// Queries it for the addresses of a name.
    pub fn addresses(&self, name: &str) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
        Self::ask(self.address, name)
    }

    /// Queries any server.
    pub fn ask(server: SocketAddr, name: &str) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
        let servers = vec![config::DnsServer::from(server)];
        let config = config::Dns {
            servers,
            cache_bytes: 0,
            ..config::Dns::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let dns = Dns::new(&config).expect("a server");
            let name = Name::parse(Domain::parse(name).expect("a name").as_str()).expect("a name");
            (records(dns.a(&name).await), records(dns.aaaa(&name).await))
        })
    }
}

fn records<T: std::fmt::Debug + Ord>(answer: Answer<T>) -> Vec<T> {
    match answer {
        Answer::Found(found) => {
            let mut records = found.records;
            records.sort();
            records
        }
        Answer::Absent(_) => Vec::new(),
        Answer::Temperror(failure) => panic!("{failure}"),
    }
}

/// A zone without host names.
pub fn empty_zone(zone: &str) -> String {
    format!(
        "$ORIGIN {zone}.\n@ 300 SOA ns.example.org. hostmaster.example.net. 1 600 300 2419200 60\n\
         @ 300 NS ns.example.org.\n"
    )
}

/// Writes the key to a file that other users cannot read.
pub fn write_key(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(file, text).expect("a key");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("our file");
}
