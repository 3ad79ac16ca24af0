//! Attacks by a peer on the milter socket, which can only close its own connection. Every
//! test checks the memory and another connection during and after the attack.

mod support;

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::Daemon,
    dns::{DnsServer, Zone},
    http,
    milter::{Command, MilterClient, Reply, frame as honest},
};

const ZONE: &str = r#"
2001:db8::1     PTR    mail.good.example
good.example    TXT    "v=spf1 ip6:2001:db8::/64 -all"
"#;

const TEMPORARY: &str = "451 4.4.3 Service unavailable, temporary failure, please try again later.";
const MESSAGE: &[u8] = b"From: a@good.example\r\n\r\nbody\r\n";

/// The maximum frame size in bytes; the allocator retains a part of it.
const FRAME: usize = 1 << 20;

/// The daemon with its DNS, and its initial memory.
struct Fixture {
    daemon: Daemon,
    memory: u64,
    _dns: DnsServer,
}

impl Fixture {
    fn new(config: &str) -> Self {
        Self::start(config, Daemon::start)
    }

    fn start(config: &str, start: impl Fn(&str) -> Daemon) -> Self {
        let dns = DnsServer::start(Zone::parse(ZONE).expect("a zone"));
        let daemon = start(&format!(
            "dns: {{servers: [{}], timeout: 1s}}\nopt_in: {{domains: [contoso.com]}}\n{config}",
            dns.address()
        ));
        let fixture = Self {
            daemon,
            memory: 0,
            _dns: dns,
        };
        // One message allocates everything that is allocated only once.
        fixture.assert_serves();
        Self {
            memory: fixture.daemon.memory(),
            ..fixture
        }
    }

    fn mta(&self) -> MilterClient {
        MilterClient::open(&self.daemon.address())
    }

    /// An MTA whose client has connected and sent HELO.
    fn mta_with_client(&self) -> MilterClient {
        let mut mta = self.mta();
        mta.macros(Command::Connect, &[("j", "mx.contoso.com")]);
        assert_eq!(mta.connect_from("[x]", client()), Reply::Continue);
        assert_eq!(mta.helo("mail.good.example"), Reply::Continue);
        mta
    }

    /// An MTA in the middle of a mail transaction that passes SPF.
    fn mta_after_rcpt(&self) -> MilterClient {
        self.mta_after_rcpt_from("<a@good.example>")
    }

    fn mta_after_rcpt_from(&self, sender: &str) -> MilterClient {
        let mut mta = self.mta_with_client();
        assert_eq!(mta.mail(&[sender]), Reply::Continue);
        assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
        mta
    }

    fn assert_serves(&self) {
        let mut mta = self.mta_after_rcpt();
        assert_eq!(mta.message(MESSAGE, 65535).reply, Reply::Continue);
    }

    /// Asserts that the memory never exceeded the initial one by more than `mib` MiB.
    fn assert_peak_below(&self, mib: u64) {
        let grown = self.daemon.peak_memory().saturating_sub(self.memory);
        eprintln!("{grown} KiB more than at first");
        assert!(grown < mib * 1024, "{grown} KiB");
    }
}

fn client() -> SocketAddr {
    SocketAddr::new("2001:db8::1".parse::<IpAddr>().expect("an address"), 25252)
}

fn smtp(reply: &str) -> Reply {
    Reply::Smtp(reply.to_owned())
}

/// A frame whose length may be wrong.
fn frame(length: u32, letter: u8, data: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes(), [letter].as_slice(), data].concat()
}

/// Asserts that the connection closes without another frame.
#[track_caller]
fn assert_closed(mta: &mut MilterClient, what: &str) {
    assert_eq!(mta.receive_frame(), None, "{what}");
}

#[test]
fn oversized_frames_close_their_connection_and_are_logged() {
    let fixture = Fixture::new("");
    let mut other = fixture.mta_after_rcpt();
    for letter in *b"OCHMRLNBEDUTXA" {
        for length in [FRAME as u32 + 1, u32::MAX / 2, u32::MAX] {
            for mut mta in [fixture.mta(), fixture.mta_after_rcpt()] {
                mta.send_bytes(&frame(length, letter, &[0; 4096]));
                assert_closed(&mut mta, &format!("{} {length}", char::from(letter)));
            }
        }
    }
    fixture
        .daemon
        .log()
        .wait_for(&["closed", "more than 1 MiB"]);
    assert_eq!(other.message(MESSAGE, 65535).reply, Reply::Continue);
    fixture.assert_serves();
    fixture.assert_peak_below(16);
}

#[test]
fn a_frame_takes_no_memory_before_it_arrives() {
    let fixture = Fixture::new("");
    let holders: Vec<MilterClient> = (0..200)
        .map(|_| {
            let mut mta = fixture.mta_with_client();
            mta.send_bytes(&frame(FRAME as u32, b'B', &[0; 16]));
            mta
        })
        .collect();
    fixture.assert_serves();
    fixture.assert_peak_below(32);
    drop(holders);
    fixture.assert_serves();
}

#[test]
fn unknown_commands_close_their_connection_and_are_logged() {
    let fixture = Fixture::new("");
    let mut other = fixture.mta_after_rcpt();
    for letter in (0..=255).filter(|letter| !b"ABCDEHKLMNOQRTU".contains(letter)) {
        for length in [0, 1] {
            let mut mta = fixture.mta_with_client();
            mta.send_bytes(&frame(length, letter, &[]));
            assert_closed(&mut mta, &format!("{letter:#x}"));
        }
    }
    fixture
        .daemon
        .log()
        .wait_for(&["closed", "unknown command"]);
    assert_eq!(other.message(MESSAGE, 65535).reply, Reply::Continue);
    fixture.assert_serves();
    fixture.assert_peak_below(16);
}

#[test]
fn frames_without_data_accept_nothing() {
    let fixture = Fixture::new("");
    for letter in *b"CHMRLOU" {
        for length in [0, 1] {
            let mut mta = fixture.mta_with_client();
            mta.send_bytes(&frame(length, letter, &[]));
            mta.send_bytes(&honest(b'Q', b""));
            let answer = mta.receive_frame();
            assert!(!accepts(&answer), "{} {answer:?}", char::from(letter));
        }
    }
    fixture.assert_serves();
    fixture.assert_peak_below(16);
}

fn accepts(answer: &Option<(u8, Vec<u8>)>) -> bool {
    matches!(answer, Some((b'a' | b'c' | b'd', _)))
}

#[test]
fn commands_before_negotiation_or_connect_accept_nothing() {
    let fixture = Fixture::new("");
    let commands: [(u8, &[u8]); 10] = [
        (b'C', b"x\x006\0\x192001:db8::1\0"),
        (b'H', b"helo\0"),
        (b'M', b"<a@good.example>\0"),
        (b'R', b"<b@contoso.com>\0"),
        (b'T', b""),
        (b'L', b"From\0 a\0"),
        (b'N', b""),
        (b'B', b"body\r\n"),
        (b'E', b""),
        (b'A', b""),
    ];
    let address = fixture.daemon.address();
    for (letter, data) in commands {
        for mut mta in [MilterClient::connect_only(&address), fixture.mta()] {
            let negotiated = !mta.negotiated().macros.is_empty();
            if negotiated && letter == b'C' {
                continue;
            }
            mta.send_bytes(&honest(letter, data));
            mta.send_bytes(&honest(b'Q', b""));
            let answer = mta.receive_frame();
            let what = char::from(letter);
            assert!(!accepts(&answer), "{what} {negotiated} {answer:?}");
        }
    }
    fixture.assert_serves();
    fixture.assert_peak_below(16);
}

#[test]
fn a_reply_in_place_of_a_negotiation_ends_the_connection() {
    let fixture = Fixture::new("");
    for letter in *b"cartdsyp" {
        let mut mta = MilterClient::connect_only(&fixture.daemon.address());
        mta.send_bytes(&honest(letter, b""));
        assert_closed(&mut mta, &char::from(letter).to_string());
    }
    fixture.assert_serves();
    fixture.assert_peak_below(16);
}

#[test]
fn malformed_connect_commands_accept_nothing() {
    let fixture = Fixture::new("");
    let long_name = [[b'a'; 5000].as_slice(), b"\x006\0\x19IPv6:2001:db8::1\0"].concat();
    let table: [&[u8]; 20] = [
        b"",
        b"\0",
        b"x",
        b"x\0",
        b"x\x006",
        b"x\x006\0",
        b"x\x006\0\x19",
        b"x\x006\0\x19\0",
        b"x\x006\0\x192001:db8::1",
        b"x\x006\0\x19IPv6:",
        b"x\x006\0\x19IPv6:\0",
        b"x\x006\0\x19IPv6:IPv6:2001:db8::1\0",
        b"x\x006\0\x19IPv6:2001:db8::1%eth0\0",
        b"x\x006\0\x19[2001:db8::1]\0",
        b"x\x006\0\x19192.0.2.1\0",
        b"x\x004\0\x192001:db8::1\0",
        b"x\x004\0\x19192.0.2.256\0",
        b"x\x007\0\x192001:db8::1\0",
        b"x\0\xff\xff\xff\xff",
        &long_name,
    ];
    for connect in table {
        let mut mta = fixture.mta();
        mta.send_bytes(&honest(b'C', connect));
        assert_closed(&mut mta, &connect.escape_ascii().to_string());
    }
    fixture
        .daemon
        .log()
        .wait_for(&["violated the milter protocol"]);
    fixture.assert_serves();
    fixture.assert_peak_below(16);
}

#[test]
fn a_hundred_thousand_macro_packets_take_bounded_memory() {
    assert_macros_take_bounded_memory(100_000);
}

#[test]
#[ignore = "takes half a minute"]
fn a_million_macro_packets_take_bounded_memory() {
    assert_macros_take_bounded_memory(1_000_000);
}

fn assert_macros_take_bounded_memory(packets: usize) {
    let fixture = Fixture::new("");
    let mut other = fixture.mta_after_rcpt();
    let mut mta = fixture.mta_after_rcpt();
    let thousand: Vec<u8> = (0..1000)
        .flat_map(|n| honest(b'D', format!("Rname{n}\0value\0").as_bytes()))
        .collect();
    for _ in 0..packets / 1000 {
        mta.send_bytes(&thousand);
    }
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    fixture.assert_peak_below(16);
    assert_eq!(other.message(MESSAGE, 65535).reply, Reply::Continue);
    fixture.assert_serves();
}

#[test]
fn macros_as_large_as_a_frame_take_bounded_memory() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_after_rcpt();
    // Many small macros are the most expensive: each takes two strings in a table.
    let small: Vec<u8> = (0..FRAME / 8)
        .flat_map(|n| format!("{n:05x}\0v\0").into_bytes())
        .collect();
    let one = [b"name\0".as_slice(), &[b'v'; FRAME - 16], b"\0"].concat();
    let names = [
        "j",
        "i",
        "{tls_version}",
        "{verify}",
        "{cert_subject}",
        "{cn_subject}",
        "{auth_authen}",
    ];
    let longest = "v".repeat(4096);
    let wanted = names
        .map(|name| format!("{name}\0{longest}\0"))
        .concat()
        .into_bytes();
    for _ in 0..3 {
        for stage in *b"CHMRTNE" {
            for data in [&one, &small, &wanted] {
                let data = [&[stage], &data[..data.len().min(FRAME - 2)]].concat();
                mta.send_bytes(&honest(b'D', &data));
            }
        }
    }
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    fixture.assert_peak_below(16);
    fixture.assert_serves();
}

#[test]
fn a_hundred_thousand_recipients_take_no_memory() {
    assert_recipients_take_no_memory(100_000);
}

#[test]
#[ignore = "takes a minute"]
fn a_million_recipients_take_no_memory() {
    assert_recipients_take_no_memory(1_000_000);
}

fn assert_recipients_take_no_memory(recipients: usize) {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_after_rcpt();
    for batch in 0..recipients / BATCH {
        let frames: Vec<u8> = (0..BATCH)
            .flat_map(|n| honest(b'R', format!("<b{batch}x{n}@contoso.com>\0").as_bytes()))
            .collect();
        mta.send_bytes(&frames);
        for _ in 0..BATCH {
            assert_eq!(mta.receive_frame(), Some((b'c', Vec::new())));
        }
    }
    let logged = format!("nrcpt={}", recipients + 1);
    assert_eq!(mta.message(MESSAGE, 65535).reply, Reply::Continue);
    fixture.daemon.log().wait_for(&["accept:", &logged]);
    fixture.assert_peak_below(16);
    fixture.assert_serves();
}

/// The number of replies that fit into a socket's buffer.
const BATCH: usize = 1000;

#[test]
fn a_header_block_over_the_cap_is_not_kept_and_a_signature_in_it_not_believed() {
    let fixture = Fixture::new("limits: {header_bytes: 64 KiB}");
    let mut mta = fixture.mta_after_rcpt_from("<a@other.example>");
    mta.header("From", " a@other.example");
    let long = "x".repeat(FRAME - 64);
    for _ in 0..64 {
        mta.header("X-Long", &long);
    }
    mta.header("DKIM-Signature", " v=1; a=rsa-sha256; d=other.example; s=s");
    mta.eoh();
    let reply = mta.eom().reply;
    assert!(
        matches!(&reply, Reply::Smtp(text) if text.starts_with("45")),
        "{reply:?}"
    );
    fixture.assert_peak_below(32);
    fixture.assert_serves();
}

#[test]
fn fifty_thousand_signatures_take_bounded_memory() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_after_rcpt_from("<a@other.example>");
    for _ in 0..50_000 {
        mta.header("DKIM-Signature", " a=");
    }
    mta.eoh();
    let reply = mta.eom().reply;
    assert!(matches!(&reply, Reply::Smtp(text) if text.starts_with("450 4.7.26")));
    fixture.assert_peak_below(20);
    fixture.assert_serves();
}

#[test]
fn a_hundred_thousand_header_fields_take_bounded_memory() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_after_rcpt();
    for n in 0..100_000 {
        mta.header("X-Field", &format!(" {n}"));
    }
    mta.eoh();
    assert_eq!(mta.eom().reply, Reply::Continue);
    fixture.assert_peak_below(16);
    fixture.assert_serves();
}

#[test]
fn forged_results_by_the_thousand_end_in_a_temporary_failure() {
    let fixture = Fixture::new("");
    // fields, want
    let table = [
        (1000, Reply::Continue),
        (1001, smtp(TEMPORARY)),
        (50_000, smtp(TEMPORARY)),
    ];
    for (fields, want) in table {
        let mut mta = fixture.mta_after_rcpt();
        for _ in 0..fields {
            mta.header("Authentication-Results", " mx.contoso.com; spf=pass");
        }
        mta.eoh();
        let end = mta.eom();
        assert_eq!(end.reply, want, "{fields}");
        let changes = if want == Reply::Continue {
            fields + 1
        } else {
            0
        };
        assert_eq!(end.modifications.len(), changes);
    }
    fixture
        .daemon
        .log()
        .wait_for(&["451 4.4.3", "rule=auth-temperror"]);
    fixture.assert_peak_below(16);
    fixture.assert_serves();
}

#[test]
fn an_idle_peer_is_closed_and_logged_and_an_active_one_is_not() {
    let fixture = Fixture::new("limits: {idle_timeout: 1s}");
    let whole = honest(b'M', b"<a@good.example>\0");
    let mut silent: Vec<MilterClient> = vec![
        MilterClient::connect_only(&fixture.daemon.address()),
        fixture.mta(),
        fixture.mta_with_client(),
        fixture.mta_after_rcpt(),
    ];
    // A frame that is never completed.
    for end in 1..whole.len() {
        let mut mta = fixture.mta_with_client();
        mta.send_bytes(&whole[..end]);
        silent.push(mta);
    }
    let all_closed = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut busy = fixture.mta_with_client();
            while !all_closed.load(Ordering::SeqCst) {
                assert_eq!(busy.mail(&["<a@good.example>"]), Reply::Continue);
                assert_eq!(busy.rcpt(&["<b@contoso.com>"]), Reply::Continue);
                assert_eq!(busy.message(MESSAGE, 65535).reply, Reply::Continue);
            }
        });
        let closed = silent.iter_mut().all(|mta| mta.receive_frame().is_none());
        all_closed.store(true, Ordering::SeqCst);
        assert!(closed);
    });
    let logged = fixture
        .daemon
        .log()
        .wait_for(&["closed", "limits.idle_timeout"]);
    assert!(logged.contains("WARN"), "{logged}");
    fixture.assert_serves();
    fixture.assert_peak_below(16);
}

#[test]
fn a_frame_sent_byte_by_byte_must_arrive_within_idle_timeout() {
    let fixture = Fixture::new("limits: {idle_timeout: 500ms}");
    let mut mta = fixture.mta_with_client();
    let start = Instant::now();
    mta.send_bytes(&frame(FRAME as u32, b'B', &[]));
    let mut closed = false;
    while !closed && start.elapsed() < Duration::from_secs(20) {
        // Serving another connection is the pause between the bytes.
        fixture.assert_serves();
        closed = !mta.try_send_bytes(b"x");
    }
    assert!(closed, "a byte now and then keeps a connection open");
    fixture.daemon.log().wait_for(&["limits.idle_timeout"]);
    fixture.assert_peak_below(16);
}

#[test]
fn a_peer_that_does_not_read_replies_is_closed_and_logged() {
    let fixture = Fixture::new("limits: {idle_timeout: 1s}");
    let mut mta = fixture.mta_after_rcpt();
    let recipients: Vec<u8> = (0..1000)
        .flat_map(|_| honest(b'R', b"<b@other.example>\0"))
        .collect();
    // Each is refused with a long line, until the replies fill the socket.
    while mta.try_send_bytes(&recipients) {}
    fixture
        .daemon
        .log()
        .wait_for(&["closed", "limits.idle_timeout"]);
    fixture.assert_serves();
    fixture.assert_peak_below(16);
}

#[test]
fn no_memory_is_spent_on_huge_pages() {
    assert!(!Fixture::new("").daemon.may_have_huge_pages());
}

#[test]
fn ten_thousand_idle_connections_are_held() {
    let connections = 10_000.min(open_files_of_this_test().saturating_sub(200));
    let fixture = Fixture::new("limits: {connections: 10100}");
    let before = fixture.daemon.memory();
    let mut idle: Vec<MilterClient> = (0..connections).map(|_| fixture.mta()).collect();
    let per_connection = (fixture.daemon.memory() - before) as f64 / idle.len() as f64;
    eprintln!(
        "{} idle connections, {per_connection:.1} KiB each",
        idle.len()
    );
    assert!(per_connection < 8.0, "{per_connection} KiB");
    fixture.assert_serves();
    let last = idle.last_mut().expect("a connection");
    assert_eq!(last.connect_from("[x]", client()), Reply::Continue);
    drop(idle);
    fixture.assert_serves();
    fixture.daemon.signal(Signal::SIGTERM);
    assert!(fixture.daemon.stop().success());
}

/// Opens as many as the system allows.
fn open_files_of_this_test() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a limit up to the hard one");
    usize::try_from(hard).unwrap_or(usize::MAX)
}

#[test]
fn the_number_of_open_files_is_raised_as_far_as_connections_need_it() {
    let config = "limits: {connections: 1000}";
    let fixture = Fixture::start(config, |text| Daemon::start_with_open_files(text, 64, 4096));
    let limits = fs::read_to_string(format!("/proc/{}/limits", fixture.daemon.pid()));
    let limits = limits.expect("the program runs");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    assert_eq!(soft, Some("1512"));
    assert!(!fixture.daemon.log().text().contains("open files"));
}

#[test]
fn too_few_open_files_are_logged_at_startup_and_when_they_run_out() {
    let config = "limits: {connections: 1000}";
    let fixture = Fixture::start(config, |text| Daemon::start_with_open_files(text, 64, 64));
    let log = fixture.daemon.log();
    log.wait_for(&["WARN", "allows 64", "LimitNOFILE=1512"]);
    let address = fixture.daemon.address();
    let many: Vec<MilterClient> = (0..80)
        .map(|_| MilterClient::connect_only(&address))
        .collect();
    log.wait_for(&["could not be accepted", "Too many open files"]);
    drop(many);
    fixture.assert_serves();
    let logged = log.text().matches("could not be accepted").count();
    assert_eq!(logged, 1, "{}", log.text());
}

/// Input that closes the connection, and a word of the logged reason.
const BROKEN: [(u8, &[u8], &str); 4] = [
    (b'C', b"", "malformed"),
    (b'Z', b"", "unknown command 'Z'"),
    (b'M', b"<a@good.example>\0", "MAIL out of order"),
    (b'O', b"\0\0\0\x06\0\0\0\0\0\0\0\0", "does not offer"),
];

/// Returns the number of full lines with these words, and the number of others that they
/// count.
fn logged(log: &str, words: &str) -> (usize, usize) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(words)).collect();
    let suppressed = lines.iter().filter_map(|line| {
        let (before, _) = line.split_once(" similar log lines suppressed within a minute")?;
        before.rsplit(' ').next()?.parse::<usize>().ok()
    });
    let suppressed: Vec<usize> = suppressed.collect();
    (lines.len() - suppressed.len(), suppressed.iter().sum())
}

#[test]
fn broken_connections_by_the_thousand_take_few_lines_that_count_them() {
    const TIMES: usize = 5_000;
    let metrics = http::free_address();
    let fixture = Fixture::new(&format!("metrics: {{listen: \"{metrics}\"}}"));
    let address = fixture.daemon.address();
    for (letter, data, reason) in BROKEN {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..TIMES / 4 {
                        let mut mta = MilterClient::connect_only(&address);
                        mta.send_bytes(&honest(letter, data));
                        assert_closed(&mut mta, reason);
                    }
                });
            }
        });
        // Each reason is logged in full, even if others were suppressed before.
        fixture.daemon.log().wait_for(&["WARN", "closed", reason]);
    }
    fixture.assert_serves();
    let suppressed = (TIMES - 10) * BROKEN.len();
    let metrics = http::get(metrics, "/metrics").body;
    let counted = format!("\nsixgate_log_lines_suppressed_total {suppressed}\n");
    assert!(metrics.contains(&counted), "{metrics}");
    let log = fixture.daemon.log();
    assert!(fixture.daemon.stop().success());
    let text = log.text();
    for (_, _, reason) in BROKEN {
        assert_eq!(logged(&text, reason), (10, TIMES - 10), "{reason}:\n{text}");
    }
    // Ten lines and a summary for each reason, a few more if it took minutes, and those of
    // one start, message and stop.
    assert!(log.lines().len() < 80, "{text}");
}

#[test]
fn connections_over_the_limit_by_the_thousand_take_few_lines_that_count_them() {
    const TIMES: usize = 5_000;
    let daemon = Daemon::start("limits: {connections: 1}");
    let address = daemon.address();
    let first = MilterClient::open(&address);
    for _ in 0..TIMES {
        let mut mta = MilterClient::connect_only(&address);
        assert_closed(&mut mta, "too many");
    }
    drop(first);
    let log = daemon.log();
    assert!(daemon.stop().success());
    let text = log.text();
    let counted = logged(&text, "limits.connections is reached");
    assert_eq!(counted, (1, TIMES - 1), "{text}");
    assert!(log.lines().len() < 20, "{text}");
}

#[test]
#[ignore = "takes three minutes"]
fn a_flood_that_goes_on_is_counted_every_minute_and_a_new_one_is_logged_in_full() {
    let fixture = Fixture::new("");
    let address = fixture.daemon.address();
    let closed = || {
        let mut mta = MilterClient::connect_only(&address);
        mta.send_bytes(&honest(b'Z', b""));
        assert_closed(&mut mta, "an unknown command");
    };
    (0..1000).for_each(|_| closed());
    let log = fixture.daemon.log();
    let start = Instant::now();
    let counted = |want: (usize, usize)| {
        while logged(&log.text(), "unknown command 'Z'") != want {
            assert!(start.elapsed() < Duration::from_secs(250), "{}", log.text());
            thread::sleep(Duration::from_millis(100));
        }
    };
    counted((10, 990));
    // The flood continues: no full lines, and a count a minute later.
    (0..1000).for_each(|_| closed());
    counted((10, 1990));
    // A quiet minute.
    thread::sleep(Duration::from_secs(62));
    closed();
    counted((11, 1990));
}
