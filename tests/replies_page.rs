//! docs/replies.md, the page for refused senders, and docs/replies.html, which is generated
//! from it for web servers:
//!
//!     SIXGATE_WRITE_DOCS=1 cargo test --test replies_page

#[path = "support/anchors.rs"]
mod anchors;

use anchors::{anchors, with_anchors};
use pulldown_cmark::html;
use sixgate::{
    policy::Refusal,
    reply::{Replies, Template, Values},
};
use std::{collections::BTreeSet, env, fs, path::PathBuf};

const POLICY: &str = include_str!("../docs/policy.md");
const PAGE: &str = include_str!("../docs/replies.md");

fn docs(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(file)
}

#[test]
fn every_reply_has_a_section_that_begins_with_it() {
    let table = [
        (Refusal::NotOptedIn, "2001:db8::25", "contoso.com"),
        (Refusal::NoPtr, "2001:db8::25", ""),
        (Refusal::Unauthenticated, "2001:db8::25", ""),
        (Refusal::Temporary, "2001:db8::25", ""),
    ];
    for (refusal, address, domain) in table {
        let address = address.parse().expect("an address");
        let replies = Replies::default();
        let reply = replies.get(refusal).render(Values { address, domain });
        let text = format!("\n\n    {reply}\n");
        let before = PAGE.split_once(&text).expect(&text).0;
        let heading = before.rsplit('\n').next().expect("a line");
        let code = format!("</a>{} {}: ", reply.code(), reply.enhanced());
        assert!(
            heading.starts_with("## ") && heading.contains(&code),
            "{heading}"
        );
    }
}

/// Returns the rules that refuse, from the table in docs/policy.md.
fn refusing_rules() -> BTreeSet<&'static str> {
    let rows = POLICY.lines().filter(|line| line.starts_with('|'));
    let rules = rows.filter_map(|row| {
        let cells: Vec<&str> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        match cells[..] {
            [.., answer, rule, ""] if answer.starts_with("reply ") => Some(rule),
            _ => None,
        }
    });
    rules.collect()
}

/// `{rule}` in `replies.url` is replaced by one of these anchors.
#[test]
fn every_rule_that_refuses_has_an_anchor() {
    let rules = refusing_rules();
    assert!(rules.len() >= 7, "{rules:?}");
    let (anchors, html) = (anchors(PAGE), page());
    for rule in rules {
        assert!(anchors.contains(rule), "{rule}");
        assert_eq!(html.matches(&format!("id=\"{rule}\"")).count(), 1, "{rule}");
        // The table at the top links to it.
        assert!(PAGE.contains(&format!("[`{rule}`](#{rule})")), "{rule}");
    }
}

#[test]
fn the_reply_with_a_url_is_one_that_the_configuration_takes() {
    let lines = PAGE
        .lines()
        .filter_map(|line| line.trim().strip_prefix("no_ptr: \""));
    let replies: Vec<&str> = lines.filter_map(|line| line.strip_suffix('"')).collect();
    let [reply] = replies[..] else {
        panic!("one example is expected: {replies:?}");
    };
    let template: Template = reply.parse().expect("a reply");
    let anchor = reply.split_once('#').expect("a URL with an anchor").1;
    assert!(template.to_string().contains("See https://"));
    assert!(anchors(PAGE).contains(anchor), "{anchor}");
}

#[test]
fn the_html_is_made_of_the_page() {
    let html = page();
    let file = docs("replies.html");
    if env::var_os("SIXGATE_WRITE_DOCS").is_some() {
        fs::write(&file, &html).expect("the page can be written");
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    let hint = "run: SIXGATE_WRITE_DOCS=1 cargo test --test replies_page";
    assert!(
        written == html,
        "docs/replies.html is not what docs/replies.md says; {hint}"
    );
}

/// Renders the part for senders as one file without scripts, for any web server.
fn page() -> String {
    let (for_senders, _for_receivers) = PAGE
        .split_once("## For receivers")
        .expect("the part for receivers is the last");
    let mut body = String::new();
    html::push_html(&mut body, with_anchors(for_senders).into_iter());
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Why was my mail refused?</title>\n<style>\n{STYLE}</style>\n<main>\n{body}</main>\n</html>\n"
    )
}

const STYLE: &str = "\
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5 }
main { max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
pre { overflow-x: auto; padding: .7rem 1rem; border-left: .25rem solid #8888; background: #8881 }
code { font-size: .92em }
table { border-collapse: collapse }
td, th { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid #8884; vertical-align: top }
h2 { margin-top: 2.5rem }
:target, :has(> a:target) { background: #fd04 }
";
