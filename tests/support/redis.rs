//! Real servers of Redis, started privately: single, with TLS, as primary and replica, and
//! as a cluster of three nodes.

use super::{database::program, outage::Source, port::lasting_address};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The time limit for the start of a server on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The password of the user `sixgate`, which must not appear in any output.
pub const PASSWORD: &str = "hunter2-äöü:@/#";

/// The hash of the opt-ins.
pub const KEY: &str = "sixgate:opt-in";

/// A temporary name for it on the same node of a cluster.
const NEW: &str = "{sixgate:opt-in}:new";

/// The required programs.
pub const PROGRAMS: &[&str] = &["redis-server", "redis-cli"];

/// The permissions that a user needs for everything, as in docs/fleet.md.
pub const RIGHTS: &str = "~sixgate:* &sixgate:* &__keyspace@0__:sixgate:* \
     +hmget +exists +hlen +hscan +multi +exec +subscribe +ping \
     +eval +hset +hsetnx +hdel +publish";

/// A server that listens on a port of 127.0.0.1 and on a unix socket. Dropping it kills it.
pub struct RedisServer {
    folder: TempDir,
    pub port: u16,
    options: Vec<String>,
    running: Option<Child>,
    has_password: bool,
    has_tls: bool,
}

impl RedisServer {
    /// Prepares a server without starting it.
    pub fn new() -> Self {
        let readable = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(readable).tempdir();
        Self {
            folder: folder.expect("a folder"),
            port: lasting_address().port(),
            options: Vec::new(),
            running: None,
            has_password: false,
            has_tls: false,
        }
    }

    pub fn start() -> Self {
        let mut server = Self::new();
        server.run();
        server
    }

    /// A replica of a primary, in sync.
    pub fn replica_of(primary: &Self) -> Self {
        let of = format!("127.0.0.1 {}", primary.port);
        let mut replica = Self::new().with(&["--replicaof", &of]);
        replica.run();
        replica.wait_for_primary();
        replica
    }

    /// Waits until a replica is in sync.
    pub fn wait_for_primary(&self) {
        let deadline = Instant::now() + TIMEOUT;
        let link = || self.command(&["INFO", "replication"]);
        while !link().contains("master_link_status:up") {
            assert!(Instant::now() < deadline, "the replica is never in sync");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Adds a user to those of [`RedisServer::with_password`], before the start.
    pub fn add_user(&self, line: &str) {
        let file = self.path("users.acl");
        let users = fs::read_to_string(&file).expect("our file");
        fs::write(file, format!("{users}{line}\n")).expect("our file");
    }

    /// Adds options of the command line.
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|o| (*o).to_owned()));
        self
    }

    /// Allows only the user `sixgate` with [`PASSWORD`] and the permissions of
    /// docs/fleet.md.
    pub fn with_password(mut self, rights: &str) -> Self {
        let file = self.path("users.acl");
        let users = format!(
            "user default off\nuser admin on nopass ~* &* +@all\nuser sixgate on >{PASSWORD} {rights}\n"
        );
        fs::write(&file, users).expect("our file");
        fs::write(self.password_file(), format!("{PASSWORD}\n")).expect("our file");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.password_file(), private).expect("our file");
        self.has_password = true;
        self.with(&["--aclfile", &file.display().to_string()])
    }

    /// Uses TLS on its port, with a certificate for `localhost`.
    pub fn with_tls(mut self) -> Self {
        let [certificate, key] = ["server.crt", "server.key"].map(|name| self.path(name));
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl starts").success());
        self.has_tls = true;
        let [certificate, key] = [certificate, key].map(|file| file.display().to_string());
        let ours = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
        self.with(&ours).with(&["--tls-auth-clients", "no"])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn password_file(&self) -> PathBuf {
        self.path("password")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("redis.sock")
    }

    /// Its `opt_in.redis.url`.
    pub fn url(&self) -> String {
        let user = if self.has_password { "sixgate@" } else { "" };
        match self.has_tls {
            true => format!(
                "rediss://{user}localhost:{}?ssl-ca={}",
                self.port,
                self.path("server.crt").display()
            ),
            false => format!("redis://{user}127.0.0.1:{}", self.port),
        }
    }

    /// The section `redis` of `opt_in`, in flow style.
    pub fn section(&self) -> String {
        self.section_with(&format!("\"{}\"", self.url()), "")
    }

    /// As [`RedisServer::section`], with other URLs and more keys.
    pub fn section_with(&self, url: &str, more: &str) -> String {
        let password = match self.has_password {
            true => format!(", password_file: {}", self.password_file().display()),
            false => String::new(),
        };
        format!("redis: {{url: {url}{password}{more}}}")
    }

    /// Starts the server, if it is not running, and waits until it answers.
    pub fn run(&mut self) {
        if self.running.is_some() {
            return;
        }
        let log = fs::File::create(self.path("server.log")).expect("a log");
        let mut server = Command::new(program("redis-server").expect("it is there"));
        let (port, tls_port) = match self.has_tls {
            true => (0, self.port),
            false => (self.port, 0),
        };
        server
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--tls-port", &tls_port.to_string(), "--unixsocket"])
            .arg(self.socket())
            .args(["--unixsocketperm", "777", "--dir"])
            .arg(self.folder.path())
            .args([
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ])
            .args(["--daemonize", "no", "--enable-debug-command", "yes"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(log);
        self.running = Some(server.spawn().expect("redis-server starts"));
        let deadline = Instant::now() + TIMEOUT;
        while self.try_command(&["PING"]).as_deref() != Ok("PONG") {
            let log = fs::read_to_string(self.path("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{log}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the server.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Freezes or resumes the server.
    pub fn freeze(&self, is_frozen: bool) {
        let signal = match is_frozen {
            true => Signal::SIGSTOP,
            false => Signal::SIGCONT,
        };
        let child = self.running.as_ref().expect("it runs");
        let pid = i32::try_from(child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it is ours");
    }

    /// Runs a command as the administrator and returns its output.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn client(&self) -> Command {
        let mut client = Command::new(program("redis-cli").expect("it is there"));
        client.arg("-s").arg(self.socket());
        if self.has_password {
            client.args(["--user", "admin", "--pass", "any", "--no-auth-warning"]);
        }
        client
    }

    fn try_command(&self, words: &[&str]) -> Result<String, String> {
        let output = self
            .client()
            .arg("-e")
            .args(words)
            .output()
            .expect("redis-cli starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stdout) + &text(&output.stderr)),
        }
    }

    /// Replaces the hash with these fields.
    pub fn fill(&self, fields: &[(&str, &str)]) {
        let mut words = vec!["HSET", NEW];
        words.extend(fields.iter().flat_map(|(field, value)| [field, value]));
        self.command(&words);
        self.command(&["RENAME", NEW, KEY]);
    }

    /// As [`RedisServer::fill`], for any number of domains.
    pub fn fill_with(&self, domains: impl Iterator<Item = String>) {
        let mut client = self.client();
        client
            .arg("--pipe")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = client.spawn().expect("redis-cli starts");
        let stdin = child.stdin.take().expect("a pipe");
        let mut stdin = BufWriter::new(stdin);
        let bulk = |word: &str| format!("${}\r\n{word}\r\n", word.len());
        for domain in domains {
            let words = ["HSET", NEW, &domain, "yes"].map(bulk).concat();
            write!(stdin, "*4\r\n{words}").expect("it reads");
        }
        write!(stdin, "*3\r\n{}", ["RENAME", NEW, KEY].map(bulk).concat()).expect("it reads");
        drop(stdin);
        assert!(child.wait().expect("redis-cli ends").success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Source for RedisServer {
    fn start(&mut self, yes: &str, no: &str) {
        self.run();
        self.fill(&[(yes, "yes"), (no, "no")]);
    }

    fn kill(&mut self) {
        self.stop();
    }
}

/// Three nodes that share the slots.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start() -> Self {
        let node = || {
            let bus = lasting_address().port().to_string();
            let mut node = RedisServer::new()
                .with(&["--cluster-enabled", "yes"])
                .with(&["--cluster-port", &bus, "--cluster-node-timeout", "2000"]);
            node.run();
            node
        };
        let nodes: Vec<_> = (0..3).map(|_| node()).collect();
        let mut create = Command::new(program("redis-cli").expect("it is there"));
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        let output = create.arg("--cluster-yes").output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let cluster = Self { nodes };
        cluster.wait_until_well();
        cluster
    }

    /// Waits until each node knows that all slots are served.
    pub fn wait_until_well(&self) {
        let deadline = Instant::now() + TIMEOUT;
        let is_well = |node: &RedisServer| {
            node.command(&["CLUSTER", "INFO"])
                .contains("cluster_state:ok")
        };
        while !self.nodes.iter().all(is_well) {
            assert!(Instant::now() < deadline, "the cluster is never well");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The section `redis` of `opt_in`, in flow style.
    pub fn section(&self, more: &str) -> String {
        let urls = self.nodes.iter().map(RedisServer::url).collect::<Vec<_>>();
        format!("redis: {{url: [{}], cluster: yes{more}}}", urls.join(", "))
    }

    /// The node with the hash.
    pub fn owner(&mut self) -> &mut RedisServer {
        let has_it = |node: &RedisServer| node.try_command(&["HLEN", KEY]).is_ok();
        let owner = self.nodes.iter().position(has_it);
        &mut self.nodes[owner.expect("a node has it")]
    }
}

impl Source for RedisCluster {
    fn start(&mut self, yes: &str, no: &str) {
        for node in &mut self.nodes {
            node.run();
        }
        self.wait_until_well();
        self.owner().fill(&[(yes, "yes"), (no, "no")]);
    }

    fn kill(&mut self) {
        for node in &mut self.nodes {
            node.stop();
        }
    }
}
