//! Mail to a domain up to the decision about its opt-in, and commands that query the
//! opt-in.

use super::{
    daemon::{Daemon, TIMEOUT},
    milter::{MilterClient, Reply},
    output::with_input,
    port::lasting_address,
};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The reply to RCPT for a client over IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptIn {
    /// The recipient is accepted: the domain opted in.
    Yes,
    /// Rule 6.
    No,
    /// Rule 7.
    InDoubt,
}

/// The client that sends all mail; it needs a PTR record.
pub const CLIENT: &str = "2001:db8:1::10";

/// Sends mail for a domain up to RCPT; returns the result and the duration of RCPT.
#[track_caller]
pub fn ask(daemon: &Daemon, domain: &str) -> (OptIn, Duration) {
    let client = SocketAddr::new(CLIENT.parse().expect("an address"), 25252);
    let mut mta = MilterClient::open(&daemon.address());
    assert_eq!(mta.connect_from("[x]", client), Reply::Continue);
    assert_eq!(mta.helo("mail.good.example"), Reply::Continue);
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    let start = Instant::now();
    let reply = mta.rcpt(&[&format!("<b@{domain}>")]);
    (read(domain, &reply), start.elapsed())
}

/// Returns the result of mail for a domain.
#[track_caller]
pub fn opt_in(daemon: &Daemon, domain: &str) -> OptIn {
    ask(daemon, domain).0
}

/// Checks the results of mail for each domain of a table.
#[track_caller]
pub fn assert_answers(daemon: &Daemon, table: &[(&str, OptIn)]) {
    for (domain, want) in table {
        assert_eq!(opt_in(daemon, domain), *want, "{domain}");
    }
}

fn read(domain: &str, reply: &Reply) -> OptIn {
    match reply {
        Reply::Continue => OptIn::Yes,
        Reply::Smtp(text) if text.starts_with("550 5.2.1 ") => OptIn::No,
        Reply::Smtp(text) if text.starts_with("451 4.4.3 ") => OptIn::InDoubt,
        other => panic!("{domain}: {other:?}"),
    }
}

/// Without a DNS server; a missing PTR record is accepted.
pub fn settings() -> String {
    let limits = limits().replace("9s", "4s");
    format!("on_dns_failure: accept\n{limits}")
}

pub fn limits() -> String {
    let closed = lasting_address();
    format!(
        "limits: {{stage_timeout: 9s}}\n\
         dns: {{servers: {closed}, timeout: 200ms, attempts: 1}}\n"
    )
}

/// Every message causes a query.
pub const NO_CACHE: &str = "cache: {positive: 0s, negative: 0s}";

pub fn daemon(section: &str) -> Daemon {
    Daemon::start(&format!(
        "opt_in: {{{section}, {NO_CACHE}}}\n{}",
        settings()
    ))
}

/// Waits for an answer, which may be late on a busy machine.
#[track_caller]
pub fn wait_for(daemon: &Daemon, domain: &str, want: OptIn) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let got = opt_in(daemon, domain);
        if got == want {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{domain} is {got:?}, not {want:?}: {}",
            daemon.log().text()
        );
    }
}

/// A configuration in a folder, for commands.
pub struct Commands {
    folder: TempDir,
}

impl Commands {
    pub fn new(section: &str) -> Self {
        let commands = Self {
            folder: TempDir::new().expect("a folder"),
        };
        commands.configure(section);
        commands
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("milter.yaml")
    }

    pub fn configure(&self, section: &str) {
        let text = format!("opt_in:\n  {section}\n{}", limits());
        fs::write(self.file(), text).expect("our file");
    }

    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.args(arguments).arg("-c").arg(self.file());
        with_input(command, input)
    }

    /// Returns the verdict and the source of domains, from the command.
    pub fn verdicts(&self, domains: &[&str]) -> Vec<(String, String)> {
        let output = self.run(&["opt-in", "status", "--json", "-"], &domains.join("\n"));
        let status: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let domains = status.as_array().expect("an array").iter();
        domains
            .map(|o| (text(&o["verdict"]), text(&o["source"])))
            .collect()
    }
}
