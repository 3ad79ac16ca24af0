//! Every `sixgate` command line in README.md, docs/ and the manual is run, so
//! that none tells of an option that there is not.
//!
//! Commands of other programs are not run here: what they need (a booted system,
//! root, a network) the tests in `tests/package` and `tests/e2e` have.

use clap::CommandFactory;
use sixgate::cli::Cli;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// Command lines that begin so are not run, and why.
const NOT_RUN: [(&str, &str); 1] = [("sixgate serve", "ends when it is told to; others test it")];

/// There is no DNS to ask, which is found out at once.
const CONFIGURATION: &str = "
opt_in: {domains: [contoso.com]}
dns: {servers: [\"127.0.0.1:1\"], timeout: 100ms, attempts: 1}
";

#[test]
fn every_command_in_the_documentation_is_understood() {
    let mut seen = 0;
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        for line in commands(&text) {
            if NOT_RUN.iter().any(|(start, _why)| line.starts_with(start)) {
                continue;
            }
            let output = run(&line);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let place = format!("{}: {line}\n{said}", file.display());
            assert_ne!(output.status.code(), Some(64), "{place}");
            assert!(output.status.code().is_some(), "{place}");
            assert!(!said.contains("internal error"), "{place}");
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} commands are found");
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    for (folder, extension) in [("docs", "md"), ("packaging/manual", "man")] {
        let entries = fs::read_dir(root.join(folder)).unwrap().flatten();
        let paths = entries.map(|entry| entry.path());
        let is_one = |path: &PathBuf| path.extension().is_some_and(|e| e == extension);
        files.extend(paths.filter(is_one).filter(|path| is_of_a_command(path)));
    }
    files
}

/// Whether a page is made of it: of one for a command that there is not, none is.
fn is_of_a_command(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let command = stem.strip_prefix("sixgate-");
    command.is_none_or(|command| Cli::command().find_subcommand(command).is_some())
}

/// In blocks of commands: those between fences, those that are indented, those
/// that are set as they are in a manual page.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_block = false;
    // A backslash at the end of a line goes on with the next.
    let text = text
        .replace("\\e\n", " ")
        .replace("\\\n", " ")
        .replace("\\-", "-");
    for line in text.lines() {
        match line {
            ".nf" => is_block = true,
            ".fi" => is_block = false,
            fence if fence.starts_with("```") => is_block = !is_block,
            line if is_block || line.starts_with("    ") => found.extend(command(line)),
            _ => {}
        }
    }
    found
}

/// `sixgate` and its arguments, without the rest of a pipeline.
fn command(line: &str) -> Option<String> {
    let line = line
        .trim()
        .trim_start_matches("# ")
        .trim_start_matches("$ ");
    let ends = ["   #", " |", " &&", " >", " ;"];
    let mut parts = line.split(" | ").map(|part| {
        let end = ends.iter().filter_map(|end| part.find(end)).min();
        part[..end.unwrap_or(part.len())].trim()
    });
    let command = parts.find(|part| part.starts_with("sixgate "))?;
    // Not what a log or an error says of itself.
    let names_a_command = command
        .split(' ')
        .nth(1)?
        .chars()
        .all(|c| c.is_ascii_lowercase() || c == '-');
    names_a_command.then(|| command.to_owned())
}

/// In a folder of its own, where the files that documents name are to be found.
fn run(line: &str) -> Output {
    let folder = TempDir::new().unwrap();
    let place = folder.path().display().to_string();
    let managed = format!("{CONFIGURATION}opt_in: {{managed_file: {place}/opt-in.list}}\n");
    let managed = managed.replace("opt_in: {domains: [contoso.com]}\n", "");
    let is_managed = line.starts_with("sixgate opt-in");
    let configuration = if is_managed { &managed } else { CONFIGURATION };
    fs::write(folder.path().join("milter.yaml"), configuration).unwrap();
    for message in ["mail.eml", "message.eml", "FILE"] {
        fs::write(
            folder.path().join(message),
            "From: a@example.net\r\n\r\nHello\r\n",
        )
        .unwrap();
    }
    let mut line = line.replacen("sixgate", "exec \"$SIXGATE\"", 1);
    line = line.replace("/etc/sixgate/", "").replace("/var/log/", "");
    if !line.contains(" -c ") && !line.contains("--help") && !line.contains(" report") {
        line.push_str(" -c milter.yaml");
    }
    Command::new("sh")
        .args(["-c", &line])
        .env("SIXGATE", env!("CARGO_BIN_EXE_sixgate"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}
