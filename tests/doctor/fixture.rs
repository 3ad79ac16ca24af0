//! A daemon on sockets of every kind, and the program that examines it.

use crate::support::{
    daemon::Daemon,
    dns::{DnsServer, Zone},
};
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    ops::Deref,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
};
use tempfile::TempDir;

/// What no finding depends on that is not about it.
const ZONE: &str = "\
example.com     MX     10 mail.example.com
dns.google      AAAA   2001:4860:4860::8888
2001:4860:4860::8888  PTR  dns.google
both.example    MX     10 mx.both.example
both.example    MX     20 mx4.both.example
mx.both.example AAAA   2001:db8::25
mx4.both.example A     192.0.2.25
four.example    MX     10 mx4.both.example
itself.example  AAAA   2001:db8::26
null.example    MX     0 .
broken.example  SERVFAIL
halfway.example MX     10 gone.halfway.example
gone.halfway.example SERVFAIL
mute.example    SILENCE
sixgate-doctor.invalid.down.example SERVFAIL
test.up.example     A     127.0.0.2
untested.example    A     192.0.2.1
";

/// Keeps the machine's own mail server out.
pub(crate) const NO_MTA: [&str; 2] = ["--sendmail-cf", "/nonexistent"];

/// A fixture for several trials, started for the first that runs and stopped with
/// the last: a static would never be dropped, and its daemon would stay.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<OnceLock<Fixture>>);

impl Deref for Shared {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        self.0.get_or_init(Fixture::start)
    }
}

/// One daemon, which many examinations may share.
pub(crate) struct Fixture {
    pub(crate) dns: DnsServer,
    /// Where Postfix would have its queue.
    pub(crate) queue: PathBuf,
    /// Where sixgate listens on 127.0.0.1.
    pub(crate) port: u16,
    directory: TempDir,
    _daemon: Daemon,
}

impl Fixture {
    /// Starts with sockets `queue/sixgate/milter.sock`, which everybody may use,
    /// `queue/private.sock`, which only the own user and group may, and a port.
    pub(crate) fn start() -> Self {
        Self::start_with(ZONE)
    }

    /// As [`Fixture::start`], with another zone.
    pub(crate) fn start_with(zone: &str) -> Self {
        let directory = open_folder();
        let queue = directory.path().join("queue");
        fs::create_dir_all(queue.join("sixgate")).expect("a folder");
        let port = free_port();
        let open = queue.join("sixgate/milter.sock");
        let daemon = Daemon::start_listening(&[
            &format!("inet:127.0.0.1:{port}"),
            &format!("unix:{}", open.display()),
            &format!("unix:{}", queue.join("private.sock").display()),
        ]);
        fs::set_permissions(open, fs::Permissions::from_mode(0o666)).expect("permissions");
        Self {
            dns: DnsServer::start(Zone::parse(zone).expect("a zone")),
            queue,
            port,
            directory,
            _daemon: daemon,
        }
    }

    /// A folder for one examination.
    pub(crate) fn folder(&self) -> TempDir {
        TempDir::new_in(self.directory.path()).expect("a folder")
    }

    /// Fills {port}, {queue} and {dns} in.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("{port}", &self.port.to_string())
            .replace("{queue}", &self.queue.to_string_lossy())
            .replace("{dns}", &self.dns.address().to_string())
    }

    /// Runs the program with a configuration that is this, and the DNS server.
    pub(crate) fn examine(&self, yaml: &str, arguments: &[&str], input: &str) -> Examination {
        let folder = self.folder();
        let config = folder.path().join("milter.yaml");
        let dns = "dns: {servers: [{dns}], timeout: 500ms, attempts: 1}\n";
        let text = match yaml.contains("dns:") {
            true => self.fill(yaml),
            false => self.fill(&format!("{dns}{yaml}")),
        };
        fs::write(&config, text).expect("a configuration");
        examine(&config, arguments, input)
    }
}

/// What the program said.
pub(crate) struct Examination {
    pub(crate) findings: Vec<Value>,
    pub(crate) exit: Option<i32>,
}

/// Runs the program, and sees that its exit code is that of the worst finding
/// and that it has advice wherever something is not as it should be.
pub(crate) fn examine(config: &Path, arguments: &[&str], input: &str) -> Examination {
    let mut stdin = tempfile::tempfile().expect("a file");
    std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("a file");
    std::io::Seek::rewind(&mut stdin).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["doctor", "--json", "-c"])
        .arg(config)
        .args(arguments)
        .stdin(Stdio::from(stdin))
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let findings: Vec<Value> =
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}{output:?}"));
    for finding in &findings {
        assert_eq!(
            finding["level"] == "ok",
            finding["todo"].is_null(),
            "{finding}"
        );
    }
    Examination {
        findings,
        exit: output.status.code(),
    }
}

impl Examination {
    /// Sees that there is a finding of that check and level with these words.
    pub(crate) fn has(&self, check: &str, level: &str, words: &str) {
        let fits = |finding: &&Value| {
            let seen = finding["seen"].as_str().unwrap_or_default();
            finding["check"] == check && finding["level"] == level && seen.contains(words)
        };
        let found = self.findings.iter().find(fits);
        assert!(
            found.is_some(),
            "no {level} of {check} with {words:?}:\n{self}"
        );
        self.ends_by_the_worst();
    }

    /// Sees that all findings of these checks are ok, and that there are some.
    pub(crate) fn is_well(&self, checks: &[&str]) {
        for check in checks {
            let of_check: Vec<&Value> = self
                .findings
                .iter()
                .filter(|f| f["check"] == *check)
                .collect();
            let well = of_check.iter().all(|finding| finding["level"] == "ok");
            assert!(well && !of_check.is_empty(), "{check} is not well:\n{self}");
        }
        self.ends_by_the_worst();
    }

    fn ends_by_the_worst(&self) {
        let has = |level: &str| {
            self.findings
                .iter()
                .any(|finding| finding["level"] == level)
        };
        let want = match (has("problem"), has("warning")) {
            (true, _) => 69,
            (false, true) => 75,
            (false, false) => 0,
        };
        assert_eq!(self.exit, Some(want), "{self}");
    }
}

impl std::fmt::Display for Examination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

/// One that every user may look into, as an MTA's has to.
fn open_folder() -> TempDir {
    tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a temporary directory")
}

/// One that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
