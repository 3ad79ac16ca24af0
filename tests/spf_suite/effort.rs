//! Cases that check the DNS queries or the trace.

use super::format::resolver;
use crate::support::dns::{Data, DnsServer, Fault, Zone};
use libtest_mimic::{Failed, Trial};
use sixgate::{
    address::ReversePath,
    config,
    spf::{self, Request, SpfResult, Trace},
};

const LIMITS: config::Spf = config::Spf {
    max_lookups: 10,
    max_void_lookups: 2,
};

pub(crate) fn trials() -> Vec<Trial> {
    let table: [(&str, fn()); 16] = [
        ("long-record-comes-over-tcp", long_record_comes_over_tcp),
        (
            "a-record-over-8-kib-is-an-error",
            record_over_8_kib_is_an_error,
        ),
        (
            "long-record-with-a-late-error",
            long_record_with_a_late_error,
        ),
        ("no-domain-asks-nothing", no_domain_asks_nothing),
        ("broken-record-is-not-begun", broken_record_is_not_begun),
        ("milter-asks-no-explanation", milter_asks_no_explanation),
        ("p-is-looked-up-once", p_is_looked_up_once),
        ("ptr-asks-for-ten-names", ptr_asks_for_ten_names),
        ("mx-worst-case", mx_worst_case),
        (
            "mx-worst-case-of-ipv4-only-hosts",
            mx_worst_case_of_ipv4_only_hosts,
        ),
        (
            "the-other-family-is-asked-only-beyond-the-limit",
            other_family_is_asked_only_beyond_the_limit,
        ),
        (
            "an-error-of-the-other-family-is-a-temperror",
            error_of_the_other_family_is_a_temperror,
        ),
        (
            "trace-shows-which-lookups-were-not-void",
            trace_shows_which_lookups_were_not_void,
        ),
        ("loop-without-limit-ends", loop_without_limit_ends),
        ("the-trace-has-each-step", the_trace_has_each_step),
        ("the-trace-says-why-it-ended", the_trace_says_why_it_ended),
    ];
    let trial = |(name, run): (&str, fn())| {
        Trial::test(format!("ours / Effort / {name}"), move || {
            run();
            Ok::<(), Failed>(())
        })
    };
    table.map(trial).into()
}

/// The result of a check of the client 2001:db8::1.
struct Checked {
    result: SpfResult,
    trace: Trace,
    /// Name and type of each question; those of [`spf::explain`] alone.
    questions: Vec<(String, String)>,
}

impl Checked {
    fn asked(&self, rtype: &str) -> usize {
        let questions = self.questions.iter();
        questions.filter(|(_, asked)| asked == rtype).count()
    }
}

fn check(zone: Zone, mail_from: &str) -> Checked {
    check_within(LIMITS, zone, mail_from)
}

#[tokio::main(flavor = "current_thread")]
async fn check_within(limits: config::Spf, zone: Zone, mail_from: &str) -> Checked {
    let server = DnsServer::start(zone);
    let reverse_path = ReversePath::parse(mail_from);
    let mut trace = Trace::default();
    let dns = resolver(&server, Fault::ServFail);
    let outcome = spf::explain(&dns, &request(&reverse_path), limits, &mut trace).await;
    Checked {
        result: outcome.result,
        trace,
        questions: server.questions(),
    }
}

fn request(reverse_path: &ReversePath) -> Request<'_> {
    Request {
        client: "2001:db8::1".parse().expect("an address"),
        reverse_path,
        helo: Some("mail.example.com"),
        receiver: "receiver.example",
    }
}

fn zone(text: &str) -> Zone {
    Zone::parse(text).expect("a zone")
}

fn zone_with_record(text: &str) -> Zone {
    let mut zone = Zone::new();
    zone.add("example.com", Data::text(text));
    zone
}

/// RFC 7208 section 3.4 advises against more than 512 bytes; sixgate accepts 8 KiB.
fn long_record_comes_over_tcp() {
    let record = record_of_length(8192, "-all");
    let checked = check(zone_with_record(&record), "<a@example.com>");
    assert_eq!(checked.result, SpfResult::Pass);
    // Once over UDP, with a truncated answer, and once over TCP.
    assert_eq!(checked.asked("TXT"), 2);
}

fn record_over_8_kib_is_an_error() {
    let record = record_of_length(8193, "-all");
    let checked = check(zone_with_record(&record), "<a@example.com>");
    assert_eq!(checked.result, SpfResult::PermError);
    let trace = checked.trace.to_string();
    let why = "has 8193 bytes; at most 8192 are evaluated";
    assert!(trace.contains(why), "{trace}");
}

/// A record that lets the client pass before `end`.
fn record_of_length(length: usize, end: &str) -> String {
    let end = format!("ip6:2001:db8::/32 {end}");
    let mut record = "v=spf1 ".to_owned();
    while record.len() + end.len() + 14 <= length {
        record.push_str("ip4:192.0.2.1 ");
    }
    // More spaces between terms are allowed (section 4.6.1).
    let spaces = length - record.len() - end.len();
    record + &" ".repeat(spaces) + &end
}

/// RFC 7208 section 4.6.
fn long_record_with_a_late_error() {
    let record = record_of_length(8000, "moo");
    let checked = check(zone_with_record(&record), "<a@example.com>");
    assert_eq!(checked.result, SpfResult::PermError);
}

/// RFC 7208 section 4.3.
fn no_domain_asks_nothing() {
    let long_label = format!("<a@{}.example>", "x".repeat(64));
    for mail_from in [
        "<a>",
        "<a@localhost>",
        "<a@[IPv6:2001:db8::1]>",
        "<a@192.0.2.1>",
        "<a@a..example>",
        &long_label,
    ] {
        let checked = check(Zone::new(), mail_from);
        assert_eq!(checked.result, SpfResult::None, "{mail_from}");
        assert_eq!(checked.questions, [], "{mail_from}");
    }
}

/// RFC 7208 section 4.6.
fn broken_record_is_not_begun() {
    let checked = check(
        zone_with_record("v=spf1 a mx exists:x.example -all/24"),
        "<a@example.com>",
    );
    assert_eq!(checked.result, SpfResult::PermError);
    assert_eq!(checked.questions.len(), 1);
}

/// RFC 7208 section 6.2.
#[tokio::main(flavor = "current_thread")]
async fn milter_asks_no_explanation() {
    let server = DnsServer::start(zone_with_record("v=spf1 -all exp=why.example.com"));
    let reverse_path = ReversePath::parse("<a@example.com>");
    let dns = resolver(&server, Fault::ServFail);
    let outcome = spf::evaluate(&dns, &request(&reverse_path), LIMITS).await;
    assert_eq!(outcome.result, SpfResult::Fail);
    assert_eq!(server.questions().len(), 1);
}

/// RFC 7208 section 4.6.4.
fn p_is_looked_up_once() {
    let mut zone = zone("2001:db8::1 PTR mail.example.net");
    let many = "%{p}.".repeat(700);
    let record = format!("v=spf1 exists:{many}x.example exists:{many}y.example ptr -all");
    zone.add("example.com", Data::text(record));
    zone.fault("mail.example.net", Fault::ServFail);
    let checked = check(zone, "<a@example.com>");
    assert_eq!(checked.result, SpfResult::Fail);
    assert_eq!((checked.asked("PTR"), checked.asked("AAAA")), (1, 1));
}

/// RFC 7208 section 4.6.4.
fn ptr_asks_for_ten_names() {
    let mut zone = zone_with_record("v=spf1 ptr -all");
    for number in 0..200 {
        let name = format!("n{number}.example.net");
        zone.add_ptr("2001:db8::1".parse().expect("an address"), &name);
        zone.add(
            &name,
            Data::Aaaa("2001:db8::2".parse().expect("an address")),
        );
    }
    let checked = check(zone, "<a@example.com>");
    assert_eq!(checked.result, SpfResult::Fail);
    assert_eq!(checked.asked("AAAA"), 10);
}

/// The maximum number of queries of one record if its hosts have addresses of the client's
/// family: ten times ten hosts (RFC 7208 sections 4.6.4 and 11.1).
fn mx_worst_case() {
    let host = Data::Aaaa("2001:db8::2".parse().expect("an address"));
    let checked = check(zone_of_mail_exchangers(&host), "<a@example.com>");
    assert_eq!(checked.result, SpfResult::PermError);
    assert_eq!(checked.questions.len(), 1 + 10 + 10 * 10);
}

/// The overall maximum: each host beyond `spf.max_void_lookups` costs one more.
fn mx_worst_case_of_ipv4_only_hosts() {
    let host = Data::A("192.0.2.1".parse().expect("an address"));
    let checked = check(zone_of_mail_exchangers(&host), "<a@example.com>");
    assert_eq!(checked.result, SpfResult::PermError);
    assert_eq!(checked.questions.len(), 1 + 10 + 10 * 10 + (10 * 10 - 2));
}

/// A record with eleven `mx`, each with ten hosts.
fn zone_of_mail_exchangers(address: &Data) -> Zone {
    let mut zone = Zone::new();
    let terms: String = (0..11).map(|n| format!("mx:m{n}.example ")).collect();
    zone.add("example.com", Data::text(format!("v=spf1 {terms}+all")));
    for n in 0..11 {
        for host in 0..10 {
            let host = format!("h{host}.m{n}.example");
            zone.add(format!("m{n}.example"), Data::Mx(10, host.clone()));
            zone.add(host, address.clone());
        }
    }
    zone
}

/// Three IPv4-only hosts, followed by a range with the client.
const IPV4_HOSTS: &str = r#"
    example.com TXT "v=spf1 a:h1.example a:h2.example a:h3.example ip6:2001:db8::1 ~all"
    h1.example  A 192.0.2.1
    h2.example  A 192.0.2.2
    h3.example  A 192.0.2.3
    "#;

/// RFC 7208 section 4.6.4.
fn other_family_is_asked_only_beyond_the_limit() {
    for (max_void_lookups, questions) in [(0, 3), (1, 2), (2, 1), (3, 0)] {
        let limits = config::Spf {
            max_void_lookups,
            ..LIMITS
        };
        let checked = check_within(limits, zone(IPV4_HOSTS), "<a@example.com>");
        assert_eq!(checked.result, SpfResult::Pass, "{max_void_lookups}");
        assert_eq!(checked.asked("AAAA"), 3, "{max_void_lookups}");
        assert_eq!(checked.asked("A"), questions, "{max_void_lookups}");
    }
}

fn error_of_the_other_family_is_a_temperror() {
    let mut zone = zone(IPV4_HOSTS);
    zone.fault_for("h1.example", "A", Fault::ServFail);
    let checked = check(zone, "<a@example.com>");
    assert_eq!(checked.result, SpfResult::TempError);
}

fn trace_shows_which_lookups_were_not_void() {
    let checked = check(zone(IPV4_HOSTS), "<a@example.com>");
    let want = "\
record of example.com: v=spf1 a:h1.example a:h2.example a:h3.example ip6:2001:db8::1 ~all
  a:h1.example (lookup 1 of 10)
    AAAA h1.example: NODATA (void lookup 1 of 2)
    does not match
  a:h2.example (lookup 2 of 10)
    AAAA h2.example: NODATA (void lookup 2 of 2)
    does not match
  a:h3.example (lookup 3 of 10)
    AAAA h3.example: NODATA
    A h1.example: 192.0.2.1
    so AAAA h1.example was not void
    does not match
  ip6:2001:db8::1
    matches: pass
pass: ip6:2001:db8::1 matches
";
    assert_eq!(checked.trace.to_string(), want);
}

/// `spf.max_lookups` can be any number, but the stack has its own limit.
fn loop_without_limit_ends() {
    let limits = config::Spf {
        max_lookups: usize::MAX,
        max_void_lookups: usize::MAX,
    };
    for record in ["v=spf1 include:%{d} +all", "v=spf1 redirect=%{d}"] {
        let checked = check_within(limits, zone_with_record(record), "<a@example.com>");
        assert_eq!(checked.result, SpfResult::PermError, "{record}");
    }
}

fn the_trace_has_each_step() {
    let zone = zone(
        r#"
        example.com      TXT "v=spf1 a:www.%{d} include:_spf.%{d2} -all exp=why.%{d}"
        www.example.com  A 192.0.2.1
        _spf.example.com TXT "v=spf1 mx ip4:192.0.2.0/24 ?all"
        _spf.example.com MX 10 mail.example.com
        mail.example.com AAAA 2001:db8::25
        why.example.com  TXT "%{i} is not ours"
        "#,
    );
    let checked = check(zone, "<a@example.com>");
    let want = "\
record of example.com: v=spf1 a:www.%{d} include:_spf.%{d2} -all exp=why.%{d}
  a:www.%{d} (lookup 1 of 10)
    www.%{d} expands to www.example.com
    AAAA www.example.com: NODATA (void lookup 1 of 2)
    does not match
  include:_spf.%{d2} (lookup 2 of 10)
    _spf.%{d2} expands to _spf.example.com
    record of _spf.example.com: v=spf1 mx ip4:192.0.2.0/24 ?all
      mx (lookup 3 of 10)
        MX _spf.example.com: 10 mail.example.com
        AAAA mail.example.com: 2001:db8::25
        does not match
      ip4:192.0.2.0/24
        does not match
      ?all
        matches: neutral
    does not match
  -all
    matches: fail
    why.%{d} expands to why.example.com
    TXT why.example.com: \"%{i} is not ours\"
fail: -all matches
";
    assert_eq!(checked.trace.to_string(), want);
}

fn the_trace_says_why_it_ended() {
    let zone = zone(
        r#"
        example.com      TXT "v=spf1 include:_spf.example.com include:_spf2.example.com +all"
        _spf.example.com TXT "v=spf1 exists:a.example exists:b.example ?all"
        _spf2.example.com TXT "v=spf1 mx:c.example ?all"
        "#,
    );
    let checked = check(zone, "<a@example.com>");
    let want = "\
record of example.com: v=spf1 include:_spf.example.com include:_spf2.example.com +all
  include:_spf.example.com (lookup 1 of 10)
    record of _spf.example.com: v=spf1 exists:a.example exists:b.example ?all
      exists:a.example (lookup 2 of 10)
        A a.example: NXDOMAIN (void lookup 1 of 2)
        does not match
      exists:b.example (lookup 3 of 10)
        A b.example: NXDOMAIN (void lookup 2 of 2)
        does not match
      ?all
        matches: neutral
    does not match
  include:_spf2.example.com (lookup 4 of 10)
    record of _spf2.example.com: v=spf1 mx:c.example ?all
      mx:c.example (lookup 5 of 10)
        MX c.example: NXDOMAIN
permerror: include:_spf2.example.com: more than 2 void lookups
";
    assert_eq!(checked.trace.to_string(), want);
}
