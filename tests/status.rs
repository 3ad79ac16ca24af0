//! Pages and API of the status page, served by the real daemon to real HTTP clients while real
//! milter connections bring mail.

#![cfg(feature = "status")]

mod support;

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Instant,
};
use support::{
    daemon::{Daemon, TIMEOUT},
    dns::{DnsServer, SENDERS, Zone},
    http::{self, Response},
    milter::{self, MilterClient, Reply, UNSIGNED},
};

/// The daemon with its status page, its metrics, and the DNS that it asks.
struct Fixture {
    daemon: Daemon,
    _dns: DnsServer,
    page: SocketAddr,
    metrics: SocketAddr,
}

/// One message to one recipient.
struct Mail<'a> {
    client: &'a str,
    client_name: &'a str,
    helo: &'a str,
    sender: &'a str,
    recipient: &'a str,
    queue_id: &'a str,
}

const GOOD: Mail<'static> = Mail {
    client: "2001:db8:1::10",
    client_name: "mail.good.example",
    helo: "mail.good.example",
    sender: "<a@good.example>",
    recipient: "<b@contoso.com>",
    queue_id: "4F9D195432C",
};

impl Fixture {
    fn new(status: &str) -> Self {
        Self::configured(status, "")
    }

    /// Starts with further keys of `status` and further sections.
    fn configured(status: &str, sections: &str) -> Self {
        let dns = DnsServer::start(Zone::parse(SENDERS).expect("a zone"));
        let (page, metrics) = (http::free_address(), http::free_address());
        let daemon = Daemon::start(&format!(
            "dns: {{servers: [{}], timeout: 500ms, attempts: 1}}\n\
             metrics: {{listen: {metrics}}}\n\
             status: {{listen: {page}{status}}}\n\
             opt_in: {{domains: [contoso.com, .contoso.com]}}\n\
             {sections}",
            dns.address()
        ));
        Self {
            daemon,
            _dns: dns,
            page,
            metrics,
        }
    }

    fn send(&self, mail: &Mail<'_>) -> Reply {
        let mut mta = MilterClient::open(&self.daemon.address());
        let ip: IpAddr = mail.client.parse().expect("an address");
        let from = SocketAddr::new(ip, 25252);
        if mta.connect_from(mail.client_name, from) == Reply::Accept {
            return Reply::Accept;
        }
        mta.helo(mail.helo);
        mta.macros(milter::Command::Mail, &[("i", mail.queue_id)]);
        assert_eq!(mta.mail(&[mail.sender]), Reply::Continue);
        mta.macros(milter::Command::Rcpt, &[("i", mail.queue_id)]);
        match mta.rcpt(&[mail.recipient]) {
            Reply::Continue => mta.message(UNSIGNED, 65535).reply,
            refused => refused,
        }
    }

    fn get(&self, path: &str) -> Response {
        self.request("GET", path, "", "")
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        http::request(
            self.page,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n{body}",
                body.len()
            ),
        )
    }

    #[track_caller]
    fn json(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        assert!(response.head.contains("application/json"), "{path}");
        serde_json::from_str(&response.body).expect("JSON")
    }

    /// The decisions that meet filters, newest first.
    fn decisions(&self, filters: &str) -> Vec<Value> {
        let answer = self.json(&format!("/api/v1/decisions?{filters}"));
        answer["decisions"].as_array().expect("a list").clone()
    }

    /// Posts the form of the check as a browser does.
    fn submit(&self, fields: &[(&str, &str)]) -> Response {
        const BOUNDARY: &str = "----------------------------4711";
        let part = |(name, value): &(&str, &str)| {
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
        };
        let parts: String = fields.iter().map(part).collect();
        let media_type = format!("Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n");
        let body = format!("{parts}--{BOUNDARY}--\r\n");
        self.request("POST", "/check", &media_type, &body)
    }

    /// The token of the form.
    fn csrf(&self) -> String {
        let page = self.get("/check").body;
        let (_, behind) = page.split_once("name=\"csrf\" value=\"").expect("a token");
        behind.split('"').next().expect("its end").to_owned()
    }
}

#[test]
fn every_page_and_resource_is_there() {
    let fixture = Fixture::new("");
    fixture.send(&GOOD);
    let number = fixture.decisions("")[0]["number"].to_string();
    let table = [
        ("/", 200, "text/html; charset=utf-8"),
        ("/decisions", 200, "text/html; charset=utf-8"),
        (
            &format!("/decisions/{number}"),
            200,
            "text/html; charset=utf-8",
        ),
        ("/decisions/1", 404, "text/html; charset=utf-8"),
        ("/decisions/x", 404, "text/html; charset=utf-8"),
        ("/decisions?rule=spf", 400, "text/html; charset=utf-8"),
        ("/decisions?before=x", 400, "text/html; charset=utf-8"),
        ("/check", 200, "text/html; charset=utf-8"),
        (
            "/check?client=2001:db8::1&to=a@b",
            200,
            "text/html; charset=utf-8",
        ),
        ("/opt-in", 200, "text/html; charset=utf-8"),
        (
            "/opt-in?domain=contoso.com",
            200,
            "text/html; charset=utf-8",
        ),
        ("/opt-in?domain=a..b", 400, "text/html; charset=utf-8"),
        ("/replies", 200, "text/html; charset=utf-8"),
        ("/assets/style.css", 200, "text/css; charset=utf-8"),
        ("/assets/refresh.js", 200, "text/javascript; charset=utf-8"),
        ("/assets/icon.svg", 200, "image/svg+xml"),
        ("/nothing", 404, "text/html; charset=utf-8"),
        ("/api/v1/status", 200, "application/json"),
        ("/api/v1/decisions", 200, "application/json"),
        (
            &format!("/api/v1/decisions/{number}"),
            200,
            "application/json",
        ),
        ("/api/v1/opt-in/contoso.com", 200, "application/json"),
        ("/api/v1/openapi.json", 200, "application/json"),
        ("/api/v1/decisions/1", 404, "application/problem+json"),
        ("/api/v1/decisions/%ff", 400, "application/problem+json"),
        ("/api/v1/decisions?x=1", 400, "application/problem+json"),
        ("/api/v1/decisions?limit=0", 400, "application/problem+json"),
        ("/api/v1/explain", 400, "application/problem+json"),
        ("/api/v1/explain?client=x", 400, "application/problem+json"),
        ("/api/v1/opt-in/a..b", 400, "application/problem+json"),
        ("/api/v1/nothing", 404, "application/problem+json"),
    ];
    for (path, status, media_type) in table {
        let response = fixture.get(path);
        assert_eq!(response.status, status, "{path}: {}", response.body);
        let head = response.head.to_lowercase();
        assert!(
            head.contains(&format!("content-type: {media_type}")),
            "{path}: {head}"
        );
        if media_type == "application/problem+json" {
            let problem: Value = serde_json::from_str(&response.body).expect("JSON");
            assert_eq!(problem["status"], status, "{path}");
            assert!(
                problem["detail"].as_str().is_some_and(|d| !d.is_empty()),
                "{path}"
            );
        }
    }
    for (method, path, status) in [
        ("DELETE", "/api/v1/decisions", 405),
        ("POST", "/", 405),
        ("PUT", "/check", 405),
    ] {
        assert_eq!(
            fixture.request(method, path, "", "").status,
            status,
            "{path}"
        );
    }
}

#[test]
fn decisions_are_found_by_every_filter() {
    let fixture = Fixture::new("");
    fixture.send(&GOOD);
    fixture.send(&Mail {
        client: "2001:db8:1::20",
        client_name: "unknown",
        queue_id: "no-ptr",
        ..GOOD
    });
    fixture.send(&Mail {
        sender: "<a@news.bad.example>",
        recipient: "<b@sub.contoso.com>",
        queue_id: "bad",
        ..GOOD
    });
    fixture.send(&Mail {
        recipient: "<b@other.example>",
        queue_id: "other",
        ..GOOD
    });
    // IPv4 is not checked, and not kept.
    fixture.send(&Mail {
        client: "192.0.2.1",
        ..GOOD
    });
    let table = [
        ("", "other bad no-ptr 4F9D195432C"),
        ("limit=2", "other bad"),
        ("action=accept", "4F9D195432C"),
        ("action=reject", "other"),
        ("action=defer", "bad no-ptr"),
        ("rule=no-ptr", "no-ptr"),
        ("rule=not-opted-in&action=defer", ""),
        ("client=2001:db8:1::20", "no-ptr"),
        ("client=2001:db8:1::%2f64", "other bad no-ptr 4F9D195432C"),
        ("client=2001:db8:2::%2f64", ""),
        ("client=good.example", "other bad 4F9D195432C"),
        ("sender_domain=bad.example", "bad"),
        ("sender_domain=good.example", "other no-ptr 4F9D195432C"),
        ("recipient_domain=contoso.com", "bad no-ptr 4F9D195432C"),
        ("recipient_domain=sub.contoso.com&queue_id=", "bad"),
        ("queue_id=other", "other"),
    ];
    for (filters, want) in table {
        let decisions = fixture.decisions(filters);
        let ids = decisions
            .iter()
            .map(|d| d["queue_id"].as_str().unwrap_or_default());
        let ids: Vec<&str> = ids.collect();
        assert_eq!(ids.join(" "), want, "{filters}");
        let page = fixture.get(&format!("/decisions?{filters}")).body;
        let rows = page.matches("<td class=\"time\">").count();
        assert_eq!(rows, decisions.len(), "{filters}");
    }
    // By pages of one, all are seen once and in order.
    let mut seen = Vec::new();
    let mut before = String::new();
    loop {
        let page = fixture.json(&format!("/api/v1/decisions?limit=1{before}"));
        seen.push(page["decisions"][0]["queue_id"].clone());
        match page["next"].as_u64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert_eq!(
        json!(seen),
        json!(["other", "bad", "no-ptr", "4F9D195432C"])
    );
}

#[test]
fn exempt_mail_is_shown_with_the_configured_mode() {
    for mode in ["enforce", "observe"] {
        let sections = format!("mode: {mode}\nexempt: {{certificates: [mx.partner.example]}}\n");
        let fixture = Fixture::configured("", &sections);
        let mut mta = MilterClient::open(&fixture.daemon.address());
        let client = "[2001:db8:1::20]:25252".parse().expect("an address");
        assert_eq!(mta.connect_from("unknown", client), Reply::Continue);
        mta.helo("mx.partner.example");
        let macros = [
            ("{tls_version}", "TLSv1.3"),
            ("{verify}", "OK"),
            ("{cn_subject}", "mx.partner.example"),
        ];
        mta.macros(milter::Command::Mail, &macros);
        assert_eq!(mta.mail(&["<a@good.example>"]), Reply::Accept);
        let decisions = fixture.decisions("rule=exempt-tls");
        assert_eq!(decisions[0]["mode"], mode);
    }
}

#[test]
fn a_request_that_cannot_be_read_is_answered_with_a_page() {
    let fixture = Fixture::new("");
    let table = [("GET", "/decisions/%ff", 400), ("POST", "/check", 400)];
    for (method, path, status) in table {
        let page = fixture.request(method, path, "Content-Type: text/plain\r\n", "");
        assert_eq!(page.status, status, "{path}");
        assert!(
            page.body.contains("This request can't be read"),
            "{}",
            page.body
        );
        check_html(path, &page.body);
    }
}

#[test]
fn a_refused_message_leads_to_why_and_to_what_the_sender_should_do() {
    let fixture = Fixture::new("");
    fixture.send(&Mail {
        sender: "<a@bad.example>",
        ..GOOD
    });
    let list = fixture.get("/decisions?rule=unauthenticated").body;
    let (_, behind) = list.split_once("<a href=\"/decisions/").expect("a link");
    let number = behind.split('"').next().expect("its end");
    let page = fixture.get(&format!("/decisions/{number}")).body;
    for text in [
        "was deferred</strong>: SPF does not pass, and the message is not signed.",
        "450 4.7.26 Service unavailable, message sent over IPv6 [2001:db8:1::10]",
        "fail (mailfrom bad.example)",
        "mail.good.example",
        // docs/replies.md
        "450 4.7.26: neither SPF nor DKIM passes",
        "How long to wait.",
        "href=\"/check?client=2001%3Adb8%3A1%3A%3A10&amp;helo=mail%2Egood%2Eexample",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let decision = fixture.json(&format!("/api/v1/decisions/{number}"));
    assert_eq!(decision["spf"]["result"], "fail");
    assert_eq!(decision["spf"]["term"], "-all");
    assert_eq!(decision["refused"], true);
    assert_eq!(decision["from"], "a@bad.example");
}

/// What a peer can choose, each with what it tries.
const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><svg/onload=alert(1)>",
    "' onmouseover='alert(1)",
    "\u{1b}[2J\u{1b}]0;pwned\u{7}",
    "\u{202e}moc.elpmaxe\u{2066}",
    "\u{2028}\u{feff}\u{e0041}",
    "${7*7}{{7*7}}%00&lt;b&gt;",
    "a\tb\r\nSet-Cookie: x=1",
];

#[test]
fn hostile_values_are_shown_harmlessly() {
    let fixture = Fixture::new("");
    for value in HOSTILE.iter().map(|value| (*value).to_owned()).chain([
        // About as long as an argument may be.
        "x".repeat(4000),
        "<b>".repeat(1300),
        "\u{202e}".repeat(1300),
    ]) {
        fixture.send(&Mail {
            client_name: &value,
            helo: &value,
            sender: &format!("<{value}@bad.example>"),
            recipient: &format!("<{value}@contoso.com>"),
            queue_id: &value,
            ..GOOD
        });
        fixture.send(&Mail {
            sender: &format!("<a@{value}>"),
            recipient: &format!("<b@{value}>"),
            ..GOOD
        });
    }
    // What is longer ends its connection, whatever it is about.
    for command in [b'H', b'M', b'R'] {
        let mut mta = MilterClient::open(&fixture.daemon.address());
        let from = SocketAddr::new("2001:db8:1::10".parse().expect("an address"), 25252);
        mta.connect_from("mail.good.example", from);
        let value = format!("<{}@x>\0", "<script>".repeat(8192));
        mta.send_frame(command, value.as_bytes());
        assert_eq!(mta.receive_frame(), None);
    }
    let decisions = fixture.decisions("limit=1000");
    assert_eq!(decisions.len(), 22);
    let numbers = decisions.iter().map(|decision| &decision["number"]);
    let pages = numbers.flat_map(|number| {
        [
            format!("/decisions/{number}"),
            format!("/api/v1/decisions/{number}"),
        ]
    });
    let pages = pages.chain([
        "/".to_owned(),
        "/decisions".to_owned(),
        "/api/v1/decisions".to_owned(),
    ]);
    // The same, typed into forms and links.
    let encoded = HOSTILE.map(|value| {
        value
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect::<String>()
    });
    let typed = encoded.iter().flat_map(|value| {
        [
            format!("/decisions?queue_id={value}"),
            format!("/decisions?client={value}"),
            format!("/decisions?{value}=1"),
            format!("/check?client={value}&helo={value}&from={value}&to={value}"),
            format!("/opt-in?domain={value}"),
            format!("/api/v1/opt-in/{value}"),
            format!("/{value}"),
        ]
    });
    for path in pages.chain(typed) {
        let response = fixture.get(&path);
        let is_html = response.head.to_lowercase().contains("text/html");
        assert!(
            !response.head.to_lowercase().contains("set-cookie"),
            "{path}"
        );
        assert!(
            response.body.len() < 200_000,
            "{path}: {}",
            response.body.len()
        );
        if is_html {
            check_html(&path, &response.body);
        } else {
            let value: Value = serde_json::from_str(&response.body).expect("JSON");
            check_json(&path, &value);
        }
    }
}

/// Every tag and attribute is one of ours, and no character misleads.
#[track_caller]
fn check_html(path: &str, html: &str) {
    let hidden = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    let found = html.chars().find(|c| hidden(*c));
    assert_eq!(found, None, "{path}");
    let mut rest = html;
    while let Some((_, behind)) = rest.split_once('<') {
        let tag: String = behind
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '/' || *c == '!')
            .collect();
        let name = tag.trim_start_matches('/').to_lowercase();
        assert!(TAGS.contains(&name.as_str()), "{path}: <{tag}");
        let inside = behind.split_once('>').expect("the end of the tag").0;
        let is_handler = |word: &str| word.starts_with("on") && word.contains('=');
        let outside_quotes: Vec<&str> = inside.split('"').step_by(2).collect();
        let outside_quotes = outside_quotes.join(" ");
        assert!(
            !outside_quotes.split_whitespace().any(is_handler),
            "{path}: <{inside}>"
        );
        assert!(!outside_quotes.contains("style="), "{path}: <{inside}>");
        if name == "script" && !tag.starts_with('/') {
            assert_eq!(inside, "script src=\"/assets/refresh.js\" defer", "{path}");
        }
        rest = behind;
    }
    assert!(!html.contains("://") || path.starts_with("/decisions/") || path == "/replies");
}

const TAGS: [&str; 52] = [
    "!doctype", "html", "head", "meta", "title", "link", "script", "body", "a", "header", "p",
    "nav", "ul", "li", "main", "h1", "h2", "h3", "footer", "div", "section", "dl", "dt", "dd",
    "table", "caption", "thead", "tbody", "tr", "th", "td", "form", "label", "input", "select",
    "option", "textarea", "button", "span", "br", "time", "svg", "desc", "line", "text", "rect",
    "details", "summary", "strong", "code", "pre", "em",
];

#[track_caller]
fn check_json(path: &str, value: &Value) {
    match value {
        Value::String(text) => {
            assert!(text.len() < 1500, "{path}: {} bytes", text.len());
            if path.contains("/decisions") {
                assert!(
                    text.bytes().all(|c| matches!(c, b' '..=b'~')),
                    "{path}: {text:?}"
                );
            }
        }
        Value::Array(items) => items.iter().for_each(|item| check_json(path, item)),
        Value::Object(fields) => fields.values().for_each(|field| check_json(path, field)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn the_newest_decisions_are_kept_and_none_with_zero() {
    let fixture = Fixture::new(", history: 3");
    for number in 0..5 {
        fixture.send(&Mail {
            queue_id: &number.to_string(),
            ..GOOD
        });
    }
    let decisions = fixture.decisions("");
    let ids: Vec<&Value> = decisions
        .iter()
        .map(|decision| &decision["queue_id"])
        .collect();
    assert_eq!(json!(ids), json!(["4", "3", "2"]));
    let status = fixture.json("/api/v1/status");
    assert_eq!(
        status["history"],
        json!({"kept": 3, "capacity": 3, "lost": 0})
    );

    let fixture = Fixture::new(", history: 0");
    fixture.send(&GOOD);
    assert!(fixture.decisions("").is_empty());
    let page = fixture.get("/decisions").body;
    assert!(page.contains("No decisions are kept"), "{page}");
    // The charts need no history.
    let hour = &fixture.json("/api/v1/status")["decisions"]["hour"];
    assert_eq!(sum(&hour["accept"]), 1);
}

/// The figure of docs/status.md, with mail of which everything is as long as it can be.
#[test]
fn a_decision_takes_a_kibibyte_at_most() {
    const KEPT: u64 = 4000;
    let long = "x".repeat(1000);
    let memory = |history: u64| {
        let fixture = Fixture::new(&format!(", history: {history}"));
        let mut mta = MilterClient::open(&fixture.daemon.address());
        let from = SocketAddr::new("2001:db8:1::10".parse().expect("an address"), 25252);
        mta.connect_from(&long, from);
        mta.helo(&long);
        assert_eq!(
            mta.mail(&[&format!("<{long}@bad.example>")]),
            Reply::Continue
        );
        // The queue has room for 4096.
        for _ in 0..KEPT + 500 {
            let reply = mta.rcpt(&[&format!("<{long}@{}.example>", &long[..60])]);
            assert!(matches!(reply, Reply::Smtp(_)));
        }
        let kept = &fixture.json("/api/v1/status")["history"]["kept"];
        assert_eq!(kept, history);
        1024 * fixture.daemon.memory()
    };
    let taken = memory(KEPT).saturating_sub(memory(10)) / (KEPT - 10);
    println!("{taken} bytes for each decision");
    // The daemon's memory differs by up to a MiB from run to run, a quarter of this.
    assert!(taken > 300 && taken < 1280, "{taken} bytes each");
}

/// Every URL that docs/status.md shows is answered.
#[test]
fn examples_of_the_manual_are_answered() {
    const MANUAL: &str = include_str!("../docs/status.md");
    let fixture = Fixture::new("");
    fixture.send(&GOOD);
    let urls = MANUAL.split("http://localhost:9895").skip(1);
    let paths: Vec<&str> = urls
        .map(|behind| behind.split(['\'', '"', '>', '\n']).next().expect("a path"))
        .collect();
    assert!(paths.len() >= 6, "{paths:?}");
    for path in paths {
        let response = fixture.get(path);
        assert_eq!(response.status, 200, "{path}: {}", response.body);
    }
    let (_, problem) = MANUAL.split_once("{\"detail\"").expect("a problem");
    let problem = format!("{{\"detail\"{}", problem.lines().next().expect("a line"));
    assert_eq!(fixture.get("/api/v1/decisions?rule=spf").body, problem);
}

fn sum(counts: &Value) -> u64 {
    let counts = counts.as_array().expect("a list").iter();
    counts.map(|count| count.as_u64().expect("a number")).sum()
}

#[test]
fn the_charts_say_what_the_metrics_say() {
    let fixture = Fixture::new("");
    for _ in 0..3 {
        fixture.send(&GOOD);
    }
    fixture.send(&Mail {
        sender: "<a@bad.example>",
        ..GOOD
    });
    fixture.send(&Mail {
        recipient: "<b@other.example>",
        ..GOOD
    });
    fixture.send(&Mail {
        client: "192.0.2.1",
        ..GOOD
    });
    let metrics = http::get(fixture.metrics, "/metrics").body;
    let mut counted = BTreeMap::<(String, String), u64>::new();
    for line in metrics.lines() {
        let Some(series) = line.strip_prefix("sixgate_decisions_total{") else {
            continue;
        };
        let (labels, number) = series.split_once("} ").expect("a value");
        let label = |name: &str| {
            let (_, behind) = labels.split_once(&format!("{name}=\"")).expect("a label");
            behind.split('"').next().expect("its end").to_owned()
        };
        let number: f64 = number.parse().expect("a number");
        *counted.entry((label("rule"), label("action"))).or_default() += number as u64;
    }
    counted.retain(|_, number| *number > 0);
    let status = fixture.json("/api/v1/status");
    let decisions = &status["decisions"];
    for period in ["hour", "day", "total"] {
        let rules = decisions["rules"].as_array().expect("a list").iter();
        let shown: BTreeMap<_, _> = rules
            .map(|row| {
                let text = |name: &str| row[name].as_str().expect("a text").to_owned();
                let number = row[period].as_u64().expect("a number");
                ((text("rule"), text("action")), number)
            })
            .collect();
        assert_eq!(shown, counted, "{period}");
    }
    // Of checked mail alone.
    for period in ["hour", "day"] {
        let chart = &decisions[period];
        let sums = ["accept", "defer", "reject"].map(|action| sum(&chart[action]));
        assert_eq!(sums, [3, 1, 1], "{period}");
    }
    let page = fixture.get("/").body;
    assert!(
        page.contains("3 accepted, 1 deferred and 1 rejected"),
        "{page}"
    );
}

#[test]
fn a_check_says_what_explain_says() {
    let fixture = Fixture::new("");
    let config = fixture.daemon.config_file();
    let arguments = [
        "--client",
        "2001:db8:1::10",
        "--from",
        "a@bad.example",
        "--to",
        "b@contoso.com",
        "--to",
        "c@other.example",
    ];
    let by_command = |json: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .args(["explain", "-c"])
            .arg(&config)
            .args(arguments)
            .args(json)
            .output()
            .expect("explain runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let mut want: Value = serde_json::from_str(&by_command(&["--json"])).expect("JSON");
    let link = "/api/v1/explain?client=2001:db8:1::10&from=a@bad.example&to=b@contoso.com&\
                to=c@other.example";
    let body = json!({
        "client": "2001:db8:1::10",
        "from": "a@bad.example",
        "to": ["b@contoso.com", "c@other.example"],
    });
    let json_type = "Content-Type: application/json\r\n";
    let posted = fixture.request("POST", "/api/v1/explain", json_type, &body.to_string());
    assert_eq!(posted.status, 200, "{}", posted.body);
    let posted: Value = serde_json::from_str(&posted.body).expect("JSON");
    timeless(&mut want);
    for mut got in [fixture.json(link), posted] {
        timeless(&mut got);
        assert_eq!(got, want);
    }

    let page = fixture.submit(&[
        ("csrf", &fixture.csrf()),
        ("client", "2001:db8:1::10"),
        ("helo", ""),
        ("from", "a@bad.example"),
        ("to", "b@contoso.com\r\nc@other.example\r\n"),
        ("message", ""),
        ("certificate", ""),
    ]);
    assert_eq!(page.status, 200, "{}", page.body);
    let text = by_command(&[]);
    for line in text.lines().filter(|line| !line.starts_with("dns")) {
        let line = line
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;");
        assert!(page.body.contains(&line), "{line}: {}", page.body);
    }
    for text in [
        "/api/v1/explain?client=2001%3Adb8%3A1%3A%3A10&amp;from=a%40bad%2Eexample",
        "550 5.2.1: the domain takes no mail over IPv6",
        "450 4.7.26: neither SPF nor DKIM passes",
    ] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
}

/// Without what depends on the time: lookups are answered in any order.
fn timeless(report: &mut Value) {
    let questions = report["dns"].as_array_mut().expect("a list");
    for question in questions.iter_mut() {
        question["milliseconds"] = Value::Null;
    }
    questions.sort_by_key(ToString::to_string);
}

#[test]
fn a_check_takes_a_message_and_has_bounds() {
    let fixture = Fixture::new("");
    let csrf = fixture.csrf();
    assert!(!csrf.is_empty());
    let client = ("client", "2001:db8:1::10");
    let message = String::from_utf8_lossy(UNSIGNED).into_owned();
    let signed = format!("DKIM-Signature: v=1; a=rsa-sha256; d=good.example; s=s\r\n{message}");
    let page = fixture.submit(&[("csrf", &csrf), client, ("message", &signed)]);
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("d=good.example s=s "), "{}", page.body);
    assert!(!page.body.contains("dkim       none"), "{}", page.body);

    let header = "Subject: x\r\n\r\n";
    let long = format!("{header}{}", "x".repeat((10 << 20) - header.len()));
    let page = fixture.submit(&[("csrf", &csrf), client, ("message", &long)]);
    assert_eq!(page.status, 200, "10 MiB: {:.1000}", page.body);
    let long = "x".repeat((10 << 20) + 1);
    let field = "x".repeat(1001);
    let (many, empty) = ("a@b\n".repeat(11), "\n".repeat(10 << 20));
    let table: [(&[(&str, &str)], u16); 8] = [
        (&[("csrf", "wrong!"), client], 403),
        (&[client], 403),
        (&[("csrf", &csrf)], 400),
        (&[("csrf", &csrf), client, ("from", &field)], 400),
        (&[("csrf", &csrf), client, ("other", "x")], 400),
        (&[("csrf", &csrf), client, ("message", &long)], 400),
        (&[("csrf", &csrf), client, ("to", &many)], 400),
        (&[("csrf", &csrf), client, ("to", &empty)], 200),
    ];
    for (fields, want) in table {
        let page = fixture.submit(fields);
        assert_eq!(page.status, want, "{}", page.body);
    }
    let json_type = "Content-Type: application/json\r\n";
    let text_type = "Content-Type: text/plain\r\n";
    let table = [
        ("", "{}", 415),
        (text_type, "{\"client\": \"2001:db8::1\"}", 415),
        (json_type, "{", 400),
        (json_type, "{}", 422),
        (json_type, "{\"client\": \"x\"}", 400),
        (json_type, "{\"client\": \"2001:db8::1\", \"x\": 1}", 422),
    ];
    for (media_type, body, want) in table {
        let response = fixture.request("POST", "/api/v1/explain", media_type, body);
        assert_eq!(response.status, want, "{body}: {}", response.body);
        assert!(response.head.contains("application/problem+json"), "{body}");
    }
}

#[test]
fn a_client_has_one_check_at_a_time() {
    use std::io::{Read, Write};
    let fixture = Fixture::new("");
    let head = "POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
                Content-Type: application/json\r\n\r\n{";
    let path = "/api/v1/explain?client=2001:db8:1::10";
    let start = Instant::now();
    // A request that does not end holds its place, unless a check was in progress.
    let mut slow = loop {
        assert!(start.elapsed() < TIMEOUT, "the place is not taken");
        let mut slow = http::connect(fixture.page);
        slow.write_all(head.as_bytes()).expect("it is read");
        if fixture.get(path).status == 429 && fixture.get(path).status == 429 {
            break slow;
        }
    };
    for path in [path, "/opt-in?domain=contoso.com"] {
        let busy = fixture.get(path);
        assert_eq!(busy.status, 429, "{path}");
        let head = busy.head.to_lowercase();
        assert!(head.contains("retry-after: 5"), "{path}: {head}");
    }
    slow.shutdown(std::net::Shutdown::Write).expect("closed");
    let _ = slow.read_to_end(&mut Vec::new());
    while fixture.get(path).status != 200 {
        assert!(start.elapsed() < TIMEOUT, "the place is not free again");
    }
}

#[test]
fn the_overview_shows_the_state_of_servers_and_sources() {
    let fixture = Fixture::new("");
    let status = fixture.json("/api/v1/status");
    let server = &status["dns"]["servers"][0];
    assert_eq!(server["error"], Value::Null, "{server}");
    assert_eq!(status["mode"], "enforce");
    assert_eq!(status["configuration"]["last_reload"], Value::Null);
    let sources = status["opt_in"].as_array().expect("a list").iter();
    let domains = sources.filter(|source| source["source"] == "domains");
    assert_eq!(
        domains.map(|s| s["domains"].clone()).collect::<Vec<_>>(),
        [json!(2)]
    );
    let description: Value = fixture.json("/api/v1/openapi.json");
    let described = description["components"]["schemas"]["Status"]["properties"].as_object();
    let described: BTreeSet<&String> = described.expect("properties").keys().collect();
    let got: BTreeSet<&String> = status.as_object().expect("an object").keys().collect();
    assert_eq!(got, described);

    fixture.daemon.reload();
    let start = Instant::now();
    while fixture.json("/api/v1/status")["configuration"]["reloads"] != 1 {
        assert!(start.elapsed() < TIMEOUT, "it does not reload");
    }
    let reload = &fixture.json("/api/v1/status")["configuration"]["last_reload"];
    assert_eq!(reload["error"], Value::Null, "{reload}");

    let answer = fixture.json("/api/v1/opt-in/Sub.Contoso.com");
    assert_eq!(answer["domain"], "sub.contoso.com");
    assert_eq!(answer["verdict"], "yes");
    assert_eq!(answer["source"], "domains");
    assert_eq!(answer["entry"], ".contoso.com");
}
