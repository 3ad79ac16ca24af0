//! The DNS servers of the system from resolv.conf(5), and following its changes.

use super::NoServer;
use crate::{config::DnsServer, list_file::Fingerprint};
use resolv_conf::ScopedIp;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The file that lists the DNS servers of the system.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Returns the servers of `/etc/resolv.conf`, in its order.
///
/// # Errors
/// Fails if the file can't be read or lists no server.
pub fn system_servers() -> Result<Vec<DnsServer>, NoServer> {
    read(Path::new(RESOLV_CONF))
}

fn read(file: &Path) -> Result<Vec<DnsServer>, NoServer> {
    let complain = |complaint: &str| {
        let file = file.display();
        NoServer(format!("{file}: {complaint}; set dns.servers"))
    };
    let text = fs::read(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => complain("no such file"),
        _ => complain(&error.to_string()),
    })?;
    // resolv.conf(5) ignores unknown lines too.
    let (parsed, _) = resolv_conf::Config::parse_with_errors(&text);
    let servers: Vec<DnsServer> = parsed.nameservers.iter().map(server).collect();
    match servers.is_empty() {
        true => Err(complain("no name server")),
        false => Ok(servers),
    }
}

fn server(address: &ScopedIp) -> DnsServer {
    let scope = match address {
        ScopedIp::V6(_, scope) => scope.clone(),
        ScopedIp::V4(_) => None,
    };
    DnsServer::new(address.into(), scope)
}

/// Polls `/etc/resolv.conf`.
pub(super) struct ResolvConf {
    paths: [PathBuf; 1],
    /// The fingerprint at the last poll.
    seen: Fingerprint,
    /// The fingerprint when the file was last read.
    read: Option<Fingerprint>,
}

impl ResolvConf {
    /// Treats the current file as not yet read.
    pub(super) fn unread() -> Self {
        let paths = [PathBuf::from(RESOLV_CONF)];
        Self {
            seen: Fingerprint::take(&paths),
            paths,
            read: None,
        }
    }

    /// Returns the servers if the file has changed and two polls saw the same file.
    pub(super) fn poll(&mut self) -> Option<Result<Vec<DnsServer>, NoServer>> {
        let now = Fingerprint::take(&self.paths);
        let is_settled = self.seen == now;
        self.seen = now.clone();
        if !is_settled || self.read.as_ref() == Some(&now) {
            return None;
        }
        let servers = read(&self.paths[0]);
        if Fingerprint::take(&self.paths) != now {
            return None;
        }
        self.read = Some(now);
        Some(servers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of the file, and the expected servers or a part of the error.
    type Row = (&'static str, Result<&'static [&'static str], &'static str>);

    #[test]
    fn servers_keep_their_order_and_scope_and_errors_name_the_file() {
        let table: [Row; 5] = [
            (
                "# ours\nnameserver 192.0.2.53\noptions edns0 unheard-of\nnameserver ::1\n",
                Ok(&["192.0.2.53:53", "[::1]:53"]),
            ),
            ("nameserver fe80::1%eth0\n", Ok(&["[fe80::1%eth0]:53"])),
            ("nameserver nonsense\nnameserver ::1", Ok(&["[::1]:53"])),
            ("", Err("resolv.conf: no name server; set dns.servers")),
            ("search a.example\n", Err("no name server")),
        ];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        for (text, want) in table {
            fs::write(&file, text).unwrap();
            match (read(&file), want) {
                (Ok(servers), Ok(want)) => {
                    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
                    assert_eq!(servers, want);
                }
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
                (got, want) => panic!("{got:?}, not {want:?}"),
            }
        }
        fs::remove_file(&file).unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.ends_with("resolv.conf: no such file; set dns.servers"));
    }
}
