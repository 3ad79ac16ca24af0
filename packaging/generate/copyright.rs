//! Writes the copyright file (Debian's machine-readable format 1.0) of everything that is
//! linked into the program, from cargo's metadata and the files of the crates.
//!
//! If a crate offers a choice of licences, the first of [`TEXTS`] is used.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Licences by their SPDX names, in order of preference.
const TEXTS: [(&str, &str); 10] = [
    ("MIT", include_str!("../licences/MIT")),
    ("Apache-2.0", include_str!("../licences/Apache-2.0")),
    ("ISC", include_str!("../licences/ISC")),
    ("BSD-2-Clause", include_str!("../licences/BSD-2-Clause")),
    ("BSD-3-Clause", include_str!("../licences/BSD-3-Clause")),
    ("BSL-1.0", include_str!("../licences/BSL-1.0")),
    ("Zlib", include_str!("../licences/Zlib")),
    ("Unicode-3.0", include_str!("../licences/Unicode-3.0")),
    (
        "CDLA-Permissive-2.0",
        include_str!("../licences/CDLA-Permissive-2.0"),
    ),
    (
        "GPL-3.0-or-later",
        include_str!("../licences/GPL-3.0-or-later"),
    ),
];

const HEAD: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: sixgate
Comment: The program is linked statically with the Rust crates named below; their
 files are those of the crate of that name and version on crates.io.

Files: *
Copyright: 2026 the sixgate maintainers
License: GPL-3.0-or-later
";

/// # Errors If cargo fails, or a crate has a licence without a text here.
pub fn debian() -> io::Result<String> {
    let mut text = HEAD.to_owned();
    let mut used = BTreeSet::from(["GPL-3.0-or-later"]);
    for package in linked(&metadata()?) {
        let licences = choose(word(&package, "license"))
            .ok_or_else(|| io::Error::other(format!("no text for the licence of {package}")))?;
        text.push_str(&paragraph(&package, &licences));
        used.extend(licences);
    }
    for (name, licence) in TEXTS.iter().filter(|(name, _)| used.contains(name)) {
        text.push_str(&format!("\nLicense: {name}\n{}", indented(licence)));
    }
    Ok(text)
}

fn metadata() -> io::Result<Value> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", &host()?, "--manifest-path", manifest])
        .output()?;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
    }
}

fn host() -> io::Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| io::Error::other("rustc does not name its host"))
}

/// Returns the dependencies of the program, without those that only build or test it.
fn linked(metadata: &Value) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let nodes = list(&metadata["resolve"]["nodes"]);
    let nodes: BTreeMap<_, _> = nodes.iter().map(|node| (word(node, "id"), node)).collect();
    let root = word(&metadata["resolve"], "root");
    let mut found = BTreeSet::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(id) = waiting.pop() {
        let Some(node) = nodes.get(id.as_str()).filter(|_| found.insert(id.clone())) else {
            continue;
        };
        let is_linked = |dep: &Value| list(&dep["dep_kinds"]).iter().any(|k| k["kind"].is_null());
        let deps = list(&node["deps"]).into_iter().filter(is_linked);
        waiting.extend(deps.map(|dep| word(&dep, "pkg").to_owned()));
    }
    let packages = list(&metadata["packages"]).into_iter();
    let is_linked =
        |package: &Value| word(package, "id") != root && found.contains(word(package, "id"));
    packages.filter(is_linked).collect()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Selects one licence of each choice; `None` if one is not in [`TEXTS`].
fn choose(expression: &str) -> Option<Vec<&'static str>> {
    let mut chosen = Vec::new();
    for choice in expression.split(" AND ") {
        let choice = choice
            .trim_matches(['(', ')'])
            .replace(" / ", " OR ")
            .replace('/', " OR ");
        let offered: Vec<_> = choice.split(" OR ").collect();
        let name = TEXTS
            .iter()
            .map(|(name, _)| *name)
            .find(|name| offered.contains(name))?;
        if !chosen.contains(&name) {
            chosen.push(name);
        }
    }
    Some(chosen)
}

fn paragraph(package: &Value, licences: &[&str]) -> String {
    format!(
        "\nFiles: {}-{}/*\nCopyright: {}\nLicense: {}\n",
        word(package, "name"),
        word(package, "version"),
        holders(package).join("\n           "),
        licences.join(" and ")
    )
}

/// Returns the copyright holders in the licence files of the crate, else its authors.
fn holders(package: &Value) -> Vec<String> {
    let folder = Path::new(word(package, "manifest_path")).parent();
    let mut holders = folder.map(named_in_files).unwrap_or_default();
    if holders.is_empty() {
        let authors = package["authors"].as_array().into_iter().flatten();
        holders.extend(authors.filter_map(Value::as_str).map(str::to_owned));
    }
    if holders.is_empty() {
        holders.insert(format!("the {} developers", word(package, "name")));
    }
    holders.into_iter().collect()
}

/// Also searches the folders of third-party code in a crate.
fn named_in_files(folder: &Path) -> BTreeSet<String> {
    let files = files_below(folder).into_iter().filter(|file| {
        let name = file.file_name().unwrap_or_default();
        let name = name.to_string_lossy().to_uppercase();
        ["LICEN", "COPY", "NOTICE"]
            .iter()
            .any(|start| name.starts_with(start))
    });
    let texts = files.filter_map(|file| fs::read(file).ok());
    texts
        .flat_map(|text| named_in(&String::from_utf8_lossy(&text)))
        .collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.flat_map(|entry| match entry.path() {
        folder if folder.is_dir() => files_below(&folder),
        file => vec![file],
    });
    files.collect()
}

fn named_in(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches([' ', '\t', '/', '*', '#']));
    let holders = lines.filter_map(|line| {
        let rest = line
            .strip_prefix("Copyright")?
            .trim_start_matches([' ', ':']);
        let rest = ["(c)", "(C)", "\u{a9}"]
            .iter()
            .fold(rest, |rest, sign| rest.trim_start_matches(sign));
        // References to other files name no holder, and may continue in the next line.
        let rest = rest.split_once("(see").map_or(rest, |(names, _)| names);
        let rest = rest.trim();
        // Placeholders and sentences about copyright name no holder.
        let names = rest.starts_with(|c: char| c.is_ascii_digit()) || line.contains("(c)");
        (names && rest.len() > 4).then(|| rest.to_owned())
    });
    holders.collect()
}

/// The long text of a field: no line may be empty.
fn indented(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| match line.trim_end() {
        "" => " .\n".to_owned(),
        line => format!(" {line}\n"),
    });
    lines.collect()
}
