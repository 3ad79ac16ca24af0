//! Sendmail, set up right and wrong: its configuration as m4 makes it.

use super::fixture::{Examination, Fixture, Shared};
use libtest_mimic::Trial;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where `extract-sendmail.sh` has put it.
fn macros() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sendmail/usr/share/sendmail/cf")
}

/// Why these can't be run here.
pub(crate) fn obstacle() -> Option<&'static str> {
    match (macros().exists(), Path::new("/usr/bin/m4").exists()) {
        (false, _) => Some("needs Sendmail: run tests/extract-sendmail.sh"),
        (true, false) => Some("needs m4: install m4"),
        (true, true) => None,
    }
}

const PORTS: &str =
    "FEATURE(`no_default_msa')\nDAEMON_OPTIONS(`Name=MTA-v6, Family=inet6, Port=smtp')\n";
const FILTER: &str =
    "INPUT_MAIL_FILTER(`sixgate', `S=inet:{port}@127.0.0.1, F=T, T=C:10s;S:30s;R:30s;E:5m')\n";

const APART: &str = "FEATURE(`no_default_msa')
DAEMON_OPTIONS(`Family=inet, Name=MTA-v4, Port=smtp, InputMailFilters=')
DAEMON_OPTIONS(`Family=inet6, Name=MTA-v6, Port=smtp, Addr=2001:db8::25')
";

/// What sendmail.mc has, and the finding: check, level and words.
type Row = (
    &'static str,
    String,
    &'static str,
    &'static str,
    &'static str,
);

fn rows() -> Vec<Row> {
    let with = |filter: &str| format!("{PORTS}{filter}");
    vec![
        (
            "right: as in the documentation",
            with(FILTER),
            "attached",
            "ok",
            "MTA-v6 uses sixgate (sixgate)",
        ),
        (
            "right: by the feature",
            with("FEATURE(`sixgate', `inet:{port}@127.0.0.1')\n"),
            "when-down",
            "ok",
            "F=T",
        ),
        (
            "right: with a port for IPv4 without sixgate",
            format!("{FILTER}{APART}"),
            "ipv4-mail",
            "ok",
            "MTA-v4 accepts IPv4 mail without sixgate",
        ),
        (
            "right: with a port for IPv6 alone",
            format!("{FILTER}{APART}"),
            "ipv4-mail",
            "ok",
            "MTA-v6 accepts no IPv4 mail",
        ),
        (
            "wrong: for IPv4 clients too",
            with(FILTER),
            "ipv4-mail",
            "warning",
            "MTA-v6 passes IPv4 clients to sixgate, which never",
        ),
        (
            "wrong: without the other filter for IPv4 clients",
            format!("INPUT_MAIL_FILTER(`other', `S=inet:1@127.0.0.1')\n{FILTER}{APART}"),
            "ipv4-mail",
            "warning",
            "MTA-v4 does not use other either",
        ),
        (
            "wrong: for nobody but this machine",
            format!(
                "{FILTER}FEATURE(`no_default_msa')\nDAEMON_OPTIONS(`Name=MTA-v4, Family=inet, Port=smtp, Addr=127.0.0.1')\n"
            ),
            "attached",
            "warning",
            "no port accepts mail from the Internet",
        ),
        (
            "right: time-outs",
            with(FILTER),
            "time-outs",
            "ok",
            "waits 30s",
        ),
        (
            "wrong: without sixgate",
            with(""),
            "attached",
            "problem",
            "no filter (X line)",
        ),
        (
            "wrong: defined and not used",
            with("MAIL_FILTER(`sixgate', `S=inet:{port}@127.0.0.1, F=T')\n"),
            "attached",
            "problem",
            "sixgate is not in its InputMailFilters",
        ),
        (
            "wrong: taken off the port",
            format!(
                "{FILTER}FEATURE(`no_default_msa')\nDAEMON_OPTIONS(`Name=bare, Family=inet6, Port=smtp, InputMailFilters=')\n"
            ),
            "attached",
            "problem",
            "bare does not use sixgate",
        ),
        (
            "wrong: without F=T",
            with("INPUT_MAIL_FILTER(`sixgate', `S=inet:{port}@127.0.0.1')\n"),
            "when-down",
            "problem",
            "has no F=T: mail is accepted unchecked",
        ),
        (
            "wrong: with F=R",
            with("INPUT_MAIL_FILTER(`sixgate', `S=inet:{port}@127.0.0.1, F=R')\n"),
            "when-down",
            "problem",
            "mail bounces",
        ),
        (
            "wrong: with little time",
            with("INPUT_MAIL_FILTER(`sixgate', `S=inet:{port}@127.0.0.1, F=T')\n"),
            "time-outs",
            "warning",
            "waits 10s",
        ),
        (
            "wrong: with too little time",
            with("INPUT_MAIL_FILTER(`sixgate', `S=inet:{port}@127.0.0.1, F=T, T=R:5s')\n"),
            "time-outs",
            "problem",
            "waits 5s",
        ),
        (
            "wrong: a socket below a folder for everybody",
            with("INPUT_MAIL_FILTER(`sixgate', `S=local:{queue}/sixgate/milter.sock, F=T')\n"),
            "reach",
            "problem",
            "everybody may write to /tmp",
        ),
        (
            "wrong: without IPv6",
            format!(
                "{FILTER}FEATURE(`no_default_msa')\nDAEMON_OPTIONS(`Name=MTA, Family=inet, Port=smtp')\n"
            ),
            "clients",
            "warning",
            "no port accepts mail from the Internet over IPv6",
        ),
    ]
}

const VERIFIED: &str = "listen: inet:127.0.0.1:{port}\nexempt: {tls: verified}\n";
const NAMED: &str = "listen: inet:127.0.0.1:{port}\nexempt: {certificates: [mx.partner.example]}\n";

/// Exemptions by certificate: sendmail.mc, milter.yaml, and the finding.
const CERTIFICATES: [(&str, &str, &str, &str, &str); 6] = [
    (
        "by upstream's defaults, with the system's CAs",
        "define(`confSERVER_CERT', `/x')define(`confCACERT_PATH', `/etc/ssl/certs')\n",
        VERIFIED,
        "warning",
        "asks clients for one (no V in TLSSrvOptions) and trusts",
    ),
    (
        "with a file of public CAs",
        "define(`confSERVER_CERT', `/x')\
         define(`confCACERT', `/etc/ssl/certs/ca-certificates.crt')\n",
        VERIFIED,
        "warning",
        "(CACertFile=/etc/ssl/certs/ca-certificates.crt)",
    ),
    (
        "as Debian's starttls.m4",
        "define(`confSERVER_CERT', `/x')define(`confCACERT_PATH', `/etc/ssl/certs')\
         define(`confTLS_SRV_OPTIONS', `V')\n",
        VERIFIED,
        "warning",
        "exempt.tls: verified has no effect",
    ),
    (
        "without STARTTLS",
        "define(`confCACERT_PATH', `/etc/ssl/certs')\n",
        NAMED,
        "warning",
        "does not ask clients for a certificate (no ServerCertFile)",
    ),
    (
        "with names, as Debian's starttls.m4",
        "define(`confSERVER_CERT', `/x')define(`confCACERT_PATH', `/etc/ssl/certs')\
         define(`confTLS_SRV_OPTIONS', `V')\n",
        NAMED,
        "warning",
        "does not ask clients for a certificate (TLSSrvOptions=V)",
    ),
    (
        "with names",
        "define(`confSERVER_CERT', `/x')define(`confCACERT', `/x')\n",
        NAMED,
        "ok",
        "asks for certificates (no V in TLSSrvOptions)",
    ),
];

/// `authentication_results.families: all`: sendmail.mc, and the finding.
const RESULTS_FOR_ALL: [(&str, &str, &str, &str); 2] = [
    (
        "with IPv4 clients",
        PORTS,
        "ok",
        "MTA-v6 passes IPv4 clients to sixgate, which adds results to their mail",
    ),
    (
        "without IPv4 clients",
        APART,
        "warning",
        "MTA-v4 does not pass IPv4 clients to sixgate: their mail gets no Authentication-Results",
    ),
];

/// A trial for each set-up. The daemon is the same for all; what differs is how
/// Sendmail is set up.
pub(crate) fn trials() -> Vec<Trial> {
    let fixture = Shared::default();
    let mut trials = vec![trial(&fixture, "its domains are walked", its_domains)];
    for (label, mc, check, level, words) in rows() {
        let test = move |fixture: &Fixture| examine(fixture, &mc, &[]).has(check, level, words);
        trials.push(trial(&fixture, label, test));
    }
    for (label, mc, level, words) in RESULTS_FOR_ALL {
        let test = move |fixture: &Fixture| {
            let yaml = "listen: inet:127.0.0.1:{port}\nauthentication_results: {families: all}\n";
            let mc = format!("{FILTER}{mc}");
            examine_with(fixture, &mc, yaml, &[]).has("ipv4-mail", level, words);
        };
        trials.push(trial(&fixture, &format!("results for all: {label}"), test));
    }
    for (label, mc, yaml, level, words) in CERTIFICATES {
        let test = move |fixture: &Fixture| {
            let mc = format!("{FILTER}{PORTS}{mc}");
            examine_with(fixture, &mc, yaml, &[]).has("certificates", level, words);
        };
        trials.push(trial(&fixture, &format!("certificates: {label}"), test));
    }
    trials
}

fn trial(fixture: &Shared, label: &str, test: impl FnOnce(&Fixture) + Send + 'static) -> Trial {
    let fixture = fixture.clone();
    Trial::test(format!("Sendmail / {label}"), move || {
        test(&fixture);
        Ok(())
    })
}

const LISTEN: &str = "listen: [\"inet:127.0.0.1:{port}\", \"unix:{queue}/sixgate/milter.sock\"]\n";

fn examine(fixture: &Fixture, mc: &str, arguments: &[&str]) -> Examination {
    examine_with(fixture, mc, LISTEN, arguments)
}

fn examine_with(fixture: &Fixture, mc: &str, yaml: &str, arguments: &[&str]) -> Examination {
    let folder = fixture.folder();
    let cf = folder.path().join("sendmail.cf");
    fs::write(folder.path().join("relay-domains"), "itself.example\n").expect("a file");
    let mc = fixture
        .fill(mc)
        .replace("{folder}", &folder.path().to_string_lossy());
    fs::write(&cf, make(folder.path(), &mc)).expect("sendmail.cf");
    let cf = cf.to_string_lossy();
    let arguments = [["--sendmail-cf", &cf].as_slice(), arguments].concat();
    fixture.examine(yaml, &arguments, "")
}

/// What m4 makes of a sendmail.mc, with our feature among Sendmail's own.
fn make(folder: &Path, mc: &str) -> String {
    let cf = folder.join("cf");
    let copied = Command::new("cp").arg("-r").args([&macros(), &cf]).status();
    assert!(copied.expect("cp").success());
    let feature = include_str!("../../packaging/sendmail/sixgate.m4");
    fs::write(cf.join("feature/sixgate.m4"), feature).expect("the feature");
    let file = folder.join("sendmail.mc");
    fs::write(&file, format!("OSTYPE(`linux')\n{mc}MAILER(`smtp')\n")).expect("sendmail.mc");
    let output = Command::new("m4")
        .arg(format!("-D_CF_DIR_={}/", cf.display()))
        .args([cf.join("m4/cf.m4"), file])
        .output()
        .expect("m4");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Of class w and of relay-domains.
fn its_domains(fixture: &Fixture) {
    let mc = format!(
        "{PORTS}{FILTER}LOCAL_DOMAIN(`both.example')\nRELAY_DOMAIN_FILE(`{{folder}}/relay-domains')\n"
    );
    let found = examine(fixture, &mc, &["--dns"]);
    found.has("domains", "problem", "both.example has not opted in");
    found.has("domains", "problem", "itself.example has not opted in");
}
