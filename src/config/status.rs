//! `status`: the status page and who may see it.

use super::{
    HttpSocket,
    numbers::Number,
    sockets::StatusAddress,
    sql::PasswordFile,
    value::{Kind, List, Optional, Scalar},
};
use crate::address::Domain;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, path::PathBuf};

/// The status page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Where the page and its API are served over HTTP. The default is nowhere.
    #[serde(with = "List::<StatusAddress>")]
    pub listen: Vec<HttpSocket>,
    /// A file whose first line is the token that clients have to present. The default is
    /// none, which only loopback addresses and unix sockets allow.
    #[serde(with = "Optional::<PasswordFile>")]
    pub token_file: Option<PathBuf>,
    /// How many decisions are kept. The default is 10000; 0 keeps none.
    #[serde(with = "Scalar::<Number<usize, 0, 1_000_000>>")]
    pub history: usize,
    /// Host names under which browsers may open the page, besides `localhost` and IP
    /// addresses. The default is none.
    #[serde(with = "List::<HostName>")]
    pub host_names: Vec<Domain>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            token_file: None,
            history: 10_000,
            host_names: Vec::new(),
        }
    }
}

impl Status {
    /// Returns whether the page is served.
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty()
    }

    /// What does not fit together: the key, and half a line for people.
    pub(super) fn complaint(&self) -> Option<(&'static str, String)> {
        if self.token_file.is_some() {
            return None;
        }
        let exposed = self.listen.iter().find(|socket| !socket.is_local())?;
        Some((
            "listen",
            format!(
                "{exposed} is not on loopback, so other hosts could read who writes to whom; set \
                 status.token_file, or listen on 127.0.0.1 and use an SSH tunnel"
            ),
        ))
    }
}

impl HttpSocket {
    /// Returns whether only users of this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Inet(address) => match address.host.parse::<IpAddr>() {
                Ok(ip) => ip.to_canonical().is_loopback(),
                Err(_) => address.host == "localhost",
            },
        }
    }
}

/// One item of `status.host_names`.
pub(super) struct HostName;

impl Kind for HostName {
    type Value = Domain;
    const EXPECTED: &'static str = "a host name such as mx.example.org";

    fn parse(text: &str) -> Result<Domain, String> {
        if text.contains(['*', ':', '/']) {
            return Err(format!(
                "{text:?} is not a host name; write one without scheme, port and wildcard, such \
                 as mx.example.org"
            ));
        }
        Domain::parse(text).map_err(|error| {
            format!(
                "{text:?} is not a host name: {error}; write {}",
                Self::EXPECTED
            )
        })
    }

    fn show(value: &Domain) -> String {
        value.to_string()
    }
}

#[cfg(all(test, feature = "status"))]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn other_addresses_than_loopback_need_a_token() {
        let table = [
            ("127.0.0.1:9895", true),
            ("\"[::1]:9895\"", true),
            ("127.8.9.10:9895", true),
            ("\"[::ffff:127.0.0.1]:9895\"", true),
            ("localhost:9895", true),
            ("unix:/run/sixgate/status.sock", true),
            ("0.0.0.0:9895", false),
            ("\"[::]:9895\"", false),
            ("192.0.2.1:9895", false),
            ("mx.example.org:9895", false),
            ("[127.0.0.1:9895, 0.0.0.0:9896]", false),
        ];
        for (listen, is_allowed) in table {
            let without = format!("status:\n  listen: {listen}\n");
            let complaint =
                Config::parse(&without, "milter.yaml").map_err(|error| error.to_string());
            match is_allowed {
                true => assert_eq!(complaint.err(), None, "{listen}"),
                false => {
                    let complaint = complaint.unwrap_err();
                    assert!(
                        complaint.contains("milter.yaml:2: status.listen: "),
                        "{complaint}"
                    );
                    assert!(complaint.contains("set status.token_file"), "{complaint}");
                }
            }
            let with = format!("{without}  token_file: /etc/sixgate/token\n");
            assert!(Config::parse(&with, "milter.yaml").is_ok(), "{listen}");
        }
    }

    #[test]
    fn host_names_have_no_port_scheme_or_wildcard() {
        for text in [
            "mx.example.org:80",
            "http://mx.example.org",
            "*.example.org",
            "a b",
            "",
        ] {
            assert!(HostName::parse(text).is_err(), "{text}");
        }
        let name = HostName::parse("MX.Example.org.").unwrap();
        assert_eq!(name.to_string(), "mx.example.org");
    }
}
