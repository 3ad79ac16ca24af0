//! Third-party programs: their paths, and processes that end with the test.

use super::{daemon::Log, database};
use libtest_mimic::{Completion, Failed, Trial};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    env, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A test that is ignored where a program is missing, unless all are required.
pub fn trial(name: &str, programs: &[&'static str], test: fn()) -> Trial {
    let is_there = |name| program(name).or_else(|| database::program(name)).is_some();
    let missing = programs.iter().find(|name| !is_there(name));
    let missing = missing.map(|name| format!("there is no {name}"));
    Trial::ignorable_test(name, move || match missing {
        Some(reason) if env::var_os("SIXGATE_E2E_REQUIRED").is_some() => Err(Failed::from(reason)),
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => {
            test();
            Ok(Completion::Completed)
        }
    })
}

/// Finds a program: on the machine, or in the folder of `extract-dns-servers.sh`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let unpacked = unpacked().join("usr");
    let [sbin, bin] = ["sbin", "bin"].map(|folder| unpacked.join(folder));
    let system = ["/usr/sbin".into(), "/sbin".into(), sbin, bin];
    let mut folders = env::split_paths(&path).chain(system);
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}

fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dns-servers")
}

pub fn command(name: &str) -> Command {
    let libraries = unpacked().join(format!("usr/lib/{}-linux-gnu", env::consts::ARCH));
    let mut command = Command::new(program(name).expect("the program is there"));
    command.env("LD_LIBRARY_PATH", libraries);
    command
}

/// A program in the foreground. Dropping it kills it and its children.
pub struct Program {
    child: Child,
}

impl Program {
    /// Waits for a line with these words.
    pub fn start(command: Command, ready: &str) -> Self {
        let mut command = command;
        let (output, said) = io::pipe().expect("a pipe");
        command.process_group(0).stdin(Stdio::null());
        command
            .stdout(said.try_clone().expect("a pipe"))
            .stderr(said);
        let child = command.spawn().expect("the program starts");
        // The pipe closes with the program only if our end is closed.
        drop(command);
        let program = Self { child };
        Log::collect(output).wait_for(&[ready]);
        program
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
