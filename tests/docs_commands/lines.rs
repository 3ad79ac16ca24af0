//! What is expected of command lines, by how they begin. A line without an entry
//! has to end with 0.

pub enum How {
    /// It is run, ends with this code and prints this.
    Run(i32, &'static str),
    /// Another test does it, because this one has not got what it needs. That is
    /// in this file, which has these words.
    There(&'static str, &'static str),
    /// No test does it, and why.
    Nowhere(&'static str),
}

use How::{Nowhere, Run, There};

/// Of several entries the longest is that of a line.
pub const LINES: &[(&str, How)] = &[
    // A booted system with systemd and Postfix.
    ("apt install ./target/deb/", There(LIFE, "dpkg -i ")),
    ("postfix reload", There(LIFE, "postfix reload")),
    (
        "systemctl reload sixgate",
        There(LIFE, "systemctl reload sixgate"),
    ),
    (
        "sixgate check-config && systemctl reload sixgate",
        There(LIFE, "systemctl reload sixgate"),
    ),
    (
        "systemctl stop sixgate",
        There(LIFE, "systemctl stop sixgate"),
    ),
    (
        "systemctl start sixgate",
        There(LIFE, "systemctl start sixgate"),
    ),
    (
        "systemctl enable --now sixgate.socket",
        There(LIFE, "systemctl enable --now sixgate.socket"),
    ),
    (
        "systemctl enable --now sixgate",
        Nowhere("the package has done it"),
    ),
    (
        "systemctl restart sendmail",
        Nowhere("the tests start their Sendmail by hand"),
    ),
    ("systemctl edit sixgate.socket", Nowhere("opens an editor")),
    ("make -C /etc/mail", There("tests/e2e/sendmail.rs", "cf/m4")),
    // A journal.
    ("journalctl -u sixgate -f", Nowhere("does not end")),
    (
        "journalctl -t sixgate",
        There("tests/log.rs", "SIXGATE_RULE=no-ptr"),
    ),
    (
        "journalctl SIXGATE_RECIPIENT_DOMAINS=",
        There("tests/log.rs", "SIXGATE_RECIPIENT_DOMAINS"),
    ),
    // Servers that go on until they are stopped.
    (
        "sixgate serve",
        There("tests/support/daemon.rs", "\"serve\", \"-c\""),
    ),
    (
        "rbldnsd -n",
        There(FLEET, "block(\"rbldnsd serves it with\")"),
    ),
    (
        "python3 socketmap-sqlite.py",
        There(FLEET, "socketmap-sqlite.py"),
    ),
    (
        "postmap -q",
        There(FLEET, "the_example_answers_from_its_table"),
    ),
    ("nsd-control reload", There(FLEET, "Signal::SIGHUP")),
    // Minutes or hours, a compiler, other people's programs.
    (
        "./tests/demo.sh",
        Nowhere("its dialogues are those of tests/e2e"),
    ),
    ("./tests/all.sh", Nowhere("runs this test")),
    (
        "./packaging/build-deb.sh",
        There("tests/make-debian.sh", "packaging/build-deb.sh"),
    ),
    ("tests/bench/run.sh", Nowhere("measures for an hour")),
    (
        "perf record",
        There("tests/bench/runner/profiles.py", "cpu-clock"),
    ),
    (
        "cargo build --release",
        There("tests/cost_guard.rs", "--release"),
    ),
    (
        "cargo bench --bench opt_in_list",
        There("Cargo.toml", "name = \"opt_in_list\""),
    ),
    (
        "cargo bench --bench parts",
        There("Cargo.toml", "name = \"parts\""),
    ),
    (
        "cargo test --test cost_guard",
        There("Cargo.toml", "name = \"cost_guard\""),
    ),
    (
        "cargo test --test limits",
        There("tests/limits.rs", "#[ignore"),
    ),
    (
        "SIXGATE_VECTORS=FOLDER cargo test --test spf_suite",
        There("Cargo.toml", "name = \"spf_suite\""),
    ),
    (
        "SIXGATE_VECTORS=FOLDER cargo test --test dkim_vectors",
        There("Cargo.toml", "name = \"dkim_vectors\""),
    ),
    (
        "cd tests/fuzz && cargo run --release --bin soak -- spf-against-viaspf",
        There(SOAK, "spf-against-viaspf"),
    ),
    (
        "cd tests/fuzz && cargo run --release --bin soak -- dkim-against-viadkim",
        There(SOAK, "dkim-against-viadkim"),
    ),
    (
        "cd tests/fuzz && cargo run --release --bin soak -- TARGET",
        There(SOAK, "spf_record"),
    ),
    (
        "cd tests/fuzz && cargo +nightly fuzz run",
        There("tests/fuzz/Cargo.toml", "libfuzzer = "),
    ),
    (
        "RUSTC_BOOTSTRAP=1 cargo fuzz",
        There("tests/fuzz/Cargo.toml", "libfuzzer = "),
    ),
    (
        "RUSTC_BOOTSTRAP=1 cargo -Z direct-minimal-versions",
        Nowhere(RELEASE),
    ),
    ("cargo deny check", Nowhere(RELEASE)),
    ("cargo audit bin", Nowhere(RELEASE)),
    ("cargo install --locked rust-audit-info", Nowhere(RELEASE)),
    ("rust-audit-info", Nowhere(RELEASE)),
    ("lintian --pedantic", Nowhere(RELEASE)),
    ("git clone . /tmp/first", Nowhere(RELEASE)),
    ("/tmp/first/packaging/build-deb.sh", Nowhere(RELEASE)),
    ("dpkg-deb -x /tmp/", Nowhere(RELEASE)),
    ("diff -rq /tmp/one /tmp/two", Nowhere(RELEASE)),
    // The Internet.
    (
        "dig -x 2001:db8::25 +trace",
        Nowhere("asks the root servers"),
    ),
    // Named without all that they need.
    ("cp -p", Nowhere("an option is named")),
    ("sendmail -Am", Nowhere("an option is named")),
    (
        "postmap -s",
        There("src/commands/doctor/postfix.rs", "postmap"),
    ),
    // What is run here, and does not just end with 0.
    ("sixgate check-config", Run(0, "")),
    (
        "sixgate check-config --show",
        Run(0, "on_dns_failure: tempfail"),
    ),
    ("sixgate opt-in add contoso.com", Run(0, "contoso.com")),
    ("sixgate opt-in status contoso.com", Run(0, "contoso.com")),
    (
        "sixgate explain --client 2001:db8:1::20 --json",
        Run(0, "ipv"),
    ),
    ("sixgate explain", Run(0, "450 4.7.25")),
    ("sixgate doctor", Run(69, "socket")),
    ("psql", Run(69, "socket")),
    ("sixgate report --since", Run(0, "")),
    ("sixgate report --json", Run(0, "\"decisions\"")),
    (
        "systemd-analyze security",
        Run(0, "Overall exposure level for sixgate.service: 1."),
    ),
    ("promtool test rules", Run(0, "SUCCESS")),
    ("openssl rand", Run(0, "=")),
    ("man sixgate", Run(0, "SIXGATE(8)")),
    ("jq", Run(0, "no-ptr")),
    ("grep 4F9D195432C", Run(0, "rule=spf-pass")),
    ("grep 'sixgate.*from=", Run(0, "from=<a@example.org>")),
    ("grep -E 'to=", Run(0, "to=<c@d.example>")),
    ("grep -F", Run(0, "[2001:db8::1]")),
    ("grep -o", Run(0, "1 no-ptr")),
    ("dig +short -x 2001:db8::25", Run(0, "mail.example.org.")),
    ("dig +short mail.example.org AAAA", Run(0, "2001:db8::25")),
    ("dig +short example.org TXT", Run(0, "v=spf1")),
    (
        "dig +short sel._domainkey.example.org TXT",
        Run(0, "v=DKIM1"),
    ),
    ("dig +short contoso.com MX", Run(0, "mx.contoso.com.")),
    ("dig +short mx.contoso.com AAAA", Run(0, "2001:db8::26")),
    ("dig +short test.opt-in.example.org", Run(0, "127.0.0.2")),
    ("dig example.org TXT", Run(0, "v=spf1")),
    ("dig sel._domainkey.example.org TXT", Run(0, "v=DKIM1")),
    ("dig -x 2001:db8::25", Run(0, "mail.example.org.")),
    ("dig @ns1.example.org example.org TXT", Run(0, "v=spf1")),
    ("dig @9.9.9.9 example.org TXT", Run(0, "v=spf1")),
];

const LIFE: &str = "tests/package/life.rs";
const FLEET: &str = "tests/opt_in_fleet.rs";
const SOAK: &str = "tests/fuzz/src/bin/soak.rs";
const RELEASE: &str = "by hand, before a release";

/// The entry of a line.
pub fn entry(line: &str) -> Option<&'static (&'static str, How)> {
    let entries = LINES.iter().filter(|(begin, _)| line.starts_with(begin));
    entries.max_by_key(|(begin, _)| begin.len())
}

/// What the name server that commands ask knows.
pub const ZONE: &str = r#"
2001:db8::25          PTR  mail.example.org
mail.example.org      AAAA 2001:db8::25
ns1.example.org       A    127.0.0.1
example.org           TXT  "v=spf1 mx ip6:2001:db8::25 -all"
sel._domainkey.example.org TXT "v=DKIM1; p=AAAA"
contoso.com           MX   10 mx.contoso.com
mx.contoso.com        AAAA 2001:db8::26
test.opt-in.example.org A  127.0.0.2
"#;
