//! SPF records: parsed, displayed, parsed again, and evaluated as the record of a domain.

use super::Target;
use crate::{now::now, zone::Zone};
use sixgate::{
    address::ReversePath,
    config,
    spf::{self, Record, Request, Trace},
};
use std::net::IpAddr;

/// The target.
pub const TARGET: Target = Target {
    name: "spf_record",
    check,
    seeds,
    dictionary: &[
        " ",
        "  ",
        "\t",
        " all",
        " -all",
        " a",
        " mx",
        " ptr",
        " ip4:192.0.2.0/24",
        " ip6:2001:db8::/32",
        " include:",
        " exists:",
        " redirect=",
        " exp=",
        "%{d}",
        "%{p}",
        "%{ir}",
        "/0",
        "//0",
        "//64",
        "example.com",
        ".",
        "v=spf1",
        "=",
    ],
};

fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 6] = [
        b"v=spf1 -all",
        b"v=spf1 a mx/24//64 ptr include:example.com ~all",
        b"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?all",
        b"v=spf1 exists:%{ir}.%{v}._spf.%{d2} redirect=example.com",
        b"v=spf1 a:%{p}.example.com exp=%{l}.example.com x=y",
        b"v=spf1 include:example.com include:example.net -exists:%{S}.example.com",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

/// Checks one record.
///
/// # Panics
/// If the displayed record does not parse to the same record, or the trace changes the result.
pub fn check(text: &[u8]) {
    let record = spf::is_spf(text).then(|| Record::parse(text));
    if let Some(Ok(record)) = &record {
        check_display(record);
    }
    for client in ["2001:db8::1", "192.0.2.1"] {
        if let Ok(client) = client.parse() {
            check_evaluation(text, client);
        }
    }
}

fn check_display(record: &Record) {
    let mut shown = "v=spf1".to_owned();
    for directive in record.directives() {
        shown += &format!(" {directive}");
    }
    let again = Record::parse(shown.as_bytes()).expect("a well-formed record");
    assert_eq!(again.directives(), record.directives());
}

fn check_evaluation(text: &[u8], client: IpAddr) {
    let mut zone = Zone {
        client: Some(client),
        ptr: vec![b"example.com".to_vec(), b"h.example.net".to_vec()],
        seed: 1,
        ..Zone::default()
    };
    zone.add_txt("example.com", text);
    zone.add_txt("example.net", b"v=spf1 mx include:example.com -all");
    let reverse_path = ReversePath::parse("<a.b-c@example.com>");
    let request = Request {
        client,
        reverse_path: &reverse_path,
        helo: Some("mail.example.com"),
        receiver: "mx.example.org",
    };
    let mut trace = Trace::default();
    let traced = now(spf::explain(
        &zone,
        &request,
        config::Spf::default(),
        &mut trace,
    ));
    let outcome = now(spf::evaluate(&zone, &request, config::Spf::default()));
    assert_eq!(
        (traced.result, &traced.reason),
        (outcome.result, &outcome.reason)
    );
    assert!(traced.reason.bytes().all(|c| matches!(c, b' '..=b'~')));
}
