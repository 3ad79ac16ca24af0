//! Checks that every link and path in README.md and docs/ exists, and that README.md links
//! to every page.

#[path = "support/anchors.rs"]
mod anchors;
#[path = "support/pages.rs"]
mod pages;

use anchors::{anchors, with_anchors};
use pulldown_cmark::{Event, Tag};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = pages::pages();
    pages.push(root().join("CHANGELOG.md"));
    pages
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).expect("a page")
}

/// Returns the links and images of a page.
fn links(page: &str) -> Vec<String> {
    let links = with_anchors(page)
        .into_iter()
        .filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url)
            }
            _ => None,
        });
    let links = links.map(|link| link.to_string());
    links.filter(|link| !link.contains("://")).collect()
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let file = match file {
        "" => page.to_owned(),
        file => page.with_file_name(file),
    };
    let has_anchor = || anchors(&read(&file)).contains(anchor);
    file.exists() && (anchor.is_empty() || has_anchor())
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    for page in pages() {
        for link in links(&read(&page)) {
            assert!(leads_somewhere(&page, &link), "{}: {link}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} links are found");
}

#[test]
fn the_readme_leads_to_every_page() {
    let links = links(&read(&root().join("README.md")));
    for page in pages().iter().filter(|page| !page.ends_with("README.md")) {
        let is_of_page = |link: &String| root().join(link) == *page;
        assert!(links.iter().any(is_of_page), "{}", page.display());
    }
}

#[test]
fn every_file_of_the_source_that_is_named_exists() {
    let mut seen = 0;
    for page in pages() {
        for event in with_anchors(&read(&page)) {
            if let Event::Code(code) = event
                && is_path(&code)
            {
                assert!(root().join(&*code).exists(), "{}: {code}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "only {seen} files are found");
}

fn is_path(code: &str) -> bool {
    let folders = ["docs/", "packaging/", "src/", "tests/"];
    let is_one = !code.contains([' ', '*']);
    is_one && folders.iter().any(|folder| code.starts_with(folder))
}

#[test]
fn every_test_that_is_named_exists() {
    let tests = sources(&root().join("tests")) + &sources(&root().join("src"));
    let mut seen = 0;
    for page in pages() {
        for event in with_anchors(&read(&page)) {
            if let Event::Code(code) = event
                && is_test(&code)
            {
                let names = [
                    format!("fn {code}("),
                    format!("\"{code}\""),
                    format!("== {code}\n"),
                ];
                let is_there = names.iter().any(|name| tests.contains(name));
                assert!(is_there, "{}: {code}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "only {seen} names are found");
}

/// Names of settings are shorter, and names of metrics start with `sixgate_`.
fn is_test(code: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_metric = code.starts_with("sixgate_");
    code.chars().all(is_of_name) && code.matches('_').count() > 3 && !is_metric
}

/// Returns all Rust sources and dialogues below a folder.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let texts = entries.map(|entry| match entry.path() {
        path if path.ends_with("target") => String::new(),
        path if path.is_dir() => sources(&path),
        path if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "txt") =>
        {
            read(&path)
        }
        _ => String::new(),
    });
    texts.collect()
}
