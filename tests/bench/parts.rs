//! The cost of the parts of a decision: `cargo bench --bench parts`.
//!
//! The DNS is a zone in memory, so that only the work of sixgate is measured.

// `pub` marks what is meant for other modules of this binary.
#![allow(unreachable_pub)]

#[path = "../e2e/signer.rs"]
#[allow(dead_code, reason = "the dialogues use more of it")]
mod signer;
mod zone;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use signer::{Canonicalization, Key, Signer};
use sixgate::{
    address::{Client, ClientAddr, Domain, ReversePath},
    config::Mode,
    dkim::{self, BodyHashes, HeaderBlock, KeyCache, Verification},
    dns::Name,
    opt_in,
    policy::{self, Authentication, Facts, OptIn, Ptr, Refusal, Rule, Stage},
    reply::{Replies, Values},
    spf,
    status::history::History,
    telemetry::{self, Decision},
};
use std::{
    hint::black_box,
    net::Ipv6Addr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use zone::Zone;

const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

const LIMIT: usize = 1 << 20;

fn spf_evaluation(criterion: &mut Criterion) {
    let runtime = runtime();
    let zone = Zone::default()
        .with("direct.example", "v=spf1 ip6:2001:db8:1::/48 -all")
        .with("far.example", "v=spf1 include:a.example -all")
        .with(
            "a.example",
            "v=spf1 include:b.example ip4:192.0.2.0/24 -all",
        )
        .with(
            "b.example",
            "v=spf1 ip4:198.51.100.0/24 ip6:2001:db8:1::/48 -all",
        );
    for (name, domain) in [("one record", "direct"), ("two includes", "far")] {
        let reverse_path = ReversePath::parse(&format!("<user@{domain}.example>"));
        let request = spf::Request {
            client: CLIENT.into(),
            reverse_path: &reverse_path,
            helo: Some("mail.example.org"),
            receiver: "unknown",
        };
        criterion.bench_function(&format!("spf evaluation, {name}"), |bencher| {
            bencher.iter(|| runtime.block_on(spf::evaluate(&zone, &request, spf_limits())));
        });
    }
}

fn header_block(criterion: &mut Criterion) {
    let message = signed_message(4096);
    let (fields, _) = parts(&message);
    criterion.bench_function("header block of 13 fields", |bencher| {
        bencher.iter(|| block(&fields));
    });
}

fn canonicalization(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("canonicalization and hash");
    for size in [4096, 1 << 20] {
        let message = signed_message(size);
        let (fields, body) = parts(&message);
        let verification = verification(&fields);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("relaxed, {size} bytes"), |bencher| {
            bencher.iter(|| hashes(&verification, body));
        });
    }
}

fn signature(criterion: &mut Criterion) {
    let runtime = runtime();
    for (name, key) in [("RSA-2048", Key::rsa()), ("Ed25519", Key::ed25519())] {
        let message = signed_by(&key, 4096);
        let (fields, body) = parts(&message);
        let hashes = hashes(&verification(&fields), body);
        let zone = Arc::new(Zone::default().with("s._domainkey.signer.example", &record(&key)));
        let deadline = Instant::now() + Duration::from_secs(3600);
        let names = verification(&fields).key_names();
        let cache = KeyCache::default();
        let fetch = || dkim::fetch_keys(&zone, &cache, &names, deadline);
        let keys = runtime.block_on(fetch());
        criterion.bench_function(&format!("signature fields, {name}"), |bencher| {
            bencher.iter_batched(
                || block(&fields),
                |block| Verification::new(block, &dkim_settings(), None),
                BatchSize::SmallInput,
            );
        });
        criterion.bench_function(&format!("key from the cache, {name}"), |bencher| {
            bencher.iter(|| runtime.block_on(fetch()));
        });
        criterion.bench_function(&format!("verification, {name}"), |bencher| {
            bencher.iter_batched(
                || verification(&fields),
                |verification| {
                    let outcome = verification.verify(&hashes, &keys);
                    assert_eq!(outcome.authentication(), Authentication::Pass);
                },
                BatchSize::SmallInput,
            );
        });
    }
}

fn policy_decide(criterion: &mut Criterion) {
    let settings = policy::Settings::default();
    let facts = Facts {
        opt_in: Some(OptIn::Yes),
        ptr: Some(Ptr::Found),
        spf: Some(Authentication::NoPass),
        signed: true,
        dkim: Some(Authentication::Pass),
        ..Facts::new(ClientAddr::V6(CLIENT))
    };
    criterion.bench_function("policy at every stage", |bencher| {
        let stages = [
            Stage::Connect,
            Stage::Mail,
            Stage::Rcpt,
            Stage::EndOfHeaders,
            Stage::EndOfMessage,
        ];
        bencher.iter(|| stages.map(|stage| policy::decide(stage, &settings, black_box(&facts))));
    });
}

/// Formats the line of a message that passes SPF.
fn decision_line(criterion: &mut Criterion) {
    let client = Client {
        addr: ClientAddr::V6(CLIENT),
        name: "mail.direct.example".to_owned(),
        mta: None,
    };
    let reverse_path = ReversePath::parse("<user@direct.example>");
    let outcome = spf::Outcome {
        result: spf::SpfResult::Pass,
        identity: spf::Identity::MailFrom,
        domain: Some("direct.example".to_owned()),
        term: Some("ip6:2001:db8:1::/48".to_owned()),
        reason: "ip6:2001:db8:1::/48 matches".to_owned(),
        explanation: None,
    };
    let decision = Decision {
        queue_id: Some("4F9D195432C"),
        mode: Mode::Enforce,
        observed_by: None,
        deferred_for: None,
        forwarder: None,
        stage: Stage::EndOfMessage,
        rule: Rule::SpfPass,
        reply: None,
        client: &client,
        helo: Some("mail.direct.example"),
        reverse_path: &reverse_path,
        recipient: None,
        recipients: 1,
        recipient_domains: &[Domain::parse("contoso.com").expect("a domain")],
        more_recipient_domains: false,
        opt_in: Some(opt_in::Source::Domains),
        ptr: Some(Ptr::Found),
        ptr_names: &[Name::parse("mail.direct.example").expect("a name")],
        spf: Some(&outcome),
        signed: true,
        dkim: None,
        waited: Duration::ZERO,
    };
    criterion.bench_function("decision line", |bencher| {
        bencher.iter(|| telemetry::line(black_box(&decision)));
    });
    history_record(criterion, "history entry, accepted", &decision);
    let values = Values {
        address: CLIENT.into(),
        domain: "",
    };
    let reply = Replies::default()
        .get(Refusal::Unauthenticated)
        .render(values);
    let details = [
        "SPF: fail (-all of direct.example). DKIM: fail (direct.example, selector s1: body \
         changed after signing)."
            .to_owned(),
        "https://mx.example.net/replies.html#unauthenticated".to_owned(),
    ];
    let refused = Decision {
        rule: Rule::Unauthenticated,
        reply: Some(&reply.with_details(details)),
        ..decision
    };
    history_record(criterion, "history entry, refused", &refused);
}

/// Measures what the history of the status page costs on the mail path. Emptying its queue,
/// here after every 2000 decisions, is not measured.
fn history_record(criterion: &mut Criterion, name: &str, decision: &Decision<'_>) {
    let history = History::new(10_000);
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            let mut remaining = iterations;
            while remaining > 0 {
                let batch = remaining.min(2000);
                let start = Instant::now();
                for _ in 0..batch {
                    history.record(black_box(decision));
                }
                elapsed += start.elapsed();
                black_box(history.len());
                remaining -= batch;
            }
            elapsed
        });
    });
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

fn spf_limits() -> sixgate::config::Spf {
    sixgate::config::Spf {
        max_lookups: 10,
        max_void_lookups: 2,
    }
}

fn dkim_settings() -> dkim::Settings {
    dkim::Settings {
        max_signatures: 8,
        min_rsa_bits: 1024,
        now: SystemTime::now(),
    }
}

fn verification(fields: &[(String, String)]) -> Verification {
    Verification::new(block(fields), &dkim_settings(), None)
}

/// Hashes a body in chunks of the size that an MTA sends.
fn hashes(verification: &Verification, body: &str) -> BodyHashes {
    let mut hasher = verification.body_hasher();
    let chunks = body.as_bytes().chunks(65535);
    chunks.for_each(|chunk| hasher.update(chunk));
    hasher.finish()
}

fn block(fields: &[(String, String)]) -> HeaderBlock {
    let mut block = HeaderBlock::new(LIMIT);
    for (name, value) in fields {
        block.push(name.as_bytes(), value.as_bytes());
    }
    block
}

fn signed_message(size: usize) -> String {
    signed_by(&Key::rsa(), size)
}

fn signed_by(key: &Key, size: usize) -> String {
    let signer = Signer {
        key,
        domain: "signer.example",
        selector: "s",
        header: Canonicalization::Relaxed,
        body: Canonicalization::Relaxed,
        fields: &["from", "to", "subject", "date", "message-id"],
        tags: "",
    };
    let line = "The quick brown fox jumps over the lazy dog, and  goes on to do so again.\r\n";
    let body = line.repeat(size / line.len());
    let received = "Received: from a.example by b.example; Mon, 2 Mar 2026 10:00:00 +0000\r\n";
    let header = "From: sender@signer.example\r\nTo: r@example.com\r\nSubject: bench\r\n\
                  Date: Mon, 2 Mar 2026 10:00:00 +0000\r\nMessage-ID: <1@signer.example>\r\n\
                  MIME-Version: 1.0\r\nContent-Type: text/plain\r\n";
    signer.sign(&format!("{}{header}\r\n{body}", received.repeat(5)))
}

/// Splits a message into the fields as a milter receives them, and the body.
fn parts(message: &str) -> (Vec<(String, String)>, &str) {
    let (header, body) = message.split_once("\r\n\r\n").expect("a header");
    let unfolded = header.replace("\r\n\t", "\n\t");
    let field = |line: &str| {
        let (name, value) = line.split_once(':').expect("a field");
        (name.to_owned(), value.to_owned())
    };
    (unfolded.split("\r\n").map(field).collect(), body)
}

fn record(key: &Key) -> String {
    let kind = match key {
        Key::Rsa(_) => "rsa",
        Key::Ed25519(_) => "ed25519",
    };
    format!("v=DKIM1; k={kind}; p={}", key.public())
}

criterion_group!(
    benches,
    spf_evaluation,
    header_block,
    canonicalization,
    signature,
    policy_decide,
    decision_line,
);
criterion_main!(benches);
