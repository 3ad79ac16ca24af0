//! The sockets that MTAs connect to, as the real daemon opens them.

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
    process::{Command, Output},
};
use support::{
    daemon::Daemon,
    milter::{Address, MilterClient, Reply},
};
use tempfile::TempDir;

fn accepts_ipv4(address: &Address) -> bool {
    MilterClient::open(address).connect("x", b'4', "192.0.2.1", 25) == Reply::Accept
}

/// `serve` with an unavailable socket: it must exit.
fn serve_in_vain(socket: &str) -> Output {
    let directory = TempDir::new().expect("a directory");
    let config = directory.path().join("milter.yaml");
    fs::write(&config, format!("listen: {socket}\n")).expect("a configuration");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    serve.args(["serve", "-c"]).arg(config);
    serve.output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_unix_socket_has_the_mode_and_the_group_that_are_set_and_goes_with_the_daemon() {
    let group = nix::unistd::Group::from_gid(nix::unistd::Gid::effective());
    let group = group.expect("groups").expect("a group").name;
    let daemon = Daemon::start(&format!("socket_mode: \"0620\"\nsocket_group: {group}"));
    let socket = daemon.socket();
    let metadata = fs::metadata(&socket).expect("a socket");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o620);
    assert_eq!(metadata.gid(), nix::unistd::Gid::effective().as_raw());
    assert!(daemon.stop().success());
    assert!(!socket.exists());
}

#[test]
fn a_socket_that_nobody_serves_any_more_is_replaced() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("left-behind.sock");
    // A dropped listener leaves its file behind, like a crash.
    drop(UnixListener::bind(&path).expect("a socket"));
    let daemon = Daemon::start_listening(&[&format!("unix:{}", path.display())]);
    assert!(accepts_ipv4(&Address::Unix(path)));
    assert!(accepts_ipv4(&daemon.address()));
}

#[test]
fn a_socket_that_another_process_serves_is_left_alone() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("milter.sock");
    let _other = UnixListener::bind(&path).expect("a socket");
    let output = serve_in_vain(&format!("unix:{}", path.display()));
    assert_eq!(output.status.code(), Some(71));
    assert!(
        said(&output).contains("another process listens on it"),
        "{}",
        said(&output)
    );
    assert!(path.exists());
}

#[test]
fn a_file_that_is_not_a_socket_is_left_alone() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("precious");
    fs::write(&path, "data").expect("a file");
    let output = serve_in_vain(&format!("unix:{}", path.display()));
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(fs::read_to_string(&path).expect("the file"), "data");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address");
    let output = serve_in_vain(&format!("inet:{address}"));
    assert_eq!(output.status.code(), Some(71));
    assert!(
        said(&output).contains(&address.to_string()),
        "{}",
        said(&output)
    );
}

#[test]
fn a_socket_that_systemd_does_not_pass_on_is_asked_for_with_what_to_write() {
    let output = serve_in_vain("systemd:milter");
    assert_eq!(output.status.code(), Some(71));
    assert!(
        said(&output).contains("FileDescriptorName=milter"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_socket_that_systemd_passes_on_is_used_for_its_address() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("milter.sock");
    let socket = UnixListener::bind(&path).expect("a socket");
    let listen = format!("unix:{}", path.display());
    let daemon = Daemon::start_listening_on_passed(&listen, &socket, "socket_mode: \"0600\"\n");
    assert!(accepts_ipv4(&Address::Unix(path.clone())));
    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_ne!(mode & 0o777, 0o600, "its unit says who may use it");
    assert!(daemon.stop().success());
    assert!(path.exists(), "it is systemd's");
}

#[test]
fn a_socket_that_systemd_passes_on_and_listen_does_not_name_is_reported() {
    let directory = TempDir::new().expect("a directory");
    let socket = UnixListener::bind(directory.path().join("other.sock")).expect("a socket");
    let own = directory.path().join("own.sock");
    let listen = format!("unix:{}", own.display());
    let daemon = Daemon::start_listening_on_passed(&listen, &socket, "");
    assert!(accepts_ipv4(&Address::Unix(own)));
    daemon.log().wait_for(&[
        "systemd passes a socket named milter, which",
        "listen does not use",
    ]);
}

#[test]
fn several_sockets_are_served_at_once() {
    let directory = TempDir::new().expect("a directory");
    let unix = directory.path().join("second.sock");
    let port = free_port();
    let daemon = Daemon::start_listening(&[
        &format!("unix:{}", unix.display()),
        &format!("inet:{port}@127.0.0.1"),
        &format!("\"inet6:[::1]:{port}\""),
    ]);
    let addresses = [
        daemon.address(),
        Address::Unix(unix),
        Address::Tcp(([127, 0, 0, 1], port).into()),
        Address::Tcp((std::net::Ipv6Addr::LOCALHOST, port).into()),
    ];
    for address in addresses {
        assert!(accepts_ipv4(&address), "{address:?}");
    }
    assert!(Path::new(&daemon.socket()).exists());
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
