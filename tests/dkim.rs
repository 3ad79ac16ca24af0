//! DKIM results and their reasons, over real DNS, and limits on the queries and computation
//! that a sender can cause.

mod support;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use data_encoding::BASE64;
use sixgate::{
    config,
    dkim::{self, DkimResult, HeaderBlock, KeyCache, Outcome, Settings, Verification},
    dns::Dns,
    policy::Authentication,
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use support::dns::{Data, DnsServer, Fault, Zone};

const BODY: &[u8] = b"Hello\r\n";
const FROM: &str = "A <a@author.example>";

/// A signer with one key for all domains and selectors.
struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    fn record(&self) -> String {
        let key = BASE64.encode(self.0.public_key().as_ref());
        format!("v=DKIM1; k=ed25519; p={key}")
    }

    /// The value of a field that signs `FROM` and `BODY`.
    fn sign(&self, selector: &str, domain: &str) -> String {
        let hash = BASE64.encode(digest(&SHA256, BODY).as_ref());
        let tags = format!(
            "v=1; a=ed25519-sha256; c=relaxed/simple; d={domain}; s={selector}; h=from:from; \
             bh={hash}; b="
        );
        let signed = format!("from:{FROM}\r\ndkim-signature:{tags}");
        let signature = self.0.sign(digest(&SHA256, signed.as_bytes()).as_ref());
        tags + &BASE64.encode(signature.as_ref())
    }
}

fn key_name(selector: &str, domain: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

fn message(fields: &[(&str, &str)]) -> HeaderBlock {
    let mut headers = HeaderBlock::new(1 << 20);
    for (name, value) in fields {
        headers.push(name.as_bytes(), format!(" {value}").as_bytes());
    }
    headers
}

fn settings() -> Settings {
    Settings {
        max_signatures: 8,
        min_rsa_bits: 1024,
        now: SystemTime::now(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn resolver(server: &DnsServer) -> Arc<Dns> {
    let options = config::Dns {
        servers: vec![server.address().into()],
        timeout: Duration::from_secs(5),
        attempts: 1,
        ..config::Dns::default()
    };
    Arc::new(Dns::new(&options).unwrap())
}

/// Verifies a message as the milter does, with nothing cached: the header before the
/// body, or both at the end.
async fn verify(
    server: &DnsServer,
    mut verification: Verification,
    body: &[u8],
    header_first: bool,
) -> Outcome {
    let cache = KeyCache::default();
    let names = verification.key_names();
    let keys = dkim::fetch_keys(&resolver(server), &cache, &names, soon()).await;
    let mut hasher = verification.body_hasher();
    if header_first {
        verification.verify_header(&keys);
    }
    hasher.update(body);
    verification.verify(&hasher.finish(), &keys)
}

fn zone_with(name: &str, record: impl AsRef<[u8]>) -> Zone {
    let mut zone = Zone::new();
    zone.add(name, Data::text(record));
    zone
}

fn zone_failing(name: &str) -> Zone {
    let mut zone = Zone::new();
    zone.fault(name, Fault::ServFail);
    zone
}

#[tokio::test]
async fn each_signature_is_shown_with_its_result_and_reason() {
    let signer = Signer::new();
    let name = key_name("s", "author.example");
    let good = zone_with(&name, signer.record());
    let other_key = zone_with(&name, Signer::new().record());
    let revoked = zone_with(&name, "v=DKIM1; p=");
    let (absent, failing) = (Zone::new(), zone_failing(&name));
    let forged = "B <b@author.example>";
    use DkimResult::{Fail, Pass, Permerror, Temperror};
    let table = [
        // zone, From, body, want, and a part of the reason
        (
            &good,
            FROM,
            "Hello\r\n",
            Pass,
            "verified with an Ed25519 key",
        ),
        (&good, FROM, "Hello!\r\n", Fail, "the body was changed"),
        (
            &good,
            forged,
            "Hello\r\n",
            Fail,
            "a signed header field was changed",
        ),
        (&other_key, FROM, "Hello\r\n", Fail, "another key"),
        (&revoked, FROM, "Hello\r\n", Permerror, "revoked (empty p=)"),
        (&absent, FROM, "Hello\r\n", Permerror, "(NXDOMAIN)"),
        (&failing, FROM, "Hello\r\n", Temperror, "SERVFAIL"),
        // No DNS answer could make it pass.
        (&failing, FROM, "Hello!\r\n", Fail, "the body was changed"),
    ];
    for (zone, from, body, want, reason) in table {
        let server = DnsServer::start(zone.clone());
        let signature = signer.sign("s", "author.example");
        let verified = async |header_first| {
            let headers = message(&[("DKIM-Signature", &signature), ("From", from)]);
            let verification = Verification::new(headers, &settings(), None);
            verify(&server, verification, body.as_bytes(), header_first).await
        };
        let outcome = verified(true).await;
        assert_eq!(verified(false).await, outcome);
        let [result] = outcome.signatures.as_slice() else {
            panic!("{outcome:?}");
        };
        assert_eq!(result.result, want, "{result:?}");
        assert!(result.reason.contains(reason), "{result:?}");
        assert!(result.reason.bytes().all(|c| matches!(c, b' '..=b'~')));
        assert_eq!(result.domain.as_deref(), Some("author.example"));
        assert_eq!(result.selector.as_deref(), Some("s"));
        assert_eq!(result.algorithm.as_deref(), Some("ed25519-sha256"));
    }
}

#[tokio::test]
async fn of_several_txt_records_each_key_record_is_tried() {
    let signer = Signer::new();
    let key = signer.record();
    let with_flags = |flags: &str| format!("{key}; {flags}");
    let other = || Signer::new().record();
    let spf = || "v=spf1 -all".to_owned();
    let token = || "google-site-verification=abc".to_owned();
    use DkimResult::{Fail, Neutral, Pass, Permerror};
    let table: [(&str, Vec<String>, DkimResult, &str); 13] = [
        ("SPF record", vec![spf(), key.clone()], Pass, "verified"),
        ("token", vec![key.clone(), token()], Pass, "verified"),
        (
            "empty record, other version, no key",
            vec![
                String::new(),
                "v=DKIM2; p=x".to_owned(),
                "v=DKIM1; k=rsa".to_owned(),
                key.clone(),
            ],
            Pass,
            "verified",
        ),
        ("two keys", vec![other(), key.clone()], Pass, "verified"),
        (
            "three keys",
            vec![other(), other(), key.clone()],
            Pass,
            "verified",
        ),
        (
            "the same key twice",
            vec![key.clone(), key.clone()],
            Pass,
            "verified",
        ),
        (
            "a revoked key beside it",
            vec!["v=DKIM1; p=".to_owned(), key.clone()],
            Pass,
            "verified",
        ),
        (
            "a testing key beside it",
            vec![format!("{}; t=y", other()), key.clone()],
            Pass,
            "verified",
        ),
        (
            "the key itself testing",
            vec!["v=DKIM1; p=".to_owned(), with_flags("t=y")],
            Neutral,
            "tests DKIM",
        ),
        (
            "the key itself for another service",
            vec!["v=DKIM1; p=".to_owned(), with_flags("s=tlsrpt")],
            Permerror,
            "(2 key records tried)",
        ),
        (
            "other keys",
            vec![other(), other()],
            Fail,
            "(2 key records tried)",
        ),
        (
            "revoked twice",
            vec!["v=DKIM1; p=".to_owned(), "v=DKIM1; n=x; p=".to_owned()],
            Permerror,
            "revoked",
        ),
        (
            "no key record",
            vec![spf(), token()],
            Permerror,
            "none of the 2 TXT records at the key's name is a key record",
        ),
    ];
    for (name, records, want, reason) in table {
        let mut zone = Zone::new();
        for record in records {
            zone.add(key_name("s", "author.example"), Data::text(record));
        }
        let server = DnsServer::start(zone);
        let signature = signer.sign("s", "author.example");
        let headers = message(&[("DKIM-Signature", &signature), ("From", FROM)]);
        let verification = Verification::new(headers, &settings(), None);
        let outcome = verify(&server, verification, BODY, true).await;
        let result = &outcome.signatures[0];
        assert_eq!(result.result, want, "{name}: {result:?}");
        assert!(result.reason.contains(reason), "{name}: {result:?}");
        // All records are in the answer to one query.
        assert_eq!(server.questions().len(), 1, "{name}");
    }
}

/// The DNS server chooses the order of its answer, but not the order in which keys are
/// tried.
#[tokio::test]
async fn of_more_than_three_key_records_the_same_three_are_tried() {
    let signer = Signer::new();
    let signature = signer.sign("s", "author.example");
    let mut records: Vec<String> = (0..5).map(|_| Signer::new().record()).collect();
    records.push(signer.record());
    let mut results = Vec::new();
    for _ in 0..records.len() {
        records.rotate_left(1);
        let mut zone = Zone::new();
        for record in &records {
            zone.add(key_name("s", "author.example"), Data::text(record));
        }
        let server = DnsServer::start(zone);
        let headers = message(&[("DKIM-Signature", &signature), ("From", FROM)]);
        let verification = Verification::new(headers, &settings(), None);
        let outcome = verify(&server, verification, BODY, true).await;
        results.push(outcome.signatures[0].result);
    }
    records.sort_unstable();
    let is_tried = records[..3].contains(&signer.record());
    let want = match is_tried {
        true => DkimResult::Pass,
        false => DkimResult::Fail,
    };
    assert_eq!(results, vec![want; 6]);
}

#[tokio::test]
async fn a_selector_may_have_underscores() {
    let signer = Signer::new();
    for selector in ["default_1807", "_dkim", "k1.mail_out"] {
        let server = DnsServer::start(zone_with(
            &key_name(selector, "author.example"),
            signer.record(),
        ));
        let signature = signer.sign(selector, "author.example");
        let headers = message(&[("DKIM-Signature", &signature), ("From", FROM)]);
        let verification = Verification::new(headers, &settings(), None);
        let outcome = verify(&server, verification, BODY, true).await;
        let result = &outcome.signatures[0];
        assert_eq!(result.result, DkimResult::Pass, "{result:?}");
        assert_eq!(result.selector.as_deref(), Some(selector));
    }
}

#[tokio::test]
async fn the_author_s_domain_comes_first_then_the_sender_s() {
    let signer = Signer::new();
    let domains = ["list.example", "sender.example", "mail.author.example"];
    let signatures = domains.map(|domain| signer.sign("s", domain));
    let mut fields = signatures
        .each_ref()
        .map(|s| ("DKIM-Signature", s.as_str()))
        .to_vec();
    fields.push(("From", FROM));
    let table: [(usize, &[&str]); 5] = [
        (0, &[]),
        (1, &["s._domainkey.mail.author.example"]),
        (
            2,
            &[
                "s._domainkey.mail.author.example",
                "s._domainkey.sender.example",
            ],
        ),
        (
            3,
            &[
                "s._domainkey.mail.author.example",
                "s._domainkey.sender.example",
                "s._domainkey.list.example",
            ],
        ),
        (
            9,
            &[
                "s._domainkey.mail.author.example",
                "s._domainkey.sender.example",
                "s._domainkey.list.example",
            ],
        ),
    ];
    for (max_signatures, want) in table {
        let settings = Settings {
            max_signatures,
            ..settings()
        };
        let headers = message(&fields);
        let verification = Verification::new(headers, &settings, Some("sender.example"));
        let names = verification.key_names();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(names, want, "{max_signatures}");
    }
}

#[tokio::test]
async fn five_thousand_selectors_cost_eight_questions_and_the_author_s_signature_counts() {
    let signer = Signer::new();
    let name = key_name("good", "author.example");
    let server = DnsServer::start(zone_with(&name, signer.record()));
    let mut headers = HeaderBlock::new(4 << 20);
    for number in 0..5000 {
        let dead = signer.sign(&format!("s{number}"), "dead.example");
        headers.push(b"DKIM-Signature", format!(" {dead}").as_bytes());
    }
    let good = signer.sign("good", "author.example");
    headers.push(b"DKIM-Signature", format!(" {good}").as_bytes());
    headers.push(b"From", format!(" {FROM}").as_bytes());

    let verification = Verification::new(headers, &settings(), None);
    let outcome = verify(&server, verification, BODY, true).await;
    assert_eq!(outcome.authentication(), Authentication::Pass);
    assert_eq!(server.questions().len(), 8);
    let count = |result| {
        outcome
            .signatures
            .iter()
            .filter(|s| s.result == result)
            .count()
    };
    assert_eq!(count(DkimResult::Pass), 1);
    assert_eq!(count(DkimResult::Permerror), 7);
    assert_eq!(count(DkimResult::Policy), 4993);
}

#[tokio::test]
async fn hostile_headers_ask_nothing_or_little() {
    let signer = Signer::new();
    let same = signer.sign("s", "author.example");
    let names = |count: usize| same.replace("h=from", &format!("h=from{}", ":a".repeat(count)));
    let table = [
        // ten thousand fields, h= with 20,000 names, as many names as there may
        // be, a header block over the limit
        (10_000, "v=1; d=author.example; b=".to_owned(), 0),
        (3000, same.clone(), 1),
        (1, names(20_000), 0),
        (8, names(254), 1),
        (100_000, same.clone(), 0),
    ];
    for (count, signature, questions) in table {
        let server = DnsServer::start(Zone::new());
        let mut headers = HeaderBlock::new(1 << 20);
        headers.push(b"From", b" a@author.example");
        for _ in 0..count {
            headers.push(b"DKIM-Signature", signature.as_bytes());
        }
        let kept_all = !headers.is_truncated();
        let verification = Verification::new(headers, &settings(), None);
        let outcome = verify(&server, verification, BODY, true).await;
        assert_eq!(outcome.authentication(), Authentication::NoPass);
        assert_eq!(outcome.signatures.len() == count, kept_all);
        assert_eq!(server.questions().len(), questions, "{count} signatures");
    }
}

#[tokio::test]
async fn a_key_is_asked_for_once_while_its_ttl_lasts() {
    for (ttl, questions) in [(300, 1), (0, 2)] {
        let signer = Signer::new();
        let mut zone = Zone::new();
        zone.set_ttl(ttl);
        zone.add(key_name("s", "author.example"), Data::text(signer.record()));
        let server = DnsServer::start(zone);
        let signature = signer.sign("s", "author.example");
        let cache = KeyCache::default();
        for _ in 0..2 {
            let headers = message(&[("DKIM-Signature", &signature), ("From", FROM)]);
            let names = Verification::new(headers, &settings(), None).key_names();
            // A new resolver each time, so that its cache is empty.
            dkim::fetch_keys(&resolver(&server), &cache, &names, soon()).await;
        }
        assert_eq!(server.questions().len(), questions, "TTL {ttl}");
    }
}

#[tokio::test]
async fn a_key_that_does_not_come_in_time_is_a_temperror_for_its_signature_alone() {
    let signer = Signer::new();
    let mut zone = zone_with(&key_name("s", "author.example"), signer.record());
    zone.fault(key_name("s", "mute.example"), Fault::Silence);
    let server = DnsServer::start(zone);
    let (mute, good) = (
        signer.sign("s", "mute.example"),
        signer.sign("s", "author.example"),
    );
    let fields = [
        ("DKIM-Signature", &*mute),
        ("DKIM-Signature", &*good),
        ("From", FROM),
    ];
    let verification = Verification::new(message(&fields), &settings(), None);
    let deadline = Instant::now() + Duration::from_millis(300);
    let (cache, names) = (KeyCache::default(), verification.key_names());
    let task = tokio::spawn(async move {
        dkim::fetch_keys(&resolver(&server), &cache, &names, deadline).await
    });
    let mut body = verification.body_hasher();
    body.update(BODY);
    let outcome = verification.verify(&body.finish(), &task.await.unwrap());
    let results: Vec<DkimResult> = outcome.signatures.iter().map(|s| s.result).collect();
    assert_eq!(results, [DkimResult::Temperror, DkimResult::Pass]);
}
