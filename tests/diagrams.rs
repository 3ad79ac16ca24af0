//! The diagrams of the documentation: each docs/images/NAME.svg is rendered from
//! NAME.dot with Debian's graphviz:
//!
//!     SIXGATE_WRITE_DOCS=1 cargo test --test diagrams
//!
//! Versions of graphviz differ in their output, so an SVG is current if it names the hash
//! of its source.

use aws_lc_rs::digest::{SHA256, digest};
use std::{env, fs, path::PathBuf, process::Command};

/// Returns the sources of all diagrams.
fn sources() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    let files = fs::read_dir(folder).expect("docs/images").flatten();
    let files = files.map(|entry| entry.path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "dot"))
        .collect()
}

/// Returns the comment in an SVG that names its source.
fn mark(source: &[u8]) -> String {
    let hash = digest(&SHA256, source);
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("<!-- SHA-256 of the source: {hex} -->\n")
}

fn render(source: &PathBuf) -> String {
    let output = Command::new("dot").arg("-Tsvg").arg(source).output();
    let output = output.expect("dot, of Debian's package graphviz");
    assert!(output.status.success(), "{output:?}");
    let svg = String::from_utf8(output.stdout).expect("UTF-8");
    let (before, after) = svg.split_once("<svg").expect("an SVG");
    let mark = mark(&fs::read(source).expect("the source"));
    format!("{before}{mark}<svg{after}")
}

#[test]
fn every_diagram_is_rendered_from_its_source() {
    let sources = sources();
    assert!(sources.len() >= 3, "{sources:?}");
    for source in sources {
        let svg = source.with_extension("svg");
        if env::var_os("SIXGATE_WRITE_DOCS").is_some() {
            fs::write(&svg, render(&source)).expect("the SVG can be written");
        }
        let rendered = fs::read_to_string(&svg).unwrap_or_default();
        let mark = mark(&fs::read(&source).expect("the source"));
        assert!(
            rendered.contains(&mark),
            "{} is not current; run: SIXGATE_WRITE_DOCS=1 cargo test --test diagrams",
            svg.display()
        );
    }
}

#[test]
fn every_diagram_is_shown_on_a_page() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pages = fs::read_dir(docs).expect("docs").flatten();
    let pages: String = pages
        .filter(|entry| entry.path().is_file())
        .map(|entry| fs::read_to_string(entry.path()).expect("a page"))
        .collect();
    for source in sources() {
        let name = source.file_stem().expect("a name").to_string_lossy();
        assert!(pages.contains(&format!("](images/{name}.svg)")), "{name}");
    }
}
