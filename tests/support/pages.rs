//! The pages of the documentation. What is in them is nothing to this module.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// README.md, and those of docs/ in the order of their names.
pub(crate) fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs").flatten();
    let mut pages: Vec<_> = docs.map(|entry| entry.path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages.insert(0, root.join("README.md"));
    pages
}
