//! Finds the command lines of README.md, docs/ and the manual.
//!
//! The language of a fenced block says whether it has commands. In an indented block, and
//! in one of a manual page, each line either is a command, which starts with one of
//! [`PROGRAMS`], or looks like an example; any other line is an error, so that commands of
//! new programs are not overlooked. In a paragraph or a table, code is a command if it has
//! a program and an argument.

use clap::CommandFactory;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use sixgate::cli::Cli;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The programs that command lines start with, besides scripts.
const PROGRAMS: [&str; 46] = [
    "apt",
    "cargo",
    "cd",
    "chmod",
    "cmp",
    "cp",
    "diff",
    "docker",
    "dig",
    "dpkg",
    "dpkg-deb",
    "fail2ban-regex",
    "git",
    "grep",
    "jq",
    "journalctl",
    "lintian",
    "m4",
    "make",
    "man",
    "mv",
    "nsd-control",
    "openssl",
    "perf",
    "podman",
    "postconf",
    "postfix",
    "postmap",
    "postqueue",
    "promtool",
    "psql",
    "python3",
    "rbldnsd",
    "rsync",
    "rust-audit-info",
    "sendmail",
    "sixgate",
    "sqlite3",
    "ssh",
    "sudo",
    "systemctl",
    "systemd-analyze",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "unbound-control",
    "tsig-keygen",
];

/// Examples that cannot be recognized by their first word: of master.cf and of a transport
/// table.
const EXAMPLES: [&str; 3] = [
    "submission inet n - y - - smtpd",
    "smtp-ipv4 unix - - y - - smtp",
    "contoso.com  smtp-ipv4:",
];

/// A page and its command lines in order.
#[derive(Default)]
pub struct Document {
    pub name: String,
    pub lines: Vec<Line>,
    /// Unrecognized lines.
    pub unknown: Vec<String>,
    /// The names of settings as in main.cf.
    pub settings: Vec<String>,
}

/// A command line of the documentation.
pub struct Line {
    pub text: String,
    /// In a paragraph a command may lack required arguments.
    pub is_in_a_paragraph: bool,
}

pub fn documents() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = fs::read_dir(root.join("packaging/manual")).expect("the manual");
    let manual = manual.flatten().map(|entry| entry.path());
    let mut manual: Vec<_> = manual.filter(|path| is_of_manual(path)).collect();
    manual.sort();
    [crate::pages::pages(), manual]
        .concat()
        .iter()
        .map(|file| Document::read(root, file))
        .collect()
}

/// Whether a page is generated from it; a file for an unknown command has none.
fn is_of_manual(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let is_of_a_command = match stem.strip_prefix("sixgate-") {
        Some(command) => Cli::command().find_subcommand(command).is_some(),
        None => true,
    };
    file.extension().is_some_and(|extension| extension == "man") && is_of_a_command
}

impl Document {
    fn read(root: &Path, file: &PathBuf) -> Self {
        let text = fs::read_to_string(file).expect("a page");
        let name = file.strip_prefix(root).unwrap_or(file);
        let mut document = Self {
            name: name.to_string_lossy().into_owned(),
            ..Self::default()
        };
        match file.extension().is_some_and(|extension| extension == "man") {
            true => document.add_manual(&text),
            false => document.add_markdown(&text),
        }
        document
    }

    fn add_markdown(&mut self, text: &str) {
        let mut block: Option<(String, String)> = None;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match (event, &mut block) {
                (Event::Start(Tag::CodeBlock(kind)), _) => {
                    block = Some((language(&kind), String::new()));
                }
                (Event::Text(text), Some((_, block))) => block.push_str(&text),
                (Event::End(TagEnd::CodeBlock), Some((language, text))) => {
                    self.add_block(language, text);
                    block = None;
                }
                (Event::Code(text), _) => self.add_words(&text),
                _ => {}
            }
        }
    }

    /// Literal blocks, and bold text between quotes.
    fn add_manual(&mut self, text: &str) {
        let text = text.replace("\\e\n", "\\\n").replace("\\-", "-");
        let mut pieces = text.split("\n.nf\n");
        let mut paragraphs = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (block, rest) = piece.split_once("\n.fi\n").unwrap_or((piece, ""));
            self.add_block("indented", block);
            paragraphs.push_str(rest);
        }
        for line in paragraphs.lines() {
            let bold = line
                .strip_prefix(".B \"")
                .and_then(|line| line.split('"').next());
            bold.into_iter().for_each(|words| self.add_words(words));
        }
    }

    fn add_block(&mut self, language: &str, text: &str) {
        for line in whole_lines(text) {
            let line = line.trim();
            self.add_setting(line);
            match language {
                "sh" => self.add(line, false),
                "console" => line
                    .strip_prefix("$ ")
                    .into_iter()
                    .for_each(|line| self.add(line, false)),
                "text" | "yaml" | "sql" => {}
                "indented" if is_command(without_prompt(line)) => {
                    self.add(without_prompt(line), false);
                }
                "indented" if is_example(line) => {}
                _ => self.unknown.push(format!("{language}: {line}")),
            }
        }
    }

    fn add_setting(&mut self, line: &str) {
        let line = line.strip_prefix("postconf -e '").unwrap_or(line);
        if let Some((name, _)) = line.split_once(" = ")
            && !name.contains(' ')
        {
            self.settings.push(name.to_owned());
        }
    }

    fn add_words(&mut self, text: &str) {
        self.add_setting(text);
        let is_option = |word: &str| word.starts_with('-');
        let first_is_a_name = text.starts_with(|c: char| c.is_ascii_lowercase());
        match text.split_whitespace().nth(1) {
            Some(_) if is_command(text) => self.add(text, true),
            Some(word) if is_option(word) && first_is_a_name => self.unknown.push(text.to_owned()),
            Some(_) | None => {}
        }
    }

    fn add(&mut self, text: &str, is_in_a_paragraph: bool) {
        let text = text.to_owned();
        self.lines.push(Line {
            text,
            is_in_a_paragraph,
        });
    }
}

fn language(kind: &CodeBlockKind<'_>) -> String {
    match kind {
        CodeBlockKind::Fenced(language) => language.to_string(),
        CodeBlockKind::Indented => "indented".to_owned(),
    }
}

/// Returns the lines, without empty ones and with continuation lines joined.
fn whole_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun = String::new();
    for line in text.lines() {
        begun.push_str(line.trim_end_matches('\\'));
        if !line.ends_with('\\') && !line.ends_with("&&") && !line.ends_with(" |") {
            lines.push(std::mem::take(&mut begun));
        }
    }
    lines.push(begun);
    lines.retain(|line| !line.trim().is_empty());
    lines
}

fn is_command(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let program = words.find(|word| !is_variable(word)).unwrap_or_default();
    PROGRAMS.contains(&program) || program.ends_with(".sh")
}

/// Whether it is an environment variable, whose name is in upper case.
fn is_variable(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| is_upper(name))
}

fn is_upper(name: &str) -> bool {
    let is_upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(is_upper)
}

/// `#` is root's prompt and also starts a comment.
fn without_prompt(line: &str) -> &str {
    line.strip_prefix("# ").unwrap_or(line)
}

/// A comment, a setting, a line of a dialogue, of a zone or of a log.
fn is_example(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    let second = line.split_whitespace().nth(1).unwrap_or_default();
    let name = first.split(['(', '$']).find(|name| !name.is_empty());
    let is_setting = first.ends_with(':') || second == "=";
    let is_unit = first.starts_with('[') || (first.contains('=') && !is_variable(first));
    let starts_reply = |rest: &str| rest.starts_with('-') && rest[1..].contains('.');
    let is_reply = first.get(3..).is_some_and(starts_reply)
        && first.bytes().take(3).all(|byte| byte.is_ascii_digit());
    let is_said = name.is_none_or(is_upper) || line == "." || is_reply;
    let is_record = second == "IN" || ["#", ";"].contains(&first);
    let is_item = first.starts_with('-');
    is_setting || is_unit || is_said || is_record || is_item || EXAMPLES.contains(&line)
}
