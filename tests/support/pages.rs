//! The pages of the documentation, without their contents.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns README.md and the pages of docs/ sorted by name.
pub(crate) fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs").flatten();
    let mut pages: Vec<_> = docs.map(|entry| entry.path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages.insert(0, root.join("README.md"));
    pages
}
