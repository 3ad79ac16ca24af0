//! Whether a user may connect to a unix socket, by the permissions of the
//! folders on the way and of the socket.
//!
//! Only looks at permission bits, owners and groups: access control lists and
//! security modules may say otherwise.

use super::finding::{Check, Finding};
use nix::unistd::{Gid, Group, User, getgrouplist};
use std::{
    ffi::CString,
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A user with all groups.
#[derive(Clone, Debug)]
pub(super) struct Account {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

impl Account {
    /// `None` if there is no such user here.
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

    /// `bit` is 1 for passing through a folder, 2 for writing.
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
                format!("whether {user} can connect to {shown} can't be told: {error}"),
                "start sixgate, and run this as root",
            ),
        }
    }

    /// What keeps this user from connecting to the socket at `path`, if anything does.
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
            _ => format!("chmod a+x {shown}, or put the socket in another folder"),
        };
        Obstacle {
            seen: format!(
                "{shown} ({}) does not let the user {user} through",
                describe_mode(metadata)
            ),
            todo,
        }
    }

    fn stopped_at_socket(&self, path: &Path, metadata: &Metadata) -> Obstacle {
        let user = &self.name;
        Obstacle {
            seen: format!(
                "{} ({}) is not for the user {user}",
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

/// What keeps a user from a socket.
struct Obstacle {
    /// Half a line.
    seen: String,
    /// What mends it.
    todo: String,
}

/// As `ls -l` would show it.
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

/// The folders on the way to `path` to which everybody may write: Sendmail
/// trusts no socket below one.
pub(super) fn world_writable_folders(path: &Path) -> Vec<PathBuf> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let is_open = |folder: &&Path| {
        fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
    };
    let folders = path.ancestors().skip(1);
    folders.filter(is_open).map(Path::to_owned).collect()
}
