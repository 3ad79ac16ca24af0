//! Errors of the operating system at startup, and their messages.
//!
//! Each case runs the real program. Its last line on standard error is the error message,
//! and the exit code is from sysexits.h.

use nix::unistd::Uid;
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// What a case needs before the program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum System {
    /// Nothing.
    AsItIs,
    /// The program runs as a user who owns no files here.
    OtherUser,
    /// FOLDER is on a read-only file system.
    ReadOnly,
}

struct Case {
    what: &'static str,
    system: System,
    arguments: &'static [&'static str],
    /// FOLDER and PORT are replaced; without a configuration there is no file.
    configuration: &'static str,
    code: i32,
    /// The last line; FOLDER and PORT are replaced.
    line: &'static str,
}

const SERVE: &[&str] = &["serve", "-c", "FOLDER/milter.yaml"];
const ADD: &[&str] = &["opt-in", "add", "-c", "FOLDER/milter.yaml", "contoso.com"];

const CASES: [Case; 7] = [
    Case {
        what: "no configuration is mounted",
        system: System::AsItIs,
        arguments: SERVE,
        configuration: "",
        code: 66,
        line: "FOLDER/milter.yaml: can't be read: No such file or directory (os error 2)",
    },
    Case {
        what: "the configuration is for another user's eyes",
        system: System::OtherUser,
        arguments: &["serve", "-c", "FOLDER/private/milter.yaml"],
        configuration: "mode: observe\n",
        code: 66,
        line: "FOLDER/private/milter.yaml: can't be read: Permission denied (os error 13)",
    },
    Case {
        what: "/var/lib/sixgate belongs to another user, who keeps it private",
        system: System::OtherUser,
        arguments: SERVE,
        configuration: "listen: inet:127.0.0.1:PORT\nopt_in: {managed_file: FOLDER/private/opt-in.list}\n",
        code: 78,
        line: "FOLDER/private/opt-in.list: can't be read: Permission denied (os error 13) (named by opt_in.managed_file)",
    },
    Case {
        what: "/var/lib/sixgate belongs to another user, and a domain is to be opted in",
        system: System::OtherUser,
        arguments: ADD,
        configuration: "opt_in: {managed_file: FOLDER/opt-in.list}\n",
        code: 74,
        line: "FOLDER/.opt-in.list.new: can't make it: Permission denied (os error 13)",
    },
    Case {
        what: "the file system is read-only, and a domain is to be opted in",
        system: System::ReadOnly,
        arguments: ADD,
        configuration: "opt_in: {managed_file: FOLDER/opt-in.list}\n",
        code: 74,
        line: "FOLDER/.opt-in.list.new: can't make it: Read-only file system (os error 30)",
    },
    Case {
        what: "the file system is read-only, and a socket is to be made there",
        system: System::ReadOnly,
        arguments: SERVE,
        configuration: "listen: unix:FOLDER/milter.sock\n",
        code: 71,
        line: "can't listen on unix:FOLDER/milter.sock: Read-only file system (os error 30)",
    },
    Case {
        what: "another program has the port",
        system: System::AsItIs,
        arguments: SERVE,
        configuration: "listen: inet:127.0.0.1:PORT\n",
        code: 71,
        line: "can't listen on inet:127.0.0.1:PORT: Address already in use (os error 98)",
    },
];

#[test]
fn system_errors_take_one_line() {
    for case in CASES {
        let folder = TempDir::new().expect("a folder");
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port().to_string();
        let fill_in = |text: &str| {
            let folder = folder.path().display().to_string();
            text.replace("FOLDER", &folder).replace("PORT", &port)
        };
        prepare(folder.path(), &fill_in(case.configuration));
        let arguments: Vec<String> = case.arguments.iter().map(|text| fill_in(text)).collect();
        let output = run(case.system, folder.path(), &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        let seen = (output.status.code(), without_time(last));
        let want = fill_in(case.line);
        assert_eq!(
            seen,
            (Some(case.code), want.as_str()),
            "{}: {said}",
            case.what
        );
    }
}

/// A folder that others may enter, with a private one in it.
fn prepare(folder: &Path, configuration: &str) {
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let private = folder.join("private");
    fs::create_dir(&private).expect("a folder");
    if !configuration.is_empty() {
        for place in [folder, &private] {
            fs::write(place.join("milter.yaml"), configuration).expect("a configuration");
        }
    }
    allow(&private, 0o000);
    // Not writable: without root, the other user is its owner.
    allow(
        folder,
        if Uid::effective().is_root() {
            0o755
        } else {
            0o555
        },
    );
}

fn run(system: System, folder: &Path, arguments: &[String]) -> Output {
    let program = env!("CARGO_BIN_EXE_sixgate");
    let is_root = Uid::effective().is_root();
    let mut command = match system {
        System::OtherUser if is_root => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
            command
        }
        System::AsItIs | System::OtherUser => Command::new(program),
        System::ReadOnly => {
            let mut command = Command::new("unshare");
            if !is_root {
                command.args(["--user", "--map-root-user"]);
            }
            let script = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
            command.args(["--mount", "sh", "-c", script]);
            command.arg(folder).arg(program);
            command
        }
    };
    let output = command.args(arguments).output().expect("the program runs");
    // So that it can be removed.
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
    output
}

/// A line of the log without its time and level.
fn without_time(line: &str) -> &str {
    line.split_once("ERROR ")
        .map_or(line, |(_, message)| message)
}
