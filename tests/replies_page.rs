//! docs/replies.md, which refused senders read, and docs/replies.html, which is
//! made of it for web servers:
//!
//!     SIXGATE_WRITE_DOCS=1 cargo test --test replies_page

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use sixgate::{
    policy::Refusal,
    reply::{Replies, Template, Values},
};
use std::{collections::HashSet, env, fs, path::PathBuf};

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
        let section = format!(
            "\n## {} {}\n\n    {reply}\n",
            reply.code(),
            reply.enhanced()
        );
        assert!(PAGE.contains(&section), "{section}");
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
    assert!(anchors().contains(anchor), "{anchor}");
}

#[test]
fn every_link_within_the_page_leads_somewhere() {
    let anchors = anchors();
    for (event, _) in Parser::new_ext(PAGE, options()).into_offset_iter() {
        if let Event::Start(Tag::Link { dest_url, .. }) = event
            && let Some(anchor) = dest_url.strip_prefix('#')
        {
            assert!(anchors.contains(anchor), "{anchor}");
        }
    }
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

fn options() -> Options {
    Options::ENABLE_TABLES
}

/// The part for senders as one file without scripts, so that any web server can
/// have it.
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
:target { background: #fd04 }
";

/// The page with an anchor on each heading, as forges make it.
fn with_anchors(page: &str) -> Vec<Event<'_>> {
    let mut events: Vec<Event> = Parser::new_ext(page, options()).collect();
    let mut text = String::new();
    for index in (0..events.len()).rev() {
        match &mut events[index] {
            Event::End(TagEnd::Heading(_)) => text.clear(),
            Event::Text(words) | Event::Code(words) => text.insert_str(0, words),
            Event::Start(Tag::Heading { id, .. }) => *id = Some(CowStr::from(anchor(&text))),
            _ => {}
        }
    }
    events
}

/// Lower case, hyphens for spaces, and neither dots nor question marks.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    heading.chars().filter_map(kept).collect()
}

fn anchors() -> HashSet<String> {
    let ids = with_anchors(PAGE)
        .into_iter()
        .filter_map(|event| match event {
            Event::Start(Tag::Heading { id, .. }) => id.map(|id| id.to_string()),
            _ => None,
        });
    ids.collect()
}
