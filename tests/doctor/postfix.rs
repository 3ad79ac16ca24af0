//! Postfix, set up right and wrong.

use super::fixture::{Examination, Fixture, Shared};
use libtest_mimic::Trial;
use std::{fs, path::Path, process::Command};

/// Why these can't be run here.
pub(crate) fn obstacle() -> Option<&'static str> {
    let installed = Path::new("/usr/sbin/postconf").exists();
    (!installed).then_some("needs Postfix: install postfix")
}

/// One Postfix and one milter.yaml.
struct SetUp {
    label: &'static str,
    /// Besides what all have.
    main_cf: &'static str,
    master_cf: &'static str,
    yaml: &'static str,
}

const LISTEN: &str = "listen: [\"inet:127.0.0.1:{port}\", \"unix:{queue}/sixgate/milter.sock\"]\n\
                      opt_in: {domains: [example.org]}\n";
const ATTACHED: &str = "smtpd_milters = inet:127.0.0.1:{port}\n";
const RECOMMENDED: &str = "smtpd_milters = inet:127.0.0.1:{port}\n\
                           smtpd_milter_maps = cidr:{{0.0.0.0/0 DISABLE}}\n";
const SMTP: &str = "smtp inet n - n - - smtpd\n";
const CHROOTED: &str = "smtp inet n - y - - smtpd\n";

/// What all have.
const MAIN_CF: &str = "compatibility_level = 3.6
queue_directory = {queue}
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mydestination =
";

const VERIFIED: &str = "listen: inet:127.0.0.1:{port}\nexempt: {tls: verified}\n";
const NAMED: &str = "listen: inet:127.0.0.1:{port}\nexempt: {certificates: [mx.partner.example]}\n";

const RESULTS_FOR_ALL: &str = "listen: inet:127.0.0.1:{port}\n\
                               authentication_results: {families: all}\n";

/// What may be wrong with how an MTA is attached.
const ATTACHMENT: [&str; 7] = [
    "exemptions",
    "socket",
    "mta",
    "attached",
    "when-down",
    "protocol",
    "time-outs",
];

const fn set_up(label: &'static str, main_cf: &'static str, master_cf: &'static str) -> SetUp {
    SetUp {
        label,
        main_cf,
        master_cf,
        yaml: LISTEN,
    }
}

const RIGHT: [SetUp; 9] = [
    set_up("as in the documentation", RECOMMENDED, SMTP),
    set_up("chrooted, by TCP", ATTACHED, CHROOTED),
    set_up(
        "with a name for the address",
        "smtpd_milters = inet:localhost:{port}\n",
        SMTP,
    ),
    set_up(
        "with options for the milter",
        "smtpd_milters = { inet:127.0.0.1:{port}, default_action = tempfail }\n\
         milter_default_action = accept\n",
        SMTP,
    ),
    set_up(
        "by a parameter of its own",
        "gate = inet:127.0.0.1:{port}\nsmtpd_milters = $gate\n",
        SMTP,
    ),
    set_up(
        "in master.cf alone",
        "",
        "smtp inet n - n - - smtpd\n  -o smtpd_milters=inet:127.0.0.1:{port}\n",
    ),
    set_up(
        "behind postscreen",
        ATTACHED,
        "smtp inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n",
    ),
    set_up(
        "with submission, where users log in",
        ATTACHED,
        "smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes\n",
    ),
    set_up(
        "with a content filter that comes back without milters",
        ATTACHED,
        "smtp inet n - n - - smtpd\n127.0.0.1:10025 inet n - n - - smtpd\n  -o smtpd_milters=\n",
    ),
];

const RIGHT_BY_UNIX: [SetUp; 3] = [
    set_up(
        "chrooted, as seen from there",
        "smtpd_milters = unix:/sixgate/milter.sock\n",
        CHROOTED,
    ),
    set_up(
        "by the whole path",
        "smtpd_milters = unix:{queue}/sixgate/milter.sock\n",
        SMTP,
    ),
    set_up(
        "by a path in the queue",
        "smtpd_milters = unix:sixgate/milter.sock\n",
        SMTP,
    ),
];

/// Attachments of which IPv4 mail is independent.
const IPV4_APART: [SetUp; 10] = [
    set_up("as in the documentation", RECOMMENDED, SMTP),
    set_up(
        "with an entry for clients behind a NAT64",
        "smtpd_milters = inet:127.0.0.1:{port}\n\
         smtpd_milter_maps = cidr:{{0.0.0.0/0 DISABLE}, {64:ff9b::/96 DISABLE}}\n",
        SMTP,
    ),
    set_up(
        "with the table in a file",
        "smtpd_milters = inet:127.0.0.1:{port}\nsmtpd_milter_maps = cidr:$config_directory/ipv4\n",
        SMTP,
    ),
    set_up(
        "with a regular expression",
        "smtpd_milters = inet:127.0.0.1:{port}\n\
         smtpd_milter_maps = regexp:{{/^[0-9.]+$$/ DISABLE}}\n",
        SMTP,
    ),
    set_up(
        "with another milter",
        "smtpd_milters = inet:127.0.0.1:{port}, inet:127.0.0.1:1\n\
         smtpd_milter_maps = cidr:{{0.0.0.0/0 inet:127.0.0.1:1}}\n",
        SMTP,
    ),
    set_up(
        "with an entry for a network of its own before",
        "smtpd_milters = inet:127.0.0.1:{port}\n\
         smtpd_milter_maps = cidr:{{2001:db8:77::/48 DISABLE}}, cidr:{{0.0.0.0/0 DISABLE}}\n",
        SMTP,
    ),
    set_up(
        "in master.cf alone",
        "",
        "smtp inet n - n - - smtpd\n  -o smtpd_milters=inet:127.0.0.1:{port}\n  \
         -o { smtpd_milter_maps = cidr:{{0.0.0.0/0 DISABLE}} }\n",
    ),
    set_up(
        "for IPv6 clients by the table alone",
        "smtpd_milter_maps = cidr:{{::/0 inet:127.0.0.1:{port}}}\n",
        SMTP,
    ),
    set_up(
        "with private addresses left in",
        "smtpd_milters = inet:127.0.0.1:{port}\n\
         smtpd_milter_maps = cidr:{{10.0.0.0/8 inet:127.0.0.1:{port}}, \
         {172.16.0.0/12 inet:127.0.0.1:{port}}, {0.0.0.0/0 DISABLE}}\n",
        SMTP,
    ),
    set_up("chrooted", RECOMMENDED, CHROOTED),
];

/// A set-up, and the finding that it must bring: check, level and words.
type Wrong = (SetUp, &'static str, &'static str, &'static str);

fn wrong() -> Vec<Wrong> {
    vec![
        (
            set_up("without sixgate", "", SMTP),
            "attached",
            "problem",
            "main.cf: smtpd_milters = : smtp inet does not use sixgate",
        ),
        (
            set_up(
                "with another port",
                "smtpd_milters = inet:127.0.0.1:1\n",
                SMTP,
            ),
            "attached",
            "problem",
            "smtpd_milters = inet:127.0.0.1:1: smtp inet does not use sixgate",
        ),
        (
            set_up(
                "taken off in master.cf",
                ATTACHED,
                "smtp inet n - n - - smtpd\n  -o smtpd_milters=\n",
            ),
            "attached",
            "problem",
            "master.cf: smtp inet: smtpd_milters = : smtp inet does not use",
        ),
        (
            set_up(
                "with milters switched off",
                ATTACHED,
                "smtp inet n - n - - smtpd\n  -o receive_override_options=no_milters\n",
            ),
            "attached",
            "problem",
            "no_milters",
        ),
        (
            set_up(
                "behind another milter",
                "smtpd_milters = inet:127.0.0.1:1, inet:127.0.0.1:{port}\n",
                SMTP,
            ),
            "attached",
            "warning",
            "1 milter(s) before sixgate",
        ),
        (
            set_up(
                "with milters by client",
                "smtpd_milters = inet:127.0.0.1:{port}\nsmtpd_milter_maps = cidr:/x\n",
                SMTP,
            ),
            "attached",
            "problem",
            "smtpd_milter_maps: cidr:/x can't be used: postmap: fatal: open /x",
        ),
        (
            set_up("for IPv4 clients too", ATTACHED, SMTP),
            "ipv4-mail",
            "warning",
            "main.cf: smtp inet passes IPv4 clients to sixgate, which never",
        ),
        (
            set_up(
                "for some IPv4 clients too",
                "smtpd_milters = inet:127.0.0.1:{port}\n\
                 smtpd_milter_maps = cidr:{{0.0.0.0/1 DISABLE}}\n",
                SMTP,
            ),
            "ipv4-mail",
            "warning",
            "passes IPv4 clients to sixgate, which never",
        ),
        (
            set_up(
                "without the other milter for IPv4 clients",
                "smtpd_milters = inet:127.0.0.1:{port}, inet:127.0.0.1:1\n\
                 smtpd_milter_maps = cidr:{{0.0.0.0/0 DISABLE}}\n",
                SMTP,
            ),
            "ipv4-mail",
            "warning",
            "disables inet:127.0.0.1:1 from smtpd_milters",
        ),
        (
            set_up(
                "without sixgate for some IPv6 clients",
                "smtpd_milters = inet:127.0.0.1:{port}\n\
                 smtpd_milter_maps = cidr:{{0.0.0.0/0 DISABLE}, {2a00::/12 DISABLE}}\n",
                SMTP,
            ),
            "attached",
            "problem",
            "clients such as 2a01:4f8::1 bypass sixgate",
        ),
        (
            set_up(
                "without sixgate for all clients",
                "smtpd_milters = inet:127.0.0.1:{port}\nsmtpd_milter_maps = static:DISABLE\n",
                SMTP,
            ),
            "attached",
            "problem",
            "smtp inet does not use sixgate",
        ),
        (
            set_up(
                "accepting while sixgate is down",
                "smtpd_milters = inet:127.0.0.1:{port}\nmilter_default_action = accept\n",
                SMTP,
            ),
            "when-down",
            "problem",
            "main.cf: milter_default_action = accept: mail is accepted unchecked",
        ),
        (
            set_up(
                "accepting for this milter",
                "smtpd_milters = { inet:127.0.0.1:{port}, default_action=accept }\n",
                SMTP,
            ),
            "when-down",
            "problem",
            "smtpd_milters has default_action = accept for sixgate",
        ),
        (
            set_up(
                "bouncing while sixgate is down",
                "smtpd_milters = inet:127.0.0.1:{port}\nmilter_default_action = reject\n",
                SMTP,
            ),
            "when-down",
            "problem",
            "mail bounces",
        ),
        (
            set_up(
                "with an old protocol",
                "smtpd_milters = inet:127.0.0.1:{port}\nmilter_protocol = 2\n",
                SMTP,
            ),
            "protocol",
            "warning",
            "milter_protocol = 2: before version 6, signatures with simple header canonicalization",
        ),
        (
            set_up(
                "without patience",
                "smtpd_milters = inet:127.0.0.1:{port}\nmilter_command_timeout = 5s\n",
                SMTP,
            ),
            "time-outs",
            "problem",
            "milter_command_timeout = 5s",
        ),
        (
            set_up(
                "chrooted, with the whole path",
                "smtpd_milters = unix:{queue}/sixgate/milter.sock\n",
                CHROOTED,
            ),
            "reach",
            "problem",
            "runs in a chroot",
        ),
        (
            set_up(
                "not chrooted, with the path of a chroot",
                "smtpd_milters = unix:/sixgate/milter.sock\n",
                SMTP,
            ),
            "reach",
            "problem",
            "does not run in a chroot",
        ),
        (
            SetUp {
                yaml: "listen: unix:{queue}/private.sock\n",
                ..set_up(
                    "with a socket for others",
                    "smtpd_milters = unix:{queue}/private.sock\n",
                    SMTP,
                )
            },
            "reach",
            "problem",
            "the user postfix can't write to",
        ),
        (
            set_up(
                "with submission, where nobody logs in",
                ATTACHED,
                "smtp inet n - n - - smtpd\n587 inet n - n - - smtpd\n",
            ),
            "submission",
            "problem",
            "without authentication",
        ),
        (
            set_up(
                "with sixgate for local mail",
                "smtpd_milters = inet:127.0.0.1:{port}\nnon_smtpd_milters = $smtpd_milters\n",
                SMTP,
            ),
            "local-mail",
            "warning",
            "non_smtpd_milters contains sixgate",
        ),
        (
            set_up(
                "without IPv6",
                "smtpd_milters = inet:127.0.0.1:{port}\ninet_protocols = ipv4\n",
                SMTP,
            ),
            "clients",
            "warning",
            "no mail arrives over IPv6",
        ),
        (
            set_up(
                "with a network of its own",
                "smtpd_milters = inet:127.0.0.1:{port}\nmynetworks = [2001:db8::]/32\n",
                SMTP,
            ),
            "exemptions",
            "problem",
            "main.cf: mynetworks has 2001:db8::/32, which is not exempt",
        ),
        (
            SetUp {
                yaml: "listen: inet:127.0.0.1:{port}\nexempt: {networks: [192.0.2.0/24]}\n",
                ..set_up("exempting IPv4 alone", ATTACHED, SMTP)
            },
            "exemptions",
            "warning",
            "only IPv4 networks",
        ),
        (
            SetUp {
                yaml: RESULTS_FOR_ALL,
                ..set_up(
                    "without IPv4 clients, which are to get results",
                    RECOMMENDED,
                    SMTP,
                )
            },
            "ipv4-mail",
            "warning",
            "clients such as 8.8.8.8 bypass sixgate: their mail gets no \
             Authentication-Results field",
        ),
        (
            SetUp {
                yaml: RESULTS_FOR_ALL,
                ..set_up(
                    "(right) with IPv4 clients, which get results",
                    ATTACHED,
                    SMTP,
                )
            },
            "ipv4-mail",
            "ok",
            "smtp inet passes IPv4 clients to sixgate, which adds results to their mail",
        ),
        (
            SetUp {
                yaml: "listen: inet:127.0.0.1:{port}\nexempt: {authenticated: false}\n",
                ..set_up(
                    "with submission, where a log-in does not exempt",
                    ATTACHED,
                    "smtp inet n - n - - smtpd\n587 inet n - n - - smtpd\n  -o smtpd_sasl_auth_enable=yes\n",
                )
            },
            "submission",
            "problem",
            "exempt.authenticated is false",
        ),
        (
            SetUp {
                yaml: "listen: inet:127.0.0.1:{port}\nmode: observe\n",
                ..set_up(
                    "accepting, while sixgate only observes",
                    "smtpd_milters = inet:127.0.0.1:{port}\nmilter_default_action = accept\n",
                    SMTP,
                )
            },
            "when-down",
            "warning",
            "mail is accepted unchecked",
        ),
        (
            set_up(
                "with submission alone",
                ATTACHED,
                "587 inet n - n - - smtpd\n",
            ),
            "attached",
            "warning",
            "no smtpd service accepts mail from the Internet",
        ),
    ]
}

/// Exemptions by certificate: main.cf, master.cf, milter.yaml, and the finding. The
/// public CAs are those of the system.
const CERTIFICATES: [(&str, &str, &str, &str, &str, &str); 11] = [
    (
        "with a public bundle of CAs",
        "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n",
        SMTP,
        VERIFIED,
        "warning",
        "exempts anyone with a certificate of a public CA: {main.cf} asks clients for one \
         (smtpd_tls_ask_ccert = yes) and trusts",
    ),
    (
        "with one public CA of many",
        "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = {public}\n",
        SMTP,
        VERIFIED,
        "warning",
        "trusts 1 CA (smtpd_tls_CAfile = ",
    ),
    (
        "with a public folder of CAs",
        "smtpd_tls_req_ccert = yes\nsmtpd_tls_CApath = /etc/ssl/certs\n",
        SMTP,
        VERIFIED,
        "warning",
        "(smtpd_tls_req_ccert = yes) and trusts",
    ),
    (
        "with the system's CAs",
        "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = {own}\ntls_append_default_CA = yes\n",
        SMTP,
        VERIFIED,
        "warning",
        "trusts the system's CAs (tls_append_default_CA = yes)",
    ),
    (
        "with a public CA in master.cf",
        "",
        "smtp inet n - n - - smtpd\n  -o smtpd_tls_ask_ccert=yes\n  \
         -o smtpd_tls_CApath=/etc/ssl/certs\n",
        VERIFIED,
        "warning",
        "master.cf: smtp inet asks clients for one (smtpd_tls_ask_ccert = yes)",
    ),
    (
        "with a CA of its own",
        "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = {own}\n",
        SMTP,
        VERIFIED,
        "ok",
        "trusts no known public CA",
    ),
    (
        "without asking for certificates",
        "smtpd_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n",
        SMTP,
        VERIFIED,
        "warning",
        "exempt.tls: verified has no effect",
    ),
    (
        "with names, and a public bundle",
        "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n",
        SMTP,
        NAMED,
        "ok",
        "asks for certificates (smtpd_tls_ask_ccert = yes)",
    ),
    (
        "with names, and without asking",
        "smtpd_tls_CAfile = {own}\n",
        SMTP,
        NAMED,
        "warning",
        "exempt.certificates has no effect: {main.cf} does not ask clients for a certificate \
         (smtpd_tls_ask_ccert = no)",
    ),
    (
        "with names, and without a CA",
        "smtpd_tls_ask_ccert = yes\n",
        SMTP,
        NAMED,
        "warning",
        "has no trusted CA",
    ),
    (
        "without exemptions",
        "smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n",
        SMTP,
        "listen: inet:127.0.0.1:{port}\n",
        "ok",
        "no client is exempt because of a certificate",
    ),
];

/// A folder with a Postfix and two files of CAs, and the words with their places.
fn certificates(
    fixture: &Fixture,
    (_, main_cf, master_cf, yaml, level, words): (&str, &str, &str, &str, &str, &str),
) {
    let folder = fixture.folder();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let ca =
        fs::read_dir("/usr/share/ca-certificates/mozilla").expect("the package ca-certificates");
    let ca = ca.flatten().next().expect("a public CA").path();
    let public = format!("A CA\n{}", fs::read_to_string(ca).expect("a certificate"));
    fs::write(path("public.pem"), public).expect("a file");
    make_ca(&path("own.key"), &path("own.pem"));
    let fill = |text: &str| {
        let text = text.replace("{public}", &path("public.pem"));
        text.replace("{own}", &path("own.pem"))
    };
    let main_cf = fill(&fixture.fill(&format!("{MAIN_CF}{RECOMMENDED}{main_cf}")));
    fs::write(path("main.cf"), main_cf).expect("main.cf");
    fs::write(path("master.cf"), master_cf).expect("master.cf");
    let words = words.replace("{main.cf}", &path("main.cf"));
    let directory = folder.path().to_string_lossy();
    let found = fixture.examine(yaml, &["--postfix-config", &directory], "");
    found.has("certificates", level, &words);

    // check-config says the same of exempt.tls: verified.
    let milter_yaml = path("milter.yaml");
    fs::write(&milter_yaml, fixture.fill(yaml)).expect("milter.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["check-config", "-c", &milter_yaml])
        .env("MAIL_CONFIG", folder.path())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let is_warned = said.contains("warning: exempt.tls: verified");
    assert_eq!(is_warned, yaml == VERIFIED && level == "warning", "{said}");
    assert!(!is_warned || said.contains(&words), "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
}

fn make_ca(key: &str, certificate: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args([
            "-nodes",
            "-subj",
            "/CN=A CA of our own",
            "-keyout",
            key,
            "-out",
            certificate,
        ])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
}

/// A trial for each set-up. The daemon is the same for all; what differs is how
/// Postfix is set up.
pub(crate) fn trials() -> Vec<Trial> {
    let fixture = Shared::default();
    let reached = [ATTACHMENT.as_slice(), &["reach"]].concat();
    let mut trials = vec![
        trial(&fixture, "wrong: not there", no_postfix),
        trial(&fixture, "its domains are walked", its_domains),
    ];
    let apart = IPV4_APART.map(|set_up| (set_up, [ATTACHMENT.as_slice(), &["ipv4-mail"]].concat()));
    let right = RIGHT.map(|set_up| (set_up, ATTACHMENT.to_vec()));
    let by_unix = RIGHT_BY_UNIX.map(|set_up| (set_up, reached.clone()));
    let all = right.into_iter().chain(by_unix).chain(apart);
    for (set_up, checks) in all {
        let label = format!("right: {}", set_up.label);
        let test = move |fixture: &Fixture| set_up.examine(fixture, &[]).is_well(&checks);
        trials.push(trial(&fixture, &label, test));
    }
    for row in CERTIFICATES {
        let test = move |fixture: &Fixture| certificates(fixture, row);
        trials.push(trial(&fixture, &format!("certificates: {}", row.0), test));
    }
    for (set_up, check, level, words) in wrong() {
        let label = format!("wrong: {}", set_up.label);
        let test = move |fixture: &Fixture| set_up.examine(fixture, &[]).has(check, level, words);
        trials.push(trial(&fixture, &label, test));
    }
    trials
}

fn trial(fixture: &Shared, label: &str, test: impl FnOnce(&Fixture) + Send + 'static) -> Trial {
    let fixture = fixture.clone();
    Trial::test(format!("Postfix / {label}"), move || {
        test(&fixture);
        Ok(())
    })
}

impl SetUp {
    fn examine(&self, fixture: &Fixture, arguments: &[&str]) -> Examination {
        let folder = fixture.folder();
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), fixture.fill(text)).expect(name);
        };
        write("main.cf", &format!("{MAIN_CF}{}", self.main_cf));
        write("master.cf", self.master_cf);
        write("relay", "both.example OK\nfour.example OK\n");
        write("ipv4", "# IPv4\n0.0.0.0/0 DISABLE\n");
        write("virtual", "itself.example\n# nothing\n");
        let directory = folder.path().to_string_lossy();
        let arguments = [["--postfix-config", &directory].as_slice(), arguments].concat();
        fixture.examine(self.yaml, &arguments, "")
    }
}

fn no_postfix(fixture: &Fixture) {
    let arguments = ["--postfix-config", "/nonexistent"];
    let found = fixture.examine(LISTEN, &arguments, "");
    found.has("mta", "problem", "/nonexistent");
}

/// In main.cf, in a table and in a file; a table that can't be listed is told.
fn its_domains(fixture: &Fixture) {
    let main_cf = "smtpd_milters = inet:127.0.0.1:{port}\n\
                   mydestination = broken.example, localhost\n\
                   relay_domains = texthash:$config_directory/relay, !no.example\n\
                   virtual_mailbox_domains = $config_directory/virtual, pcre:/x\n";
    let found = set_up("with domains", main_cf, SMTP).examine(fixture, &["--dns"]);
    found.has("domains", "problem", "both.example has not opted in");
    found.has("domains", "problem", "itself.example has not opted in");
    found.has("domains", "warning", "broken.example can't be checked now");
    found.has(
        "domains",
        "warning",
        "the domains in pcre:/x can't be listed",
    );
    // Those, four.example, and example.org, which opted in.
    found.has("domains", "ok", "5 domain(s) checked");
}
