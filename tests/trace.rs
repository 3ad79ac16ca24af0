//! `sixgate trace`: messages found in logs, by the real program.

mod support;
#[path = "report/synthetic.rs"]
mod synthetic;

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    process::{Command, Output},
};
use support::logs::{Logs, MAIL_LOG, compressed_by, gzip, json};

fn logs() -> Logs {
    let logs = Logs::new();
    logs.write("mail.log", MAIL_LOG);
    logs
}

/// `sender to domains: result` of each message.
fn found(output: &Output) -> Vec<String> {
    let timeline = json(output);
    let messages = timeline["messages"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let line = |message: &Value| {
        let domains = message["recipient_domains"].as_array().expect("a list");
        let domains: Vec<_> = domains.iter().map(text).collect();
        let (sender, result) = (text(&message["sender"]), text(&message["result"]));
        format!("{sender} to {}: {result}", domains.join(","))
    };
    messages.iter().map(line).collect()
}

fn exit(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

#[test]
fn messages_are_found_by_every_filter_and_by_all_of_them_together() {
    let gone = " to contoso.com: gone";
    let rejected = "a@v4.example to fabrikam.com: rejected";
    let ipv4 = "a@v4.example to contoso.com: ipv4";
    let ipv6 = "a@v6.example to contoso.com,contoso.net: ipv6";
    let ipv6_com = "a@v6.example to contoso.com: ipv6";
    let ipv6_net = "a@v6.example to contoso.net: ipv6";
    let retrying = "only@six.example to contoso.com: retrying";
    let refused = "a@slow.example to contoso.com: ipv4_refused";
    let table: [(&str, &[&str]); 27] = [
        ("--from a@v4.example", &[rejected, ipv4]),
        ("--from <A@V4.example>", &[rejected, ipv4]),
        ("--from v4.example", &[rejected, ipv4]),
        ("--from @v4.example", &[rejected, ipv4]),
        ("--from b@v4.example", &[]),
        ("--from example", &[]),
        ("--from <>", &[gone]),
        ("--from ONLY@six.example", &[retrying]),
        ("--to b@fabrikam.com", &[rejected]),
        ("--to contoso.net", &[ipv6_net]),
        ("--to c@contoso.net", &[ipv6_net]),
        (
            "--to b@contoso.com",
            &[refused, gone, retrying, ipv6_com, ipv4],
        ),
        // Decisions about a message name only the domains; those about a recipient
        // distinguish it from others.
        ("--to c@contoso.com", &[refused, ipv6_com]),
        ("--client 2001:db8:4::1", &[gone]),
        ("--client 2001:db8:4::/64", &[rejected, gone]),
        ("--client 198.51.100.10", &[ipv4]),
        ("--client 198.51.100.0/24", &[refused, ipv4]),
        ("--client mail.v6.example", &[ipv6]),
        ("--client .v6.example", &[ipv6]),
        ("--client v6.example", &[]),
        ("--queue-id 4F9D195432C", &[ipv4]),
        ("--queue-id 4F9D195432E", &[ipv6]),
        ("--message-id 1@v4.example", &[ipv4]),
        ("--message-id <1@v4.example>", &[ipv4]),
        ("--from v4.example --to contoso.com", &[ipv4]),
        ("--from v4.example --client 2001:db8:3::/48", &[]),
        (
            "--to contoso.com --since 2026-11-21T07:30 --until 2026-11-21T07:41",
            &[gone, retrying],
        ),
    ];
    let logs = logs();
    for (filter, want) in table {
        let output = logs.trace(&format!("--json {filter} mail.log"), b"");
        match want {
            [] => assert_eq!(exit(&output), 1, "{filter}: {output:?}"),
            want => assert_eq!(found(&output), want, "{filter}"),
        }
    }
}

#[test]
fn a_timeline_says_what_happened_and_what_to_do() {
    let logs = logs();
    let text = |filter: &str| {
        let output = logs.trace(&format!("{filter} mail.log"), b"");
        assert_eq!(exit(&output), 0, "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(
        text("--message-id 1@v4.example"),
        "<a@v4.example> to contoso.com: deferred, came back over IPv4 after 2s, delivered\n\
         \x20 2026-11-21 06:00:01  sixgate deferred b@contoso.com from [2001:db8:1::20]: no-ptr\n\
         \x20                      450 4.7.25 Service unavailable, sending IPv6 address \
         [2001:db8:1::20] must have reverse DNS record.\n\
         \x20 2026-11-21 06:00:03  the mail server accepted it from \
         mail.v4.example[198.51.100.10] as 4F9D195432C, Message-ID <1@v4.example>\n\
         \x20 2026-11-21 06:00:04  delivered: b@contoso.com via mx[private/dovecot-lmtp]: \
         250 2.0.0 Saved\n\
         \x20 => It only arrived late. The sender needs a PTR record for 2001:db8:1::20: check \
         with dig -x 2001:db8:1::20.\n"
    );
    let table = [
        (
            "--from six.example",
            "deferred, tried for 1h over IPv6 only",
        ),
        ("--from six.example", "check with dig -x 2001:db8:3::1."),
        ("--from <>", "deferred, never came back"),
        ("--to fabrikam.com", "sixgate opt-in add fabrikam.com"),
        (
            "--from v6.example",
            "(SPF fail by -all of v6.example, DKIM none)",
        ),
        (
            "--from v6.example",
            "spf-pass (SPF pass by ip6:2001:db8:2::/48 of v6.example)",
        ),
        (
            "--from v6.example",
            "deferred, accepted over IPv6 after 10m",
        ),
        (
            "--from slow.example",
            "554 5.7.1 Service unavailable; Client host [198.51.100.30]",
        ),
        (
            "--from slow.example",
            "Over IPv4 the mail server refused it",
        ),
    ];
    for (filter, want) in table {
        let text = text(filter);
        assert!(
            text.contains(want),
            "{filter}: {want} is missing in\n{text}"
        );
    }
}

#[test]
fn only_the_newest_messages_are_printed_and_the_others_are_mentioned() {
    let logs = logs();
    let newest = logs.trace("--to contoso.com --limit 2 mail.log", b"");
    let text = String::from_utf8(newest.stdout).expect("text");
    assert_eq!(text.matches("\n  => ").count(), 2, "{text}");
    assert!(
        text.contains("Older messages match, too; these are the newest 2."),
        "{text}"
    );
    let newest = logs.trace("--to contoso.com --limit 2 --json mail.log", b"");
    assert_eq!(json(&newest)["more"], true);
    let all = logs.trace("--to contoso.com --limit 5 --json mail.log", b"");
    assert_eq!(json(&all)["more"], false);
}

/// A log of Postfix and sixgate in observe mode.
const OBSERVED: &str = "\
Nov 21 06:00:00 mx sixgate[7]: NOQUEUE: reject_warning: RCPT from unknown[2001:db8:1::20]: 450 4.7.25 Service unavailable; rule=no-ptr mode=observe would=defer from=<a@v6.example> to=<b@contoso.com> helo=<x> ptr=none opt_in=file ms=3
Nov 21 06:00:00 mx postfix/smtpd[12]: 4F9D195432C: client=unknown[2001:db8:1::20]
Nov 21 06:00:00 mx sixgate[7]: NOQUEUE: reject_warning: RCPT from unknown[2001:db8:1::20]: 450 4.7.25 Service unavailable; rule=no-ptr mode=observe would=defer from=<a@v6.example> to=<c@contoso.com> helo=<x> ptr=none opt_in=file ms=3
Nov 21 06:00:00 mx postfix/cleanup[13]: 4F9D195432C: message-id=<1@v6.example>
Nov 21 06:00:01 mx postfix/qmgr[14]: 4F9D195432C: from=<a@v6.example>, size=612, nrcpt=2 (queue active)
Nov 21 06:00:01 mx postfix/lmtp[15]: 4F9D195432C: to=<b@contoso.com>, relay=mx[private/lmtp], delay=0.3, dsn=2.0.0, status=sent (250 2.0.0 Saved)
Nov 21 06:00:01 mx postfix/lmtp[15]: 4F9D195432C: to=<c@contoso.com>, relay=mx[private/lmtp], delay=0.3, dsn=5.1.1, status=bounced (host mx[private/lmtp] said: 550 5.1.1 User unknown)
";

#[test]
fn observe_mode_says_what_would_have_happened() {
    let logs = Logs::new();
    logs.write("mail.log", OBSERVED);
    let output = logs.trace("--message-id 1@v6.example --json mail.log", b"");
    assert_eq!(found(&output), ["a@v6.example to contoso.com: observed"]);
    let output = logs.trace("--from v6.example mail.log", b"");
    let text = String::from_utf8(output.stdout).expect("text");
    for want in [
        "to contoso.com: accepted, would have been refused, bounced\n",
        "sixgate would have deferred b@contoso.com, c@contoso.com from [2001:db8:1::20]: no-ptr\n",
        "accepted it from [2001:db8:1::20] as 4F9D195432C, Message-ID <1@v6.example>\n",
        "bounced: c@contoso.com via mx[private/lmtp]: host mx[private/lmtp] said: 550 5.1.1",
        "=> With mode: enforce it is deferred. The sender needs a PTR record",
    ] {
        assert!(text.contains(want), "{want} is missing in\n{text}");
    }
}

/// Lines of Sendmail, and of Postfix with a content filter.
#[test]
fn deliveries_of_either_mta_belong_to_the_message_also_behind_a_content_filter() {
    let accepted = |id: &str| {
        format!(
            "Nov 21 06:00:01 mx sixgate[7]: {id}: accept: rule=dkim-pass mode=enforce \
             client=m.v6.example[2001:db8:1::20] from=<a@v6.example> nrcpt=1 \
             rcpt_domains=contoso.com helo=<x> ptr=found opt_in=file spf=none \
             spf_domain=v6.example dkim=pass dkim_signatures=v6.example:s1:pass ms=3\n"
        )
    };
    let sendmail = "Nov 21 06:00:01 mx sm-mta[9]: 6ALB0001: from=<a@v6.example>, size=300, \
                    class=0, nrcpts=1, msgid=<1@v6.example>, proto=ESMTP, daemon=MTA-v6, \
                    relay=m.v6.example [IPv6:2001:db8:1:0:0:0:0:20]\n\
                    Nov 21 06:00:02 mx sm-mta[9]: 6ALB0001: to=<b@contoso.com>, delay=00:00:01, \
                    mailer=esmtp, relay=in.example. [192.0.2.9], dsn=2.0.0, stat=Sent (ok)\n";
    let postfix = "Nov 21 06:00:00 mx postfix/smtpd[1]: 4A1: client=m.v6.example[2001:db8:1::20]\n\
                   Nov 21 06:00:01 mx postfix/cleanup[1]: 4A1: message-id=<1@v6.example>\n\
                   Nov 21 06:00:01 mx postfix/qmgr[1]: 4A1: from=<a@v6.example>, size=1, nrcpt=1 (queue active)\n\
                   Nov 21 06:00:02 mx postfix/smtpd[2]: 4B2: client=localhost[127.0.0.1]\n\
                   Nov 21 06:00:02 mx postfix/cleanup[1]: 4B2: message-id=<1@v6.example>\n\
                   Nov 21 06:00:02 mx postfix/smtp[3]: 4A1: to=<b@contoso.com>, relay=127.0.0.1[127.0.0.1]:10024, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4B2)\n\
                   Nov 21 06:00:02 mx postfix/qmgr[1]: 4B2: from=<a@v6.example>, size=1, nrcpt=1 (queue active)\n\
                   Nov 21 06:00:03 mx postfix/lmtp[4]: 4B2: to=<b@contoso.com>, relay=mx[private/lmtp], dsn=4.2.2, status=deferred (over quota)\n";
    let table = [
        (
            "6ALB0001",
            sendmail,
            "via in.example. [192.0.2.9]: Sent (ok)",
            "accepted over IPv6, delivered",
        ),
        (
            "4A1",
            postfix,
            "delivery deferred: b@contoso.com via mx[private/lmtp]: over quota",
            "accepted over IPv6, not delivered yet",
        ),
    ];
    for (id, lines, delivery, headline) in table {
        let logs = Logs::new();
        logs.write("mail.log", format!("{}{lines}", accepted(id)));
        let output = logs.trace("--from a@v6.example mail.log", b"");
        let text = String::from_utf8(output.stdout).expect("text");
        let proof = "dkim-pass (SPF none of v6.example, DKIM pass v6.example:s1:pass)";
        for want in [delivery, headline, proof, "Message-ID <1@v6.example>"] {
            assert!(text.contains(want), "{want} is missing in\n{text}");
        }
        assert_eq!(text.matches(" => ").count(), 1, "{text}");
    }
}

#[test]
fn messages_that_only_the_mta_has_seen_are_found() {
    let lines = "Nov 21 06:00:00 mx postfix/smtpd[1]: 4A1: client=m.v4.example[198.51.100.10]\n\
                 Nov 21 06:00:01 mx postfix/qmgr[1]: 4A1: from=<a@v4.example>, size=1, nrcpt=1 (queue active)\n\
                 Nov 21 06:00:03 mx postfix/lmtp[4]: 4A1: to=<b@contoso.com>, relay=x, dsn=2.0.0, status=sent (ok)\n\
                 Nov 21 06:01:00 mx postfix/smtpd[1]: NOQUEUE: milter-reject: RCPT from m.v4.example[198.51.100.10]: 550 5.7.1 spam; from=<a@spam.example> to=<b@contoso.com> proto=ESMTP helo=<e>\n\
                 Nov 21 06:02:00 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from m.v4.example[198.51.100.10]: 450 4.2.0 Greylisted; from=<a@grey.example> to=<b@contoso.com> proto=ESMTP helo=<e>\n\
                 Nov 21 06:12:00 mx postfix/smtpd[1]: 4A2: client=m.v4.example[198.51.100.10]\n\
                 Nov 21 06:12:01 mx postfix/qmgr[1]: 4A2: from=<a@grey.example>, size=1, nrcpt=1 (queue active)\n\
                 Nov 21 06:12:03 mx postfix/lmtp[4]: 4A2: to=<b@contoso.com>, relay=x, dsn=2.0.0, status=sent (ok)\n";
    let logs = Logs::new();
    logs.write("mail.log", lines);
    let output = logs.trace("--to contoso.com --json mail.log", b"");
    let want = [
        "a@grey.example to contoso.com: not_checked",
        "a@spam.example to contoso.com: refused_by_mta",
        "a@v4.example to contoso.com: not_checked",
    ];
    assert_eq!(found(&output), want);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("no line of these logs is a decision of sixgate"),
        "{stderr}"
    );
}

#[test]
fn every_form_of_a_log_gives_the_same_trace() {
    let logs = logs();
    let half = MAIL_LOG.find("Nov 21 06:20").expect("a line");
    let (older, newer) = MAIL_LOG.split_at(half);
    logs.write("rotated.1.gz", older);
    logs.write("rotated", newer);
    logs.write("whole.xz", MAIL_LOG);
    logs.write("whole.zst", MAIL_LOG);
    let lines = |of_sixgate: bool| -> String {
        let lines = MAIL_LOG.split_inclusive('\n');
        lines
            .filter(|line| line.contains(" sixgate[") == of_sixgate)
            .collect()
    };
    logs.write("sixgate.log", lines(true));
    logs.write("mta.log", lines(false));
    let filter = "--json --to contoso.com";
    let want = json(&logs.trace(&format!("{filter} mail.log"), b""));
    let sources = [
        "rotated rotated.1.gz",
        "whole.xz",
        "whole.zst",
        "mta.log sixgate.log",
        "sixgate.log mta.log",
    ];
    for names in sources {
        let timeline = json(&logs.trace(&format!("{filter} {names}"), b""));
        assert_eq!(timeline, want, "{names}");
    }
    // Standard input can be read once, and is read twice.
    let modern = MAIL_LOG
        .replace("Nov 21 ", "2026-11-21T")
        .replace(" mx ", "+00:00 mx ");
    for input in [
        modern.as_bytes().to_vec(),
        gzip(modern.as_bytes()),
        compressed_by("zstd", modern.as_bytes()),
    ] {
        for arguments in [filter.to_owned(), format!("{filter} -")] {
            assert_eq!(json(&logs.trace(&arguments, &input)), want, "{arguments}");
        }
    }
}

#[test]
fn a_named_pipe_is_read_as_a_file_is() {
    let logs = logs();
    let command = format!(
        "{} trace --json --from v6.example <(cat mail.log)",
        env!("CARGO_BIN_EXE_sixgate")
    );
    let output = Command::new("bash")
        .args(["-c", &command])
        .current_dir(logs.path(""))
        .env("TZ", "UTC")
        .output()
        .expect("bash runs");
    assert_eq!(
        found(&output),
        ["a@v6.example to contoso.com,contoso.net: ipv6"]
    );
}

#[test]
fn bad_input_gets_one_clear_line_and_an_exit_code() {
    let logs = logs();
    logs.write("empty.log", "");
    let cut_off = gzip(MAIL_LOG.as_bytes());
    fs::write(logs.path("cut-off.gz"), &cut_off[..cut_off.len() / 2]).expect("a log");
    let table = [
        ("mail.log", 64, "required arguments were not provided"),
        (
            "--from a@x..example mail.log",
            64,
            "use user@example.org, example.org",
        ),
        ("--to a@ mail.log", 64, "use user@example.org, example.org"),
        (
            "--client 2001:db8::g mail.log",
            64,
            "use an address (2001:db8::1), a network",
        ),
        (
            "--client 2001:db8::/129 mail.log",
            64,
            "use an address (2001:db8::1), a network",
        ),
        (
            "--from a@b.example --since 2100-01-01 mail.log",
            64,
            "is in the future",
        ),
        (
            "--from a@b.example --since soon mail.log",
            64,
            "write today, yesterday",
        ),
        (
            "--from a@b.example --since 1h --until 2h mail.log",
            64,
            "is not before --until",
        ),
        ("--from a@b.example --limit 0 mail.log", 64, "1..=1000"),
        (
            "--from a@b.example mail.log",
            1,
            "no message found in 17 lines",
        ),
        (
            "--from a@b.example empty.log",
            1,
            "no line of these logs is a decision of sixgate",
        ),
        (
            "--from a@b.example missing.log",
            66,
            "missing.log: No such file",
        ),
        ("--from a@b.example cut-off.gz", 74, "cut-off.gz: "),
        (
            "--from v4.example cut-off.gz mail.log",
            74,
            "the trace is incomplete, because a log can't be read",
        ),
    ];
    for (arguments, code, want) in table {
        let output = logs.trace(arguments, b"");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(exit(&output), code, "{arguments}: {stderr}");
        assert!(stderr.contains(want), "{arguments}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments}: {stderr}");
    }
    let report = logs.report("--since 2100-01-01 mail.log", b"");
    assert_eq!(exit(&report), 64);
}

#[test]
fn hostile_values_move_no_cursor_and_offer_nothing_to_a_shell() {
    let line = "Nov 21 06:00:00 mx sixgate[7]: NOQUEUE: reject: RCPT from \
                \\x1b\\x5b2J[2001:db8::1]: 450 4.7.26 \u{1b}[31m\u{202e}; rule=unauthenticated \
                mode=enforce from=<'$(reboot)'\\x1b\\x5b2J@v6.example> to=<b@contoso.com> \
                helo=<x> spf=fail spf_domain=\\x1b\\x5d0\\x3b.example spf_term=-all\\x0a dkim=none \
                ms=3\n\
                Nov 21 06:00:00 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from \
                \u{1b}[2J[198.51.100.1]: 450 4.2.0 \u{1b}[31m; \
                from=<a@v6.example> to=<\u{1b}]0;x\u{7}@contoso.com> proto=ESMTP helo=<e>\n";
    let logs = Logs::new();
    logs.write("mail.log", line);
    for arguments in [
        "--from v6.example mail.log",
        "--json --from v6.example mail.log",
    ] {
        let output = logs.trace(arguments, b"");
        assert_eq!(exit(&output), 0, "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        let is_harmless = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}');
        assert!(text.chars().all(is_harmless), "{text:?}");
        assert!(!text.contains("--from ''$(reboot)"), "{text}");
    }
}

#[test]
fn the_journal_is_asked_around_the_period() {
    let logs = Logs::new();
    let script = "#!/bin/sh\necho \"$*\" >>journalctl.asked\ncat journal\n";
    let records = MAIL_LOG
        .lines()
        .filter(|line| line.contains(" sixgate["))
        .map(|line| {
            let (_, message) = line.split_once("]: ").expect("a tag");
            let record = serde_json::json!({
                "__REALTIME_TIMESTAMP": "1795242810000000",
                "SYSLOG_IDENTIFIER": "sixgate",
                "MESSAGE": message,
            });
            format!("{record}\n")
        });
    fs::write(logs.path("journal"), records.collect::<String>()).expect("a journal");
    fs::write(logs.path("journalctl"), script).expect("a script");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(logs.path("journalctl"), executable).expect("it");
    let path = format!(".:{}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["trace", "--json", "--journal", "--from", "six.example"])
        .args([
            "--since",
            "2026-11-20T00:00Z",
            "--until",
            "2026-11-22T00:00Z",
        ])
        .current_dir(logs.path(""))
        .env("PATH", path)
        .env("TZ", "UTC")
        .output()
        .expect("the program runs");
    assert_eq!(found(&output), ["only@six.example to contoso.com: waiting"]);
    let asked = fs::read_to_string(logs.path("journalctl.asked")).expect("arguments");
    let day = 86_400;
    let bounds = format!(
        "--since=@{} --until=@{}",
        1_795_132_800 - 5 * day,
        1_795_305_600 + 5 * day
    );
    assert_eq!(asked.matches(&bounds).count(), 2, "{asked}");
}

#[test]
#[ignore = "makes and reads a gigabyte; --nocapture shows the times"]
fn a_gigabyte_is_searched() {
    let logs = Logs::new();
    let path = logs.path("mail.log");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).expect("a log"));
    synthetic::write(&mut file, 6, 1_000_000_000).expect("room");
    file.flush().expect("room");
    for filter in [
        "--from nobody@nowhere.example",
        "--to contoso.com",
        "--client 2001:db8::/32",
        "--message-id x@y",
    ] {
        let begin = std::time::Instant::now();
        let output = logs.trace(&format!("--json {filter} mail.log"), b"");
        let seconds = begin.elapsed().as_secs_f64();
        let peak = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it").max_rss();
        println!(
            "{filter}: {seconds:.1} s, {} MiB, exit {}",
            peak >> 10,
            exit(&output)
        );
        assert!(peak < 256 << 10, "{peak} KiB");
    }
}
