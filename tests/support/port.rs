//! Ports for servers that are stopped and restarted.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the range of ephemeral ports, so that no other program gets the port while its
/// server is stopped.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// Returns an address of 127.0.0.1 that is free for UDP and TCP and stays so.
pub fn lasting_address() -> SocketAddr {
    static TURN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let place = process::id().wrapping_mul(101).wrapping_add(turn) % COUNT;
        let port = u16::try_from(FIRST + place).expect("a port");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for both UDP and TCP");
}
