//! Dialogues between an MTA and the real daemon over the milter protocol, with a
//! real DNS server behind it.

mod support;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    net::{IpAddr, SocketAddr},
    os::{fd::OwnedFd, unix::net::UnixListener},
    time::{Duration, Instant},
};
use support::{
    daemon::Daemon,
    dns::{DnsServer, Zone},
    milter::{Address, Command, MacroStage, MilterClient, Modification, Reply, frame},
};

const ZONE: &str = r#"
2001:db8:1::10            PTR    mail.good.example
mail.good.example         AAAA   2001:db8:1::10
2001:db8:1::50            PTR    mail.good.example
2001:db8:1::60            SERVFAIL
2001:db8:1::61            SILENCE
good.example              TXT    "v=spf1 ip6:2001:db8:1::/64 -all"
mail.good.example         TXT    "v=spf1 ip6:2001:db8:1::10 -all"
bad.example               TXT    "v=spf1 -all"
percent.example           TXT    "v=spf1 -all"
broken.example            SERVFAIL
mute.example              SILENCE
"#;

const NOT_OPTED_IN: &str =
    "550 5.2.1 Service unavailable, [other.example] does not accept email over IPv6.";
const NO_PTR: &str = "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::20] must \
                      have reverse DNS record.";
const UNAUTHENTICATED: &str = "450 4.7.26 Service unavailable, message sent over IPv6 \
                               [2001:db8:1::10] must pass either SPF or DKIM validation.";
const TEMPORARY: &str = "451 4.4.3 Service unavailable, temporary failure, please try again later.";

/// The daemon with the DNS that it asks.
struct Fixture {
    daemon: Daemon,
    dns: DnsServer,
}

impl Fixture {
    fn new(config: &str) -> Self {
        let dns = DnsServer::start(Zone::parse(ZONE).expect("a zone"));
        let daemon = Daemon::start(&format!(
            "dns: {{servers: [{}], timeout: 200ms, attempts: 1}}\n\
             opt_in: {{domains: [contoso.com, second.example]}}\n{config}",
            dns.address()
        ));
        Self { daemon, dns }
    }

    fn mta(&self) -> MilterClient {
        MilterClient::open(&self.daemon.address())
    }

    /// An MTA whose client has connected and said HELO.
    fn mta_with_client(&self, ip: &str) -> MilterClient {
        let mut mta = self.mta();
        mta.macros(Command::Connect, &[("j", "mx.contoso.com")]);
        assert_eq!(mta.connect_from("[x]", client(ip)), Reply::Continue);
        assert_eq!(mta.helo("mail.good.example"), Reply::Continue);
        mta
    }

    /// Waits until the DNS server got `at_least` queries about a name, and returns how many it
    /// got: the daemon may end a message before some of its queries are sent.
    fn questions_about(&self, name: &str, at_least: usize) -> usize {
        let about = |questions: &[(String, String)]| {
            let about = questions.iter().filter(|(asked, _)| asked.contains(name));
            about.count()
        };
        self.dns
            .wait_for_questions(|questions| about(questions) >= at_least);
        about(&self.dns.questions())
    }
}

fn client(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), 25252)
}

fn smtp(reply: &str) -> Reply {
    Reply::Smtp(reply.to_owned())
}

const MESSAGE: &[u8] = b"From: a@good.example\r\nSubject: x\r\n\r\nbody\r\n";

#[test]
fn only_clients_over_ipv6_are_looked_at() {
    let fixture = Fixture::new("exempt: {networks: [\"2001:db8:9::/48\"]}");
    let table = [
        // family, address, want
        (b'4', "192.0.2.1", Reply::Accept),
        (b'6', "::ffff:192.0.2.1", Reply::Accept),
        (b'6', "::1", Reply::Accept),
        (b'6', "fe80::1", Reply::Accept),
        (b'6', "2001:db8:9::1", Reply::Accept),
        (b'6', "IPv6:2001:db8:9:0:0:0:0:1", Reply::Accept),
        (b'L', "/run/socket", Reply::Accept),
        (b'U', "", Reply::Accept),
        (b'6', "2001:db8:1::10", Reply::Continue),
        (b'6', "IPv6:2001:db8:1:0:0:0:0:10", Reply::Continue),
    ];
    for (family, address, want) in table {
        let reply = fixture.mta().connect("host", family, address, 25);
        assert_eq!(reply, want, "{address}");
    }
    assert_eq!(fixture.questions_about("1.1.0.0.2.ip6.arpa", 0), 0);
}

#[test]
fn recipients_are_judged_one_by_one() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    let table = [
        ("<b@other.example>", smtp(NOT_OPTED_IN)),
        ("<b@contoso.com>", Reply::Continue),
        ("<b@OTHER.example.>", smtp(NOT_OPTED_IN)),
        ("<@relay.example:B@Contoso.COM.>", Reply::Continue),
        (
            "<b@sub.contoso.com>",
            smtp(
                "550 5.2.1 Service unavailable, [sub.contoso.com] does not accept email over IPv6.",
            ),
        ),
        (
            "<b@[192.0.2.1]>",
            smtp("550 5.2.1 Service unavailable, [192.0.2.1] does not accept email over IPv6."),
        ),
        (
            "<b@bücher.example>",
            smtp(
                "550 5.2.1 Service unavailable, [xn--bcher-kva.example] does not accept email over IPv6.",
            ),
        ),
        (
            "<b@50%.example>",
            smtp("550 5.2.1 Service unavailable, [50%%.example] does not accept email over IPv6."),
        ),
    ];
    for (recipient, want) in table {
        assert_eq!(mta.rcpt(&[recipient]), want, "{recipient}");
    }
    let end = mta.message(MESSAGE, 65535);
    assert_eq!(end.reply, Reply::Continue);
}

#[test]
fn a_bare_recipient_is_completed_by_the_mta_or_with_its_name() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    mta.macros(Command::Rcpt, &[("{rcpt_addr}", "postmaster@contoso.com")]);
    assert_eq!(mta.rcpt(&["<postmaster>"]), Reply::Continue);
    // Sendmail does not, and means the host that it calls {j}.
    mta.macros(Command::Rcpt, &[("{rcpt_addr}", "postmaster")]);
    let refused =
        "550 5.2.1 Service unavailable, [mx.contoso.com] does not accept email over IPv6.";
    assert_eq!(mta.rcpt(&["<postmaster>"]), smtp(refused));
}

#[test]
fn missing_ptr_defers_only_after_opt_in() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::20");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@other.example>"]), smtp(NOT_OPTED_IN));
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), smtp(NO_PTR));
}

#[test]
fn what_dns_does_not_tell_is_a_temporary_failure() {
    let fixture = Fixture::new("");
    let table = [
        // client, sender, recipient's reply, message's reply
        ("2001:db8:1::60", "<a@good.example>", smtp(TEMPORARY), None),
        ("2001:db8:1::61", "<a@good.example>", smtp(TEMPORARY), None),
        (
            "2001:db8:1::10",
            "<a@broken.example>",
            Reply::Continue,
            Some(smtp(TEMPORARY)),
        ),
        (
            "2001:db8:1::10",
            "<a@mute.example>",
            Reply::Continue,
            Some(smtp(TEMPORARY)),
        ),
    ];
    for (ip, sender, want_rcpt, want_message) in table {
        let mut mta = fixture.mta_with_client(ip);
        assert_eq!(mta.mail(&[sender]), Reply::Continue);
        assert_eq!(mta.rcpt(&["<b@contoso.com>"]), want_rcpt, "{ip} {sender}");
        if let Some(want) = want_message {
            assert_eq!(mta.message(MESSAGE, 65535).reply, want, "{ip} {sender}");
        }
    }
}

#[test]
fn with_on_dns_failure_accept_what_dns_does_not_tell_goes_on() {
    let fixture = Fixture::new("on_dns_failure: accept");
    let mut mta = fixture.mta_with_client("2001:db8:1::60");
    assert_eq!(mta.mail(&["<a@broken.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    assert_eq!(mta.message(MESSAGE, 65535).reply, Reply::Continue);
    fixture
        .daemon
        .log()
        .wait_for(&["accept:", "rule=auth-temperror"]);
}

#[test]
fn with_reverse_dns_confirmed_a_name_must_lead_back() {
    let fixture = Fixture::new("reverse_dns: confirmed");
    let refused = "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::50] must have \
                   reverse DNS record.";
    let table = [
        ("2001:db8:1::10", Reply::Continue),
        ("2001:db8:1::50", smtp(refused)),
    ];
    for (ip, want) in table {
        let mut mta = fixture.mta_with_client(ip);
        assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
        assert_eq!(mta.rcpt(&["<b@contoso.com>"]), want, "{ip}");
    }
}

#[test]
fn senders_are_authenticated_by_spf() {
    let fixture = Fixture::new("");
    let table = [
        // sender, want
        ("<a@good.example>", Reply::Continue),
        ("a@good.example", Reply::Continue),
        ("<@route.example:a@good.example>", Reply::Continue),
        ("<>", Reply::Continue),
        ("<a@bad.example>", smtp(UNAUTHENTICATED)),
        ("<a@unknown.example>", smtp(UNAUTHENTICATED)),
        ("<a@[192.0.2.1]>", smtp(UNAUTHENTICATED)),
        ("<postmaster>", smtp(UNAUTHENTICATED)),
    ];
    for (sender, want) in table {
        let mut mta = fixture.mta_with_client("2001:db8:1::10");
        assert_eq!(mta.mail(&[sender]), Reply::Continue);
        assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
        assert_eq!(mta.message(MESSAGE, 65535).reply, want, "{sender}");
    }
}

#[test]
fn spf_starts_behind_the_reply_to_mail() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@bad.example>"]), Reply::Continue);
    assert_eq!(fixture.questions_about("bad.example", 1), 1);
}

#[test]
fn an_mta_that_waits_for_no_reply_gets_the_same_ones() {
    let fixture = Fixture::new("");
    for (sender, want) in [("good", b'c'), ("bad", b'y')] {
        let mut mta = fixture.mta_with_client("2001:db8:1::10");
        let frames = [
            frame(b'M', format!("<a@{sender}.example>\0").as_bytes()),
            frame(b'R', b"<b@contoso.com>\0"),
            frame(b'L', b"From\0 a@good.example\0"),
            frame(b'N', b""),
            frame(b'E', b""),
        ];
        mta.send_bytes(&frames.concat());
        let mut replies = std::iter::from_fn(|| mta.receive_frame()).map(|(letter, _)| letter);
        let replies = [
            replies.next(),
            replies.next(),
            replies.find(|r| b"cy".contains(r)),
        ];
        assert_eq!(replies, [Some(b'c'), Some(b'c'), Some(want)], "{sender}");
    }
}

#[test]
fn the_body_is_not_asked_for_when_spf_has_passed() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    mta.header("From", " a@good.example");
    mta.eoh();
    assert_eq!(mta.body(&[b'x'; 65535]), Reply::Skip);
    assert_eq!(mta.eom().reply, Reply::Continue);
}

#[test]
fn what_the_end_of_headers_comes_to_is_said_at_the_command_that_follows() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    let header = |mta: &mut MilterClient, sender: &str| {
        assert_eq!(mta.mail(&[sender]), Reply::Continue);
        assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
        mta.header("From", " a@bad.example");
        mta.send_frame(b'N', &[]);
    };
    for (command, data) in [(b'B', &b"body"[..]), (b'E', b"")] {
        header(&mut mta, "<a@bad.example>");
        mta.send_frame(command, data);
        let reply = [UNAUTHENTICATED.as_bytes(), b"\0"].concat();
        assert_eq!(mta.receive_frame(), Some((b'y', reply)));
    }
    // It is not said to the next one.
    for has_abort in [true, false] {
        header(&mut mta, "<a@bad.example>");
        if has_abort {
            mta.abort();
        }
        header(&mut mta, "<a@good.example>");
        assert_eq!(mta.body(b"body"), Reply::Skip, "{has_abort}");
        assert_eq!(mta.eom().reply, Reply::Continue);
    }
}

#[test]
fn macros_about_tls_are_asked_for_only_where_tls_can_exempt() {
    let table = [
        ("", false),
        ("exempt: {tls: verified}", true),
        ("exempt: {tls: any}", true),
        ("exempt: {certificates: [mx.partner.example]}", true),
    ];
    let of_tls = [
        "{tls_version}",
        "{verify}",
        "{cert_subject}",
        "{cn_subject}",
    ];
    for (config, want) in table {
        let fixture = Fixture::new(config);
        let mta = fixture.mta();
        let macros = &mta.negotiated().macros;
        for stage in [MacroStage::Helo, MacroStage::Mail] {
            let names = &macros[&stage];
            let asked = of_tls.map(|name| names.iter().any(|asked| asked == name));
            assert_eq!(asked, [want; 4], "{config}: {names:?}");
        }
        let of_mail = &macros[&MacroStage::Mail];
        assert!(of_mail.contains(&"{auth_authen}".to_owned()), "{of_mail:?}");
    }
}

#[test]
fn only_a_verified_certificate_with_a_name_in_the_list_exempts() {
    let named = "exempt: {certificates: [mx.partner.example, \"*.branch.example\"]}";
    let fixture = Fixture::new(named);
    let tls = ("{tls_version}", "TLSv1.3");
    let table: [(&[(&str, &str)], Reply); 16] = [
        // Postfix: the common name of a trusted certificate.
        (
            &[tls, ("{cert_subject}", "mx.partner.example")],
            Reply::Accept,
        ),
        (
            &[tls, ("{cert_subject}", "MX.Partner.example")],
            Reply::Accept,
        ),
        (
            &[tls, ("{cert_subject}", "a.branch.example")],
            Reply::Accept,
        ),
        (
            &[tls, ("{cert_subject}", "a.b.branch.example")],
            Reply::Continue,
        ),
        (
            &[tls, ("{cert_subject}", "branch.example")],
            Reply::Continue,
        ),
        (&[tls, ("{cert_subject}", "other.example")], Reply::Continue),
        (&[tls], Reply::Continue),
        (&[("{cert_subject}", "mx.partner.example")], Reply::Continue),
        // Sendmail: whether it is trusted, the common name and the whole subject.
        (
            &[
                tls,
                ("{verify}", "OK"),
                ("{cn_subject}", "mx.partner.example"),
            ],
            Reply::Accept,
        ),
        (
            &[
                tls,
                ("{verify}", "OK"),
                ("{cn_subject}", "other.example"),
                ("{cert_subject}", "mx.partner.example"),
            ],
            Reply::Continue,
        ),
        (
            &[
                tls,
                ("{verify}", "OK"),
                ("{cert_subject}", "mx.partner.example"),
            ],
            Reply::Continue,
        ),
        (
            &[
                tls,
                ("{verify}", "FAIL"),
                ("{cn_subject}", "mx.partner.example"),
                ("{cert_subject}", "/CN=mx.partner.example"),
            ],
            Reply::Continue,
        ),
        (
            &[
                tls,
                ("{verify}", "ok"),
                ("{cn_subject}", "mx.partner.example"),
            ],
            Reply::Continue,
        ),
        (
            &[
                tls,
                ("{verify}", "NO"),
                ("{cert_subject}", "mx.partner.example"),
            ],
            Reply::Continue,
        ),
        // Sendmail without its verdict.
        (
            &[
                tls,
                ("{cn_subject}", "mx.partner.example"),
                ("{cert_subject}", "mx.partner.example"),
            ],
            Reply::Continue,
        ),
        (&[("j", "mx.contoso.com")], Reply::Continue),
    ];
    let mut mta = fixture.mta_with_client("2001:db8:1::20");
    for (macros, want) in table {
        mta.macros(Command::Mail, macros);
        assert_eq!(mta.mail(&["<a@good.example>"]), want, "{macros:?}");
    }
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), smtp(NO_PTR));
    let line = fixture
        .daemon
        .log()
        .wait_for(&["INFO", "certificate=a.branch.example"]);
    let want = "NOQUEUE: accept: rule=exempt-tls client=unknown[2001:db8:1::20] certificate=";
    assert!(line.contains(want), "{line}");
}

#[test]
fn exempt_transactions_are_accepted_at_mail_and_the_next_one_is_not() {
    let fixture = Fixture::new("exempt: {tls: verified}");
    let table: [(&[(&str, &str)], Reply); 7] = [
        (&[("{auth_authen}", "alice")], Reply::Accept),
        (
            &[("{tls_version}", "TLSv1.3"), ("{verify}", "OK")],
            Reply::Accept,
        ),
        (
            &[("{tls_version}", "TLSv1.3"), ("{cert_subject}", "mail")],
            Reply::Accept,
        ),
        (
            // Sendmail names the subject of a certificate that it does not trust.
            &[
                ("{tls_version}", "TLSv1.3"),
                ("{verify}", "FAIL"),
                ("{cert_subject}", "mail"),
            ],
            Reply::Continue,
        ),
        (&[("{tls_version}", "TLSv1.3")], Reply::Continue),
        (&[("{auth_authen}", "")], Reply::Continue),
        (&[("j", "mx.contoso.com")], Reply::Continue),
    ];
    let mut mta = fixture.mta_with_client("2001:db8:1::20");
    for (macros, want) in table {
        mta.macros(Command::Mail, macros);
        assert_eq!(mta.mail(&["<a@good.example>"]), want, "{macros:?}");
    }
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), smtp(NO_PTR));
}

#[test]
fn our_results_come_first_and_forged_ones_go_from_last_to_first() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    let fields = [
        ("Authentication-Results", " mx.contoso.com; dkim=pass"),
        ("Authentication-Results", " other.example; dkim=pass"),
        (
            "authentication-results",
            "\n\t(x) MX.contoso.com ; spf=pass",
        ),
    ];
    for (name, value) in fields {
        mta.header(name, value);
    }
    mta.eoh();
    let name = || "Authentication-Results".to_owned();
    let remove = |index| Modification::ChangeHeader {
        index,
        name: name(),
        value: String::new(),
    };
    let results = " mx.contoso.com;\n\tiprev=pass policy.iprev=\"2001:db8:1::10\" \
                   (mail.good.example);\n\tspf=pass (ip6:2001:db8:1::/64 matches) \
                   smtp.mailfrom=a@good.example";
    let insert = Modification::InsertHeader {
        index: 0,
        name: name(),
        value: results.to_owned(),
    };
    assert_eq!(mta.eom().modifications, [remove(3), remove(1), insert]);
}

#[test]
fn observe_mode_decides_and_refuses_nothing() {
    let fixture = Fixture::new("mode: observe");
    let mut mta = fixture.mta_with_client("2001:db8:1::20");
    assert_eq!(mta.mail(&["<a@bad.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@other.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    assert_eq!(mta.message(MESSAGE, 65535).reply, Reply::Continue);
    let log = fixture.daemon.log();
    for rule in ["not-opted-in", "no-ptr", "unauthenticated"] {
        log.wait_for(&["reject_warning:", &format!("rule={rule} mode=observe")]);
    }
}

#[test]
fn a_new_mail_transaction_forgets_the_one_before() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    // Sendmail sends no ABORT in between; Postfix sends it after a second HELO.
    for (sender, want) in [
        ("<a@good.example>", Reply::Continue),
        ("<a@bad.example>", smtp(UNAUTHENTICATED)),
        ("<a@good.example>", Reply::Continue),
    ] {
        assert_eq!(mta.mail(&[sender]), Reply::Continue);
        assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
        assert_eq!(mta.message(MESSAGE, 65535).reply, want);
    }
    assert_eq!(mta.mail(&["<a@bad.example>"]), Reply::Continue);
    assert_eq!(mta.helo("mail.good.example"), Reply::Continue);
    mta.abort();
    assert_eq!(mta.mail(&["<>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    assert_eq!(mta.message(MESSAGE, 65535).reply, Reply::Continue);
}

#[test]
fn each_look_up_is_done_once_and_only_if_a_rule_needs_it() {
    let fixture = Fixture::new("authentication_results: {add: false}");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    for _ in 0..5 {
        assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    }
    assert_eq!(mta.message(MESSAGE, 65535).reply, Reply::Continue);
    assert_eq!(fixture.questions_about("0.1.0.0.0", 1), 1);
    assert_eq!(fixture.questions_about("good.example", 2), 2);
}

#[test]
fn an_mta_that_leaves_steps_out_gets_a_temporary_failure() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@bad.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    assert_eq!(mta.eom().reply, smtp(TEMPORARY));
}

#[test]
fn decision_lines_tell_what_decided() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::20");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), smtp(NO_PTR));
    let line = fixture.daemon.log().wait_for(&["rule=no-ptr"]);
    let want = format!(
        "NOQUEUE: reject: RCPT from unknown[2001:db8:1::20]: {NO_PTR}; rule=no-ptr mode=enforce \
         from=<a@good.example> to=<b@contoso.com> helo=<mail.good.example> ptr=none opt_in=domains"
    );
    assert!(line.contains(&want), "{line}");

    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    mta.header("From", " a@good.example");
    mta.eoh();
    mta.macros(Command::EndOfMessage, &[("i", "4F9D195432C")]);
    assert_eq!(mta.eom().reply, Reply::Continue);
    let line = fixture.daemon.log().wait_for(&["rule=spf-pass"]);
    let want = "4F9D195432C: accept: rule=spf-pass mode=enforce client=unknown[2001:db8:1::10] \
                from=<a@good.example> nrcpt=1 rcpt_domains=contoso.com helo=<mail.good.example> \
                ptr=found ptr_names=mail.good.example opt_in=domains spf=pass \
                spf_identity=mailfrom spf_domain=good.example spf_term=ip6:2001:db8:1::/64 \
                dkim=none";
    assert!(line.contains(want), "{line}");
}

#[test]
fn no_peer_can_forge_a_decision_line() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta();
    mta.connect_from("host]: x\n", client("2001:db8:1::20"));
    mta.helo("h>\r\nNOQUEUE: accept: rule=spf-pass");
    mta.mail(&["<a\u{2028}\u{1b}[2J@e.example> x"]);
    mta.rcpt(&["<b@x; rule=spf-pass mode=enforce>"]);
    let line = fixture.daemon.log().wait_for(&["rule=not-opted-in"]);
    assert_eq!(line.matches(" rule=").count(), 1, "{line}");
    assert!(!line.contains('\u{1b}') && line.is_ascii(), "{line}");
    let lines = fixture.daemon.log().lines();
    assert!(!lines.iter().any(|line| line.starts_with("NOQUEUE: accept")));
}

#[test]
fn a_reload_changes_what_new_connections_get_and_a_bad_one_changes_nothing() {
    let fixture = Fixture::new("");
    let file = fixture.daemon.config_file();
    let config = std::fs::read_to_string(&file).expect("the configuration");
    let rcpt = |mta: &mut MilterClient| {
        assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
        mta.rcpt(&["<b@other.example>"])
    };
    let mut before = fixture.mta_with_client("2001:db8:1::10");

    let changed = config.replace("contoso.com,", "contoso.com, other.example,");
    std::fs::write(&file, &changed).expect("the configuration");
    fixture.daemon.reload();
    assert_eq!(rcpt(&mut before), smtp(NOT_OPTED_IN));
    let mut after = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(rcpt(&mut after), Reply::Continue);

    std::fs::write(&file, "mode: on\n").expect("the configuration");
    fixture.daemon.reload();
    fixture.daemon.log().wait_for(&["not reloaded", "mode"]);
    let mut after = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(rcpt(&mut after), Reply::Continue);
}

#[test]
fn an_exemption_does_not_outlive_its_mail_transaction_whatever_the_mta_leaves_out() {
    let fixture = Fixture::new("");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    mta.macros(Command::Mail, &[("{auth_authen}", "alice")]);
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Accept);
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    mta.macros(Command::Mail, &[("{auth_authen}", "alice")]);
    mta.macros(Command::Mail, &[]);
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
}

#[test]
fn what_comes_out_of_order_ends_the_mail_transaction_with_a_temporary_failure() {
    let fixture = Fixture::new("");
    let table: [(&str, &str); 7] = [
        // commands before, and one that does not follow them
        ("", "R"),
        ("", "E"),
        ("M", "NB"),
        ("M", "E"),
        ("MRL", "E"),
        ("MRN", "R"),
        ("MRN", "NB"),
    ];
    for (before, command) in table {
        let mut mta = fixture.mta_with_client("2001:db8:1::10");
        let mut send = |command: char| match command {
            'M' => mta.mail(&["<a@good.example>"]),
            'R' => mta.rcpt(&["<b@contoso.com>"]),
            'L' => mta.header("From", " a@good.example"),
            'N' => mta.eoh(),
            'B' => mta.body(b"x"),
            _ => mta.eom().reply,
        };
        for command in before.chars() {
            assert_eq!(send(command), Reply::Continue, "{before}");
        }
        for command in [command, "NE", "NB", "E"] {
            let reply = command.chars().map(&mut send).last();
            assert_eq!(reply, Some(smtp(TEMPORARY)), "{before} {command}");
        }
        assert_eq!(send('M'), Reply::Continue);
    }
}

/// What MAIL is answered while the daemon drains.
const CLOSING: &str = "421 4.3.2 Service not available, closing transmission channel";

#[test]
fn sigterm_answers_mail_with_421_and_lets_mail_transactions_end() {
    let fixture = Fixture::new("limits: {drain_grace: 1m}");
    let begun = || {
        let mut mta = fixture.mta_with_client("2001:db8:1::10");
        assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
        mta
    };
    let mut accepted = begun();
    assert_eq!(accepted.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    let mut refused = begun();
    let mut given_up = begun();
    let mut owed_a_refusal = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(owed_a_refusal.mail(&["<a@bad.example>"]), Reply::Continue);
    assert_eq!(owed_a_refusal.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    owed_a_refusal.header("From", " a@bad.example");
    owed_a_refusal.eoh();
    let mut idle = fixture.mta_with_client("2001:db8:1::10");
    let mut without_client = fixture.mta();
    let mut without_negotiation = MilterClient::connect_only(&fixture.daemon.address());
    let mut ipv4 = fixture.mta();
    assert_eq!(ipv4.connect_from("c", client("192.0.2.1")), Reply::Accept);

    fixture.daemon.signal(Signal::SIGTERM);
    // No MAIL of this connection is sent to a milter.
    assert_eq!(ipv4.receive_frame(), None);
    assert!(!fixture.daemon.socket().exists());
    assert_eq!(idle.mail(&["<a@good.example>"]), smtp(CLOSING));
    assert_eq!(idle.rcpt(&["<b@contoso.com>"]), smtp(TEMPORARY));
    assert_eq!(idle.mail(&["<a@good.example>"]), smtp(CLOSING));
    assert!(idle.quit());
    let begins = without_client.connect_from("c", client("2001:db8:1::10"));
    assert_eq!(begins, Reply::Continue);
    assert_eq!(without_client.mail(&["<a@good.example>"]), smtp(CLOSING));
    assert!(without_client.quit());
    without_negotiation.send_frame(b'Q', &[]);
    assert_eq!(without_negotiation.receive_frame(), None);
    assert_eq!(refused.rcpt(&["<b@other.example>"]), smtp(NOT_OPTED_IN));
    assert_eq!(refused.rcpt(&["<b@contoso.com>"]), Reply::Continue);
    assert_eq!(accepted.message(MESSAGE, 65535).reply, Reply::Continue);
    assert_eq!(owed_a_refusal.body(b"body"), smtp(UNAUTHENTICATED));
    given_up.abort();
    for mut mta in [refused, accepted, owed_a_refusal, given_up] {
        assert_eq!(mta.mail(&["<a@good.example>"]), smtp(CLOSING));
        assert!(mta.quit());
    }
    let log = fixture.daemon.log();
    assert!(fixture.daemon.stop().success());
    log.wait_for(&["all milter connections are closed", "told_421=7"]);
}

#[test]
fn connections_without_mail_are_closed_after_the_drain_grace() {
    let fixture = Fixture::new("limits: {drain_grace: 500ms}");
    let mut idle = fixture.mta_with_client("2001:db8:1::10");
    let mut busy = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(busy.mail(&["<a@good.example>"]), Reply::Continue);
    fixture.daemon.signal(Signal::SIGTERM);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        // Commands other than MAIL do not extend it.
        assert_eq!(idle.helo("c.example"), Reply::Continue);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(idle.receive_frame(), None);
    assert!(start.elapsed() >= Duration::from_millis(500));
    // From the end of the mail transaction on.
    busy.abort();
    let end = Instant::now();
    assert_eq!(busy.receive_frame(), None);
    assert!(end.elapsed() >= Duration::from_millis(450), "{end:?}");
    assert!(fixture.daemon.stop().success());
}

#[test]
fn what_does_not_end_within_the_drain_timeout_is_cut_off() {
    let fixture = Fixture::new("limits: {drain_timeout: 100ms}");
    let mut mta = fixture.mta_with_client("2001:db8:1::10");
    assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Continue);
    fixture.daemon.signal(Signal::SIGTERM);
    fixture
        .daemon
        .log()
        .wait_for(&["limits.drain_timeout has expired", "transactions=1"]);
    assert_eq!(mta.receive_frame(), None);
    assert!(fixture.daemon.stop().success());
}

#[test]
fn connections_beyond_the_limit_are_closed_and_told() {
    let fixture = Fixture::new("limits: {connections: 1}");
    let first = fixture.mta_with_client("2001:db8:1::10");
    let mut second = MilterClient::connect_only(&fixture.daemon.address());
    assert_eq!(second.receive_frame(), None);
    fixture
        .daemon
        .log()
        .wait_for(&["limits.connections is reached"]);
    drop(first);
}

#[test]
fn a_socket_that_systemd_passes_on_is_served_and_left_alone() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("passed-on.sock");
    let config = directory.path().join("milter.yaml");
    std::fs::write(&config, "listen: systemd:milter\n").expect("a configuration");
    // Passed on as systemd does it, sd_listen_fds(3): descriptor 3 and three
    // variables.
    let passing_on = "exec 3<&0 0</dev/null; \
                      LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=milter exec \"$@\"";
    let listener = UnixListener::bind(&path).expect("a socket");
    let mut daemon = std::process::Command::new("sh")
        .args(["-c", passing_on, "sh"])
        .args([env!("CARGO_BIN_EXE_sixgate"), "serve", "-c"])
        .arg(&config)
        .stdin(OwnedFd::from(listener))
        .spawn()
        .expect("a shell");
    let mut mta = MilterClient::open(&Address::Unix(path.clone()));
    assert_eq!(mta.connect_from("x", client("192.0.2.1")), Reply::Accept);
    let pid = daemon.id().try_into().expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    assert!(daemon.wait().expect("it ends").success());
    assert!(path.exists());
}
