//! The manual pages: one for the program, one for each subcommand, one for the
//! configuration.
//!
//! Names, synopses and options are from the clap definitions, so that a page and `--help`
//! agree. Additional text of a page is in a file of its name in `packaging/manual`, in
//! man(7).

use super::{
    date::Date,
    roff::{bold, fold, italic, section, tagged, text},
    settings,
};
use clap::{Arg, ArgAction, Command};
use std::{fs, path::PathBuf};

/// A page.
pub struct Page {
    name: String,
    number: u8,
    about: String,
    synopsis: String,
    description: String,
    /// After the description: sections with headings.
    sections: String,
    see_also: String,
}

impl Page {
    /// Such as `sixgate-explain.8`.
    pub fn file(&self) -> String {
        format!("{}.{}", self.name, self.number)
    }

    /// The whole page.
    pub fn roff(&self, date: &Date) -> String {
        let head = format!(
            ".TH {} {} {} \"sixgate {}\" \"sixgate manual\"\n",
            text(&self.name.to_uppercase()),
            self.number,
            date.iso(),
            env!("CARGO_PKG_VERSION"),
        );
        let more = more_about(&self.name);
        let (description, sections) = more.split_at(more.find(".SH ").unwrap_or(more.len()));
        let description = format!("{}\n{description}", self.description);
        let page =
            head + &section(
                "NAME",
                &format!("{} \\- {}", text(&self.name), text(&self.about)),
            ) + &section("SYNOPSIS", &self.synopsis)
                + &section("DESCRIPTION", &description)
                + &self.sections
                + sections
                + &section("SEE ALSO", &self.see_also);
        fold(&page)
    }
}

/// Returns the text of a page in `packaging/manual`, or the default text.
fn more_about(name: &str) -> String {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/manual"));
    fs::read_to_string(folder.join(format!("{name}.man"))).unwrap_or_default()
}

/// Returns all pages.
pub fn pages(program: &Command) -> Vec<Page> {
    let mut program = program.clone();
    program.build();
    let commands: Vec<_> = program
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .collect();
    let mut names = vec![reference("sixgate", 8)];
    names.extend(
        commands
            .iter()
            .map(|command| reference(&page_name(command), 8)),
    );
    names.push(reference("milter.yaml", 5));
    let mut pages = vec![page_of_program(&program, &names)];
    pages.extend(
        commands
            .iter()
            .map(|command| page_of_command(command, &program, &names)),
    );
    pages.push(page_of_configuration(&names));
    pages
}

fn page_name(command: &Command) -> String {
    format!("sixgate-{}", command.get_name())
}

fn reference(name: &str, number: u8) -> String {
    format!(".BR {} ({number})", text(name))
}

fn see_also(names: &[String], own: &str) -> String {
    let own = reference(own, 8);
    let others = names.iter().filter(|name| **name != own).cloned();
    let others = others.chain([reference("postconf", 5), reference("journalctl", 1)]);
    others.collect::<Vec<_>>().join(",\n")
}

fn page_of_program(program: &Command, names: &[String]) -> Page {
    let synopsis = format!(
        "{} {} [{}]",
        bold("sixgate"),
        italic("COMMAND"),
        italic("OPTION...")
    );
    let commands: String = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| tagged(&reference(&page_name(command), 8), &text(&about(command))))
        .collect();
    Page {
        name: "sixgate".into(),
        number: 8,
        about: "policy for anonymous inbound mail over IPv6, as a milter".into(),
        synopsis,
        description: text(&about(program)),
        sections: section("COMMANDS", &commands) + &options(program) + &exit_status(program),
        see_also: see_also(names, "sixgate"),
    }
}

fn page_of_command(command: &Command, program: &Command, names: &[String]) -> Page {
    let name = page_name(command);
    Page {
        about: uncapitalized(&about(command)),
        synopsis: synopses(command),
        description: text(&long_about(command)),
        sections: options(command) + &subcommands(command) + &exit_status(program),
        see_also: see_also(names, &name),
        name,
        number: 8,
    }
}

fn page_of_configuration(names: &[String]) -> Page {
    Page {
        name: "milter.yaml".into(),
        number: 5,
        about: "configuration of sixgate".into(),
        synopsis: "/etc/sixgate/milter.yaml".into(),
        description: String::new(),
        sections: section("SETTINGS", &settings::described()),
        see_also: see_also(&names[..names.len() - 1], ""),
    }
}

fn about(command: &Command) -> String {
    let about = command.get_about().or_else(|| command.get_long_about());
    about.map(ToString::to_string).unwrap_or_default()
}

fn long_about(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    match about.ends_with(['.', '?']) {
        true => about,
        false => about + ".",
    }
}

fn uncapitalized(sentence: &str) -> String {
    let mut chars = sentence.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

/// Returns the synopsis of the command, or one for each of its subcommands.
fn synopses(command: &Command) -> String {
    let mut inner: Vec<_> = command
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .collect();
    if inner.is_empty() {
        inner.push(command);
    }
    let lines = inner.into_iter().map(synopsis);
    lines.collect::<Vec<_>>().join("\n.br\n")
}

fn synopsis(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut words = vec![bold(name)];
    words.extend(
        listed(command)
            .filter(|arg| !arg.is_positional())
            .map(usage),
    );
    words.extend(command.get_positionals().map(usage));
    words.join(" ")
}

/// Returns the options without those that clap adds to every command.
fn listed(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_own = |arg: &&Arg| {
        !matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        )
    };
    command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter(is_own)
}

fn usage(arg: &Arg) -> String {
    let several = match arg.get_action() {
        ArgAction::Append | ArgAction::Count => "...",
        _ => "",
    };
    let flag = match (arg.get_short(), arg.get_long()) {
        (Some(short), _) => Some(format!("-{short}")),
        (None, long) => long.map(|long| format!("--{long}")),
    };
    let words: Vec<_> = flag
        .map(|flag| bold(&flag))
        .into_iter()
        .chain(value(arg))
        .collect();
    match arg.is_required_set() {
        true => format!("{}{several}", words.join(" ")),
        false => format!("[{}]{several}", words.join(" ")),
    }
}

fn value(arg: &Arg) -> Option<String> {
    let takes_one = arg
        .get_num_args()
        .is_some_and(|number| number.takes_values());
    let names = arg.get_value_names().unwrap_or_default();
    takes_one.then(|| italic(&names.join(" ")))
}

fn options(command: &Command) -> String {
    let entries: String = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .map(option)
        .collect();
    section("OPTIONS", &entries)
}

fn option(arg: &Arg) -> String {
    let flags = [
        arg.get_short().map(|short| bold(&format!("-{short}"))),
        arg.get_long().map(|long| bold(&format!("--{long}"))),
    ];
    let flags = flags.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let tag = [Some(flags), value(arg)]
        .into_iter()
        .flatten()
        .filter(|word| !word.is_empty());
    tagged(&tag.collect::<Vec<_>>().join(" "), &explained(arg))
}

fn explained(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let mut body = text(&sentence(help.map(ToString::to_string).unwrap_or_default()));
    let defaults = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy());
    let defaults = defaults.collect::<Vec<_>>().join(", ");
    let is_told = !defaults.is_empty() && value(arg).is_some() && !arg.is_hide_default_value_set();
    if is_told {
        body.push_str(&format!("\nThe default is {}.", bold(&defaults)));
    }
    let possible = arg.get_possible_values();
    if !possible.is_empty() && value(arg).is_some() {
        let names = possible.iter().map(|value| bold(value.get_name()));
        body.push_str(&format!(
            "\nOne of {}.",
            names.collect::<Vec<_>>().join(", ")
        ));
    }
    body
}

fn sentence(help: String) -> String {
    match help.ends_with('.') {
        true => help,
        false => help + ".",
    }
}

/// Lists the subcommands of a command.
fn subcommands(command: &Command) -> String {
    let inner = command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set());
    let described: String = inner
        .map(|inner| {
            let options: String = listed(inner).map(option).collect();
            let about = text(&sentence(long_about(inner)));
            format!(".SS {}\n{about}\n{options}", text(inner.get_name()))
        })
        .collect();
    match described.is_empty() {
        true => described,
        false => section("COMMANDS", &described),
    }
}

/// The exit codes of all commands, as at the end of `sixgate --help`.
fn exit_status(program: &Command) -> String {
    let codes = program.get_after_help().map(ToString::to_string);
    section("EXIT STATUS", &text(&codes.unwrap_or_default()))
}
