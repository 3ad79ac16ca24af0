//! The DNS servers that the system asks, from resolv.conf(5).

use hickory_resolver::{net::NetError, system_conf::read_system_conf};
use std::net::SocketAddr;

/// The port that resolv.conf(5) means; it can't name another.
const PORT: u16 = 53;

/// The servers of `/etc/resolv.conf`, in its order.
///
/// # Errors
/// When the file can't be read or names none.
pub fn system_servers() -> Result<Vec<SocketAddr>, NetError> {
    let (config, _) = read_system_conf()?;
    let servers = config.name_servers().iter();
    Ok(servers
        .map(|server| SocketAddr::new(server.ip, PORT))
        .collect())
}
