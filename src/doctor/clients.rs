//! Checks that the MTA sees the addresses of IPv6 clients. Behind a proxy, all of them
//! have the address of the proxy.

use super::finding::{Check, Finding};
use std::{fs, net::Ipv6Addr};

/// Looks for a docker-proxy on port 25 and for an IPv6 address of this machine.
pub(super) fn check() -> Vec<Finding> {
    let mut findings: Vec<Finding> = processes()
        .iter()
        .filter_map(|arguments| hidden_by_docker_proxy(arguments))
        .collect();
    let interfaces = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    findings.extend(without_ipv6_address(&interfaces));
    if findings.is_empty() {
        findings.push(Finding::ok(
            Check::Clients,
            "this machine has an IPv6 address, and no docker-proxy listens on port 25",
        ));
    }
    findings
}

fn without_ipv6_address(interfaces: &str) -> Option<Finding> {
    let reachable = |ip: &Ipv6Addr| !ip.is_loopback() && !ip.is_unicast_link_local();
    if addresses(interfaces).iter().any(reachable) {
        return None;
    }
    Some(Finding::warning(
        Check::Clients,
        "this machine has only loopback and link-local IPv6 addresses: IPv6 clients can only \
         connect through a proxy, which hides their addresses",
        "give it an IPv6 address, or pass the clients' addresses on with the PROXY protocol \
         (smtpd_upstream_proxy_protocol, postscreen_upstream_proxy_protocol)",
    ))
}

/// Parses the first column of `/proc/net/if_inet6`, which has 32 hexadecimal digits.
fn addresses(interfaces: &str) -> Vec<Ipv6Addr> {
    let columns = interfaces
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let bits = columns.filter_map(|digits| u128::from_str_radix(digits, 16).ok());
    bits.map(Ipv6Addr::from_bits).collect()
}

/// Returns the command lines of all visible processes.
fn processes() -> Vec<Vec<String>> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let lines = entries
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| {
            let arguments = line.split(|byte| *byte == 0);
            arguments
                .map(|a| String::from_utf8_lossy(a).into_owned())
                .collect()
        })
        .collect()
}

/// Returns a problem if this is a docker-proxy that forwards port 25 from IPv6 to IPv4,
/// which hides the client's address.
fn hidden_by_docker_proxy(arguments: &[String]) -> Option<Finding> {
    let program = arguments.first()?;
    let value = |key: &str| {
        let at = arguments.iter().position(|argument| argument == key)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let is_mail = program.ends_with("docker-proxy") && value("-host-port") == Some("25");
    let (from, to) = (value("-host-ip")?, value("-container-ip")?);
    let hides = is_mail && from.contains(':') && !to.contains(':');
    hides.then(|| {
        Finding::problem(
            Check::Clients,
            format!(
                "docker-proxy forwards [{from}]:25 to {to}: the MTA sees every IPv6 client with the \
                 IPv4 address of the bridge, and its mail is not checked"
            ),
            "enable IPv6 in the container's network (\"ipv6\": true, \"ip6tables\": true), use the \
             host's network, or put a proxy with the PROXY protocol in front",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_link_local_addresses_alone_has_no_ipv6_clients() {
        let lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let link = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n";
        let global = "20010db8000000000000000000000019 04 40 00 80     eth0\n";
        assert!(without_ipv6_address("").is_some());
        assert!(without_ipv6_address(&format!("{lo}{link}")).is_some());
        assert!(without_ipv6_address(&format!("{lo}{link}{global}")).is_none());
    }

    #[test]
    fn a_docker_proxy_from_ipv6_to_ipv4_hides_the_clients() {
        let table = [
            // host-ip, host-port, container-ip, hides
            ("::", "25", "172.17.0.2", true),
            ("0.0.0.0", "25", "172.17.0.2", false),
            ("::", "25", "fd00::2", false),
            ("::", "443", "172.17.0.2", false),
        ];
        for (from, port, to, hides) in table {
            let line = format!(
                "/usr/bin/docker-proxy -proto tcp -host-ip {from} -host-port {port} \
                 -container-ip {to} -container-port 25"
            );
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(
                hidden_by_docker_proxy(&arguments).is_some(),
                hides,
                "{line}"
            );
        }
    }
}
