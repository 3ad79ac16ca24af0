//! The header of the PROXY protocol, which a proxy sends before anything else.

use std::net::IpAddr;

/// Names the client that has connected to the proxy.
#[derive(Clone, Debug)]
pub struct ProxyHeader {
    version: Version,
    client: IpAddr,
}

/// Version 1 is text, version 2 is binary.
#[derive(Clone, Copy, Debug)]
enum Version {
    V1,
    V2,
}

impl ProxyHeader {
    /// Reads a version and the address of a client.
    pub fn parse(words: &str) -> Result<Self, &'static str> {
        let (version, client) = words.split_once(' ').ok_or("without an address")?;
        let version = match version {
            "v1" => Version::V1,
            "v2" => Version::V2,
            _ => return Err("no such version"),
        };
        let client = client.parse().map_err(|_| "no address")?;
        Ok(Self { version, client })
    }

    /// The bytes. The other address in it is the proxy's, which the client has
    /// connected to; the proxy may reach the mail server over another family.
    pub fn bytes(&self) -> Vec<u8> {
        let client = self.client;
        let (name, family, length, proxy): (_, _, _, IpAddr) = match client {
            IpAddr::V4(_) => ("TCP4", 0x11, 12, [192, 0, 2, 80].into()),
            IpAddr::V6(_) => (
                "TCP6",
                0x21,
                36,
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80].into(),
            ),
        };
        let (client_port, proxy_port) = (40_000_u16, 25_u16);
        match self.version {
            Version::V1 => {
                format!("PROXY {name} {client} {proxy} {client_port} {proxy_port}\r\n").into_bytes()
            }
            Version::V2 => [
                b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
                &[0x21, family, 0, length],
                &bytes(client),
                &bytes(proxy),
                &client_port.to_be_bytes(),
                &proxy_port.to_be_bytes(),
            ]
            .concat(),
        }
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
