//! The DNS servers, and the walk over domains.

use super::fixture::{Fixture, NO_MTA, Shared};
use hickory_proto::op::ResponseCode;
use libtest_mimic::Trial;
use std::{fs, net::UdpSocket};

/// A trial for each.
pub(crate) fn trials() -> Vec<Trial> {
    let fixture = Shared::default();
    let trial = |name: &str, test: fn(&Fixture)| {
        let fixture = fixture.clone();
        Trial::test(name.to_owned(), move || {
            test(&fixture);
            Ok(())
        })
    };
    vec![
        trial(
            "a dns server that answers is told with its speed",
            a_server_that_answers,
        ),
        trial("one dead dns server of two is a warning", one_dead_server),
        trial("without any dns server nothing works", no_server),
        trial("a dns server that refuses is told", a_server_that_refuses),
        trial("a dns server that refuses edns is a warning", refused_edns),
        trial("a dns64 server is a warning", a_dns64_server),
        trial("reverse names that are kept back are a problem", kept_back),
        trial("a mute domain is tried out", a_mute_domain),
        trial(
            "too many dns servers for one stage are a warning",
            too_many_servers,
        ),
        trial("both kinds of mismatch are told", both_mismatches),
        trial("host names that drift are told", drifting_host_names),
        trial(
            "exchangers by which domains opt in need an aaaa record",
            exchangers_of_opt_in,
        ),
        trial(
            "a 450 or observe mode makes a bounce a delay",
            milder_mismatches,
        ),
        trial("a list of domains that is not there is no input", no_list),
    ]
}

const LISTEN: &str = "listen: inet:127.0.0.1:{port}\nopt_in: {domains: [both.example]}\n";

fn a_server_that_answers(fixture: &Fixture) {
    let found = fixture.examine(LISTEN, &NO_MTA, "");
    let words = format!("{} answers in", fixture.dns.address());
    found.has("dns-servers", "ok", &words);
    found.has("reverse-dns", "ok", "2001:4860:4860::8888 is dns.google");
    // It knows no root zone.
    found.has("dnssec", "ok", "unknown whether");
    found.has(
        "mute-domain",
        "ok",
        "1 server(s) x 1 attempts x 500ms = 500ms",
    );
}

/// A port that swallows every question. Kept open as long as the test runs.
fn mute_server() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a port")
}

fn one_dead_server(fixture: &Fixture) {
    let mute = mute_server();
    let address = mute.local_addr().expect("an address");
    let yaml = format!("{LISTEN}dns: {{servers: [\"{address}\", \"{{dns}}\"], timeout: 200ms}}\n");
    let found = fixture.examine(&yaml, &NO_MTA, "");
    found.has(
        "dns-servers",
        "warning",
        &format!("{address} does not answer: timeout"),
    );
    found.has("dns-servers", "ok", "answers in");
}

fn no_server(fixture: &Fixture) {
    let mute = mute_server();
    let address = mute.local_addr().expect("an address");
    let yaml = format!("{LISTEN}dns: {{servers: [\"{address}\"], timeout: 200ms}}\n");
    let arguments = [NO_MTA.as_slice(), &["--dns"]].concat();
    let found = fixture.examine(&yaml, &arguments, "");
    found.has(
        "dns-servers",
        "problem",
        &format!("{address} does not answer: timeout"),
    );
    found.has("domains", "warning", "domains were not checked");
}

fn a_server_that_refuses(_: &Fixture) {
    let names = [
        "example.com",
        "example.net",
        "example.org",
        "iana.org",
        "ietf.org",
    ];
    let zone: String = names
        .iter()
        .map(|name| format!("{name} REFUSED\n"))
        .collect();
    let fixture = Fixture::start_with(&zone);
    let found = fixture.examine(LISTEN, &NO_MTA, "");
    found.has("dns-servers", "problem", "does not answer: REFUSED");
}

fn refused_edns(_: &Fixture) {
    let fixture = Fixture::start();
    fixture.dns.refuse_edns(ResponseCode::BADVERS);
    let found = fixture.examine(LISTEN, &NO_MTA, "");
    found.has(
        "dns-servers",
        "warning",
        "but refuses EDNS: it is queried without",
    );
}

fn a_dns64_server(_: &Fixture) {
    let fixture = Fixture::start_with(
        "ipv4only.arpa AAAA 64:ff9b::c000:aa\nipv4only.arpa AAAA 64:ff9b::c000:ab\n",
    );
    let found = fixture.examine(LISTEN, &NO_MTA, "");
    found.has(
        "translation",
        "warning",
        "AAAA records for ipv4only.arpa (DNS64): there is a translator with the prefix 64:ff9b::/96",
    );
    let yaml = format!("{LISTEN}ipv4_prefixes: [\"64:ff9b::/96\"]\n");
    let found = fixture.examine(&yaml, &NO_MTA, "");
    found.has("translation", "ok", "64:ff9b::/96 is in ipv4_prefixes");

    let fixture = Fixture::start_with(
        "ipv4only.arpa AAAA 2001:db8:122:344:c0:0:aa00:0\n\
         ipv4only.arpa AAAA 2001:db8:122:344:c0:0:ab00:0\n",
    );
    let found = fixture.examine(LISTEN, &NO_MTA, "");
    found.has("translation", "warning", "the prefix 2001:db8:122:344::/64");

    let fixture = Fixture::start_with("ipv4only.arpa A 192.0.0.170\n");
    let found = fixture.examine(LISTEN, &NO_MTA, "");
    found.has("translation", "ok", "no NAT64 found");
    let fixture = Fixture::start_with("ipv4only.arpa SERVFAIL\n");
    let found = fixture.examine(LISTEN, &NO_MTA, "");
    found.has(
        "translation",
        "ok",
        "unknown whether there is a NAT64: ipv4only.arpa: SERVFAIL",
    );
}

fn kept_back(_: &Fixture) {
    let fixture = Fixture::start_with("dns.google AAAA 2001:4860:4860::8888\n");
    let found = fixture.examine(LISTEN, &NO_MTA, "");
    found.has(
        "reverse-dns",
        "problem",
        "dns.google resolves to 2001:4860:4860::8888, whose",
    );
}

fn a_mute_domain(fixture: &Fixture) {
    let arguments = [NO_MTA.as_slice(), &["--mute", "mute.example"]].concat();
    let found = fixture.examine(LISTEN, &arguments, "");
    found.has(
        "mute-domain",
        "ok",
        "mail from mute.example is deferred after",
    );
    let arguments = [NO_MTA.as_slice(), &["--mute", "four.example"]].concat();
    let found = fixture.examine(LISTEN, &arguments, "");
    found.has(
        "mute-domain",
        "ok",
        "the servers of four.example are responsive",
    );
}

fn too_many_servers(fixture: &Fixture) {
    let mute = mute_server();
    let address = mute.local_addr().expect("an address");
    let yaml = format!(
        "{LISTEN}dns: {{servers: [\"{{dns}}\", \"{address}\"], timeout: 600ms}}\nlimits: {{stage_timeout: 1s}}\n"
    );
    let found = fixture.examine(&yaml, &NO_MTA, "");
    found.has(
        "mute-domain",
        "warning",
        "the last server may never be queried",
    );
}

const OPTED_IN: &str = "listen: inet:127.0.0.1:{port}\n\
     opt_in: {domains: [both.example, four.example, null.example, gone.example, halfway.example]}\n";

fn both_mismatches(fixture: &Fixture) {
    let list = "# ours\nitself.example\nnull.example\nbroken.example # a comment\nBOTH.example.\nlocalhost\n";
    let arguments = [NO_MTA.as_slice(), &["--domains", "-"]].concat();
    let found = fixture.examine(OPTED_IN, &arguments, list);
    let table = [
        (
            "problem",
            "itself.example has not opted in, but its MX itself.example (2001:db8::26)",
        ),
        (
            "warning",
            "four.example has opted in, but none of its MX (mx4.both.example)",
        ),
        (
            "warning",
            "null.example has opted in, but it accepts no mail (null MX)",
        ),
        (
            "warning",
            "gone.example has opted in, but it does not exist in the DNS",
        ),
        (
            "warning",
            "broken.example can't be checked now: MX: SERVFAIL",
        ),
        (
            "warning",
            "halfway.example can't be checked now: AAAA of gone.halfway.example",
        ),
        ("ok", "7 domain(s) checked, 6 finding(s)"),
    ];
    for (level, words) in table {
        found.has("domains", level, words);
    }
}

fn exchangers_of_opt_in(fixture: &Fixture) {
    let yaml = "listen: inet:127.0.0.1:{port}\n\
        opt_in: {mx: {hosts: [mx.both.example, mx4.both.example, .mx6.example]}}\n";
    let arguments = [NO_MTA.as_slice(), &["--domains", "-"]].concat();
    let found = fixture.examine(yaml, &arguments, "both.example\nfour.example\n");
    let table = [
        ("opt-in", "ok", "mx: mx.both.example has 2001:db8::25"),
        (
            "opt-in",
            "warning",
            "mx: mx4.both.example has NODATA: domains that opt in by this host",
        ),
        // Both have opted in, each by an exchanger of its own.
        (
            "domains",
            "warning",
            "four.example has opted in, but none of its MX (mx4.both.example)",
        ),
        ("domains", "ok", "2 domain(s) checked, 1 finding(s)"),
    ];
    for (check, level, words) in table {
        found.has(check, level, words);
    }
}

fn milder_mismatches(fixture: &Fixture) {
    let arguments = [NO_MTA.as_slice(), &["--domains", "-"]].concat();
    let table = [
        (
            "replies: {not_opted_in: \"450 4.2.1 not yet over IPv6\"}\n",
            "is delayed until it arrives over IPv4",
        ),
        ("observe_domains: itself.example\n", "once this is enforced"),
        (
            "mode: observe\n",
            "once this is enforced, legitimate mail to it is refused",
        ),
    ];
    for (setting, words) in table {
        let found = fixture.examine(
            &format!("{LISTEN}{setting}"),
            &arguments,
            "itself.example\n",
        );
        found.has("domains", "warning", words);
    }
}

fn no_list(_: &Fixture) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["doctor", "-c", "/dev/null", "--domains", "/nonexistent"])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(66), "{output:?}");
}

fn drifting_host_names(_: &Fixture) {
    let fixture = Fixture::start_with(
        "example.com A 192.0.2.1\n\
         contoso.com MX 10 contoso-com.mx.example.net\n\
         contoso-com.mx.example.net A 192.0.2.25\n\
         fabrikam.com MX 10 fabrikam-com.mx.example.net\n\
         fabrikam-com.mx.example.net A 192.0.2.25\n\
         fabrikam-com.mx.example.net AAAA 2001:db8::25\n\
         pending.example MX 10 pending-example.mx.example.net\n\
         pending-example.mx.example.net A 192.0.2.25\n\
         right.example MX 10 right-example.mx.example.net\n\
         right-example.mx.example.net AAAA 2001:db8::25\n\
         new.example MX 10 mx.elsewhere.example\n\
         mx.elsewhere.example A 192.0.2.99\n",
    );
    let folder = fixture.folder();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("a file");
        file.display().to_string()
    };
    let managed = file(
        "managed.list",
        "contoso.com\n!fabrikam.com\npending.example\nright.example\n",
    );
    file("managed.list.pending", "pending.example deny -\n");
    let domains = file("domains", "new.example\n");
    let yaml = format!(
        "listen: inet:127.0.0.1:{{port}}\nopt_in:\n  managed_file: {managed}\n  mx_zone: {{suffix: mx.example.net, a: \
         192.0.2.25, aaaa: \"2001:db8::25\", domains: {domains}}}\n"
    );
    let arguments = [NO_MTA.as_slice(), &["--dns"]].concat();
    let found = fixture.examine(&yaml, &arguments, "");
    for (level, words) in [
        (
            "problem",
            "fabrikam.com has not opted in, but its host name fabrikam-com.mx.example.net has an \
             AAAA record",
        ),
        (
            "warning",
            "contoso.com has opted in, but its host name contoso-com.mx.example.net has no AAAA \
             record",
        ),
        (
            "warning",
            "1 domain(s) have no host name below mx.example.net, for example new.example \
             (new-example.mx.example.net)",
        ),
        // Nothing is said twice, and what is in progress is not wrong.
        ("ok", "5 domain(s) checked, 3 finding(s)"),
    ] {
        found.has("domains", level, words);
    }
}
