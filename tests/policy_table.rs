//! Runs the decision table of docs/policy.md, row by row.

use sixgate::{
    address::ClientAddr,
    policy::{
        Authentication, Check, Confirmation, ExemptTls, Facts, Forwarder, OnDnsFailure, OptIn, Ptr,
        Refusal, ReverseDns, Rule, Settings, Stage, Step, Tls, Verdict, decide,
    },
};
use std::{collections::HashSet, net::IpAddr};

const POLICY: &str = include_str!("../docs/policy.md");

#[test]
fn the_documented_decision_table_is_what_the_program_does() {
    for row in rows() {
        let (settings, facts) = given(row.given);
        let step = decide(stage(row.stage), &settings, &facts);
        assert_eq!(step, want(&row), "{}", row.line);
    }
}

#[test]
fn the_documented_decision_table_names_every_rule() {
    let documented: HashSet<&str> = rows().map(|row| row.rule).collect();
    for rule in Rule::ALL {
        assert!(documented.contains(rule.name()), "{rule} is not documented");
    }
}

#[test]
fn the_documented_decision_table_has_all_fifteen_numbers() {
    let numbers: HashSet<&str> = rows().map(|row| row.number).collect();
    for number in 1..=15 {
        assert!(numbers.contains(number.to_string().as_str()), "{number}");
    }
}

struct Row {
    line: &'static str,
    number: &'static str,
    stage: &'static str,
    given: &'static str,
    answer: &'static str,
    rule: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    let table = POLICY.lines().skip_while(|line| !line.starts_with("| # |"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let [number, stage, _words, given, answer, rule] = cells[..] else {
            panic!("not six cells: {line}");
        };
        Row {
            line,
            number,
            stage,
            given,
            answer,
            rule,
        }
    })
}

fn stage(text: &str) -> Stage {
    match text {
        "connect" => Stage::Connect,
        "mail" => Stage::Mail,
        "rcpt" => Stage::Rcpt,
        "eoh" => Stage::EndOfHeaders,
        "eom" => Stage::EndOfMessage,
        other => panic!("no stage: {other}"),
    }
}

fn given(text: &str) -> (Settings, Facts) {
    let mut settings = Settings::default();
    let client: IpAddr = "2001:db8::1".parse().unwrap();
    let mut facts = Facts::new(client.into());
    let mut certificate = None;
    for pair in text.split_whitespace() {
        match pair.split_once('=').expect(pair) {
            ("certificate", name) => certificate = Some(name),
            (key, value) => give(&mut settings, &mut facts, key, value),
        }
    }
    let named = certificate.and_then(|name| settings.certificate_pattern(name));
    facts.certificate_named = named.is_some();
    (settings, facts)
}

fn give(settings: &mut Settings, facts: &mut Facts, key: &str, value: &str) {
    match key {
        "client" => facts.client = client(value),
        "exempt" => facts.exempt = yes_or_no(value),
        "authenticated" => facts.authenticated = yes_or_no(value),
        "tls" => facts.tls = tls(value),
        "opt-in" => facts.opt_in = Some(opt_in(value)),
        "ptr" => facts.ptr = Some(ptr(value)),
        "confirmation" => facts.confirmation = Some(confirmation(value)),
        "spf" => facts.spf = Some(authentication(value)),
        "forwarder" => facts.forwarder = Some(forwarder(value)),
        "signed" => facts.signed = yes_or_no(value),
        "dkim" => facts.dkim = Some(authentication(value)),
        "exempt.networks" => settings.exempt_networks = vec![value.parse().unwrap()],
        "exempt.authenticated" => settings.exempt_authenticated = yes_or_no(value),
        "exempt.tls" => settings.exempt_tls = exempt_tls(value),
        "ipv4_prefixes" => settings.ipv4_prefixes = vec![value.parse().unwrap()],
        "exempt.certificates" => {
            let patterns = value.split(',').map(|pattern| pattern.parse().unwrap());
            settings.exempt_certificates = patterns.collect();
        }
        "exempt.forwarders" => settings.known_forwarders = yes_or_no(value),
        "reverse_dns" => settings.reverse_dns = reverse_dns(value),
        "on_dns_failure" => settings.on_dns_failure = on_dns_failure(value),
        other => panic!("no fact or setting: {other}"),
    }
}

fn want(row: &Row) -> Step {
    let (kind, what) = row.answer.split_once(' ').unwrap_or((row.answer, ""));
    match kind {
        "continue" => Step::Done(Verdict::Continue),
        "accept" => Step::Done(Verdict::Accept(rule(row.rule))),
        "reply" => Step::Done(Verdict::Refuse(rule(row.rule), refusal(what))),
        "ask" => Step::Need(check(what)),
        other => panic!("no answer: {other}"),
    }
}

fn rule(name: &str) -> Rule {
    let found = Rule::ALL.into_iter().find(|rule| rule.name() == name);
    found.unwrap_or_else(|| panic!("no rule: {name}"))
}

fn client(text: &str) -> ClientAddr {
    match text {
        "local" => ClientAddr::Local,
        ip => ip.parse::<IpAddr>().unwrap().into(),
    }
}

fn yes_or_no(text: &str) -> bool {
    match text {
        "yes" => true,
        "no" => false,
        other => panic!("neither yes nor no: {other}"),
    }
}

macro_rules! words {
    ($($name:ident: $type:ty { $($word:literal => $value:expr),* $(,)? })*) => {$(
        fn $name(word: &str) -> $type {
            match word {
                $($word => $value,)*
                other => panic!(concat!("no ", stringify!($name), ": {}"), other),
            }
        }
    )*};
}

words! {
    tls: Tls {
        "none" => Tls::None,
        "unverified" => Tls::Unverified,
        "verified" => Tls::Verified,
    }
    opt_in: OptIn {
        "yes" => OptIn::Yes,
        "no" => OptIn::No,
        "temperror" => OptIn::Temperror,
    }
    ptr: Ptr {
        "found" => Ptr::Found,
        "none" => Ptr::None,
        "temperror" => Ptr::Temperror,
    }
    confirmation: Confirmation {
        "confirmed" => Confirmation::Confirmed,
        "unconfirmed" => Confirmation::Unconfirmed,
        "temperror" => Confirmation::Temperror,
    }
    authentication: Authentication {
        "pass" => Authentication::Pass,
        "no-pass" => Authentication::NoPass,
        "temperror" => Authentication::Temperror,
        "unverifiable" => Authentication::Unverifiable,
    }
    forwarder: Forwarder {
        "known" => Forwarder::Known,
        "unknown" => Forwarder::Unknown,
        "temperror" => Forwarder::Temperror,
    }
    exempt_tls: ExemptTls {
        "none" => ExemptTls::None,
        "verified" => ExemptTls::Verified,
        "any" => ExemptTls::Any,
    }
    reverse_dns: ReverseDns {
        "exists" => ReverseDns::Exists,
        "confirmed" => ReverseDns::Confirmed,
    }
    on_dns_failure: OnDnsFailure {
        "tempfail" => OnDnsFailure::Tempfail,
        "accept" => OnDnsFailure::Accept,
    }
    refusal: Refusal {
        "not_opted_in" => Refusal::NotOptedIn,
        "no_ptr" => Refusal::NoPtr,
        "unauthenticated" => Refusal::Unauthenticated,
        "temporary" => Refusal::Temporary,
    }
    check: Check {
        "opt-in" => Check::OptIn,
        "ptr" => Check::Ptr,
        "confirmation" => Check::Confirmation,
        "spf" => Check::Spf,
        "forwarder" => Check::Forwarder,
        "dkim" => Check::Dkim,
    }
}
