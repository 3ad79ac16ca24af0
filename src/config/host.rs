//! Checks what a configuration requires of the machine: directories for its unix sockets,
//! and their group.
//!
//! Read-only: opens and removes no sockets.

use super::{
    Socket,
    sockets::{GroupName, MilterSocket},
    value::Kind,
};
use nix::unistd::{Gid, Group};
use std::{fs, io, os::unix::fs::FileTypeExt, path::Path};

/// Finds a group by its name or number.
///
/// # Errors
/// Fails with a part of a line for people if there is no such group or it can't be looked
/// up.
pub fn group_id(name: &str) -> Result<Gid, String> {
    let by_name = Group::from_name(name);
    let found = match (by_name, name.parse()) {
        (Ok(None), Ok(number)) => Group::from_gid(Gid::from_raw(number)),
        (by_name, _) => by_name,
    };
    match found {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!(
            "there is no group {name:?} on this machine; write the name of one, \
             or make it with: groupadd --system {name}"
        )),
        Err(error) => Err(format!("the group {name:?} can't be looked up: {error}")),
    }
}

/// A socket that can probably be created on this machine.
pub(super) struct PlacedSocket;

impl Kind for PlacedSocket {
    type Value = Socket;
    const EXPECTED: &'static str = MilterSocket::EXPECTED;

    fn parse(text: &str) -> Result<Socket, String> {
        let socket = MilterSocket::parse(text)?;
        match &socket {
            Socket::Unix(path) => check_path(path)?,
            Socket::Inet { .. } | Socket::Systemd(_) => {}
        }
        Ok(socket)
    }

    fn show(value: &Socket) -> String {
        MilterSocket::show(value)
    }
}

fn check_path(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => check_nothing_in_the_way(path),
        Ok(_) => Err(format!("{} is not a folder", folder.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder.display();
            Err(format!(
                "the folder {folder} does not exist; make it with: mkdir -p {folder}"
            ))
        }
        Err(error) => Err(format!(
            "the folder {} can't be looked at: {error}",
            folder.display()
        )),
    }
}

/// Checks that nothing else occupies the path; a socket left over from an earlier run is
/// replaced.
fn check_nothing_in_the_way(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(format!(
            "{} exists and is not a socket; write another path",
            path.display()
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A group that exists on this machine.
pub(super) struct KnownGroup;

impl Kind for KnownGroup {
    type Value = String;
    const EXPECTED: &'static str = GroupName::EXPECTED;

    fn parse(text: &str) -> Result<String, String> {
        group_id(text)?;
        GroupName::parse(text)
    }

    fn show(value: &String) -> String {
        GroupName::show(value)
    }
}
