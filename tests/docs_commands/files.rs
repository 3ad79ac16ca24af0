//! The files in a sandbox besides the machine's own.

use std::{fs, io, path::Path};

/// The files that the documentation mentions.
pub const FILES: [(&str, &str); 13] = [
    (
        "etc/resolv.conf",
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    ),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/sixgate/milter.yaml",
        "opt_in: {domains: [contoso.com]}\n",
    ),
    ("etc/sixgate/opt-in.d/customers.list", "customer.example\n"),
    ("var/lib/sixgate/opt-in.list", "# empty\n"),
    ("usr/local/etc/mail/sendmail.cf", SENDMAIL_CF),
    ("srv/here/milter.yaml", "mode: observe\n"),
    ("srv/here/mail.eml", "From: a@example.net\r\n\r\nHello\r\n"),
    ("srv/here/domains.txt", "one.example\ntwo.example\n"),
    (
        "srv/here/networks.txt",
        "2001:db8:8::/48\n2001:db8:9::25  # mx\n",
    ),
    (
        "srv/here/customers.list",
        "customer.example\nanother.example\n",
    ),
    ("srv/here/sixgate.json", JSON_LOG),
    (
        "srv/upstream/customers.list",
        "customer.example\npulled.example\n",
    ),
];

const SENDMAIL_CF: &str = "V10/Berkeley\nO DaemonPortOptions=Name=MTA\n\
    O InputMailFilters=sixgate\n\
    Xsixgate, S=inet:8894@127.0.0.1, F=T, T=C:10s;S:30s;R:30s;E:5m\n";

const JSON_LOG: &str = "{\"event\":\"message\",\"message\":\"ready\"}\n\
    {\"event\":\"decision\",\"refused\":true,\"rule\":\"no-ptr\"}\n\
    {\"event\":\"decision\",\"refused\":false,\"rule\":\"spf-pass\"}\n";

/// Stubs for programs that a test cannot run.
pub const STUBS: [(&str, &str); 2] = [
    ("psql", "#!/bin/sh\nprintf 'contoso.com\\nexample.org\\n'\n"),
    // The other host is this one.
    ("ssh", "#!/bin/sh\nshift\nexec \"$@\"\n"),
];

/// Returns files with contents that the documentation shows.
pub fn shown_files(docs: &Path) -> io::Result<[(&'static str, String); 3]> {
    let read = |page| fs::read_to_string(docs.join(page));
    Ok([
        ("var/log/mail.log", log_of(&read("operations.md")?)),
        ("srv/here/opt-in.sql", sql_of(&read("fleet.md")?)),
        ("srv/here/filter", filter_of(&read("sendmail.md")?)),
    ])
}

/// Returns the decision lines of a page as a log.
fn log_of(page: &str) -> String {
    let is_decision =
        |line: &&str| line.starts_with("    NOQUEUE:") || line.starts_with("    4F9D");
    let lines = page.lines().filter(is_decision).map(str::trim);
    lines
        .map(|line| format!("2026-11-21T06:33:30+01:00 mx sixgate[123]: {line}\n"))
        .collect()
}

fn sql_of(page: &str) -> String {
    let example = page.split("SQLite makes the table for it with").nth(1);
    let block = example.unwrap_or_default().split("```sql\n").nth(1);
    let block = block.unwrap_or_default();
    block.split("```").next().unwrap_or_default().to_owned()
}

/// Returns the line of sendmail.mc.
fn filter_of(page: &str) -> String {
    let is_filter = |line: &&str| line.trim().starts_with("INPUT_MAIL_FILTER(");
    let filter = page.lines().find(is_filter).unwrap_or_default();
    format!("{}\n", filter.trim())
}
