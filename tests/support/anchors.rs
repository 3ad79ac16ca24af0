//! The anchors of a page: those that forges put on headings, and those written as
//! `<a id="name"></a>`.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};
use std::collections::HashSet;

/// A page with an anchor on each heading.
pub(crate) fn with_anchors(page: &str) -> Vec<Event<'_>> {
    let mut events: Vec<Event> = Parser::new_ext(page, Options::ENABLE_TABLES).collect();
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

pub(crate) fn anchors(page: &str) -> HashSet<String> {
    let ids = with_anchors(page)
        .into_iter()
        .filter_map(|event| match event {
            Event::Start(Tag::Heading { id, .. }) => id.map(|id| id.to_string()),
            Event::InlineHtml(html) => written_anchor(&html).map(str::to_owned),
            _ => None,
        });
    ids.collect()
}

fn written_anchor(html: &str) -> Option<&str> {
    html.strip_prefix("<a id=\"")?.strip_suffix("\">")
}
