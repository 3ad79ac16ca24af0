//! Generates the files of the package besides the program: manual pages, shell completions,
//! the changelog in Debian's format and the copyright file.
//!
//!     cargo run --example generate -- FOLDER
//!
//! The sources are the clap definitions, milter.yaml.example, CHANGELOG.md and cargo's
//! metadata. The same sources and the same SOURCE_DATE_EPOCH result in the same files.

// `pub` marks items for other modules of this binary.
#![allow(unreachable_pub)]

mod changelog;
mod copyright;
mod date;
mod manual;
mod roff;
mod settings;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use date::Date;
use sixgate::cli::Cli;
use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        return Err(io::Error::other("usage: generate FOLDER"));
    };
    let folder = Path::new(&folder);
    let date = Date::from_environment()?;
    write_manual(&folder.join("man"), &date)?;
    write_completions(&folder.join("completions"))?;
    fs::write(folder.join("changelog"), changelog::debian(&date))?;
    fs::write(folder.join("copyright"), copyright::debian()?)
}

fn write_manual(folder: &Path, date: &Date) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for page in manual::pages(&Cli::command()) {
        fs::write(folder.join(page.file()), page.roff(date))?;
    }
    Ok(())
}

fn write_completions(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let shells = Shell::value_variants().iter();
    for shell in shells.filter(|shell| matches!(shell, Shell::Bash | Shell::Zsh | Shell::Fish)) {
        clap_complete::generate_to(*shell, &mut Cli::command(), "sixgate", folder)?;
    }
    Ok(())
}
