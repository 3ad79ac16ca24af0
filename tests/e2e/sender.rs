//! A typical sending mail server: a Postfix with its own queue that keeps SMTP sessions for
//! further messages, as it does by default, and retries after a 4xx. `smtp-source` feeds
//! it.
//!
//! It delivers everything over IPv6 to one address, from an address that has a PTR record
//! and is in the SPF record of [`SENDER`]'s domain.

use super::{
    namespace::run,
    postfix,
    release::Release,
    support::{daemon::TIMEOUT, mta::POSTFIX_SERVICES},
};
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

const SENDER: &str = "a@ip6.example";

/// Run by its own `postfix` command; it ends with its PID namespace.
pub struct Sender {
    directory: PathBuf,
}

impl Sender {
    /// Starts in that directory; everything goes to the mail server at `to`.
    pub fn start(directory: &Path, to: SocketAddr) -> io::Result<Self> {
        postfix::start(Release::Own, directory, &main_cf(to), &master_cf())?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Adds that many copies of a message to its queue, the first for `1b@open.example`,
    /// the next for `2b@open.example` and so on. Returns when all are taken.
    pub fn feed(&self, message: &str, count: usize) -> io::Result<()> {
        let file = self.directory.join("message");
        fs::write(&file, message.replace("\r\n", "\n"))?;
        let [file, socket] = [&file, &self.directory.join("queue/public/submission")];
        let arguments = ["-s", "4", "-m", &count.to_string(), "-f", SENDER, "-N"];
        let more = ["-t", "b@open.example", "-F", &file.to_string_lossy()];
        let to = format!("unix:{}", socket.display());
        run("smtp-source", &[&arguments[..], &more, &[&to]].concat())
    }

    /// Waits until it has delivered that many messages.
    pub fn wait_until_removed(&self, count: usize) -> Result<(), String> {
        let deadline = Instant::now() + TIMEOUT;
        while self.count_logged(": removed") < count {
            if Instant::now() > deadline {
                return Err(format!("the sender keeps mail: {}", self.log()));
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// Returns how often a message was deferred and retried.
    pub fn deferrals(&self) -> usize {
        self.count_logged(" status=deferred ")
    }

    fn count_logged(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

fn main_cf(to: SocketAddr) -> String {
    let (address, port) = (to.ip(), to.port());
    format!(
        "myhostname = mail.sender.example
mydestination =
mynetworks = 127.0.0.0/8
relayhost = [{address}]:{port}
smtp_bind_address6 = 2001:db8::10

# It retries at once.
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
"
    )
}

/// For [`Sender::feed`] there is a socket instead of a port.
fn master_cf() -> String {
    format!(
        "submission unix n  -  n  -     -  smtpd
smtp       unix  -  -  n  -     -  smtp
{POSTFIX_SERVICES}"
    )
}
