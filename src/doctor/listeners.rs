//! The sockets on which sixgate listens, and whether a milter setting of an MTA refers to
//! one of them.

use super::program;
use crate::config::Socket;
use std::{collections::HashSet, fs, net::IpAddr, path::Path};
use tokio::net::lookup_host;

/// One item of `listen`.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    /// The item as configured.
    pub(super) socket: Socket,
    /// Its addresses. systemd may open a socket at several; there are none if they are
    /// unknown.
    pub(super) places: Vec<Socket>,
}

/// Finds the addresses of each socket of a configuration.
pub(super) async fn find(sockets: &[Socket]) -> Vec<Listener> {
    let mut found = Vec::new();
    for socket in sockets {
        let places = match socket {
            Socket::Unix(_) | Socket::Inet { .. } => vec![socket.clone()],
            Socket::Systemd(name) => places_from_systemd(name).await,
        };
        found.push(Listener {
            socket: socket.clone(),
            places,
        });
    }
    found
}

/// Returns the addresses of the sockets that systemd passes on by this name.
async fn places_from_systemd(name: &str) -> Vec<Socket> {
    let question = [
        "show",
        "*.socket",
        "--property=Id,FileDescriptorName,Listen",
    ];
    match program::run("systemctl", &question).await {
        Ok(units) => units
            .split("\n\n")
            .flat_map(|unit| places_of_unit(unit, name))
            .collect(),
        Err(_no_systemd) => Vec::new(),
    }
}

/// Parses the properties of a socket unit. Without a FileDescriptorName, the name of a
/// socket is that of its unit (systemd.socket(5)).
fn places_of_unit(unit: &str, name: &str) -> Vec<Socket> {
    let value = |line: &str, key: &str| line.strip_prefix(key).map(str::to_owned);
    let is_named = unit.lines().any(|line| {
        ["FileDescriptorName=", "Id="]
            .iter()
            .any(|key| value(line, key).as_deref() == Some(name))
    });
    let listen = unit.lines().filter_map(|line| line.strip_prefix("Listen="));
    let places = listen.filter_map(|place| place.strip_suffix(" (Stream)"));
    match is_named {
        true => places.filter_map(parse_listen).collect(),
        false => Vec::new(),
    }
}

fn parse_listen(place: &str) -> Option<Socket> {
    let family = if place.starts_with('/') {
        "unix"
    } else {
        "inet"
    };
    format!("{family}:{place}").parse().ok()
}

/// The sockets of sixgate.
pub(super) struct Listeners(pub(super) Vec<Listener>);

impl Listeners {
    /// Returns whether an MTA that connects to `there` reaches sixgate.
    pub(super) async fn contains(&self, there: &Socket) -> bool {
        for here in self.0.iter().flat_map(|listener| &listener.places) {
            if leads_to(there, here).await {
                return true;
            }
        }
        false
    }

    /// Lists the sockets as configured.
    pub(super) fn describe(&self) -> String {
        let sockets: Vec<String> = self.0.iter().map(|l| l.socket.to_string()).collect();
        sockets.join(", ")
    }
}

async fn leads_to(there: &Socket, here: &Socket) -> bool {
    match (there, here) {
        (Socket::Unix(there), Socket::Unix(here)) => is_same_file(there, here),
        (
            Socket::Inet { host: there, port },
            Socket::Inet {
                host: here,
                port: ours,
            },
        ) => port == ours && share_address(there, here, *port).await,
        (Socket::Unix(_) | Socket::Inet { .. } | Socket::Systemd(_), _) => false,
    }
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        // Before the first start, the files do not exist.
        (_, _) => a == b,
    }
}

async fn share_address(there: &str, here: &str, port: u16) -> bool {
    let (there, here) = (addresses(there, port).await, addresses(here, port).await);
    let any = |ip: &IpAddr| {
        here.iter()
            .any(|h| h.is_unspecified() && h.is_ipv4() == ip.is_ipv4())
    };
    !there.is_disjoint(&here) || there.iter().any(any)
}

async fn addresses(host: &str, port: u16) -> HashSet<IpAddr> {
    match lookup_host((host, port)).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(_unknown) => HashSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_spellings_of_an_address_are_the_same() {
        let table = [
            // there, here, want
            ("inet:127.0.0.1:8894", "inet:127.0.0.1:8894", true),
            ("inet:localhost:8894", "inet:127.0.0.1:8894", true),
            ("inet:8894@127.0.0.1", "inet:localhost:8894", true),
            ("inet:127.0.0.1:8894", "inet:0.0.0.0:8894", true),
            ("inet:[::1]:8894", "inet:[::]:8894", true),
            ("inet:[::1]:8894", "inet:0.0.0.0:8894", false),
            ("inet:127.0.0.1:8891", "inet:127.0.0.1:8894", false),
            ("inet:127.0.0.2:8894", "inet:127.0.0.1:8894", false),
            ("unix:/nonexistent/a", "local:/nonexistent/a", true),
            ("unix:/nonexistent/a", "unix:/nonexistent/b", false),
            ("unix:/nonexistent/a", "inet:127.0.0.1:8894", false),
        ];
        for (there, here, want) in table {
            let (a, b) = (there.parse().unwrap(), here.parse().unwrap());
            assert_eq!(leads_to(&a, &b).await, want, "{there} {here}");
        }
    }

    #[test]
    fn the_addresses_of_a_named_socket_are_those_of_its_unit() {
        let unit = "Id=sixgate.socket\nFileDescriptorName=milter\n\
                    Listen=/run/sixgate/milter.sock (Stream)\nListen=127.0.0.1:8894 (Stream)\n";
        let described = |name| {
            let places = places_of_unit(unit, name);
            places.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let both = ["unix:/run/sixgate/milter.sock", "inet:127.0.0.1:8894"];
        assert_eq!(described("milter"), both);
        assert_eq!(described("sixgate.socket"), both);
        assert!(described("other").is_empty());
    }
}
