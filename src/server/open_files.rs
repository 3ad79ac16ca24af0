//! The limit on open files, of which each connection needs one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The number of files besides connections: listening sockets, DNS queries in progress, logs.
const SPARE: u64 = 512;

/// Raises the soft limit to what this number of connections needs. Logs a warning if the hard
/// limit is lower.
pub fn allow(connections: usize) {
    let needed = (connections as u64).saturating_add(SPARE);
    if let Err(error) = raise_to(needed) {
        tracing::warn!("can't raise the number of open files: {error}");
    }
}

fn raise_to(needed: u64) -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < needed {
        tracing::warn!(
            "limits.connections needs {needed} open files and the system allows {hard}: raise its \
             limit (systemd: LimitNOFILE={needed}) or lower limits.connections"
        );
    }
    match soft < needed && soft < hard {
        true => setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard),
        false => Ok(()),
    }
}
