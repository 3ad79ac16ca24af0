//! The cost of a message in instructions, which does not depend on the load of the machine.
//!
//! The optimized daemon runs under valgrind, and a simulated MTA sends mail. The
//! instructions of a longer run minus those of a shorter one are those of the additional
//! messages. System calls are not counted; tests/bench measures them. A budget is the
//! measured cost plus a sixth. If a scenario exceeds it, fix the cause, or set a new budget
//! and state the reason. A budget of more than twice the cost detects nothing and fails
//! too.
//!
//! Without valgrind the test is reported as ignored.

#[path = "e2e/signer.rs"]
#[allow(dead_code, unreachable_pub, reason = "the dialogues use more of it")]
mod signer;
mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use signer::{Canonicalization, Key, Signer};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::OnceLock,
};
use support::{
    daemon::Daemon,
    dns::{Data, DnsServer, Zone},
    milter::{self, MilterClient, Reply},
};

const ZONE: &str = r#"
2001:db8::1     PTR    mail.good.example
mail.good.example AAAA 2001:db8::1
good.example    TXT    "v=spf1 ip6:2001:db8::/64 -all"
bad.example     TXT    "v=spf1 -all"
"#;

/// One connection with one message of this size, signed with RSA, and its budget in
/// thousands of instructions.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    client: &'static str,
    sender: &'static str,
    recipient: &'static str,
    size: usize,
    ends: Stage,
    budget: u64,
}

/// The check or rule that decides about a message.
#[derive(Clone, Copy)]
enum Stage {
    Connect,
    Rcpt,
    EndOfMessage,
}

const PLAIN: Scenario = Scenario {
    name: "a_message_with_an_spf_pass",
    client: "[2001:db8::1]:25",
    sender: "<a@good.example>",
    recipient: "<b@contoso.com>",
    size: 4096,
    ends: Stage::EndOfMessage,
    budget: 113,
};

const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "an_ipv4_client",
        client: "192.0.2.1:25",
        ends: Stage::Connect,
        budget: 27,
        ..PLAIN
    },
    Scenario {
        name: "a_recipient_that_has_not_opted_in",
        recipient: "<b@fabrikam.com>",
        ends: Stage::Rcpt,
        budget: 90,
        ..PLAIN
    },
    PLAIN,
    Scenario {
        name: "four_megabytes_with_an_spf_pass",
        size: 4 << 20,
        budget: 117,
        ..PLAIN
    },
    Scenario {
        name: "a_message_that_needs_its_signature",
        sender: "<a@bad.example>",
        budget: 670,
        ..PLAIN
    },
];

/// Messages of the shorter run and of the longer one.
const MESSAGES: [u64; 2] = [30, 130];

fn main() -> ExitCode {
    let is_there = Command::new("valgrind").arg("--version").output().is_ok();
    let is_required = env::var_os("SIXGATE_E2E_REQUIRED").is_some();
    let trial = |scenario: Scenario| {
        let name = format!("{}_costs_no_more_than_its_budget", scenario.name);
        Trial::test(name, move || holds(&scenario)).with_ignored_flag(!is_there && !is_required)
    };
    let trials = SCENARIOS.into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The lowest of these counts. On a busy machine threads wake up more often, which can add
/// a tenth.
const ATTEMPTS: usize = 3;

fn holds(scenario: &Scenario) -> Result<(), Failed> {
    let budget = scenario.budget;
    let mut cost = u64::MAX;
    for _ in 0..ATTEMPTS {
        let [fewer, more] = MESSAGES.map(|count| instructions(scenario, count));
        cost = cost.min((more - fewer) / (MESSAGES[1] - MESSAGES[0]) / 1000);
        println!(
            "{}: {cost} of {budget} thousand instructions",
            scenario.name
        );
        if cost <= budget {
            break;
        }
    }
    match cost {
        _ if cost > budget => Err(format!("{cost} is more than {budget}").into()),
        _ if cost * 2 < budget => {
            Err(format!("a budget of {budget} is more than twice the cost of {cost}").into())
        }
        _ => Ok(()),
    }
}

/// Returns the instructions of the daemon from start to exit with this many messages.
fn instructions(scenario: &Scenario, count: u64) -> u64 {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let counts = directory.path().join("counts");
    let key = Key::rsa();
    let dns = DnsServer::start(zone(&key));
    let config = format!(
        "dns: {{servers: [{}]}}\nopt_in: {{domains: [contoso.com]}}",
        dns.address()
    );
    let daemon = Daemon::start_by(counted(&counts), &config);
    let message = signed(&key, scenario.size);
    for _ in 0..count {
        send(&daemon, scenario, message.as_bytes());
    }
    daemon.signal(Signal::SIGTERM);
    daemon.stop();
    total(&counts)
}

fn counted(counts: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind"]);
    command.arg(format!("--callgrind-out-file={}", counts.display()));
    command.arg(program());
    command
}

/// The daemon, a release build without the slow optimizations, or the build that the
/// environment variable SIXGATE names.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let given = || env::var_os("SIXGATE").map(PathBuf::from);
    PROGRAM
        .get_or_init(|| given().unwrap_or_else(build))
        .clone()
}

fn build() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--profile", "guard"])
        .args(["--bin", "sixgate"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.is_ok_and(|status| status.success()));
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guard/sixgate")
}

fn zone(key: &Key) -> Zone {
    let mut zone = Zone::parse(ZONE).expect("a zone");
    let record = format!("v=DKIM1; k=rsa; p={}", key.public());
    zone.add("s._domainkey.bad.example", Data::text(record));
    zone
}

fn signed(key: &Key, size: usize) -> String {
    let signer = Signer {
        key,
        domain: "bad.example",
        selector: "s",
        header: Canonicalization::Relaxed,
        body: Canonicalization::Relaxed,
        fields: &["from", "to", "subject", "date"],
        tags: "",
    };
    let header = "Received: from mail.good.example by mx.contoso.com; Mon, 2 Mar 2026 10:00:00 +0000\r\n\
                  From: a@bad.example\r\nTo: b@contoso.com\r\nSubject: costs\r\n\
                  Date: Mon, 2 Mar 2026 10:00:00 +0000\r\n\r\n";
    let line = "The quick brown fox jumps over the lazy dog, and  goes on to do so again.\r\n";
    signer.sign(&(header.to_owned() + &line.repeat(size / line.len())))
}

fn send(daemon: &Daemon, scenario: &Scenario, message: &[u8]) {
    let client = scenario.client.parse().expect("an address");
    let mut mta = MilterClient::open(&daemon.address());
    mta.macros(milter::Command::Connect, &[("j", "mx.contoso.com")]);
    let connected = mta.connect_from("mail.good.example", client);
    if let Stage::Connect = scenario.ends {
        return assert_eq!(connected, Reply::Accept);
    }
    mta.helo("mail.good.example");
    mta.mail(&[scenario.sender]);
    let recipient = mta.rcpt(&[scenario.recipient]);
    if let Stage::Rcpt = scenario.ends {
        return assert!(matches!(recipient, Reply::Smtp(reply) if reply.starts_with("550")));
    }
    let end = mta.message(message, 65535);
    assert_eq!((end.reply, end.modifications.len()), (Reply::Continue, 1));
    mta.quit();
}

fn total(counts: &Path) -> u64 {
    let text = fs::read_to_string(counts).expect("what valgrind counted");
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let totals = totals.expect("a total").trim();
    totals.parse().expect("a number of instructions")
}
