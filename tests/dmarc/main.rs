//! Compares the verdicts of OpenDMARC behind sixgate with those behind OpenDKIM and
//! pyspf-milter, on a real Postfix and a real Sendmail, and has other programs parse
//! sixgate's Authentication-Results fields.
//!
//! Everything runs in its own namespace (`tests/e2e/namespace.rs`). Each message is sent twice
//! to each mail server: to a port with sixgate and OpenDMARC, and to one with the milters that
//! sixgate replaces and OpenDMARC. `tests/extended.sh` installs what this needs.

// `pub` marks what is meant for other modules of this binary.
#![allow(unreachable_pub)]

#[path = "../e2e/client.rs"]
#[allow(dead_code, unreachable_pub, reason = "the dialogues use more of it")]
mod client;
mod mail;
#[path = "../e2e/namespace.rs"]
#[allow(dead_code, unreachable_pub, reason = "the dialogues use more of it")]
mod namespace;
mod readers;
mod servers;
#[path = "../e2e/signer.rs"]
#[allow(dead_code, unreachable_pub, reason = "the dialogues use more of it")]
mod signer;
#[path = "../e2e/sink.rs"]
#[allow(dead_code, unreachable_pub, reason = "the dialogues use more of it")]
mod sink;
#[path = "../support/mod.rs"]
mod support;

use client::{Security, SmtpClient};
use mail::{Keys, Mail, Verdict};
use servers::{Milters, MtaPorts};
use sink::Sink;
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::ExitCode,
    thread,
};
use support::{
    daemon::Daemon,
    dns::{DnsServer, Zone},
};

/// Where the mail servers are.
const SERVER: [IpAddr; 2] = [
    IpAddr::V6(std::net::Ipv6Addr::new(
        0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x2525,
    )),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 25)),
];

#[test]
#[ignore = "needs OpenDMARC and the milters that sixgate replaces: tests/extended.sh"]
fn opendmarc_says_the_same_behind_sixgate_as_behind_the_milters_that_it_replaces() {
    if !namespace::is_inside() {
        assert_eq!(namespace::obstacle(), None);
        assert_eq!(servers::obstacle(), None);
        let inside = namespace::run_this_program_inside().expect("a namespace");
        assert_eq!(
            inside,
            ExitCode::SUCCESS,
            "the test inside the namespace has failed"
        );
        return;
    }
    namespace::prepare().expect("the namespace can be prepared");
    let keys = Keys::generate();
    let zone = Zone::parse(&mail::zone(&keys)).expect("a zone");
    let _dns = DnsServer::start_at(zone, ([127, 0, 0, 1], 53).into()).expect("a DNS server");
    let scratch = Path::new(namespace::SCRATCH);
    let sixgate = Daemon::start(
        "mode: observe\nsocket_mode: \"0666\"\nopt_in: {default: yes}\n\
         dns: {timeout: 1s, attempts: 1}\n\
         authentication_results: {complete: yes, families: all}\n",
    );
    let milters = Milters::start(scratch, &sixgate.socket()).expect("the milters start");
    let sink = Sink::start().expect("a sink");
    let mtas = [
        MtaPorts::start_postfix(&scratch.join("postfix"), &milters, sink.address()),
        MtaPorts::start_sendmail(&scratch.join("sendmail"), &milters, sink.address()),
    ]
    .map(|started| started.expect("the mail server starts"));

    let mails = mail::all(&keys);
    assert!(mails.len() >= 60, "{} messages", mails.len());
    let sent: Vec<(usize, &MtaPorts)> = (0..mails.len())
        .flat_map(|number| mtas.iter().map(move |mta| (number, mta)))
        .collect();
    let queue = std::sync::Mutex::new(sent.iter());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").next();
                    let Some((number, mta)) = next else { break };
                    for (milters, port) in mta.ports() {
                        let token = token(mta, milters, *number);
                        send(&mails[*number], port, &token);
                    }
                }
            });
        }
    });

    let mut differences = Vec::new();
    let mut fields = Vec::new();
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    for (number, mta) in sent {
        let mail = &mails[number];
        let [ours, theirs] = mta.ports().map(|(milters, _)| {
            let token = token(mta, milters, number);
            let arrived = sink.wait_for(&token, 1);
            let [delivery] = arrived.as_slice() else {
                panic!("{}: {token} arrived {} times", mail.name, arrived.len());
            };
            results(&delivery.fields())
        });
        let label = format!("{} / {}", mta.name, mail.name);
        let [we, they] = [&ours, &theirs].map(|fields| verdict(fields));
        *verdicts.entry(we.0.clone()).or_default() += 1;
        let want = Verdict::of(mail);
        if we.0 != want.behind_sixgate || they.0 != want.behind_the_others {
            differences.push(format!(
                "{label}: behind sixgate {we:?}, behind the others {they:?}, and not {want:?}\n  \
                 {ours:?}\n  {theirs:?}"
            ));
        }
        // The policy and what would be done about it, too.
        if want.is_same() && we != they {
            differences.push(format!("{label}: {we:?} and {they:?}"));
        }
        fields.extend(ours.into_iter().filter(|field| !field.contains("dmarc=")));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    println!(
        "{} messages on each of 2 mail servers, verdicts behind sixgate: {verdicts:?}",
        mails.len()
    );
    assert!(verdicts.len() >= 3, "{verdicts:?}");
    fs::write(scratch.join("fields"), fields.join("\0")).expect("the fields");
    readers::compare(&fields);
    drop(sixgate);
}

fn token(mta: &MtaPorts, milters: &str, number: usize) -> String {
    format!("<{}.{milters}.{number}.end@token.example>", mta.name)
}

/// Sends a message with that Message-ID, which no signature covers.
fn send(mail: &Mail, port: u16, token: &str) {
    let server = SERVER
        .iter()
        .find(|ip| ip.is_ipv4() == mail.client.is_ipv4());
    let address = SocketAddr::new(*server.expect("an address"), port);
    let mut client =
        SmtpClient::connect(mail.client, address, &Security::Plain).expect("a connection");
    let mut expect = |said: Option<&str>, code: &str| {
        if let Some(said) = said {
            client
                .send(format!("{said}\r\n").as_bytes())
                .expect("it is sent");
        }
        let reply = client.reply().expect("a reply");
        assert!(reply.starts_with(code), "{}: {said:?}: {reply}", mail.name);
    };
    expect(None, "220");
    expect(Some(&format!("EHLO {}", mail.helo)), "250");
    expect(Some(&format!("MAIL FROM:{}", mail.from)), "250");
    expect(Some("RCPT TO:<b@contoso.example>"), "250");
    expect(Some("DATA"), "354");
    let message = format!("Message-ID: {token}\r\n{}\r\n.", mail.message.trim_end());
    expect(Some(&message), "250");
    expect(Some("QUIT"), "221");
}

/// The values of the Authentication-Results fields of our authserv-id, from the top.
fn results(fields: &[String]) -> Vec<String> {
    let is_ours = |value: &&str| value.trim_start().starts_with("mx.sixgate.test;");
    fields
        .iter()
        .filter_map(|field| {
            let (name, value) = field.split_once(':')?;
            name.eq_ignore_ascii_case("Authentication-Results")
                .then_some(value)
        })
        .filter(is_ours)
        .map(|value| value.trim().to_owned())
        .collect()
}

/// OpenDMARC's result, and all that it says besides.
fn verdict(fields: &[String]) -> (String, String) {
    let of_dmarc = fields.iter().find_map(|field| {
        let (_, verdict) = field.split_once("dmarc=")?;
        Some(verdict.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    match of_dmarc {
        Some(all) => {
            let result = all.split(' ').next().unwrap_or_default().to_owned();
            (result, all)
        }
        None => ("absent".to_owned(), String::new()),
    }
}
