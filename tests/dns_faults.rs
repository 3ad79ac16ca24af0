//! The daemon with a DNS server that fails or misbehaves: the results of lookups, the reply
//! and its time limit. Nothing is accepted because of a fault, and other clients are served
//! in the meantime.

mod support;

use hickory_proto::op::ResponseCode;
use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::{Duration, Instant},
};
use support::{
    daemon::Daemon,
    dns::{Data, DnsServer, Fault, Zone},
    milter::{Command, EndOfMessage, MilterClient, Reply},
};

const STAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Margin for a busy machine.
const MARGIN: Duration = Duration::from_secs(2);

/// Each fault and the expected result for PTR, SPF and a DKIM key.
const FAULTS: [(&str, Outcome); 12] = [
    ("SILENCE", TEMPERROR),
    ("SERVFAIL", TEMPERROR),
    ("REFUSED", TEMPERROR),
    ("FORMERR", TEMPERROR),
    ("NOTIMP", TEMPERROR),
    ("TRUNCATED", TEMPERROR),
    ("WRONG-ID", TEMPERROR),
    ("WRONG-QUESTION", TEMPERROR),
    ("GARBAGE", TEMPERROR),
    ("NOISE", TEMPERROR),
    // Aliases to a name without records result in no record.
    ("CNAME loop.good.example", ABSENT),
    ("CNAME mute.good.example", TEMPERROR),
];

/// The rule that decides, and the reply: over PTR, and over SPF or a key.
struct Outcome {
    ptr: (&'static str, &'static str),
    sender: (&'static str, &'static str),
}

const TEMPORARY: &str = "451 4.4.3 ";
const TEMPERROR: Outcome = Outcome {
    ptr: ("rule=ptr-temperror", TEMPORARY),
    sender: ("rule=auth-temperror", TEMPORARY),
};
const ABSENT: Outcome = Outcome {
    ptr: ("rule=no-ptr", "450 4.7.25 "),
    sender: ("rule=unauthenticated", "450 4.7.26 "),
};

const ZONE: &str = r#"
2001:db8:1::10       PTR    mail.good.example
good.example         TXT    "v=spf1 ip6:2001:db8:1::/64 -all"
bad.example          TXT    "v=spf1 -all"
loop.good.example    CNAME  pool.good.example
pool.good.example    CNAME  loop.good.example
mute.good.example    SILENCE
"#;

/// The faults at the reverse name of 2001:db8:f::N, at senderN.example and at
/// the key record keyN of signer.example.
fn zone() -> Zone {
    let mut zone = Zone::parse(ZONE).expect("a zone");
    for (n, (fault, _)) in FAULTS.iter().enumerate() {
        for name in [
            fault_client(n),
            format!("sender{n}.example"),
            format!("key{n}._domainkey.signer.example"),
        ] {
            zone.add_line(&format!("{name} {fault}")).expect("a line");
        }
    }
    zone
}

fn fault_client(n: usize) -> String {
    format!("2001:db8:f::{:x}", n + 1)
}

/// The daemon with its DNS server.
struct Fixture {
    daemon: Daemon,
    dns: DnsServer,
}

impl Fixture {
    fn new(zone: Zone) -> Self {
        let dns = DnsServer::start(zone);
        let daemon = start_daemon(&format!("{}", dns.address()), "200ms", STAGE_TIMEOUT);
        Self { daemon, dns }
    }
}

fn start_daemon(servers: &str, dns_timeout: &str, stage_timeout: Duration) -> Daemon {
    let stage_timeout = stage_timeout.as_millis();
    Daemon::start(&format!(
        "opt_in: {{domains: [contoso.com]}}\n\
         dns: {{servers: [{servers}], timeout: {dns_timeout}}}\n\
         limits: {{stage_timeout: {stage_timeout}ms}}"
    ))
}

const GOOD_CLIENT: &str = "2001:db8:1::10";

fn mta_with_client(daemon: &Daemon, ip: &str) -> MilterClient {
    let client = SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), 25252);
    let mut mta = MilterClient::open(&daemon.address());
    mta.macros(Command::Connect, &[("j", "mx.contoso.com")]);
    assert_eq!(mta.connect_from("[x]", client), Reply::Continue);
    assert_eq!(mta.helo("mail.good.example"), Reply::Continue);
    mta
}

/// The time from MAIL to the reply to RCPT.
fn rcpt(mta: &mut MilterClient, sender: &str) -> Reply {
    assert_eq!(mta.mail(&[sender]), Reply::Continue);
    mta.rcpt(&["<b@contoso.com>"])
}

const UNSIGNED: &[u8] = b"From: a@good.example\r\n\r\nbody\r\n";

/// A message from a client with a PTR record.
fn send(daemon: &Daemon, sender: &str, message: &[u8]) -> EndOfMessage {
    let mut mta = mta_with_client(daemon, GOOD_CLIENT);
    assert_eq!(rcpt(&mut mta, sender), Reply::Continue);
    mta.message(message, 65535)
}

/// Everything is valid except for the signature, which only the key would show.
fn signed_with(selector: &str) -> Vec<u8> {
    // The hash of the body below.
    let hash = "Ck5SoRNWUpSR4X0COv7R5ub2pUTtl6xz4dTFz++ji4M=";
    let signature = "eHh4".repeat(85) + "eA==";
    let tags = "v=1; a=rsa-sha256; c=simple/simple; d=signer.example; h=from";
    format!(
        "From: a@signer.example\r\n\
         DKIM-Signature: {tags}; s={selector}; bh={hash}; b={signature}\r\n\
         \r\n\
         body\r\n"
    )
    .into_bytes()
}

#[track_caller]
fn assert_reply(reply: &Reply, start: &str, what: &str) {
    let given = matches!(reply, Reply::Smtp(text) if text.starts_with(start));
    assert!(given, "{what}: {reply:?}");
}

#[track_caller]
fn assert_in_time(start: Instant, what: &str) {
    let elapsed = start.elapsed();
    eprintln!("{what}: {} ms", elapsed.as_millis());
    assert!(elapsed < STAGE_TIMEOUT + MARGIN, "{what}: {elapsed:?}");
}

#[test]
fn every_fault_over_ptr_refuses_the_recipient_for_now_and_in_time() {
    let fixture = Fixture::new(zone());
    for (n, (fault, want)) in FAULTS.iter().enumerate() {
        let (rule, reply) = want.ptr;
        let start = Instant::now();
        let mut mta = mta_with_client(&fixture.daemon, &fault_client(n));
        assert_reply(&rcpt(&mut mta, "<a@good.example>"), reply, fault);
        assert_in_time(start, &format!("PTR {fault}: {reply}"));
        let client = format!("[{}]", fault_client(n));
        fixture.daemon.log().wait_for(&[&client, rule]);
    }
}

#[test]
fn forged_dns_answers_by_the_hundred_take_few_lines_that_count_them() {
    const CLIENTS: usize = 300;
    let mut zone = zone();
    for n in 0..CLIENTS {
        let line = format!("2001:db8:e::{n:x} WRONG-ID");
        zone.add_line(&line).expect("a line");
    }
    let fixture = Fixture::new(zone);
    let connect = |n| mta_with_client(&fixture.daemon, &format!("2001:db8:e::{n:x}"));
    let mtas: Vec<MilterClient> = (0..CLIENTS).map(connect).collect();
    for mut mta in mtas {
        assert_reply(&rcpt(&mut mta, "<a@good.example>"), TEMPORARY, "a wrong id");
    }
    let log = fixture.daemon.log();
    assert!(fixture.daemon.stop().success());
    let text = log.text();
    let forged = text
        .lines()
        .filter(|line| line.contains("wrong message id"));
    let (summaries, in_full): (Vec<&str>, Vec<&str>) =
        forged.partition(|line| line.contains("similar log lines suppressed"));
    assert_eq!(in_full.len(), 10, "{text}");
    assert!(!summaries.is_empty(), "{text}");
}

#[test]
fn every_fault_over_spf_refuses_the_message_for_now_and_in_time() {
    let fixture = Fixture::new(zone());
    for (n, (fault, want)) in FAULTS.iter().enumerate() {
        let (rule, reply) = want.sender;
        let sender = format!("<a@sender{n}.example>");
        let start = Instant::now();
        let end = send(&fixture.daemon, &sender, UNSIGNED);
        assert_reply(&end.reply, reply, fault);
        assert_in_time(start, &format!("SPF {fault}: {reply}"));
        fixture.daemon.log().wait_for(&[&sender, rule]);
    }
}

#[test]
fn every_fault_over_a_dkim_key_refuses_the_message_for_now_and_in_time() {
    let fixture = Fixture::new(zone());
    for (n, (fault, want)) in FAULTS.iter().enumerate() {
        let (rule, reply) = want.sender;
        let start = Instant::now();
        let message = signed_with(&format!("key{n}"));
        let end = send(&fixture.daemon, "<a@bad.example>", &message);
        assert_reply(&end.reply, reply, fault);
        assert_in_time(start, &format!("key {fault}: {reply}"));
        let asked = format!("key{n}._domainkey.signer.example");
        let questions = fixture.dns.questions();
        assert!(questions.iter().any(|(name, _)| *name == asked), "{fault}");
        fixture.daemon.log().wait_for(&["spf=fail", rule]);
    }
}

#[test]
fn at_the_end_of_a_message_progress_is_reported_while_a_key_is_awaited() {
    let mut zone = zone();
    zone.fault("mute._domainkey.signer.example", Fault::Silence);
    let dns = DnsServer::start(zone);
    let daemon = start_daemon(&dns.address().to_string(), "5s", Duration::from_secs(4));
    let start = Instant::now();
    let end = send(&daemon, "<a@bad.example>", &signed_with("mute"));
    assert_reply(&end.reply, TEMPORARY, "mute");
    assert!(end.progress >= 1);
    assert!(start.elapsed() < Duration::from_secs(4) + MARGIN);
}

#[test]
fn progress_is_reported_at_once_after_a_wait_at_the_end_of_headers() {
    let mut zone = zone();
    zone.fault("silent.example", Fault::Silence);
    zone.fault("mute._domainkey.signer.example", Fault::Silence);
    let dns = DnsServer::start(zone);
    // Sendmail's timeout is that of one stage, and there is no body to answer.
    let daemon = start_daemon(&dns.address().to_string(), "5s", Duration::from_secs(2));
    let message = signed_with("mute");
    let without_body = message.strip_suffix(b"body\r\n").expect("a body");
    let end = send(&daemon, "<a@silent.example>", without_body);
    assert_reply(&end.reply, TEMPORARY, "mute");
    assert!(end.progress >= 1);
}

#[test]
fn answers_of_64_kb_are_read_correctly() {
    let mut zone = zone();
    let long = "x".repeat(60_000);
    let spf = |term: &str, length: usize| {
        format!(
            "v=spf1 {}-all",
            format!("{term} ").repeat(length / (term.len() + 1))
        )
    };
    let name = |n: usize| format!("long{n}.example");
    // SPF beside a long text; too many lookups; no SPF; SPF that says fail; SPF
    // that is too long to be evaluated.
    zone.add(name(0), Data::text(&long));
    zone.add(name(0), Data::text("v=spf1 ip6:2001:db8:1::/64 -all"));
    zone.add(name(1), Data::text(spf("include:bad.example", 8_000)));
    zone.add(name(2), Data::text(&long));
    zone.add(name(3), Data::text(spf("ip4:192.0.2.1", 8_000)));
    zone.add(name(4), Data::text(spf("ip4:192.0.2.1", 60_000)));
    zone.add(
        "long._domainkey.signer.example",
        Data::text(format!("v=DKIM1; p={long}")),
    );
    let fixture = Fixture::new(zone);
    let table = [
        (0, Reply::Continue, "spf=pass"),
        (1, Reply::Tempfail, "spf=permerror"),
        (2, Reply::Tempfail, "spf=none"),
        (3, Reply::Tempfail, "spf=fail"),
        (4, Reply::Tempfail, "spf=permerror"),
    ];
    for (n, want, logged) in table {
        let sender = format!("<a@{}>", name(n));
        let start = Instant::now();
        let reply = send(&fixture.daemon, &sender, UNSIGNED).reply;
        match want {
            Reply::Continue => assert_eq!(reply, want, "{n}"),
            _ => assert_reply(&reply, "450 4.7.26 ", &sender),
        }
        assert_in_time(start, logged);
        fixture.daemon.log().wait_for(&[&sender, logged]);
    }
    let end = send(&fixture.daemon, "<a@bad.example>", &signed_with("long"));
    assert_reply(&end.reply, "450 4.7.26 ", "key");
}

#[test]
fn bombs_of_txt_records_take_bounded_time_and_memory() {
    let mut zone = zone();
    // As many records as an answer holds, and ten includes as long as one.
    for n in 0..4000 {
        zone.add("many.example", Data::text(format!("{n}")));
    }
    let includes: String = (0..10)
        .map(|n| format!("include:deep{n}.example "))
        .collect();
    zone.add("deep.example", Data::text(format!("v=spf1 {includes}-all")));
    for n in 0..10 {
        let filler = "ip4:192.0.2.1 ".repeat(4000);
        zone.add(
            format!("deep{n}.example"),
            Data::text(format!("v=spf1 {filler}-all")),
        );
    }
    let fixture = Fixture::new(zone);
    send(&fixture.daemon, "<a@good.example>", UNSIGNED);
    let before = fixture.daemon.memory();
    for sender in ["<a@many.example>", "<a@deep.example>"] {
        for _ in 0..20 {
            let start = Instant::now();
            let end = send(&fixture.daemon, sender, UNSIGNED);
            assert_reply(&end.reply, "45", sender);
            assert_in_time(start, sender);
        }
    }
    let grown = fixture.daemon.peak_memory().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
}

#[test]
fn a_server_that_refuses_edns_serves_mail_and_is_reported() {
    for (code, name) in [
        (ResponseCode::FormErr, "FORMERR"),
        (ResponseCode::NotImp, "NOTIMP"),
        (ResponseCode::BADVERS, "BADVERS"),
    ] {
        let mut zone = zone();
        zone.refuse_edns(code);
        // Too long for an answer over UDP without EDNS.
        let record = format!(
            "v=spf1 {}ip6:2001:db8:1::/64 -all",
            "ip4:192.0.2.1 ".repeat(60)
        );
        zone.add("long.example", Data::text(record));
        let fixture = Fixture::new(zone);
        for sender in ["<a@good.example>", "<a@long.example>"] {
            let end = send(&fixture.daemon, sender, UNSIGNED);
            assert_eq!(end.reply, Reply::Continue, "{name}: {sender}");
        }
        let refusal = format!("refuses EDNS ({name}); it is asked without for an hour");
        fixture.daemon.log().wait_for(&["WARN", &refusal]);
    }
}

#[test]
fn two_thousand_floods_of_records_stay_in_bounded_memory_and_evict_nobody() {
    flood(2_000);
}

#[test]
#[ignore = "takes minutes"]
fn twenty_thousand_floods_of_records_stay_in_bounded_memory_and_evict_nobody() {
    flood(20_000);
}

/// Distinct senders with 60 KB of TXT, and distinct clients with 60 KB of PTR.
fn flood(count: u32) {
    const MAX_KIB: u64 = 60 * 1024;
    let mut zone = zone();
    zone.add_below("flood.example", Data::text("v=spf1 -all"));
    for _ in 0..15 {
        zone.add_below("flood.example", Data::text("x".repeat(4000)));
    }
    for n in 0..180 {
        // No two have a label in common that a message could say once.
        let host = format!("{n:060}.{n:061}.{n:062}.h{n:062}");
        zone.add_below("e.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", Data::Ptr(host));
    }
    let dns = DnsServer::start(zone);
    let daemon = start_daemon(&dns.address().to_string(), "5s", Duration::from_secs(8));
    let accepted = || send(&daemon, "<a@good.example>", UNSIGNED).reply == Reply::Continue;
    assert!(accepted() && accepted());
    let mut mta = mta_with_client(&daemon, GOOD_CLIENT);
    for n in 0..count {
        let sender = format!("<a@n{n}.flood.example>");
        assert_eq!(rcpt(&mut mta, &sender), Reply::Continue);
        assert_reply(&mta.message(UNSIGNED, 65535).reply, "450 4.7.26 ", &sender);
    }
    let after_senders = daemon.peak_memory();
    for n in 0..count {
        let client = format!("2001:db8:e::{:x}:{:x}", n >> 16, n & 0xffff);
        let mut mta = mta_with_client(&daemon, &client);
        assert_eq!(
            rcpt(&mut mta, "<a@good.example>"),
            Reply::Continue,
            "{client}"
        );
    }
    let peak = daemon.peak_memory();
    eprintln!("{count} floods: {after_senders} KiB by senders, {peak} KiB by clients");
    assert!(peak < MAX_KIB, "{peak} KiB");
    dns.forget_questions();
    assert!(accepted());
    assert_eq!(
        dns.questions(),
        [],
        "the answers for others are still cached"
    );
}

#[test]
fn a_dead_or_failing_server_is_replaced_by_the_next() {
    let good = DnsServer::start(zone());
    let mut failing = Vec::new();
    for fault in ["SILENCE", "SERVFAIL", "REFUSED", "GARBAGE"] {
        let lines = format!("{GOOD_CLIENT} {fault}\ngood.example {fault}");
        failing.push(DnsServer::start(Zone::parse(&lines).expect("a zone")));
    }
    let nobody = {
        let gone = DnsServer::start(Zone::new());
        gone.address()
    };
    let firsts = failing.iter().map(DnsServer::address).chain([nobody]);
    for first in firsts {
        let servers = format!("{first}, {}", good.address());
        let daemon = start_daemon(&servers, "200ms", STAGE_TIMEOUT);
        for _ in 0..2 {
            let end = send(&daemon, "<a@good.example>", UNSIGNED);
            assert_eq!(end.reply, Reply::Continue, "{servers}");
        }
    }
}

#[test]
fn when_all_servers_are_back_the_next_mail_is_accepted_at_once() {
    let lasting = || {
        let mut zone = Zone::new();
        // Not cached, so that each message causes a query.
        zone.set_ttl(0);
        for line in ZONE.lines() {
            zone.add_line(line).expect("a line");
        }
        zone
    };
    let mut server = DnsServer::start(lasting());
    let address = server.address();
    // A late answer on a busy machine must not look like a missing one.
    let timeout = 3 * STAGE_TIMEOUT;
    let daemon = start_daemon(&address.to_string(), "1s", timeout);
    for _ in 0..2 {
        let end = send(&daemon, "<a@good.example>", UNSIGNED);
        assert_eq!(end.reply, Reply::Continue);
        drop(server);
        let start = Instant::now();
        let mut mta = mta_with_client(&daemon, GOOD_CLIENT);
        assert_reply(&rcpt(&mut mta, "<a@good.example>"), TEMPORARY, "dead");
        assert!(start.elapsed() < timeout + MARGIN);
        server = DnsServer::start_at(lasting(), address).expect("the port is free again");
    }
    let end = send(&daemon, "<a@good.example>", UNSIGNED);
    assert_eq!(end.reply, Reply::Continue);
}

#[test]
fn others_are_served_while_unresponsive_senders_wait() {
    const UNRESPONSIVE: usize = 50;
    const OTHERS: usize = 200;
    let dns = DnsServer::start(zone_with_unresponsive_senders(UNRESPONSIVE));
    // Long enough that no message of an unresponsive sender is answered before those of the
    // others.
    let daemon = start_daemon(&dns.address().to_string(), "9s", Duration::from_secs(9));
    let _waiting = unresponsive_senders(&daemon, 0..UNRESPONSIVE);
    let accepted = (0..OTHERS)
        .filter(|_| send(&daemon, "<a@good.example>", UNSIGNED).reply == Reply::Continue);
    assert_eq!(accepted.count(), OTHERS);
    let log = daemon.log();
    log.wait_for(&["rule=spf-pass"]);
    assert!(
        !log.text().contains("rule=auth-temperror"),
        "a mute sender was answered"
    );
}

#[test]
fn others_keep_their_rate_beside_unresponsive_senders() {
    // Other tests run at the same time, which changes the rate by about 15 percent. If
    // unresponsive senders blocked others, less than a hundredth of the rate would remain.
    let percent = rate_beside_unresponsive_senders(7);
    assert!(percent >= 50.0, "{percent:.1} %");
}

#[test]
#[ignore = "takes a minute, and is exact where nothing else runs"]
fn others_keep_95_percent_of_their_rate_beside_unresponsive_senders() {
    let percent = rate_beside_unresponsive_senders(41);
    assert!(percent >= 95.0, "{percent:.1} %");
}

/// The rate of an MTA beside unresponsive senders in percent of its rate without them: the
/// median of short runs, each compared with runs before and after it.
fn rate_beside_unresponsive_senders(runs: usize) -> f64 {
    const UNRESPONSIVE: usize = 20;
    let fixture = Fixture::new(zone_with_unresponsive_senders(UNRESPONSIVE * runs));
    let mut others = mta_with_client(&fixture.daemon, GOOD_CLIENT);
    let mut percent = Vec::new();
    for run in 0..runs {
        let numbers = run * UNRESPONSIVE..(run + 1) * UNRESPONSIVE;
        // Between two runs without them, so that a change of the machine's load does not
        // matter.
        let before = median_time_of_a_message(&mut others);
        let beside = beside_unresponsive_senders(&fixture, numbers, &mut others);
        let after = median_time_of_a_message(&mut others);
        let alone = (before + after) / 2;
        percent.push(100.0 * alone.as_secs_f64() / beside.as_secs_f64());
    }
    percent.sort_unstable_by(f64::total_cmp);
    let (quarter, median) = (percent[runs / 4], percent[runs / 2]);
    let three_quarters = percent[runs * 3 / 4];
    eprintln!("rate beside mute senders: {median:.1} % ({quarter:.1} to {three_quarters:.1})");
    median
}

fn zone_with_unresponsive_senders(count: usize) -> Zone {
    let mut zone = zone();
    for n in 0..count {
        zone.fault(format!("mute{n}.example"), Fault::Silence);
    }
    zone
}

/// MTAs that wait for the reply to a message without a body, which needs the SPF result.
fn unresponsive_senders(daemon: &Daemon, numbers: Range<usize>) -> Vec<MilterClient> {
    let wait = |n| {
        let mut mta = mta_with_client(daemon, GOOD_CLIENT);
        let sender = format!("<a@mute{n}.example>");
        assert_eq!(rcpt(&mut mta, &sender), Reply::Continue);
        mta.send_frame(b'N', b"");
        mta.send_frame(b'E', b"");
        mta
    };
    numbers.map(wait).collect()
}

/// The same while messages of unresponsive senders wait. Returns when all have a reply.
fn beside_unresponsive_senders(
    fixture: &Fixture,
    numbers: Range<usize>,
    mta: &mut MilterClient,
) -> Duration {
    let mut waiting = unresponsive_senders(&fixture.daemon, numbers);
    let time = median_time_of_a_message(mta);
    for mta in &mut waiting {
        let answer = mta.receive_frame();
        assert!(matches!(&answer, Some((b'y', text)) if text.starts_with(b"451 4.4.3 ")));
    }
    time
}

/// The median rate of messages that one MTA sends one after the other; a delay of a few of
/// them, for example by another process, does not matter.
fn median_time_of_a_message(mta: &mut MilterClient) -> Duration {
    const WINDOW: Duration = Duration::from_millis(250);
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < WINDOW {
        let start = Instant::now();
        assert_eq!(rcpt(mta, "<a@good.example>"), Reply::Continue);
        assert_eq!(mta.message(UNSIGNED, 65535).reply, Reply::Continue);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}
