//! Whether a user can connect to a unix socket: the permissions of the socket and of the
//! directories above it.
//!
//! Only permission bits, owners and groups are checked, no access control lists or security
//! modules.

use super::finding::{Check, Finding};
use nix::unistd::{Gid, Group, User, getgrouplist};
use std::{
    ffi::CString,
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A user with its groups.
#[derive(Clone, Debug)]
pub(super) struct Account {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

impl Account {
    /// Finds a user of this machine by name.
    pub(super) fn find(name: &str) -> Option<Self> {
        let user = User::from_name(name).ok().flatten()?;
        let c_name = CString::new(name).ok()?;
        let groups = getgrouplist(&c_name, user.gid).unwrap_or_else(|_| vec![user.gid]);
        Some(Self {
            name: user.name,
            uid: user.uid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
        })
    }

    /// Returns whether the user has a permission: bit 1 to enter a directory, 2 to write.
    fn may(&self, bit: u32, metadata: &Metadata) -> bool {
        let mode = metadata.permissions().mode();
        match () {
            () if self.uid == 0 => true,
            () if self.uid == metadata.uid() => mode >> 6 & bit != 0,
            () if self.groups.contains(&metadata.gid()) => mode >> 3 & bit != 0,
            () => mode & bit != 0,
        }
    }

    /// Checks that this user can connect to the socket at `path`.
    pub(super) fn check_access(&self, path: &Path) -> Finding {
        let (user, shown) = (&self.name, path.display());
        match self.obstacle(path) {
            Ok(Some(obstacle)) => Finding::problem(Check::Reach, obstacle.seen, obstacle.todo),
            Ok(None) => Finding::ok(
                Check::Reach,
                format!("the user {user} can connect to {shown}"),
            ),
            Err(error) => Finding::warning(
                Check::Reach,
                format!("unknown whether the user {user} can connect to {shown}: {error}"),
                "start sixgate, and run doctor as root",
            ),
        }
    }

    /// Returns what prevents this user from connecting to the socket at `path`.
    fn obstacle(&self, path: &Path) -> io::Result<Option<Obstacle>> {
        let path = fs::canonicalize(path)?;
        let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
        folders.reverse();
        for folder in folders {
            let metadata = fs::metadata(folder)?;
            if !self.may(1, &metadata) {
                return Ok(Some(self.stopped_at_folder(folder, &metadata)));
            }
        }
        let metadata = fs::metadata(&path)?;
        Ok((!self.may(2, &metadata)).then(|| self.stopped_at_socket(&path, &metadata)))
    }

    fn stopped_at_folder(&self, folder: &Path, metadata: &Metadata) -> Obstacle {
        let group = group_name(metadata.gid());
        let (user, shown) = (&self.name, folder.display());
        let todo = match metadata.permissions().mode() >> 3 & 1 {
            1 => format!("usermod -aG {group} {user}, and restart the MTA"),
            _ => format!("chmod a+x {shown}, or move the socket to another directory"),
        };
        Obstacle {
            seen: format!(
                "the user {user} can't enter {shown} ({})",
                describe_mode(metadata)
            ),
            todo,
        }
    }

    fn stopped_at_socket(&self, path: &Path, metadata: &Metadata) -> Obstacle {
        let user = &self.name;
        Obstacle {
            seen: format!(
                "the user {user} can't write to {} ({})",
                path.display(),
                describe_mode(metadata)
            ),
            todo: format!(
                "set socket_group to a group of {user} and socket_mode to \"0660\", and restart \
                 sixgate"
            ),
        }
    }
}

/// What prevents a user from connecting to a socket.
struct Obstacle {
    /// A part of a line.
    seen: String,
    /// What to do.
    todo: String,
}

/// Describes mode, owner and group.
fn describe_mode(metadata: &Metadata) -> String {
    format!(
        "mode {:04o}, {}:{}",
        metadata.permissions().mode() & 0o7777,
        user_name(metadata.uid()),
        group_name(metadata.gid())
    )
}

fn user_name(uid: u32) -> String {
    match User::from_uid(uid.into()) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

fn group_name(gid: u32) -> String {
    match Group::from_gid(gid.into()) {
        Ok(Some(group)) => group.name,
        Ok(None) | Err(_) => gid.to_string(),
    }
}

/// Returns the directories above `path` that everybody may write to. Sendmail uses no socket
/// below one.
pub(super) fn world_writable_folders(path: &Path) -> Vec<PathBuf> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let is_open = |folder: &&Path| {
        fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
    };
    let folders = path.ancestors().skip(1);
    folders.filter(is_open).map(Path::to_owned).collect()
}
