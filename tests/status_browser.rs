//! The status page in a real browser, and its API under schemathesis.
//!
//! Needs Debian's Chromium and programs that tests/extended.sh installs below
//! target/tools.

#![cfg(feature = "status")]

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use support::{
    daemon::Daemon,
    dns::{DnsServer, SENDERS, Zone},
    http,
    milter::{self, Address, MilterClient, Reply, UNSIGNED},
};
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A client without reverse DNS.
const REFUSED: &str = "2001:db8:1::20";

/// What is sent, again and again: client, name, sender, recipient.
const MAILS: [(&str, &str, &str, &str); 7] = [
    (
        "2001:db8:1::10",
        "mail.good.example",
        "<a@good.example>",
        "<b@contoso.com>",
    ),
    (
        "2001:db8:1::10",
        "mail.good.example",
        "<news@good.example>",
        "<info@contoso.com>",
    ),
    (
        REFUSED,
        "[2001:db8:1::20]",
        "<a@good.example>",
        "<b@contoso.com>",
    ),
    (
        "2001:db8:1::10",
        "mail.good.example",
        "<a@bad.example>",
        "<b@contoso.com>",
    ),
    (
        "2001:db8:1::10",
        "mail.good.example",
        "<a@good.example>",
        "<b@other.example>",
    ),
    (
        "2001:db8:1::60",
        "unknown",
        "<a@good.example>",
        "<b@contoso.com>",
    ),
    (
        "2001:db8:1::10",
        "<script>alert(1)</script>",
        "<\"><img src=x onerror=alert(1)>\"@bad.example>",
        "<\u{202e}gro.elpmaxe@contoso.com>",
    ),
];

struct Fixture {
    daemon: Daemon,
    _dns: DnsServer,
    page: SocketAddr,
    _folder: TempDir,
}

impl Fixture {
    fn new(has_token: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let dns = DnsServer::start(Zone::parse(SENDERS).expect("a zone"));
        let page = http::free_address();
        let file = folder.path().join("token");
        fs::write(&file, TOKEN).unwrap();
        let token = match has_token {
            true => format!(", token_file: {}", file.display()),
            false => String::new(),
        };
        let daemon = Daemon::start(&format!(
            "dns: {{servers: [{}], timeout: 500ms, attempts: 1}}\n\
             status: {{listen: {page}{token}}}\n\
             log: {{level: warn}}\n\
             opt_in: {{domains: [contoso.com, .contoso.com]}}\n",
            dns.address()
        ));
        let fixture = Self {
            daemon,
            _dns: dns,
            page,
            _folder: folder,
        };
        for _ in 0..4 {
            send_all(&fixture.daemon.address());
        }
        fixture
    }
}

fn send_all(address: &Address) {
    for (client, name, sender, recipient) in MAILS {
        let mut mta = MilterClient::open(address);
        mta.connect_from(name, SocketAddr::new(client.parse().unwrap(), 25252));
        mta.helo("mail.good.example");
        mta.macros(milter::Command::Mail, &[("i", "4F9D195432C")]);
        mta.mail(&[sender]);
        mta.macros(milter::Command::Rcpt, &[("i", "4F9D195432C")]);
        if mta.rcpt(&[recipient]) == Reply::Continue {
            mta.message(UNSIGNED, 65535);
        }
    }
}

/// A folder that tests/extended.sh has filled.
fn tools(name: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let path = tools.join(name);
    assert!(
        path.exists(),
        "{} is not there; run tests/extended.sh",
        path.display()
    );
    path
}

#[test]
#[ignore = "needs Chromium; run by tests/extended.sh"]
fn people_use_the_page_in_a_browser() {
    let fixture = Fixture::new(true);
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-page");
    fs::create_dir_all(&screenshots).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let (address, stop) = (fixture.daemon.address(), Arc::clone(&is_over));
    let sending = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            send_all(&address);
            thread::sleep(Duration::from_millis(100));
        }
    });
    let output = Command::new(tools("status-page/bin/python3"))
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/status_page/browser.py"
        ))
        .args([&fixture.page.to_string(), TOKEN, REFUSED])
        .arg(tools("axe-core/node_modules/axe-core/axe.min.js"))
        .arg(&screenshots)
        .output()
        .unwrap();
    is_over.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{text}{errors}{}",
        fixture.daemon.log().text()
    );
    println!("{text}pictures in {}", screenshots.display());
}

#[test]
#[ignore = "needs schemathesis; run by tests/extended.sh"]
fn the_api_does_what_its_document_says() {
    let fixture = Fixture::new(false);
    let folder = TempDir::new().unwrap();
    let output = Command::new(tools("status-page/bin/schemathesis"))
        // It keeps files where it runs.
        .current_dir(&folder)
        .arg(concat!(
            "--config-file=",
            env!("CARGO_MANIFEST_DIR"),
            "/tests/status_page/schemathesis.toml"
        ))
        .args([
            "run",
            "--checks",
            "all",
            "--max-examples",
            "40",
            "--workers",
            "1",
        ])
        .args(["--generation-deterministic", "--no-color"])
        .arg(format!("http://{}/api/v1/openapi.json", fixture.page))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    println!("{text}");
}
