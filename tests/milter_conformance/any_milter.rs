//! Requirements of the milter protocol on any milter, whatever it decides. `MILTER_SOCKET`
//! names one that is not sixgate: `unix:/path` or `inet:address:port`.

use crate::{
    fixture::Fixture,
    masks::{ADD_HEADER, CHANGE_HEADER, MASKS, Mask},
    support::milter::{Address, EndOfMessage, MilterClient, Modification, Reply, protocol},
};
use std::env;

#[test]
fn a_milter_keeps_to_what_it_was_offered() {
    let fixture = match env::var("MILTER_SOCKET") {
        Ok(_) => None,
        Err(_) => Some(Fixture::new("")),
    };
    let address = match &fixture {
        Some(fixture) => fixture.daemon.address(),
        None => named(&env::var("MILTER_SOCKET").expect("a variable that was there")),
    };
    let mut served = 0;
    for mask in MASKS {
        let Some(mta) = MilterClient::open_with(&address, mask.offer) else {
            println!("{}: the milter does not take the offer", mask.name);
            continue;
        };
        served += 1;
        let outcome = converse(mta, &mask);
        println!("{}: {outcome}", mask.name);
    }
    assert!(served > 0, "no offer is taken");
    assert!(
        fixture.is_none() || served == MASKS.len(),
        "{served} served"
    );
}

fn named(socket: &str) -> Address {
    match socket.split_once(':') {
        Some(("unix" | "local", path)) => Address::Unix(path.into()),
        Some(("inet", address)) => Address::Tcp(address.parse().expect("address:port")),
        _ => panic!("MILTER_SOCKET: {socket} is neither unix:/path nor inet:address:port"),
    }
}

/// Two messages on one connection. The client itself fails when a reply does not come,
/// or an edit comes early.
fn converse(mut mta: MilterClient, mask: &Mask) -> String {
    let agreed = mta.negotiated().options;
    let offered = mask.offer;
    let name = mask.name;
    assert!(agreed.version <= offered.version, "{name}: {agreed:?}");
    assert_eq!(agreed.actions & !offered.actions, 0, "{name}: {agreed:?}");
    assert_eq!(agreed.protocol & !offered.protocol, 0, "{name}: {agreed:?}");

    let mut outcomes = Vec::new();
    match mta.connect("[x]", b'6', "2001:db8:1::10", 25252) {
        Reply::Continue => {}
        Reply::Accept | Reply::Reject | Reply::Tempfail | Reply::Smtp(_) => {
            return "the connection is decided about".to_owned();
        }
        reply => panic!("{name}: {reply:?} to CONNECT"),
    }
    check(&mta.helo("mail.good.example"), name);
    for _ in 0..2 {
        let reply = mta.mail(&["<a@bad.example>"]);
        check(&reply, name);
        let reply = mta.rcpt(&["<b@contoso.com>"]);
        check(&reply, name);
        let text = [
            b"From: a@bad.example\r\nSubject: a\r\n b\r\n\r\n".as_slice(),
            &[b'x'; 70_000],
        ]
        .concat();
        let end = mta.message(&text, 60_000);
        check_end(&end, agreed.actions, agreed.protocol, name);
        outcomes.push(format!("{:?}", end.reply));
        mta.abort();
    }
    assert!(mta.quit(), "{name}: the connection stays open after QUIT");
    outcomes.join(", ")
}

fn check(reply: &Reply, name: &str) {
    let is_decision = !matches!(reply, Reply::Skip | Reply::Closed);
    assert!(is_decision, "{name}: {reply:?}");
    if let Reply::Smtp(text) = reply {
        assert!(text.starts_with(['4', '5']), "{name}: {text}");
    }
}

fn check_end(end: &EndOfMessage, actions: u32, protocol: u32, name: &str) {
    let may_skip = protocol & protocol::SKIP != 0;
    assert!(
        end.reply != Reply::Skip || may_skip,
        "{name}: a body is skipped"
    );
    check(&end.reply, name);
    for edit in &end.modifications {
        let needed = match edit {
            Modification::AddHeader { .. } | Modification::InsertHeader { .. } => ADD_HEADER,
            Modification::ChangeHeader { .. } => CHANGE_HEADER,
            Modification::ReplaceBody(_) => 0x02,
            Modification::AddRecipient(_) => 0x04 | 0x80,
            Modification::DeleteRecipient(_) => 0x08,
            Modification::Quarantine(_) => 0x20,
            Modification::ChangeSender(_) => 0x40,
        };
        assert!(actions & needed != 0, "{name}: {edit:?} was not agreed on");
    }
}
