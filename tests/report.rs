//! `sixgate report` with logs of every form.

mod support;
#[path = "report/synthetic.rs"]
mod synthetic;

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use support::{
    daemon::Daemon,
    dns::{DnsServer, Zone},
    logs::{Logs, MAIL_LOG, compressed_by, gzip, json},
    milter::{MilterClient, Reply},
};
use tempfile::TempDir;

/// Returns the columns `accepted`, `deferred`, `rejected` of an entry of a list.
fn counts(list: &Value, key: &str, name: &str) -> [u64; 3] {
    let entries = list.as_array().expect("a list");
    let entry = entries.iter().find(|entry| entry[key] == name);
    let entry = entry.unwrap_or_else(|| panic!("{name} is missing in {list:#}"));
    ["accepted", "deferred", "rejected"].map(|column| entry[column].as_u64().expect("a number"))
}

#[test]
fn decisions_are_summed_up_by_rule_domain_and_network() {
    let logs = Logs::new();
    logs.write("mail.log", MAIL_LOG);
    let summary = logs.json("mail.log");
    assert_eq!(summary["period"]["first"], "2026-11-21T06:00:01Z");
    assert_eq!(summary["period"]["last"], "2026-11-21T11:50:00Z");
    assert_eq!(summary["read"]["decisions"], 8);
    let table = [
        ("rules", "rule", "no-ptr", [0, 4, 0]),
        ("rules", "rule", "spf-pass", [1, 0, 0]),
        ("rules", "rule", "not-opted-in", [0, 0, 1]),
        ("recipient_domains", "name", "contoso.com", [1, 6, 0]),
        ("recipient_domains", "name", "contoso.net", [1, 1, 0]),
        ("recipient_domains", "name", "fabrikam.com", [0, 0, 1]),
        ("sender_domains", "name", "six.example", [0, 2, 0]),
        ("sender_domains", "name", "", [0, 1, 0]),
        ("clients", "network", "2001:db8:2::/64", [1, 1, 0]),
        ("clients", "network", "2001:db8:4::/64", [0, 1, 1]),
    ];
    for (list, key, name, want) in table {
        assert_eq!(counts(&summary[list], key, name), want, "{list} {name}");
    }
    assert_eq!(summary["not_opted_in"][0]["name"], "fabrikam.com");
    assert_eq!(summary["temporary_failures"]["spf"], 1);
    assert_eq!(
        summary["temporary_failures"]["names"][0]["name"],
        "slow.example"
    );
    assert_eq!(summary["waited"]["longest_ms"], 6000);
}

#[test]
fn each_deferred_message_is_shown_with_its_outcome() {
    let logs = Logs::new();
    logs.write("mail.log", MAIL_LOG);
    let returns = &logs.json("mail.log")["returns"];
    let table = [
        ("ipv4", "v4.example"),
        ("ipv6", "v6.example"),
        ("retrying", "six.example"),
        ("gone", ""),
        ("ipv4_refused", "slow.example"),
    ];
    for (fate, name) in table {
        assert_eq!(returns[fate][0]["name"], name, "{fate}");
    }
    // Two recipient domains count as two messages.
    assert_eq!(returns["total"]["ipv6"], 2);
    assert_eq!(returns["total"]["mails"], 6);
    assert_eq!(returns["retrying"][0]["attempts"], 2);
}

#[test]
fn a_return_is_seen_in_the_log_of_either_mta_and_of_mail_from_outside_only() {
    let deferred = "2026-11-21T06:00:00.000001+00:00 mx sixgate[7]: NOQUEUE: reject: RCPT from \
                    unknown[2001:db8:1::20]: 450 4.7.25 x; rule=no-ptr mode=enforce \
                    from=<a@v4.example> to=<b@contoso.com> helo=<x> ptr=none opt_in=file ms=3\n";
    let postfix = |client: &str, to: &str| {
        format!(
            "2026-11-21T06:05:00.000001+00:00 mx postfix/smtpd[1]: 4dB1YN0qNQz3x: client={client}\n\
             2026-11-21T06:05:00.000002+00:00 mx postfix/qmgr[2]: 4dB1YN0qNQz3x: \
             from=<a@v4.example>, size=612, nrcpt=1 (queue active)\n\
             2026-11-21T06:05:00.000003+00:00 mx postfix/virtual[3]: 4dB1YN0qNQz3x: {to}, \
             relay=virtual, delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (delivered)\n"
        )
    };
    let sendmail = |relay: &str| {
        format!(
            "2026-11-21T06:05:00+00:00 mx sm-mta[1]: 5AL650aB000123: from=<a@v4.example>, size=612, \
             class=0, nrcpts=2, msgid=<1@v4.example>, bodytype=8BITMIME, proto=ESMTP, daemon=MTA, \
             tls_verify=NONE, auth=NONE, relay={relay}\n\
             2026-11-21T06:05:01+00:00 mx sm-mta[2]: 5AL650aB000123: to=<x@other.example>,\
             <b@contoso.com>, delay=00:00:01, xdelay=00:00:00, mailer=local, pri=60612, dsn=2.0.0, \
             stat=Sent\n"
        )
    };
    let to = "to=<b@contoso.com>";
    let table = [
        (postfix("mail.v4.example[198.51.100.10]", to), 1),
        (postfix("unknown[198.51.100.10]", to), 1),
        (
            postfix(
                "m[198.51.100.10]",
                "to=<u1@mx.example>, orig_to=<b@contoso.com>",
            ),
            1,
        ),
        (postfix("mail.v4.example[2001:db8:1::20]", to), 0),
        (
            postfix("m[198.51.100.10], sasl_method=PLAIN, sasl_username=u", to),
            0,
        ),
        // A content filter returned this message, which came over IPv6.
        (postfix("localhost[127.0.0.1]", to), 0),
        (postfix("m[198.51.100.10]", "to=<b@other.example>"), 0),
        (sendmail("mail.v4.example [198.51.100.10]"), 1),
        (sendmail("[198.51.100.10]"), 1),
        (
            sendmail("mail.v4.example [198.51.100.10] (may be forged)"),
            1,
        ),
        (sendmail("mail.v4.example [IPv6:2001:db8:1:0:0:0:0:20]"), 0),
    ];
    for (lines, want) in table {
        let logs = Logs::new();
        logs.write("mail.log", format!("{deferred}{lines}"));
        let summary = logs.json("mail.log");
        assert_eq!(summary["returns"]["total"]["ipv4"], want, "{lines}");
        // A message before the deferral is not a retry.
        logs.write(
            "mail.log",
            format!("{}{deferred}", lines.replace("T06:05", "T05:05")),
        );
        let summary = logs.json("mail.log");
        assert_eq!(summary["returns"]["total"]["ipv4"], 0, "before: {lines}");
    }
}

#[test]
fn the_mta_may_have_a_log_of_its_own() {
    let logs = Logs::new();
    let of = |ours: bool| -> String {
        let lines = MAIL_LOG.split_inclusive('\n');
        lines
            .filter(|line| line.contains(" sixgate[") == ours)
            .collect()
    };
    logs.write("sixgate.log", of(true));
    logs.write("early.log", of(false));
    // The first line decides which log is read first.
    logs.write(
        "late.log",
        of(false).split_off(MAIL_LOG.find('\n').expect("a line") + 1),
    );
    for names in ["sixgate.log early.log", "sixgate.log late.log"] {
        let summary = logs.json(names);
        assert_eq!(summary["returns"]["total"]["ipv4"], 1, "{names}");
        assert_eq!(
            summary["returns"]["ipv4"][0]["name"], "v4.example",
            "{names}"
        );
        assert_eq!(summary["returns"]["total"]["mails"], 6, "{names}");
    }
}

#[test]
fn what_comes_after_the_sender_gave_up_is_another_mail() {
    let table = [
        ("Nov 21 06:00:03", [1, 0]),
        ("Nov 25 06:00:03", [1, 0]),
        ("Nov 27 06:00:03", [0, 1]),
    ];
    for (time, want) in table {
        let first_mail: String = MAIL_LOG.split_inclusive('\n').take(9).collect();
        let log = first_mail
            .replace("Nov 21 06:00:03", time)
            .replace("Nov 21 06:00:04", time);
        let logs = Logs::new();
        logs.write("mail.log", log.replace("Nov ", "Oct "));
        let total = &logs.json("mail.log")["returns"]["total"];
        assert_eq!([&total["ipv4"], &total["gone"]], want, "{time}");
    }
}

#[test]
fn every_form_of_a_log_gives_the_same_report() {
    let logs = Logs::new();
    logs.write("mail.log", MAIL_LOG);
    let want = logs.json("mail.log");
    let half = MAIL_LOG.len() / 2;
    let half = half + MAIL_LOG[half..].find('\n').expect("a line") + 1;
    let (older, newer) = MAIL_LOG.split_at(half);
    logs.write("rotated.1.gz", older);
    logs.write("rotated", newer);
    logs.write("whole.gz", MAIL_LOG);
    logs.write("no-suffix", gzip(MAIL_LOG.as_bytes()));
    logs.write("dos", MAIL_LOG.replace('\n', "\r\n"));
    let modern = MAIL_LOG
        .replace("Nov 21 ", "2026-11-21T")
        .replace(" mx ", ".123456+00:00 mx ");
    logs.write("modern", &modern);
    let two_members = [gzip(older.as_bytes()), gzip(newer.as_bytes())].concat();
    logs.write("two-members", two_members);
    for (suffix, program) in [("xz", "xz"), ("zst", "zstd")] {
        logs.write(&format!("whole.{suffix}"), MAIL_LOG);
        let two = [older, newer].map(|half| compressed_by(program, half.as_bytes()));
        logs.write(&format!("two-in-{program}"), two.concat());
    }
    for names in [
        "rotated rotated.1.gz",
        "rotated.1.gz rotated",
        "whole.gz",
        "no-suffix",
        "dos",
        "modern",
        "two-members",
        "whole.xz",
        "two-in-xz",
        "whole.zst",
        "two-in-zstd",
    ] {
        let summary = logs.json(names);
        for part in [
            "period",
            "totals",
            "rules",
            "sender_domains",
            "clients",
            "returns",
            "hours",
        ] {
            assert_eq!(summary[part], want[part], "{names}: {part}");
        }
    }
    for arguments in ["--json", "--json -"] {
        let summary = json(&logs.report(arguments, modern.as_bytes()));
        assert_eq!(summary["returns"], want["returns"], "standard input");
    }
}

#[test]
fn json_lines_are_read_raw_behind_syslog_and_from_the_journal() {
    let decision = r#"{"time":"2026-11-21T06:33:30.123Z","level":"INFO","event":"decision","queue_id":null,"action":"defer","refused":true,"stage":"rcpt","rule":"no-ptr","mode":"enforce","reply":"450 4.7.25 x","client_name":"unknown","client_address":"2001:db8:1::20","helo":"x","from":"a@b\u001b.example","to":"b@contoso.com","recipients":0,"recipient_domains":[],"ptr":"none","ptr_names":null,"opt_in":"file","spf":null,"dkim":null,"dkim_signatures":[],"ms":3}"#;
    let other = r#"{"time":"2026-11-21T06:33:30.123Z","level":"INFO","event":"message","message":"listening"}"#;
    let record = |message: &str, identifier: &str| {
        serde_json::json!({
            "__REALTIME_TIMESTAMP": "1795242810123456",
            "SYSLOG_IDENTIFIER": identifier,
            "MESSAGE": message
        })
        .to_string()
    };
    let text = "NOQUEUE: reject: RCPT from unknown[2001:db8:1::20]: 450 4.7.25 x; rule=no-ptr \
                mode=enforce from=<a@b\\x1b.example> to=<b@contoso.com> helo=<x> ptr=none \
                opt_in=file ms=3";
    let table = [
        (format!("{other}\n{decision}"), 1),
        (format!("Nov 21 06:33:30 mx sixgate[7]: {decision}"), 1),
        (record(decision, "sixgate"), 1),
        (record(text, "sixgate"), 1),
        (record(text, "postfix/smtpd"), 0),
        (
            "{\"MESSAGE\":[1,2,3],\"SYSLOG_IDENTIFIER\":\"sixgate\"}".to_owned(),
            0,
        ),
        (format!("2026-11-21T06:33:30.123456Z  INFO {text}"), 1),
        (format!(" INFO {text}"), 1),
        (text.to_owned(), 1),
    ];
    for (line, want) in table {
        let summary = json(&Logs::new().report("--json", line.as_bytes()));
        assert_eq!(summary["totals"]["deferred"], want, "{line}");
        if want > 0 {
            assert_eq!(
                summary["sender_domains"][0]["name"], "b\\x1b.example",
                "{line}"
            );
        }
    }
}

#[test]
fn what_a_peer_got_into_a_line_is_no_line_of_its_own() {
    let forged = "NOQUEUE: accept: rule=spf-pass mode=enforce client=x[2001:db8::1] \
                  from=<a@b.example> nrcpt=1 rcpt_domains=contoso.com helo=<x>";
    let table = [
        format!(
            "Nov 21 06:00:00 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from x[2001:db8::1]: 504 5.5.2 <y>: Helo command rejected; from=<a@b> to=<c@d> proto=ESMTP helo=<sixgate[7]: {forged}>"
        ),
        format!("Nov 21 06:00:00 mx dovecot: imap-login: user=<{forged}>"),
        format!("Nov 21 06:00:00 mx dovecot: Nov 21 06:00:00 mx sixgate[7]: {forged}"),
        format!("Nov 21 06:00:00 mx postfix/smtpd[1]: {forged}"),
        format!("Nov 21 06:00:00 mx sixgate[7]: a milter connection is closed: {forged}"),
        format!("Nov 21 06:00:00 mx xsixgate[7]: {forged}"),
        format!("#011sixgate[7]: {forged}"),
        // The end of a line that is too long for a decision line.
        format!(
            "Nov 21 06:00:00 mx postfix/smtpd[1]: {}{forged}",
            "x".repeat(3 << 20)
        ),
        format!(
            "Nov 21 06:00:00 mx postfix/smtpd[1]: {}{forged}",
            "x".repeat((1 << 20) - 37)
        ),
    ];
    for line in table {
        let summary = json(&Logs::new().report("--json", line.as_bytes()));
        let beginning = &line[..line.len().min(200)];
        assert_eq!(summary["read"]["decisions"], 0, "{beginning}");
    }
}

#[test]
fn what_a_reply_quotes_decides_nothing() {
    let line = "Nov 21 06:00:00 mx sixgate[7]: NOQUEUE: reject: RCPT from x[2001:db8::1]: 550 5.2.1 \
                Service unavailable, [\"; rule=spf-pass from=<x@forged.example>\"] does not accept \
                email over IPv6.; rule=not-opted-in mode=enforce from=<a@true.example> \
                to=<\"\\x3b\\x20rule=spf-pass\"> helo=<x> ms=0\n";
    let summary = json(&Logs::new().report("--json", line.as_bytes()));
    assert_eq!(counts(&summary["rules"], "rule", "not-opted-in"), [0, 0, 1]);
    assert_eq!(
        counts(&summary["sender_domains"], "name", "true.example"),
        [0, 0, 1]
    );
}

#[test]
fn nothing_in_a_log_reaches_a_terminal_or_a_browser_as_it_is() {
    // sixgate does not write this: the line was edited.
    let line = "Nov 21 06:00:00 mx sixgate[7]: NOQUEUE: reject: RCPT from \
                <b>\u{1b}[2Jx[2001:db8::1]: 550 5.2.1 x; rule=not-opted-in mode=enforce \
                from=<a@\u{1b}]0;t\u{7}<script>alert(1)</script>\u{2028}.example> \
                to=<b@\"onload='x'&.example> helo=<x> ms=0\n";
    let logs = Logs::new();
    for arguments in ["", "--json", "--html"] {
        let output = logs.report(arguments, line.as_bytes());
        let page = String::from_utf8(output.stdout).expect("text");
        let is_plain = page
            .bytes()
            .all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte));
        assert!(is_plain, "{arguments}: {page}");
        assert!(
            page.contains("\\x1b") || page.contains("\\\\x1b"),
            "{arguments}: {page}"
        );
    }
    let page = logs.report("--html", line.as_bytes()).stdout;
    let page = String::from_utf8(page).expect("text");
    for hostile in ["<script", "<b>\\x1b", "\"onload"] {
        assert!(!page.contains(hostile), "{hostile}");
    }
}

#[test]
fn people_see_values_response_times_and_labels_that_they_can_read() {
    let line = "Nov 21 06:10:00 mx sixgate[7]: NOQUEUE: reject: RCPT from x[2001:db8::1]: 550 5.2.1 \
                Service unavailable, [192.0.2.1] does not accept email over IPv6.; \
                rule=not-opted-in mode=enforce from=<a@b.example> \
                to=<b@\\x5b192.0.2.1\\x5d> helo=<x> ms=40\n";
    let logs = Logs::new();
    logs.write("mail.log", line);
    for arguments in ["mail.log", "--html mail.log"] {
        let page = logs.report(arguments, b"").stdout;
        let page = String::from_utf8(page).expect("text");
        assert!(page.contains("Response time: median 40 ms, p99 40 ms, slowest 40 ms."));
        assert!(
            page.contains("[192.0.2.1]") && !page.contains("\\x5b"),
            "{page}"
        );
    }
    let page = logs.report("--html mail.log", b"").stdout;
    let page = String::from_utf8(page).expect("text");
    let axis = "<span>2026-11-21 06:00</span><span>2026-11-21 07:00</span>";
    assert!(page.contains(axis), "{page}");
}

#[test]
fn logs_without_decisions_give_an_empty_report() {
    let mut garbage: Vec<u8> = (0..200_000_u64).map(|n| ((n * n) >> 7) as u8).collect();
    garbage.extend_from_slice(b"\n\xff\xfe sixgate[7]: NOQUEUE: accept: rule=\xff\n");
    let table: [(&str, &[u8]); 5] = [
        ("nothing", b""),
        ("empty lines", b"\n\n\n"),
        ("garbage", &garbage),
        ("a zero", b"\0"),
        (
            "not UTF-8",
            b"Nov 21 06:00:00 mx sixgate[7]: N: accept: rule=\xff from=<\xff>\n",
        ),
    ];
    for (name, input) in table {
        let logs = Logs::new();
        for arguments in ["", "--html"] {
            let output = logs.report(arguments, input);
            assert!(output.status.success(), "{name}");
            let page = String::from_utf8(output.stdout).expect("text");
            assert!(page.contains("0 decisions"), "{name}: {page}");
        }
        let summary = json(&logs.report("--json", input));
        assert_eq!(summary["totals"]["accepted"], 0, "{name}");
    }
}

#[test]
fn bytes_of_other_programs_that_are_not_text_do_no_harm() {
    let logs = Logs::new();
    let mut bytes =
        b"Nov 21 05:59:59 mx postfix/qmgr[1]: 4F9D195432C: from=<\xff@\xfe>, size=1, nrcpt=1\n"
            .to_vec();
    bytes.extend_from_slice(b"Nov 21 05:59:59 mx x\xff[1]: \xff\0\n");
    bytes.extend_from_slice(MAIL_LOG.as_bytes());
    logs.write("mail.log", bytes);
    let summary = logs.json("mail.log");
    assert_eq!(summary["read"]["decisions"], 8);
    assert_eq!(summary["returns"]["total"]["ipv4"], 1);
}

#[test]
fn observe_mode_is_shown_with_the_refusals_it_suppressed() {
    let logs = Logs::new();
    let observed = MAIL_LOG
        .replace(": reject: ", ": reject_warning: ")
        .replace("mode=enforce", "mode=observe");
    logs.write("mail.log", observed);
    let summary = logs.json("mail.log");
    assert_eq!(summary["totals"]["deferred"], 0);
    assert_eq!(summary["totals"]["would_defer"], 6);
    assert_eq!(summary["totals"]["would_reject"], 1);
    assert_eq!(
        summary["observed"]["recipient_domains"][0]["name"],
        "contoso.com"
    );
    assert_eq!(
        summary["observed"]["recipient_domains"][0]["would_defer"],
        6
    );
    // A message that passed is not followed.
    assert_eq!(summary["returns"]["total"]["mails"], 0);
    let page = logs.report("mail.log", b"").stdout;
    let page = String::from_utf8(page).expect("text");
    assert!(page.contains("Observe mode would have refused 7"), "{page}");
}

#[test]
fn the_report_reads_what_the_daemon_writes() {
    let [text, json] = ["text", "json"].map(report_of_a_gate);
    assert_eq!(text, json);
}

/// Returns the report about three messages to a daemon that logs in this format, without
/// times and amounts read.
fn report_of_a_gate(format: &str) -> Value {
    let zone = "
2001:db8:1::10      PTR    mail.good.example
mail.good.example   AAAA   2001:db8:1::10
good.example        TXT    \"v=spf1 ip6:2001:db8:1::/64 -all\"
";
    let dns = DnsServer::start(Zone::parse(zone).expect("a zone"));
    let config = format!(
        "dns: {{servers: [{}]}}\nopt_in: {{domains: [contoso.com]}}\n\
         log: {{level: debug, format: {format}}}\n",
        dns.address()
    );
    let daemon = Daemon::start(&config);
    for (client, sender) in [
        ("[2001:db8:1::20]:25", "<a@\u{1b}late.example>"),
        ("[2001:db8:1::10]:25", "<a@good.example>"),
        ("198.51.100.1:25", "<a@good.example>"),
    ] {
        mail(&daemon, client, sender);
    }
    let log = daemon.log();
    daemon.stop();
    let mut summary = json(&Logs::new().report("--json", log.text().as_bytes()));
    for (rule, want) in [
        ("no-ptr", [0, 1, 0]),
        ("spf-pass", [1, 0, 0]),
        ("not-opted-in", [0, 0, 1]),
        ("ipv4", [1, 0, 0]),
    ] {
        assert_eq!(
            counts(&summary["rules"], "rule", rule),
            want,
            "{rule}\n{}",
            log.text()
        );
    }
    assert_eq!(
        counts(&summary["sender_domains"], "name", "\\x1blate.example"),
        [0, 1, 0]
    );
    assert_eq!(
        counts(&summary["clients"], "network", "2001:db8:1::/64"),
        [1, 1, 1]
    );
    assert_eq!(summary["not_checked"], 1);
    for of_this_run in ["period", "read", "waited", "hours"] {
        summary[of_this_run] = Value::Null;
    }
    summary
}

/// One message, to a domain that has opted in and one that has not.
fn mail(daemon: &Daemon, client: &str, sender: &str) {
    let mut milter = MilterClient::open(&daemon.address());
    let client = client.parse().expect("an address");
    if milter.connect_from("unknown", client) == Reply::Accept {
        return;
    }
    milter.helo("mail.good.example");
    milter.mail(&[sender]);
    if sender == "<a@good.example>" {
        milter.rcpt(&["<b@other.example>"]);
    }
    if milter.rcpt(&["<b@contoso.com>"]) == Reply::Continue {
        milter.message(b"From: a@good.example\r\n\r\nbody\r\n", 65535);
    }
}

#[test]
fn a_flood_of_invented_senders_hides_no_real_one() {
    let mut lines = String::new();
    for n in 0..40_000 {
        let domain = match n % 10 {
            0 => "known.example".to_owned(),
            _ => format!("made-up-{n}.example"),
        };
        lines += &format!(
            "Nov 21 06:00:00 mx sixgate[7]: NOQUEUE: reject: RCPT from x[2001:db8:{n:x}::1]: 450 \
             4.7.25 x; rule=no-ptr mode=enforce from=<a{n}@{domain}> to=<b@contoso.com> helo=<x> \
             ms=0\n"
        );
    }
    let summary = json(&Logs::new().report("--json", lines.as_bytes()));
    let first = &summary["sender_domains"][0];
    assert_eq!(first["name"], "known.example");
    let [_, counted, _] = counts(&summary["sender_domains"], "name", "known.example");
    let missed = first["missed"].as_u64().expect("a number");
    assert!(counted <= 4000 && counted + missed >= 4000, "{first}");
    assert_eq!(summary["totals"]["deferred"], 40_000);
    assert_eq!(summary["returns"]["total"]["mails"], 40_000);
}

#[test]
fn a_period_can_be_chosen() {
    let logs = Logs::new();
    logs.write("mail.log", MAIL_LOG);
    let table = [
        ("--since 2026-11-21T07:30", 4),
        ("--since 2026-11-21T07:30:00+01:00", 5),
        ("--until 2026-11-21T06:10", 1),
        ("--since 2026-11-21 --until 2026-11-22", 8),
        ("--since 2026-11-22", 0),
    ];
    for (arguments, want) in table {
        let summary = logs.json(&format!("{arguments} mail.log"));
        assert_eq!(summary["read"]["decisions"], want, "{arguments}");
    }
    let untimed = "NOQUEUE: accept: rule=spf-pass mode=enforce client=x[2001:db8::1] from=<a@b>";
    let summary = json(&logs.report("--json --since 7d", untimed.as_bytes()));
    assert_eq!(summary["read"]["decisions"], 0);
    assert_eq!(summary["read"]["untimed"], 1);
    assert_eq!(logs.report("--since soon", b"").status.code(), Some(64));
}

#[test]
fn lists_are_as_long_as_asked_for() {
    let logs = Logs::new();
    logs.write("mail.log", MAIL_LOG);
    for top in [0, 1, 3] {
        let summary = logs.json(&format!("--top {top} mail.log"));
        let list = summary["sender_domains"].as_array().expect("a list");
        assert_eq!(list.len(), top);
    }
}

#[test]
fn unreadable_files_are_reported_and_the_rest_is_counted() {
    let logs = Logs::new();
    logs.write("mail.log", MAIL_LOG);
    let mut cut_off = gzip(MAIL_LOG.repeat(200).as_bytes());
    cut_off.truncate(cut_off.len() / 2);
    logs.write("cut-off.gz", gzip(b""));
    fs::write(logs.path("cut-off.gz"), cut_off).expect("a log");
    fs::write(logs.path("packed.bz2"), b"BZh91AY...").expect("a log");
    for (name, program) in [("cut-off.xz", "xz"), ("cut-off.zst", "zstd")] {
        let mut cut_off = compressed_by(program, MAIL_LOG.repeat(200).as_bytes());
        cut_off.truncate(cut_off.len() / 2);
        fs::write(logs.path(name), cut_off).expect("a log");
    }
    fs::create_dir(logs.path("directory")).expect("a directory");
    let table = [
        ("nonexistent", 66, "nonexistent: No such file"),
        ("directory", 66, "directory: is a directory"),
        ("packed.bz2", 66, "packed.bz2: is compressed with bzip2"),
        ("cut-off.xz", 74, "cut-off.xz: "),
        ("cut-off.zst", 74, "cut-off.zst: "),
        ("cut-off.gz", 74, "cut-off.gz: "),
    ];
    for (name, exit, words) in table {
        let output = logs.report(&format!("--json {name} mail.log"), b"");
        assert_eq!(output.status.code(), Some(exit), "{name}");
        let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(summary["read"]["decisions"].as_u64() >= Some(8), "{name}");
        let errors = String::from_utf8(output.stderr).expect("text");
        assert!(errors.contains(words), "{name}: {errors}");
    }
}

#[test]
fn a_closed_output_pipe_is_not_an_error() {
    let logs = Logs::new();
    logs.write("mail.log", MAIL_LOG);
    let mut program = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["report", "--html", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It cannot write anything before its input ends.
    drop(program.stdout.take());
    drop(program.stdin.take());
    let output = program.wait_with_output().expect("the program ends");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_journal_is_asked_for_both_programs_and_the_period() {
    let logs = Logs::new();
    let record = r#"{"MESSAGE":"NOQUEUE: accept: rule=spf-pass mode=enforce client=x[2001:db8::1] from=<a@b> nrcpt=1 rcpt_domains=c","SYSLOG_IDENTIFIER":"sixgate","__REALTIME_TIMESTAMP":"1795242810123456"}"#;
    // A private journal needs systemd; these records are in the format that it prints.
    let script =
        format!("#!/bin/sh\nprintf '%s ' \"$@\" >\"$0.asked\"\necho '{record}'\nexit \"$EXIT\"\n");
    fs::write(logs.path("journalctl"), script).expect("a script");
    let mut permissions = fs::metadata(logs.path("journalctl"))
        .expect("it")
        .permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(logs.path("journalctl"), permissions).expect("it");
    for (exit, want) in [("0", 0), ("1", 74)] {
        let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args([
                "report",
                "--json",
                "--journal",
                "--since",
                "2026-11-21T00:00:00Z",
            ])
            .env("PATH", logs.path(""))
            .env("EXIT", exit)
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(want), "{output:?}");
        let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(summary["totals"]["accepted"], 1);
    }
    let asked = fs::read_to_string(logs.path("journalctl.asked")).expect("arguments");
    for argument in [
        "--output=json",
        "--since=@1795219200",
        "SYSLOG_IDENTIFIER=sixgate + SYSLOG_FACILITY=2",
    ] {
        assert!(asked.contains(argument), "{asked}");
    }
    let nowhere = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["report", "--journal"])
        .env("PATH", "/nonexistent")
        .output()
        .expect("the program runs");
    assert_eq!(nowhere.status.code(), Some(69));
}

#[test]
fn a_long_log_is_traced_exactly() {
    let mut lines = Vec::new();
    let truth = synthetic::write(&mut lines, 4, 12_000_000).expect("room");
    let logs = Logs::new();
    logs.write("mail.log", &lines);
    // The year is that of the last change, and the log covers several days.
    let summary = logs.json("--until 2026-12-31 mail.log");
    assert_eq!(summary["read"]["lines"], truth.lines);
    assert_eq!(summary["totals"]["accepted"], truth.accepted);
    assert_eq!(summary["totals"]["deferred"], truth.deferred);
    assert_eq!(summary["totals"]["rejected"], truth.rejected);
    for (rule, count) in &truth.rules {
        let sum: u64 = counts(&summary["rules"], "rule", rule).iter().sum();
        assert_eq!(sum, *count, "{rule}");
    }
    for fate in [
        "ipv4",
        "ipv4_refused",
        "ipv6",
        "retrying",
        "gone",
        "waiting",
    ] {
        assert_eq!(
            summary["returns"]["total"][fate],
            truth.fate(fate),
            "{fate}"
        );
    }
}

#[test]
#[ignore = "makes and reads a gigabyte; --nocapture shows the time; SIXGATE_LOG keeps the log"]
fn a_gigabyte_is_summed_up() {
    let directory = TempDir::new().expect("a directory");
    let kept = std::env::var_os("SIXGATE_LOG").map(PathBuf::from);
    let path = kept.unwrap_or_else(|| directory.path().join("mail.log"));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).expect("a log"));
    let truth = synthetic::write(&mut file, 6, 1_000_000_000).expect("room");
    file.flush().expect("room");
    let begin = std::time::Instant::now();
    let summary = json(&report_of(&path));
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it").max_rss();
    println!(
        "{} lines, {:.1} s, {} MiB",
        truth.lines,
        begin.elapsed().as_secs_f64(),
        peak >> 10
    );
    assert!(peak < 256 << 10, "{peak} KiB");
    assert_eq!(summary["read"]["lines"], truth.lines);
    assert_eq!(summary["totals"]["accepted"], truth.accepted);
    assert_eq!(summary["totals"]["deferred"], truth.deferred);
    assert_eq!(summary["totals"]["rejected"], truth.rejected);
}

fn report_of(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["report", "--json"])
        .arg(path)
        .env("TZ", "UTC")
        .output()
        .expect("the program runs")
}
