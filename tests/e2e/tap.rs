//! Forwards a milter connection and records its frames.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The MTA's command, by its letter.
    Command(char),
    /// The daemon's answer, by its letter.
    Answer(char),
}

/// The recorded frames of each connection; stops with the process.
#[derive(Clone, Default)]
pub struct Tap {
    connections: Arc<Mutex<Vec<Connection>>>,
}

#[derive(Clone, Default)]
struct Connection {
    frames: Arc<Mutex<Vec<Frame>>>,
    /// The data of its CONNECT.
    client: Arc<Mutex<String>>,
}

impl Tap {
    /// Listens at `here` and forwards to `there`.
    pub fn start(here: &Path, there: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(here)?;
        // The MTA's user has to reach it.
        std::fs::set_permissions(here, PermissionsExt::from_mode(0o666))?;
        let tap = Self::default();
        let connections = Arc::clone(&tap.connections);
        thread::spawn(move || {
            for mta in listener.incoming().flatten() {
                let connection = Connection::default();
                lock(&connections).push(connection.clone());
                // Without a daemon, closes the MTA's connection.
                let _ = UnixStream::connect(&there).map(|to| connection.pass_on(mta, to));
            }
        });
        Ok(tap)
    }

    /// Returns the frames of the first connection whose CONNECT contains the text.
    pub fn frames(&self, text: &str) -> Option<Vec<Frame>> {
        let connections = lock(&self.connections);
        let found = connections.iter().find(|c| lock(&c.client).contains(text));
        found.map(|connection| lock(&connection.frames).clone())
    }
}

impl Connection {
    fn pass_on(self, mta: UnixStream, daemon: UnixStream) {
        let (Ok(to_mta), Ok(to_daemon)) = (mta.try_clone(), daemon.try_clone()) else {
            return;
        };
        let answers = self.clone();
        thread::spawn(move || copy_frames(mta, to_daemon, |l, data| self.note_command(l, data)));
        thread::spawn(move || {
            copy_frames(daemon, to_mta, |letter, _| {
                lock(&answers.frames).push(Frame::Answer(letter));
            });
        });
    }

    fn note_command(&self, letter: char, data: &[u8]) {
        if letter == 'C' {
            *lock(&self.client) = String::from_utf8_lossy(data).into();
        }
        lock(&self.frames).push(Frame::Command(letter));
    }
}

fn copy_frames(mut from: UnixStream, mut to: UnixStream, note: impl Fn(char, &[u8])) {
    while let Ok(frame) = read_frame(&mut from) {
        note(char::from(frame[4]), &frame[5..]);
        if to.write_all(&frame).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// A frame with its length prefix; it always has a letter.
fn read_frame(from: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let bytes = u32::from_be_bytes(length).max(1) as usize;
    let mut frame = length.to_vec();
    frame.resize(4 + bytes, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
