//! The tests' own DNS server, queried by the program's resolver. The other tests rely on
//! it.

mod support;

use hickory_proto::op::ResponseCode;
use sixgate::{
    config,
    dns::{Absence, Answer, Dns, Failure, Name, Purpose, Resolve},
};
use std::{
    fmt::Debug,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use support::dns::{DnsServer, Fault, Zone};

const ZONE: &str = r#"
; name                    type   value
example.org               A      192.0.2.1
EXAMPLE.org               AAAA   2001:db8::1
example.org               MX     10 mail.example.org   ; a comment
example.org               TXT    "v=spf1 " "-all; \"quoted\" \001"
alias.example.org         CNAME  far.example.org
far.example.org           CNAME  example.org
dangling.example.org      CNAME  nowhere.example.org
loop.example.org          CNAME  loop.example.org
below.empty.example.org   A      192.0.2.2
2001:db8::1               PTR    mail.example.org
2001:db8::2               SERVFAIL
odd:/%c.example.org       A      192.0.2.3
servfail.example.org      SERVFAIL
refused.example.org       REFUSED
silence.example.org       SILENCE
txt-fails.example.org     TXT    SERVFAIL
txt-fails.example.org     A      192.0.2.4
"#;

fn zone() -> Zone {
    Zone::parse(ZONE).expect("a zone")
}

fn resolver(server: &DnsServer) -> Dns {
    Dns::new(&config::Dns {
        servers: vec![server.address().into()],
        timeout: Duration::from_millis(300),
        attempts: 1,
        ..config::Dns::default()
    })
    .expect("a resolver")
}

fn name(dotted: &str) -> Name {
    Name::parse(dotted).expect("a name")
}

fn found<T: Debug>(answer: Answer<T>) -> Vec<T> {
    match answer {
        Answer::Found(found) => found.records,
        other => panic!("not found: {other:?}"),
    }
}

#[tokio::test]
async fn records_are_found_without_regard_to_case_and_through_aliases() {
    let server = DnsServer::start(zone());
    let dns = resolver(&server);
    let host = name("mail.example.org");

    assert_eq!(found(dns.a(&name("Example.ORG")).await).len(), 1);
    assert_eq!(found(dns.aaaa(&name("alias.example.org")).await).len(), 1);
    assert_eq!(found(dns.mx(&name("example.org")).await)[0].exchange, host);
    assert_eq!(
        found(dns.txt(&name("example.org"), Purpose::Other).await),
        [b"v=spf1 -all; \"quoted\" \x01"]
    );
    assert_eq!(found(dns.a(&name("odd:/%c.example.org")).await).len(), 1);
    let ip: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(found(dns.ptr(ip).await), [host]);
}

#[tokio::test]
async fn absent_names_are_distinguished_from_absent_records() {
    let server = DnsServer::start(zone());
    let dns = resolver(&server);
    let table = [
        ("nowhere.example.org", Absence::NxDomain),
        ("below.example.org", Absence::NxDomain),
        ("dangling.example.org", Absence::NxDomain),
        ("empty.example.org", Absence::NoData),
        ("below.empty.example.org", Absence::NoData),
        ("loop.example.org", Absence::NoData),
    ];
    for (dotted, want) in table {
        let answer = dns.txt(&name(dotted), Purpose::Other).await;
        assert_eq!(answer, Answer::Absent(want), "{dotted}");
    }
}

#[tokio::test]
async fn names_fail_as_the_zone_says() {
    let server = DnsServer::start(zone());
    let dns = resolver(&server);
    let table = [
        ("servfail.example.org", Failure::ServFail),
        ("refused.example.org", Failure::Refused),
        ("silence.example.org", Failure::Timeout),
        ("txt-fails.example.org", Failure::ServFail),
    ];
    for (dotted, want) in table {
        let answer = dns.txt(&name(dotted), Purpose::Other).await;
        assert_eq!(answer, Answer::Temperror(want), "{dotted}");
    }
    assert_eq!(found(dns.a(&name("txt-fails.example.org")).await).len(), 1);
    let ptr = dns.ptr("2001:db8::2".parse().unwrap()).await;
    assert_eq!(ptr, Answer::Temperror(Failure::ServFail));
}

#[tokio::test]
async fn positive_and_negative_answers_are_cached_by_their_ttl() {
    let server = DnsServer::start(zone());
    let dns = resolver(&server);
    for _ in 0..3 {
        found(dns.a(&name("example.org")).await);
        dns.a(&name("nowhere.example.org")).await;
    }
    let asked = |name: &str| (name.to_owned(), "A".to_owned());
    assert_eq!(
        server.questions(),
        [asked("example.org"), asked("nowhere.example.org")]
    );
}

#[tokio::test]
async fn long_answers_come_over_tcp() {
    let text = vec![b'x'; 30_000];
    let mut zone = Zone::new();
    zone.add("long.example.org", support::dns::Data::text(&text));
    let server = DnsServer::start(zone);
    let dns = resolver(&server);

    assert_eq!(
        found(dns.txt(&name("long.example.org"), Purpose::Other).await),
        [text]
    );
    assert_eq!(server.questions().len(), 2, "once over UDP, once over TCP");
}

#[tokio::test]
async fn another_zone_can_take_the_place_of_the_first() {
    let server = DnsServer::start(Zone::new());
    assert_eq!(
        resolver(&server).a(&name("example.org")).await,
        Answer::Absent(Absence::NxDomain)
    );
    server.set_zone(zone());
    assert_eq!(
        found(resolver(&server).a(&name("example.org")).await).len(),
        1
    );
}

fn resolver_of(servers: &[SocketAddr], timeout: Duration, attempts: usize) -> Dns {
    let servers = servers.iter().map(|&server| server.into()).collect();
    Dns::new(&config::Dns {
        servers,
        timeout,
        attempts,
        ..config::Dns::default()
    })
    .expect("a resolver")
}

const EDNS_REFUSALS: [ResponseCode; 3] = [
    ResponseCode::FormErr,
    ResponseCode::NotImp,
    ResponseCode::BADVERS,
];

#[tokio::test]
async fn a_server_that_refuses_edns_is_asked_without_over_udp_and_tcp() {
    for code in EDNS_REFUSALS {
        let mut zone = zone();
        zone.refuse_edns(code);
        let text = vec![b'x'; 30_000];
        zone.add("long.example.org", support::dns::Data::text(&text));
        let server = DnsServer::start(zone);
        let dns = resolver(&server);
        assert!(dns.servers_without_edns().is_empty());

        assert_eq!(found(dns.a(&name("example.org")).await).len(), 1, "{code}");
        assert_eq!(server.questions().len(), 2, "with EDNS, then without");
        assert_eq!(dns.servers_without_edns(), [server.address().into()]);

        server.forget_questions();
        let answer = dns.txt(&name("long.example.org"), Purpose::Other).await;
        assert_eq!(found(answer), [text], "{code}");
        assert_eq!(server.questions().len(), 2, "over UDP, then over TCP");
        let absent = dns.a(&name("nowhere.example.org")).await;
        assert_eq!(absent, Answer::Absent(Absence::NxDomain));
        assert_eq!(server.questions().len(), 3, "it is remembered");
    }
}

#[tokio::test]
async fn edns_that_is_refused_over_tcp_alone_is_left_out_there_too() {
    for code in EDNS_REFUSALS {
        let mut zone = zone();
        zone.refuse_edns_over_tcp(code);
        let text = vec![b'x'; 30_000];
        zone.add("long.example.org", support::dns::Data::text(&text));
        let server = DnsServer::start(zone);
        let dns = resolver(&server);
        let answer = dns.txt(&name("long.example.org"), Purpose::Other).await;
        assert_eq!(found(answer), [text], "{code}");
        assert_eq!(server.questions().len(), 4, "UDP and TCP, each twice");
    }
}

/// After a domain whose own servers fail like this, EDNS is still used with the resolver.
#[tokio::test]
async fn an_error_that_stays_without_edns_has_its_name_and_costs_one_query_more() {
    let table = [
        (ResponseCode::FormErr, "FORMERR"),
        (ResponseCode::NotImp, "NOTIMP"),
    ];
    for (code, want) in table {
        let mut zone = zone();
        zone.fault("broken.example.org", Fault::Code(code));
        let server = DnsServer::start(zone);
        let dns = resolver_of(&[server.address()], Duration::from_secs(2), 3);
        let answer = dns.a(&name("broken.example.org")).await;
        assert_eq!(answer, Answer::Temperror(Failure::Other(want.to_owned())));
        assert_eq!(server.questions().len(), 2, "{want}");
        assert_eq!(dns.servers_without_edns(), [], "{want}");
    }
}

/// The worst case in docs/threat-model.md: each attempt sends each server up to three
/// packets.
#[tokio::test]
async fn silent_servers_get_no_more_packets_than_documented() {
    let mut silent = Zone::new();
    silent.fault("silent.example", Fault::Silence);
    let servers = [DnsServer::start(silent.clone()), DnsServer::start(silent)];
    let addresses = [servers[0].address(), servers[1].address()];
    let dns = resolver_of(&addresses, Duration::from_millis(1500), 2);
    let answer = dns.a(&name("silent.example")).await;
    assert_eq!(answer, Answer::Temperror(Failure::Timeout));
    for server in &servers {
        let packets = server.questions().len();
        assert!((2..=2 * 3).contains(&packets), "{packets}");
    }
}

#[tokio::test]
async fn a_closed_port_is_skipped_at_once_and_reported() {
    let closed = DnsServer::start(Zone::new()).address();
    let server = DnsServer::start(zone());
    let start = Instant::now();
    let timeout = Duration::from_secs(10);
    let dns = resolver_of(&[closed, server.address()], timeout, 1);
    assert_eq!(found(dns.a(&name("example.org")).await).len(), 1);
    let alone = resolver_of(&[closed], timeout, 2);
    let closed = Answer::Temperror(Failure::Other("port closed".to_owned()));
    assert_eq!(alone.a(&name("example.org")).await, closed);
    assert!(start.elapsed() < timeout / 2, "{:?}", start.elapsed());
}

#[test]
fn mistakes_in_a_zone_are_reported_with_their_line() {
    let table = [
        ("example.org A 192.0.2.1\nexample.org A 192.0.2", "line 2"),
        ("example.org", "a name alone"),
        ("example.org TXT unquoted", "must be quoted"),
        ("example.org TXT \"open", "not closed"),
        ("example.org SRV 1 2 3", "no known form"),
    ];
    for (text, want) in table {
        let error = Zone::parse(text).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}
