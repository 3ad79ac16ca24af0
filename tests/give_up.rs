//! When a sender that never falls back to IPv4 is refused permanently, and when not.
//!
//! Everything runs the real daemon with a real DNS server. `give_up_after` is seconds
//! instead of a day.

mod support;

use nix::sys::signal::Signal;
use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, TIMEOUT},
    dns::{DnsServer, Zone},
    http,
    logs::{Logs, json},
    milter::{Command, MilterClient, Reply},
};

const ZONE: &str = r#"
2001:db8:1::10            PTR    mail.sender.example
mail.sender.example       AAAA   2001:db8:1::10
2001:db8:1::11            PTR    other.sender.example
2001:db8:2::11            PTR    other.sender.example
2001:db8:1::60            SERVFAIL
sender.example            TXT    "v=spf1 ip6:2001:db8:1::10 -all"
"#;

/// Its quarters are long enough for a busy machine.
const AFTER: Duration = Duration::from_secs(4);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(300);

struct Site {
    daemon: Daemon,
    _dns: DnsServer,
    config: String,
}

impl Site {
    fn new(more: &str) -> Self {
        Self::with(&format!(
            "replies: {{give_up_after: {}s}}\n{more}",
            AFTER.as_secs()
        ))
    }

    fn with(more: &str) -> Self {
        let dns = DnsServer::start(Zone::parse(ZONE).expect("a zone"));
        let config = format!(
            "dns: {{servers: [{}], timeout: 500ms, attempts: 1}}\n\
             opt_in: {{domains: contoso.com}}\n{more}\n",
            dns.address()
        );
        Self {
            daemon: Daemon::start(&config),
            _dns: dns,
            config,
        }
    }

    fn attempt(&self, attempt: &Attempt<'_>) -> Option<String> {
        attempt.of(&self.daemon)
    }

    /// Retries until it is refused permanently. Returns that reply and the time it took.
    fn insist(&self, attempt: &Attempt<'_>) -> (String, Duration) {
        let start = Instant::now();
        loop {
            let refusal = self.attempt(attempt).expect("a refusal");
            if refusal.starts_with('5') {
                return (refusal, start.elapsed());
            }
            assert!(start.elapsed() < TIMEOUT, "{refusal}");
            thread::sleep(PAUSE);
        }
    }

    /// Retries for longer than it takes to be given up, and is not given up.
    fn insist_in_vain(&self, attempt: &Attempt<'_>) {
        let start = Instant::now();
        while start.elapsed() < AFTER + Duration::from_secs(2) {
            let refusal = self.attempt(attempt).unwrap_or_default();
            assert!(
                !refusal.starts_with('5'),
                "{refusal} after {:?}",
                start.elapsed()
            );
            thread::sleep(PAUSE);
        }
    }
}

/// One attempt to send a message.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    client: &'a str,
    mail: &'a [&'a str],
    to: &'a str,
    id: &'a str,
}

impl Attempt<'_> {
    /// Returns the refusal, if any.
    fn of(&self, daemon: &Daemon) -> Option<String> {
        let client: IpAddr = self.client.parse().expect("an address");
        let mut mta = MilterClient::open(&daemon.address());
        assert_eq!(
            mta.connect_from("[x]", (client, 25).into()),
            Reply::Continue
        );
        mta.helo("mail.sender.example");
        assert_eq!(mta.mail(self.mail), Reply::Continue);
        let message = format!(
            "From: a@sender.example\r\nMessage-ID: <{}@x>\r\n\r\nx\r\n",
            self.id
        );
        let reply = match mta.rcpt(&[self.to]) {
            Reply::Continue => mta.message(message.as_bytes(), 65535).reply,
            refusal => refusal,
        };
        match reply {
            Reply::Smtp(text) => Some(text),
            Reply::Continue | Reply::Accept => None,
            other => panic!("{other:?}"),
        }
    }
}

/// Without reverse DNS.
const NO_PTR: Attempt<'_> = Attempt {
    client: "2001:db8:1::99",
    mail: &["<a@sender.example>", "SIZE=1234", "BODY=8BITMIME"],
    to: "<b@contoso.com>",
    id: "1",
};

/// With reverse DNS, and without SPF and DKIM.
const UNAUTHENTICATED: Attempt<'_> = Attempt {
    client: "2001:db8:1::11",
    ..NO_PTR
};

#[test]
fn who_comes_back_for_long_gets_the_same_text_for_good() {
    let site = Site::new("");
    for (attempt, deferral, refusal) in [
        (
            NO_PTR,
            "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::99] must have \
             reverse DNS record.",
            "550 5.7.25 Service unavailable, sending IPv6 address [2001:db8:1::99] must have \
             reverse DNS record.",
        ),
        (
            Attempt {
                mail: &["<x@other.example>"],
                ..UNAUTHENTICATED
            },
            "450 4.7.26 Service unavailable, message sent over IPv6 [2001:db8:1::11] must pass \
             either SPF or DKIM validation.",
            "550 5.7.26 Service unavailable, message sent over IPv6 [2001:db8:1::11] must pass \
             either SPF or DKIM validation.",
        ),
    ] {
        assert_eq!(site.attempt(&attempt).as_deref(), Some(deferral));
        let (answered, took) = site.insist(&attempt);
        assert_eq!(answered, refusal);
        assert!(took >= AFTER - PAUSE, "{took:?}");
        // Now every message of the pair, and of no other.
        let another = Attempt {
            to: "<c@contoso.com>",
            id: "2",
            ..attempt
        };
        let refusal = site.attempt(&another).unwrap_or_default();
        assert!(refusal.starts_with("550 5.7.2"), "{refusal}");
        let elsewhere = Attempt {
            client: "2001:db8:9::99",
            ..attempt
        };
        assert!(
            site.attempt(&elsewhere)
                .unwrap_or_default()
                .starts_with("450 ")
        );
        let somebody = Attempt {
            mail: &["<a@somebody.example>"],
            ..attempt
        };
        assert!(
            site.attempt(&somebody)
                .unwrap_or_default()
                .starts_with("450 ")
        );
    }
    let log = site.daemon.log();
    let line = log.wait_for(&["reject: RCPT", ": 550 5.7.25 ", "rule=no-ptr mode=enforce"]);
    let seconds = line
        .split("deferred_for=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let seconds: u64 = seconds.and_then(|text| text.parse().ok()).expect(&line);
    assert!(seconds >= AFTER.as_secs(), "{line}");
    log.wait_for(&[
        "END-OF-MESSAGE",
        ": 550 5.7.26 ",
        "rule=unauthenticated",
        "deferred_for=",
    ]);
    site.daemon.stop();
    let summary = json(&Logs::new().report("--json", log.text().as_bytes()));
    let names: Vec<_> = summary["given_up"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert_eq!(names.len(), 2, "{summary:#}");
    let page = Logs::new().report("", log.text().as_bytes());
    let page = String::from_utf8(page.stdout).expect("text");
    assert!(
        page.contains("2 sender domains were given up (replies.give_up_after)"),
        "{page}"
    );
}

#[test]
fn what_passes_ends_it() {
    let site = Site::new("");
    site.insist(&UNAUTHENTICATED);
    // Another host of the same network, which the domain's SPF record names.
    let passes = Attempt {
        client: "2001:db8:1::10",
        ..NO_PTR
    };
    assert_eq!(site.attempt(&passes), None);
    let refusal = site.attempt(&UNAUTHENTICATED).unwrap_or_default();
    assert!(refusal.starts_with("450 4.7.26 "), "{refusal}");
    // Messages that pass while others are deferred count too.
    let start = Instant::now();
    while start.elapsed() < AFTER + Duration::from_secs(1) {
        assert_eq!(site.attempt(&passes), None);
        let refusal = site.attempt(&UNAUTHENTICATED).unwrap_or_default();
        assert!(refusal.starts_with("450 "), "{refusal}");
        thread::sleep(PAUSE);
    }
}

#[test]
fn null_senders_are_not_given_up() {
    Site::new("").insist_in_vain(&Attempt {
        mail: &["<>"],
        ..NO_PTR
    });
}

#[test]
fn temporary_failures_are_not_given_up() {
    Site::new("").insist_in_vain(&Attempt {
        client: "2001:db8:1::60",
        ..NO_PTR
    });
}

#[test]
fn nobody_is_given_up_by_default() {
    let site = Site::with("");
    site.insist_in_vain(&NO_PTR);
}

#[test]
fn a_sender_that_falls_back_to_ipv4_is_not_given_up() {
    let site = Site::new("");
    let start = Instant::now();
    let mut number = 0;
    // New messages, each tried once; recipient, size and Message-ID distinguish them.
    while start.elapsed() < AFTER + Duration::from_secs(2) {
        number += 1;
        let (to, size, id) = (
            format!("<b{number}@contoso.com>"),
            format!("SIZE={number}"),
            number.to_string(),
        );
        for attempt in [
            Attempt { to: &to, ..NO_PTR },
            Attempt {
                mail: &["<a@size.example>", &size],
                ..NO_PTR
            },
            Attempt {
                mail: &["<a@id.example>"],
                id: &id,
                ..UNAUTHENTICATED
            },
        ] {
            let refusal = site.attempt(&attempt).unwrap_or_default();
            assert!(refusal.starts_with("450 "), "{refusal}");
        }
        thread::sleep(PAUSE);
    }
}

#[test]
fn observed_refusals_are_not_deferrals() {
    let site = Site::new("observe_rules: no-ptr");
    let start = Instant::now();
    while start.elapsed() < AFTER + Duration::from_secs(1) {
        site.attempt(&NO_PTR);
        thread::sleep(PAUSE);
    }
    site.daemon
        .reload_with(&site.config.replace("observe_rules: no-ptr", ""));
    let passes_spf = Attempt {
        mail: &["<a@observed.example>"],
        ..NO_PTR
    };
    let refusal = site.attempt(&passes_spf).unwrap_or_default();
    assert!(refusal.starts_with("450 4.7.25 "), "{refusal}");
    let log = site.daemon.log();
    let observed = log.wait_for(&["reject_warning: RCPT", "450 4.7.25 "]);
    assert!(!observed.contains("deferred_for"), "{observed}");
}

#[test]
fn details_say_that_the_sender_was_given_up() {
    let site = Site::with("replies: {give_up_after: 4s, details: yes}");
    let (refusal, _) = site.insist(&NO_PTR);
    assert!(
        refusal.contains("550-5.7.25 PTR: no record at "),
        "{refusal}"
    );
    assert!(
        refusal.contains("550 5.7.25 This sender has been deferred for "),
        "{refusal}"
    );
}

#[test]
fn a_reload_and_a_handover_keep_what_is_known_and_a_restart_forgets_it() {
    let metrics = http::free_address();
    let site = Site::new(&format!("metrics: {{listen: {metrics}}}"));
    site.insist(&NO_PTR);
    let gauge = http::get(metrics, "/metrics").body;
    assert!(
        gauge.contains("\nsixgate_deferrals_remembered 1\n"),
        "{gauge}"
    );
    let is_given_up = || {
        let refusal = site.attempt(&NO_PTR).unwrap_or_default();
        assert!(refusal.contains(".7.25 "), "{refusal}");
        refusal.starts_with("550 ")
    };
    site.daemon.reload();
    assert!(is_given_up());
    let successor = site.daemon.hand_over();
    site.daemon
        .log()
        .wait_for(&["continues with the senders that were deferred", "senders=1"]);
    assert!(is_given_up());
    // Also by a second one.
    successor.signal(Signal::SIGUSR2);
    let second = site.daemon.wait_for_successor();
    assert!(is_given_up());
    // A new process that does not use the setting.
    let config = site
        .config
        .replace("give_up_after: 4s", "give_up_after: off");
    let config = format!("listen: unix:{}\n{config}", site.daemon.socket().display());
    std::fs::write(site.daemon.config_file(), config).expect("a file");
    second.signal(Signal::SIGUSR2);
    let third = site.daemon.wait_for_successor();
    assert!(!is_given_up());
    third.signal(Signal::SIGTERM);
    third.wait();
    let restarted = Daemon::start(
        &site
            .config
            .replace(&metrics.to_string(), &http::free_address().to_string()),
    );
    let refusal = NO_PTR.of(&restarted).unwrap_or_default();
    assert!(refusal.starts_with("450 4.7.25 "), "{refusal}");
}

#[test]
fn attempts_before_and_after_a_handover_count_together() {
    let site = Site::new("");
    let start = Instant::now();
    let mut successor = None;
    loop {
        let refusal = site.attempt(&NO_PTR).expect("a refusal");
        if refusal.starts_with('5') {
            break;
        }
        if start.elapsed() > AFTER / 2 && successor.is_none() {
            successor = Some(site.daemon.hand_over());
        }
        assert!(start.elapsed() < TIMEOUT, "{refusal}");
        thread::sleep(PAUSE);
    }
    let took = start.elapsed();
    assert!(took >= AFTER - PAUSE && successor.is_some(), "{took:?}");
    // Counted only from the handover it would have taken half as long again.
    let line = site.daemon.log().wait_for(&["deferred_for="]);
    assert!(line.contains("550 5.7.25"), "{line}");
}

/// Sends MAIL and RCPT for each sender domain, many in parallel.
fn flood(daemon: &Daemon, client: u16, domains: std::ops::Range<u32>) -> usize {
    let ip: IpAddr = format!("2001:db8:3:{client:x}::1")
        .parse()
        .expect("an address");
    let mut mta = MilterClient::open(&daemon.address());
    assert_eq!(mta.connect_from("[x]", (ip, 25).into()), Reply::Continue);
    mta.helo("x");
    let mut permanent = 0;
    let domains: Vec<u32> = domains.collect();
    for batch in domains.chunks(200) {
        let mut frames = Vec::new();
        for number in batch {
            let mail = format!("<a@d{number}.example>\0");
            frames.extend(support::milter::frame(Command::Mail as u8, mail.as_bytes()));
            frames.extend(support::milter::frame(
                Command::Rcpt as u8,
                b"<b@contoso.com>\0",
            ));
        }
        mta.send_bytes(&frames);
        for _ in 0..2 * batch.len() {
            let (letter, text) = mta.receive_frame().expect("a reply");
            permanent += usize::from(letter == b'y' && text.starts_with(b"5"));
        }
    }
    permanent
}

#[test]
#[ignore = "takes a minute"]
fn a_million_senders_take_bounded_memory_and_are_not_given_up() {
    let metrics = http::free_address();
    let site = Site::new(&format!(
        "metrics: {{listen: {metrics}}}\nlog: {{level: warn}}"
    ));
    site.attempt(&NO_PTR);
    flood(&site.daemon, 0, 0..2000);
    let before = site.daemon.memory();
    let mut permanent = 0;
    for client in 1..=10 {
        permanent += flood(&site.daemon, client, 0..100_000);
    }
    let grown = site.daemon.memory().saturating_sub(before);
    assert_eq!(permanent, 0, "given up early");
    // 16 MiB, plus a quarter for the keys of evicted pairs, plus what the allocator
    // retains.
    assert!(grown < 28 * 1024, "{grown} KiB");
    let gauge = http::get(metrics, "/metrics").body;
    let line = gauge
        .lines()
        .find(|line| line.starts_with("sixgate_deferrals_remembered "));
    let number = line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(
        number.is_some_and(|n| (100_000..=131_072).contains(&n)),
        "{line:?}"
    );
    eprintln!("a million senders: {grown} KiB more, {number:?} remembered");
}
