//! Mail to a domain, as far as its opt-in decides about it.

use super::{
    daemon::Daemon,
    milter::{MilterClient, Reply},
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// What a client over IPv6 is told at RCPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptIn {
    /// The recipient is accepted: the domain opted in.
    Yes,
    /// Rule 6.
    No,
    /// Rule 7.
    InDoubt,
}

/// The client of all mail, which needs a PTR record.
pub const CLIENT: &str = "2001:db8:1::10";

/// Sends mail for a domain up to RCPT; says what comes of it and how long RCPT
/// took.
#[track_caller]
pub fn ask(daemon: &Daemon, domain: &str) -> (OptIn, Duration) {
    let client = SocketAddr::new(CLIENT.parse().expect("an address"), 25252);
    let mut mta = MilterClient::open(&daemon.address());
    assert_eq!(mta.connect_from("[x]", client), Reply::Continue);
    assert_eq!(mta.helo("mail.good.example"), Reply::Continue);
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    let start = Instant::now();
    let reply = mta.rcpt(&[&format!("<b@{domain}>")]);
    (read(domain, &reply), start.elapsed())
}

/// What comes of mail for a domain.
#[track_caller]
pub fn opt_in(daemon: &Daemon, domain: &str) -> OptIn {
    ask(daemon, domain).0
}

fn read(domain: &str, reply: &Reply) -> OptIn {
    match reply {
        Reply::Continue => OptIn::Yes,
        Reply::Smtp(text) if text.starts_with("550 5.2.1 ") => OptIn::No,
        Reply::Smtp(text) if text.starts_with("451 4.4.3 ") => OptIn::InDoubt,
        other => panic!("{domain}: {other:?}"),
    }
}
