//! The manual and `--help`: every subcommand and option is in both, and both fit on a
//! terminal.

use clap::{Arg, Command, CommandFactory};
use sixgate::cli::Cli;
use std::{collections::BTreeMap, fs, process};
use tempfile::TempDir;

/// Runs the example `generate`, which `cargo test --test manual` alone does not build.
fn generate() -> BTreeMap<String, String> {
    let folder = TempDir::new().unwrap();
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let generated = process::Command::new(target.join("examples/generate"))
        .arg(folder.path())
        .output()
        .expect("examples/generate can't be run; build it with `cargo build --examples`");
    assert!(generated.status.success(), "{}", stderr(&generated));
    let pages = fs::read_dir(folder.path().join("man")).unwrap();
    let pages = pages.map(|page| page.unwrap().path());
    let text = |page: &std::path::Path| fs::read_to_string(page).unwrap();
    let name = |page: &std::path::Path| page.file_name().unwrap().to_string_lossy().into_owned();
    pages.map(|page| (name(&page), text(&page))).collect()
}

fn stderr(output: &process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn commands() -> Vec<Command> {
    let mut program = Cli::command();
    program.build();
    let shown = program.get_subcommands().filter(|c| !c.is_hide_set());
    shown.cloned().collect()
}

/// A command and those below it.
fn all_below(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().flat_map(all_below);
    std::iter::once(command).chain(below).collect()
}

#[test]
fn every_subcommand_has_a_page_with_every_option() {
    let pages = generate();
    for command in commands() {
        let page = &pages[&format!("sixgate-{}.8", command.get_name())];
        let shown = |arg: &&Arg| !arg.is_hide_set();
        for command in all_below(&command) {
            for option in command.get_arguments().filter(shown) {
                let long = option.get_long().map(|long| format!("--{long}"));
                let name = long.or_else(|| Some(option.get_value_names()?.join(" ")));
                let name = name.unwrap_or_default().replace('-', "\\-");
                assert!(page.contains(&name), "{}: {name}", command.get_name());
            }
        }
        let program = &pages["sixgate.8"];
        let name = format!("sixgate\\-{} (8)", command.get_name().replace('-', "\\-"));
        assert!(program.contains(&name), "{name}");
    }
}

#[test]
fn every_setting_is_in_the_page_of_the_configuration() {
    let page = &generate()["milter.yaml.5"];
    for line in include_str!("../milter.yaml.example").lines() {
        let Some((key, _)) = line.trim().split_once(':') else {
            continue;
        };
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(!is_key || page.contains(&format!("{key}\\fR")), "{key}");
    }
}

#[test]
fn every_page_has_the_sections_that_people_look_for() {
    for (name, page) in generate() {
        let page = page.replace('"', "");
        for heading in ["EXAMPLES", "EXIT STATUS", "FILES", "SIGNALS", "SEE ALSO"] {
            assert!(
                page.contains(&format!(".SH {heading}\n")),
                "{name}: {heading}"
            );
        }
    }
}

#[test]
fn pages_are_set_without_warnings() {
    let folder = TempDir::new().unwrap();
    for (name, page) in generate() {
        let file = folder.path().join(&name);
        fs::write(&file, page).unwrap();
        let file = file.to_string_lossy();
        for checker in [
            "man --warnings -E UTF-8 -l -Tutf8 -Z",
            "mandoc -Tlint -Wstyle",
        ] {
            let mut words = checker.split(' ');
            let said = process::Command::new(words.next().unwrap())
                .args(words)
                .arg(&*file)
                .output();
            // A missing program is skipped unless all are required.
            let is_required = std::env::var_os("SIXGATE_E2E_REQUIRED").is_some();
            assert!(said.is_ok() || !is_required, "{checker}");
            if let Ok(said) = said {
                let lint = String::from_utf8_lossy(&said.stdout).into_owned();
                let lint = if checker.starts_with("man ") {
                    ""
                } else {
                    &lint
                };
                assert!(
                    said.stderr.is_empty() && lint.is_empty(),
                    "{}{lint}",
                    stderr(&said)
                );
            }
        }
    }
}

#[test]
fn help_fits_on_a_screen() {
    let mut program = Cli::command();
    let help = program.render_help().to_string();
    assert!(help.lines().count() <= 24, "{help}");
    for command in std::iter::once(program).chain(commands()) {
        for command in all_below(&command) {
            let mut command = command.clone().max_term_width(80);
            let help = command.render_long_help().to_string();
            let widest = help.lines().max_by_key(|line| line.chars().count());
            assert!(
                widest.is_none_or(|line| line.chars().count() <= 80),
                "{help}"
            );
        }
    }
}
