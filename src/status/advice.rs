//! What a sender should do about a refusal: sections of docs/replies.html, which is generated
//! from docs/replies.md, the only source of these texts.

use crate::policy::Rule;
use std::sync::LazyLock;

/// The page for senders, which `tests/replies_page.rs` generates.
const FILE: &str = include_str!("../../docs/replies.html");

/// The path of the whole page.
pub(super) const PATH: &str = "/replies";

/// The headings that begin a section.
const HEADINGS: [&str; 2] = ["<h2", "<h3"];

/// The title of that page.
pub(super) const TITLE: &str = "Why was my mail refused?";

/// Returns the page for senders, below its title.
pub(super) fn page() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let (_, behind_title) = main().split_once("</h1>").unwrap_or_default();
        adapted(behind_title, "")
    });
    &PAGE
}

/// Returns the section about a rule, or `None` if the rule does not refuse.
pub(super) fn section(rule: Rule) -> Option<String> {
    let main = main();
    let anchor = main.find(&format!("<a id=\"{}\"></a>", rule.name()))?;
    let before = HEADINGS.iter().filter_map(|h| main[..anchor].rfind(h));
    let start = before.max()?;
    let behind = HEADINGS.iter().filter_map(|h| main[anchor..].find(h));
    let end = behind.min().map_or(main.len(), |end| anchor + end);
    let section = main[start..end]
        .replace("<h3", "<h2")
        .replace("</h3>", "</h2>");
    Some(adapted(&section, PATH))
}

fn main() -> &'static str {
    let (_, behind) = FILE.split_once("<main>").unwrap_or_default();
    behind.split_once("</main>").unwrap_or_default().0
}

/// Makes links to sections lead to the page at `path`, and blocks that may be wider than the
/// window scrollable by keyboard.
fn adapted(html: &str, path: &str) -> String {
    html.replace("href=\"#", &format!("href=\"{path}#"))
        .replace("<pre>", "<pre tabindex=\"0\">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_that_refuses_has_a_section_of_its_own() {
        let table = [
            (Rule::NoPtr, "450 4.7.25: your address has no reverse DNS"),
            (Rule::PtrUnconfirmed, "The name does not have the address"),
            (Rule::Unauthenticated, "450 4.7.26: neither SPF nor DKIM"),
            (Rule::PtrTemperror, "451 4.4.3: the DNS did not answer"),
            (Rule::AuthTemperror, "451 4.4.3: the DNS did not answer"),
            (Rule::OptInTemperror, "451 4.4.3: the DNS did not answer"),
            (Rule::NotOptedIn, "550 5.2.1: the domain takes no mail"),
        ];
        for rule in Rule::ALL {
            let section = section(rule);
            let row = table.iter().find(|(r, _)| *r == rule);
            assert_eq!(section.is_some(), row.is_some(), "{rule}");
            let (Some(section), Some((_, heading))) = (section, row) else {
                continue;
            };
            assert!(section.starts_with("<h2"), "{rule}: {section:.40}");
            assert!(section.contains(heading), "{rule}: {section:.80}");
            assert_eq!(section.matches("<h2").count(), 1, "{rule}");
            for part in ["What it means.", "Fix it.", "How long to wait."] {
                assert!(section.contains(part), "{rule}: {part}");
            }
            assert!(!section.contains("href=\"#"), "{rule}");
        }
    }

    #[test]
    fn the_page_is_whole_and_needs_no_style_or_script() {
        let page = page();
        assert!(main().contains(&format!(">{TITLE}</h1>")));
        assert!(page.contains("<h2") && page.contains("The stop-gap"));
        for tag in ["<style", "<script", "style=", "<main", "</main", "<h1"] {
            assert!(!page.contains(tag), "{tag}");
        }
    }
}
