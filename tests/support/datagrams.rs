//! A unix socket in place of a log daemon's.

use super::daemon::TIMEOUT;
use std::{
    cell::RefCell,
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The socket and what it has received. Dropping it removes the file.
pub struct Datagrams {
    socket: UnixDatagram,
    path: PathBuf,
    received: RefCell<Vec<String>>,
}

impl Datagrams {
    /// Opens it.
    pub fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        let everybody = fs::Permissions::from_mode(0o666);
        fs::set_permissions(path, everybody).expect("permissions");
        let short = Some(Duration::from_millis(50));
        socket.set_read_timeout(short).expect("a timeout");
        Self {
            socket,
            path: path.to_owned(),
            received: RefCell::default(),
        }
    }

    /// Waits for the first datagram with all these words and returns it.
    pub fn wait_for(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + TIMEOUT;
        let has_all = |text: &&String| words.iter().all(|word| text.contains(word));
        let mut seen = 0;
        while Instant::now() < deadline {
            if let Some(found) = self.received.borrow()[seen..].iter().find(has_all) {
                return found.clone();
            }
            seen = self.received.borrow().len();
            self.receive();
        }
        panic!("no datagram with {words:?}: {:#?}", self.received());
    }

    /// Everything so far.
    pub fn received(&self) -> Vec<String> {
        self.received.borrow().clone()
    }

    fn receive(&self) {
        let mut buffer = vec![0; 1 << 18];
        if let Ok(length) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..length].to_vec()).expect("text");
            self.received.borrow_mut().push(text);
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
