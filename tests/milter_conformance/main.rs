//! Tests that sixgate serves any MTA that speaks the milter protocol, whatever it offers. See
//! README.md.

// Modules of one test share what they have.
#![allow(unreachable_pub)]

#[path = "../e2e/signer.rs"]
#[allow(dead_code, reason = "the dialogues use more of it")]
mod signer;
#[path = "../support/mod.rs"]
mod support;

mod any_milter;
mod fixture;
mod foreign;
mod mail;
mod masks;

use fixture::{Fixture, Outcome, deliver};
use mail::Want;
use masks::{ADD_HEADER, MASKS, Mask};
use support::milter::{Command, MilterClient, Modification, Options, Reply};

#[test]
fn no_mask_makes_a_wrong_pass_or_a_wrong_fail() {
    let fixture = Fixture::new("");
    for mask in MASKS {
        for mail in fixture.mails() {
            let context = format!("{}, {}", mask.name, mail.name);
            let Outcome { reply, edits } = deliver(&fixture, &mask, mail);
            match (mail.want(&mask), reply) {
                (Want::Pass(words), Reply::Continue) => {
                    let inserted = edits.iter().find_map(|edit| match edit {
                        Modification::InsertHeader { value, .. } => Some(value),
                        _ => None,
                    });
                    assert!(
                        inserted.is_some_and(|v| v.contains(words)),
                        "{context}: {edits:?}"
                    );
                    let removed = edits.iter().filter(|edit| is_removal(edit)).count();
                    let want = usize::from(mail.is_forged && mask.changes_headers());
                    assert_eq!(removed, want, "{context}: {edits:?}");
                }
                (Want::Refused(words), Reply::Smtp(text)) => {
                    assert!(text.starts_with(words), "{context}: {text}");
                }
                (want, reply) => panic!("{context}: {reply:?} instead of {want:?}"),
            }
        }
    }
}

fn is_removal(edit: &Modification) -> bool {
    matches!(edit, Modification::ChangeHeader { value, .. } if value.is_empty())
}

#[test]
fn a_message_that_can_not_be_verified_is_not_accepted_as_a_dns_failure() {
    let fixture = Fixture::new("on_dns_failure: accept");
    for mask in MASKS {
        for mail in fixture.mails() {
            let reply = deliver(&fixture, &mask, mail).reply;
            let is_pass = matches!(mail.want(&mask), Want::Pass(_));
            assert_eq!(
                reply == Reply::Continue,
                is_pass,
                "{}, {}",
                mask.name,
                mail.name
            );
        }
    }
}

#[test]
fn a_whole_message_as_the_body_is_logged() {
    let fixture = Fixture::new("");
    let mask = named("stalwart");
    let mail = fixture.mail("relaxed");
    deliver(&fixture, &mask, mail);
    let log = fixture.daemon.log();
    log.wait_for(&["the whole message, with its header, as the body"]);
    log.wait_for(&["rule=auth-temperror", "dkim=temperror"]);
}

/// An MTA that has no header for us at all, so that not even a signature is seen.
#[test]
fn a_header_that_comes_in_the_body_alone_is_noticed() {
    let fixture = Fixture::new("");
    for (text, want) in [
        ("DKIM-Signature: x\r\n\r\ny", "451 "),
        ("Hello\r\n: x", "450 "),
    ] {
        let mut mta = fixture.mta_with_recipient(&named("stalwart"), "<a@bad.example>");
        assert_eq!(mta.eoh(), Reply::Continue);
        assert_eq!(mta.body(text.as_bytes()), Reply::Continue);
        let reply = mta.eom().reply;
        assert!(
            matches!(&reply, Reply::Smtp(t) if t.starts_with(want)),
            "{reply:?}"
        );
    }
}

#[test]
fn forged_fields_that_would_stay_are_a_reason_to_refuse_if_strict() {
    let fixture =
        Fixture::new("authentication_results: {authserv_id: mx.contoso.com, strict: yes}");
    for mask in MASKS {
        let reply = deliver(&fixture, &mask, fixture.mail("forged results")).reply;
        match reply {
            Reply::Continue => assert!(mask.changes_headers(), "{}", mask.name),
            Reply::Smtp(text) => {
                assert!(text.starts_with("451 4.4.3 "), "{text}");
                assert!(!mask.changes_headers() || mask.is_stalwart, "{}", mask.name);
            }
            reply => panic!("{}: {reply:?}", mask.name),
        }
    }
    fixture
        .daemon
        .log()
        .wait_for(&["WARN", "authentication_results.strict"]);
}

#[test]
fn without_results_to_add_no_action_is_needed() {
    let fixture = Fixture::new("authentication_results: {add: no}");
    let mask = Mask {
        offer: Options {
            version: 2,
            actions: 0,
            protocol: 0,
        },
        ..named("version 2")
    };
    let Outcome { reply, edits } = deliver(&fixture, &mask, fixture.mail("forged results"));
    assert_eq!((reply, edits), (Reply::Continue, Vec::new()));
}

#[test]
fn an_offer_that_is_of_no_use_is_refused_with_a_reason() {
    let fixture = Fixture::new("");
    let table = [
        // version, actions, words of the reason
        (1, 0x1ff, "milter protocol 2 to 6 (it offers 1)"),
        (6, 0x1fe, "adding header fields (SMFIF_ADDHDRS)"),
        (0, 0, "(it offers 0), and adding header fields"),
    ];
    for (version, actions, words) in table {
        let offer = Options {
            version,
            actions,
            protocol: 0x001f_ffff,
        };
        assert!(MilterClient::open_with(&fixture.daemon.address(), offer).is_none());
        let log = fixture.daemon.log();
        log.wait_for(&["WARN", "the MTA does not offer what sixgate needs", words]);
    }
}

#[test]
fn what_was_negotiated_is_logged_once_for_each_outcome() {
    let fixture = Fixture::new("");
    for _ in 0..3 {
        for mask in MASKS {
            MilterClient::open_with(&fixture.daemon.address(), mask.offer).expect(mask.name);
        }
    }
    let log = fixture.daemon.log();
    log.wait_for(&["negotiated milter protocol 4"]);
    let text = log.text();
    let lines = |words: &str| text.lines().filter(|line| line.contains(words)).count();
    assert_eq!(lines("with all that sixgate uses"), 1, "{text}");
    // Versions 2 with all bits and with its own come to the same, but for the actions.
    assert_eq!(lines("milter protocol 2, and does not offer"), 1, "{text}");
    assert_eq!(
        lines("negotiated milter protocol"),
        MASKS.len() - 1,
        "{text}"
    );
}

/// Most MTAs send nothing more then. Stalwart and others go on.
#[test]
fn an_mta_that_goes_on_after_an_acceptance_is_let_go_on() {
    let fixture = Fixture::new("");
    for mask in MASKS {
        let mut mta = fixture.mta(&mask);
        assert_eq!(mta.connect("x", b'4', "192.0.2.1", 25), Reply::Accept);
        assert_eq!(mta.helo("x"), Reply::Continue);
        for _ in 0..2 {
            assert_eq!(mta.mail(&["<a@bad.example>"]), Reply::Continue);
            assert_goes_on(&mut mta);
        }
        assert!(mta.quit(), "{}", mask.name);

        let mut mta = fixture.mta_with_client(&mask);
        mta.macros(Command::Mail, &[("{auth_authen}", "alice")]);
        assert_eq!(mta.mail(&["<a@bad.example>"]), Reply::Accept);
        assert_goes_on(&mut mta);
        // The next mail transaction is not exempt by that, however it begins.
        let next = |mta: &mut MilterClient| mta.rcpt(&["<b@other.example>"]);
        assert!(matches!(next(&mut mta), Reply::Smtp(_)), "{}", mask.name);
        assert_eq!(mta.mail(&["<a@bad.example>"]), Reply::Continue);
        assert!(matches!(next(&mut mta), Reply::Smtp(_)), "{}", mask.name);
        mta.macros(Command::Mail, &[("{auth_authen}", "alice")]);
        assert_eq!(mta.mail(&["<a@bad.example>"]), Reply::Accept);
        mta.abort();
        assert!(matches!(next(&mut mta), Reply::Smtp(_)), "{}", mask.name);
    }
}

fn assert_goes_on(mta: &mut MilterClient) {
    assert_eq!(mta.rcpt(&["<b@other.example>"]), Reply::Continue);
    let end = mta.message(b"From: x\r\n\r\nbody\r\n", 3);
    assert_eq!(
        (end.reply, end.modifications),
        (Reply::Continue, Vec::new())
    );
}

#[test]
fn without_macros_nobody_is_exempt_and_there_is_no_queue_id() {
    let fixture = Fixture::new("exempt: {tls: any}");
    let mail = fixture.mail("relaxed");
    assert_eq!(
        deliver(&fixture, &named("maddy"), mail).reply,
        Reply::Continue
    );
    fixture
        .daemon
        .log()
        .wait_for(&["NOQUEUE: accept", "rule=dkim-pass"]);
    let negotiated = fixture.mta(&named("maddy")).negotiated().clone();
    assert_eq!(negotiated.options.actions, ADD_HEADER);
    assert_eq!(negotiated.options.protocol, 0);
    assert!(negotiated.macros.is_empty());
}

fn named(name: &str) -> Mask {
    *MASKS.iter().find(|mask| mask.name == name).expect("a mask")
}
