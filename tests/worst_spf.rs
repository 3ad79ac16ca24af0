//! The cost of the most expensive SPF records that are still evaluated: DNS queries, CPU
//! time and memory of the real program, each with an empty and with a warm cache.
//!
//! The limits apply to the program that the tests build. `-- --nocapture` prints its
//! figures or, with SIXGATE=PATH, those of another build.

mod support;

use nix::unistd::{SysconfVar, sysconf};
use std::{
    env, fs,
    process::Command,
    time::{Duration, Instant},
};
use support::{
    daemon::Daemon,
    dns::{Data, DnsServer, Zone},
    milter::{self, MilterClient, Reply},
};

/// The longest record that is evaluated.
const MAX_RECORD: usize = 8192;

const MESSAGES: u32 = 40;

/// The memory that all messages together may add.
const MAX_GROWTH_KIB: u64 = 16 * 1024;

/// A record and the limits of its cost.
struct Worst {
    name: &'static str,
    zone: Zone,
    /// The local part of a sender at example.com.
    local_part: String,
    /// DNS queries of SPF with an empty cache, including those repeated over TCP.
    questions: usize,
    /// CPU time of a message in the unoptimized program.
    max_cpu: Duration,
}

/// Returns a zone with the client's name.
fn zone() -> Zone {
    let mut zone = Zone::new();
    zone.add_ptr("2001:db8::1".parse().expect("an address"), "c.example");
    let client = Data::Aaaa("2001:db8::1".parse().expect("an address"));
    zone.add("c.example", client);
    zone
}

/// Ten `mx` with ten hosts each; the IPv4 address of each host without an IPv6 address is
/// looked up too.
fn mx(name: &'static str, address: &Data, questions: usize) -> Worst {
    let terms: String = (0..10).map(|n| format!("mx:m{n}.example ")).collect();
    let mut zone = zone();
    zone.add("example.com", Data::text(format!("v=spf1 {terms}-all")));
    for n in 0..10 {
        for host in 0..10 {
            let host = format!("h{host}.m{n}.example");
            zone.add(format!("m{n}.example"), Data::Mx(10, host.clone()));
            zone.add(host, address.clone());
        }
    }
    Worst {
        name,
        zone,
        local_part: "a".to_owned(),
        questions,
        max_cpu: Duration::from_millis(200),
    }
}

/// Nested includes, each in a record with as many terms as fit; all are in memory when the
/// innermost is evaluated.
fn short_terms() -> Worst {
    Worst {
        name: "ten nested includes of 8 KiB of short terms",
        zone: nested(|length, end| {
            let terms = " a".repeat((length - " include:".len() - end.len()) / 2);
            format!(" include:{end}{terms}")
        }),
        local_part: "a".to_owned(),
        // Each record is first truncated over UDP.
        questions: 2 * 10 + 1,
        max_cpu: Duration::from_millis(200),
    }
}

/// The same with macros that split the local part and keep nothing of it.
fn macros() -> Worst {
    Worst {
        name: "ten nested includes of 8 KiB of macros",
        zone: nested(|length, end| {
            let macros = "%{l1-}".repeat((length - " include:".len() - end.len()) / 6);
            format!(" include:{macros}{end}")
        }),
        local_part: "-".repeat(2000),
        questions: 2 * 10 + 1,
        max_cpu: Duration::from_millis(400),
    }
}

/// Ten records, each with terms of a length that lead to the next.
fn nested(terms: impl Fn(usize, &str) -> String) -> Zone {
    let owner = |n: usize| match n {
        0 => "example.com".to_owned(),
        _ => format!("r{n}.example.com"),
    };
    let mut zone = zone();
    for n in 0..10 {
        let terms = terms(MAX_RECORD - "v=spf1".len(), &owner(n + 1));
        zone.add(owner(n), Data::text(format!("v=spf1{terms}")));
    }
    zone.add(owner(10), Data::text("v=spf1 ?all"));
    zone
}

#[test]
fn the_worst_spf_records_cost_bounded_queries_cpu_and_memory() {
    let ipv4 = Data::A("192.0.2.1".parse().expect("an address"));
    let ipv6 = Data::Aaaa("2001:db8::2".parse().expect("an address"));
    let table = [
        mx("ten mx of ten hosts with IPv6", &ipv6, 1 + 10 + 100),
        mx("ten mx of ten IPv4-only hosts", &ipv4, 1 + 10 + 100 + 98),
        short_terms(),
        macros(),
    ];
    for worst in table {
        check(worst);
    }
}

fn check(worst: Worst) {
    let dns = DnsServer::start(worst.zone);
    let sender = format!("<{}@example.com>", worst.local_part);
    for cache in ["0", "32MiB"] {
        let daemon = start(&dns, cache);
        // Initialization at the first message is not a cost of the record.
        send(&daemon, "<a@c.example>");
        let first = spf_questions(&dns, || send(&daemon, &sender));
        assert_eq!(first, worst.questions, "{}", worst.name);
        let (cpu, memory, start) = (cpu(&daemon), daemon.memory(), Instant::now());
        for _ in 0..MESSAGES {
            send(&daemon, &sender);
        }
        let cost = (cpu_since(&daemon, cpu)) / MESSAGES;
        let elapsed = start.elapsed() / MESSAGES;
        let growth = daemon.peak_memory().saturating_sub(memory);
        println!(
            "{}, cache {cache}: {first} questions, {cost:?} CPU and {elapsed:?} a message, \
             {growth} KiB more at most",
            worst.name
        );
        assert!(cost < worst.max_cpu, "{}: {cost:?}", worst.name);
        assert!(growth < MAX_GROWTH_KIB, "{}: {growth} KiB", worst.name);
    }
}

fn start(dns: &DnsServer, cache: &str) -> Daemon {
    let program = env::var_os("SIXGATE").unwrap_or_else(|| env!("CARGO_BIN_EXE_sixgate").into());
    let config = format!(
        "opt_in: {{domains: [contoso.com]}}\n\
         dns: {{servers: [{}], cache_bytes: {cache}}}\n\
         limits: {{stage_timeout: 8s}}",
        dns.address()
    );
    Daemon::start_by(Command::new(program), &config)
}

/// A message that only SPF decides, which does not pass.
fn send(daemon: &Daemon, sender: &str) {
    let client = "[2001:db8::1]:25".parse().expect("an address");
    let mut mta = MilterClient::open(&daemon.address());
    mta.macros(milter::Command::Connect, &[("j", "mx.contoso.com")]);
    assert_eq!(mta.connect_from("c.example", client), Reply::Continue);
    mta.helo("c.example");
    mta.mail(&[sender]);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    let end = mta.message(b"From: a@c.example\r\n\r\nbody\r\n", 65535);
    let refused = matches!(&end.reply, Reply::Smtp(text) if text.starts_with("45"));
    assert!(refused, "{:?}", end.reply);
    mta.quit();
}

/// The number of queries, except for those for the client's name.
fn spf_questions(dns: &DnsServer, work: impl FnOnce()) -> usize {
    dns.forget_questions();
    work();
    let questions = dns.questions();
    let of_spf = |(name, _): &&(String, String)| !name.ends_with(".arpa") && name != "c.example";
    questions.iter().filter(of_spf).count()
}

/// The CPU time of a process, in ticks.
fn cpu(daemon: &Daemon) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).expect("it runs");
    // The fields after the name, which may contain spaces: proc_pid_stat(5).
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields[11..13].iter().map(|field| field.parse::<u64>());
    ticks.map(|ticks| ticks.expect("a number")).sum()
}

fn cpu_since(daemon: &Daemon, before: u64) -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let per_second = u64::try_from(per_second.expect("a number")).expect("a number");
    Duration::from_micros((cpu(daemon) - before) * 1_000_000 / per_second)
}
