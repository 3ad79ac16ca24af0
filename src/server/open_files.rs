//! How many files the system lets us open: each connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Beside the connections: sockets that listen, DNS questions under way, logs.
const SPARE: u64 = 512;

/// Raises the soft limit as far as so many connections need it, and warns when
/// the hard one is below that.
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
