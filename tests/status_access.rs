//! Access to the status page, and attacks of hostile clients on it and on mail, with the real
//! daemon.

mod support;

use nix::sys::signal::Signal;
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixStream,
    },
    process::Command,
    time::{Duration, Instant},
};
use support::{
    daemon::{Daemon, TIMEOUT},
    http::{self, Response},
    milter::{MilterClient, Reply},
};
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The daemon with its status page.
struct Fixture {
    daemon: Daemon,
    address: SocketAddr,
    _folder: TempDir,
}

impl Fixture {
    /// Without a token.
    fn open() -> Self {
        Self::with("host_names: [mx.example.org]", TempDir::new().unwrap())
    }

    /// With [`TOKEN`].
    fn guarded() -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, format!("{TOKEN}\n")).unwrap();
        Self::with(&format!("token_file: {}", file.display()), folder)
    }

    fn with(keys: &str, folder: TempDir) -> Self {
        let address = http::free_address();
        let daemon = Daemon::start(&format!(
            "dns: {{servers: [\"127.0.0.1:1\"]}}\nstatus: {{listen: {address}, {keys}}}"
        ));
        Self {
            daemon,
            address,
            _folder: folder,
        }
    }

    /// Sends a request with a `Host` and these further lines.
    fn send(&self, request_line: &str, lines: &[&str], body: &str) -> Response {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        if !lines.iter().any(|line| line.starts_with("Host:")) {
            lines.push(format!("Host: {}", self.address));
        }
        if !body.is_empty() {
            lines.push("Content-Type: application/x-www-form-urlencoded".to_owned());
            lines.push(format!("Content-Length: {}", body.len()));
        }
        let head = lines.join("\r\n");
        let request = format!("{request_line} HTTP/1.1\r\n{head}\r\n\r\n{body}");
        http::request(self.address, &request)
    }

    fn get(&self, path: &str, lines: &[&str]) -> Response {
        self.send(&format!("GET {path}"), lines, "")
    }

    /// Sends the login form as a browser does, with a CSRF token from the page.
    fn log_in(&self, token: &str) -> Response {
        let page = self.get("/login", &[]);
        let form = format!("csrf={}&token={token}&next=%2F", csrf(&page));
        // As Chromium does, because of our Referrer-Policy.
        self.send(
            "POST /login",
            &["Origin: null", "Sec-Fetch-Site: same-origin"],
            &form,
        )
    }

    /// Whether an MTA is still served.
    fn serves_mail(&self) -> bool {
        let mut mta = MilterClient::open(&self.daemon.address());
        let reply = mta.connect_from("[x]", "192.0.2.1:25".parse().unwrap());
        reply == Reply::Accept
    }
}

fn csrf(page: &Response) -> &str {
    let (_, value) = page
        .body
        .split_once("name=\"csrf\" value=\"")
        .expect("a form");
    value.split('"').next().unwrap()
}

fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let lines = response.head.lines();
    let mut fields = lines.filter_map(|line| line.split_once(": "));
    let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
    Some(value)
}

/// The cookie of a response as a browser sends it back.
fn cookie(response: &Response) -> String {
    let set = field(response, "set-cookie").expect("a cookie");
    format!("Cookie: {}", set.split(';').next().unwrap())
}

#[test]
fn only_known_names_and_this_site_are_answered() {
    let fixture = Fixture::open();
    let address = format!("Host: {}", fixture.address);
    let other_port = format!("Origin: http://127.0.0.1:{}", fixture.address.port() ^ 1);
    let same = format!("Origin: http://{}", fixture.address);
    let table: [(&str, &[&str], u16); 26] = [
        ("GET /", &[&address], 200),
        ("GET /", &["Host: localhost"], 200),
        ("GET /", &["Host: localhost:1234"], 200),
        ("GET /", &["Host: [::1]:1"], 200),
        ("GET /", &["Host: MX.example.org"], 200),
        ("GET /", &["Host: attacker.example"], 421),
        ("GET /api/v1/status", &["Host: attacker.example"], 421),
        ("GET /", &["Host: localhost.attacker.example"], 421),
        ("GET /", &["Host: a@localhost"], 400),
        ("GET /", &["Host:"], 400),
        ("GET /", &["Host: localhost", "Host: localhost"], 400),
        ("GET http://attacker.example/", &["Host: localhost"], 400),
        ("PUT /", &[], 405),
        ("OPTIONS /", &["Origin: http://attacker.example"], 403),
        ("OPTIONS /", &[], 405),
        ("DELETE /api/v1/status", &[], 405),
        ("GET /", &["Sec-Fetch-Site: none"], 200),
        ("GET /", &["Sec-Fetch-Site: cross-site"], 403),
        ("GET /", &["Sec-Fetch-Site: same-site"], 403),
        // A link that somebody follows, and a frame.
        (
            "GET /",
            &[
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: document",
            ],
            200,
        ),
        (
            "GET /",
            &[
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: iframe",
            ],
            403,
        ),
        ("POST /logout", &["Origin: http://attacker.example"], 403),
        (
            "POST /logout",
            &["Origin: null", "Sec-Fetch-Site: cross-site"],
            403,
        ),
        ("POST /api/v1/explain", &["Origin: null"], 403),
        ("POST /logout", &[&other_port], 403),
        // The form has no CSRF token.
        ("POST /logout", &[&same], 403),
    ];
    for (request_line, lines, status) in table {
        let body = if request_line.starts_with("POST") {
            "a=b"
        } else {
            ""
        };
        let response = fixture.send(request_line, lines, body);
        assert_eq!(
            response.status, status,
            "{request_line} {lines:?}: {}",
            response.body
        );
        assert_eq!(field(&response, "access-control-allow-origin"), None);
    }
}

#[test]
fn every_response_confines_the_browser() {
    let fixture = Fixture::guarded();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let requests: [(&str, &[&str]); 6] = [
        ("GET /", &[&bearer]),
        ("GET /", &[]),
        ("GET /login", &[]),
        ("GET /nothing", &[&bearer]),
        ("GET /", &["Host: attacker.example"]),
        ("PUT /", &[]),
    ];
    for (request_line, lines) in requests {
        let response = fixture.send(request_line, lines, "");
        let policy = field(&response, "content-security-policy").unwrap_or_default();
        for directive in [
            "default-src 'none'",
            "style-src 'self'",
            "script-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(
                policy.split("; ").any(|part| part == directive),
                "{request_line} {lines:?}: {directive} in {policy:?}"
            );
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(
                field(&response, name),
                Some(value),
                "{request_line} {lines:?}"
            );
        }
    }
}

#[test]
fn with_a_token_nothing_is_shown_before_it_is_presented() {
    let fixture = Fixture::guarded();
    let page = fixture.get("/?a=b", &[]);
    assert_eq!(page.status, 303);
    assert_eq!(field(&page, "location"), Some("/login?next=%2F%3Fa%3Db"));
    let api = fixture.get("/api/v1/status", &[]);
    assert_eq!(api.status, 401);
    assert!(
        field(&api, "www-authenticate")
            .unwrap()
            .starts_with("Bearer")
    );
    assert_eq!(
        api.body,
        r#"{"detail":"a token is needed","status":401,"title":"Unauthorized","type":"about:blank"}"#
    );

    for (authorization, status) in [
        (format!("Bearer {TOKEN}"), 200),
        (format!("bearer {TOKEN}"), 200),
        (format!("Basic {TOKEN}"), 401),
        (TOKEN.to_owned(), 401),
        // The third wrong one is what the next has to wait for.
        (format!("Bearer {TOKEN}0"), 401),
        (format!("Bearer {TOKEN}"), 429),
    ] {
        let response = fixture.get("/", &[&format!("Authorization: {authorization}")]);
        assert_eq!(response.status, status, "{authorization}");
    }
    let log = fixture.daemon.log();
    log.wait_for(&["status page: wrong token from [127.0.0.1]"]);
    log.wait_for(&["status page: [127.0.0.1] has presented wrong tokens and has to wait"]);
    assert!(!log.text().contains(TOKEN));
}

#[test]
fn a_browser_logs_in_and_out() {
    let fixture = Fixture::guarded();
    let wrong = fixture.log_in("0123456789abcdef");
    assert_eq!(wrong.status, 401);
    assert!(
        wrong.body.contains("This is not the token."),
        "{}",
        wrong.body
    );
    assert_eq!(field(&wrong, "set-cookie"), None);

    let right = fixture.log_in(TOKEN);
    assert_eq!((right.status, field(&right, "location")), (303, Some("/")));
    let set = field(&right, "set-cookie").unwrap();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.split("; ").any(|part| part == attribute), "{set}");
    }
    assert!(!set.contains(TOKEN) && !set.contains("Secure"), "{set}");
    let session = cookie(&right);
    assert_eq!(fixture.get("/", &[&session]).status, 200);
    let invented = format!("Cookie: sixgate_session={}", "0".repeat(64));
    assert_eq!(fixture.get("/", &[&invented]).status, 303);

    // The CSRF token of somebody without a session is of no use to one with it.
    let foreign = csrf(&fixture.get("/login", &[])).to_owned();
    let refused = fixture.send("POST /logout", &[&session], &format!("csrf={foreign}"));
    assert_eq!(refused.status, 403);
    assert_eq!(fixture.get("/", &[&session]).status, 200);

    // Another token ends the session.
    let file = fixture._folder.path().join("token");
    fs::write(&file, "another token of enough length\n").unwrap();
    fixture.daemon.reload();
    assert_eq!(fixture.get("/", &[&session]).status, 303);
    assert_eq!(fixture.log_in(TOKEN).status, 401);
    // One that is too short is not taken.
    fs::write(&file, "short\n").unwrap();
    fixture.daemon.reload();
    fixture.daemon.log().wait_for(&[
        "configuration not reloaded, the old one stays",
        "status.token_file: the token in",
        "is shorter than 16 characters",
    ]);
    let right = fixture.log_in("another+token+of+enough+length");
    assert_eq!(right.status, 303);
}

#[test]
fn a_session_is_over_after_the_logout() {
    let fixture = Fixture::guarded();
    let session = cookie(&fixture.log_in(TOKEN));
    let login = fixture.get("/login", &[&session]);
    assert_eq!((login.status, field(&login, "location")), (303, Some("/")));
    let page = fixture.get("/", &[&session]);
    let form = format!("csrf={}", csrf(&page));
    let out = fixture.send("POST /logout", &[&session], &form);
    assert_eq!((out.status, field(&out, "location")), (303, Some("/login")));
    assert!(field(&out, "set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(fixture.get("/", &[&session]).status, 303);
}

#[test]
fn behind_a_proxy_with_tls_the_cookie_is_secure() {
    let fixture = Fixture::with_proxy();
    let page = fixture.get("/login", &["Host: mx.example.org"]);
    let form = format!("csrf={}&token={TOKEN}", csrf(&page));
    // Some pass the name on and some do not.
    for lines in [
        ["Host: mx.example.org", "Origin: https://mx.example.org"],
        ["Host: 127.0.0.1", "Origin: https://mx.example.org"],
        ["Host: mx.example.org", "Sec-Fetch-Site: same-origin"],
        ["Host: 127.0.0.1", "X-Forwarded-Proto: https"],
    ] {
        let response = fixture.send("POST /login", &lines, &form);
        assert_eq!(response.status, 303, "{}", response.body);
        assert!(
            field(&response, "set-cookie")
                .unwrap()
                .ends_with("; Secure")
        );
    }
}

impl Fixture {
    fn with_proxy() -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, TOKEN).unwrap();
        let keys = format!(
            "token_file: {}, host_names: [mx.example.org]",
            file.display()
        );
        Self::with(&keys, folder)
    }
}

#[test]
fn other_addresses_than_loopback_and_bad_tokens_are_refused_at_the_start() {
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    let config = folder.path().join("milter.yaml");
    let listen = |place: &str| {
        format!(
            "listen: unix:{}\nstatus:\n  listen: {place}\n",
            folder.path().join("s").display()
        )
    };
    let with_token = |text: &str| {
        fs::write(&token, text).unwrap();
        format!(
            "{}  token_file: {}\n",
            listen("\"[::]:1\""),
            token.display()
        )
    };
    let missing = listen("127.0.0.1:1") + "  token_file: /nonexistent/token\n";
    let table = [
        (
            listen("0.0.0.0:1"),
            ":3: status.listen: inet:0.0.0.0:1 is not on loopback",
        ),
        (
            listen("\"[::]:1\""),
            ":3: status.listen: inet:[::]:1 is not on loopback",
        ),
        (
            listen("192.0.2.1:1"),
            ":3: status.listen: inet:192.0.2.1:1 is not on loopback",
        ),
        (with_token(""), ":4: status.token_file: the token file "),
        (with_token("\n0123456789abcdef"), "has an empty first line"),
        (
            with_token("0123456789abcde"),
            "is shorter than 16 characters; make one with openssl",
        ),
        (
            missing,
            "the token file /nonexistent/token can't be read: No such file",
        ),
    ];
    for (text, want) in table {
        fs::write(&config, &text).unwrap();
        // The tokens are written one after the other.
        if text.contains("token_file") && want.contains("16") {
            fs::write(&token, "0123456789abcde").unwrap();
        } else if want.contains("empty first") {
            fs::write(&token, "\n0123456789abcdef").unwrap();
        } else {
            fs::write(&token, "").unwrap();
        }
        for command in ["check-config", "serve"] {
            let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
                .args([command, "-c"])
                .arg(&config)
                .output()
                .unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{text}{stderr}");
            assert!(stderr.contains(want), "{text}{stderr}");
        }
    }
}

#[test]
fn a_token_that_all_users_can_read_is_warned_of() {
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    let config = folder.path().join("milter.yaml");
    fs::write(&token, TOKEN).unwrap();
    let text = format!(
        "status:\n  listen: 127.0.0.1:1\n  token_file: {}\n",
        token.display()
    );
    fs::write(&config, text).unwrap();
    for (mode, is_warned) in [(0o644, true), (0o640, false)] {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&token, permissions).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(["check-config", "-c"])
            .arg(&config)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let warning = "warning: status.token_file: every user of this machine can read";
        assert_eq!(stderr.contains(warning), is_warned, "{mode:o}: {stderr}");
    }
}

#[test]
fn a_unix_socket_is_for_its_group_and_needs_no_token() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("status.sock");
    let daemon = Daemon::start(&format!("status: {{listen: unix:{}}}", path.display()));
    let found = fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o777, 0o660);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let log = daemon.log();
    assert!(daemon.stop().success(), "{}", log.text());
    assert!(!path.exists());
}

#[test]
fn after_a_handover_the_new_process_answers_at_the_same_socket() {
    let fixture = Fixture::open();
    let kept = http::connect(fixture.address);
    let successor = fixture.daemon.hand_over();
    assert_eq!(fixture.get("/", &[]).status, 200);
    drop(kept);
    successor.signal(Signal::SIGTERM);
    successor.wait();
}

#[test]
fn what_is_too_large_is_refused() {
    let fixture = Fixture::open();
    let origin = format!("Origin: http://{}", fixture.address);
    let response = fixture.send("POST /logout", &[&origin], &"a".repeat(65 << 10));
    assert_eq!(response.status, 413);
    // Without a length it is noticed on the way.
    let chunk = format!("{:x}\r\n{}\r\n", 60 << 10, "a".repeat(60 << 10));
    let request = format!(
        "POST /logout HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    );
    assert_eq!(http::request(fixture.address, &request).status, 413);
    // A request head.
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(9000)
    );
    let status = http::request(fixture.address, &long).status;
    assert!([414, 431].contains(&status), "{status}");
    assert!(fixture.serves_mail());
}

#[test]
fn slow_and_many_connections_are_closed_and_mail_goes_on() {
    let fixture = Fixture::open();
    let mut idle: Vec<_> = (0..64).map(|_| http::connect(fixture.address)).collect();
    for stream in &mut idle {
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    }
    // Those beyond the maximum are closed at once.
    let start = Instant::now();
    for number in 0..10_000 {
        // Later the slow ones are closed, and give their places to others.
        if start.elapsed() > Duration::from_secs(7) {
            break;
        }
        if number % 1000 == 0 {
            assert!(fixture.serves_mail());
        }
        let mut one_more = http::connect(fixture.address);
        let read = one_more.read(&mut [0]);
        let is_closed = match &read {
            Ok(bytes) => *bytes == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(is_closed, "{read:?}");
    }
    assert!(fixture.serves_mail());
    // The slow ones are closed soon after, without an answer or with a timeout.
    for stream in &mut idle {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert!(start.elapsed() < TIMEOUT);
    assert_eq!(
        fixture.get("/", &[]).status,
        200,
        "their places are free again"
    );
}
