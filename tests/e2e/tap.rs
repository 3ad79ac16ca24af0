//! Passes a milter connection on and notes what is said, frame by frame.

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

type Notes = Arc<Mutex<Vec<Frame>>>;

/// Notes of each connection so far, with the octets of its CONNECT.
#[derive(Clone, Default)]
pub struct Tap {
    connections: Arc<Mutex<Vec<(Notes, Arc<Mutex<Vec<u8>>>)>>>,
}

impl Tap {
    /// Listens at `here` and passes on to `there`; ends with the process.
    pub fn start(here: &Path, there: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(here)?;
        // The MTA's user has to reach it.
        std::fs::set_permissions(here, PermissionsExt::from_mode(0o666))?;
        let tap = Self::default();
        let notes = tap.clone();
        thread::spawn(move || {
            for mta in listener.incoming().flatten() {
                // Without a daemon the MTA's connection just ends.
                if let Ok(daemon) = UnixStream::connect(&there) {
                    notes.pass_on(mta, daemon);
                }
            }
        });
        Ok(tap)
    }

    /// What was said on the connection whose CONNECT has the text in it.
    pub fn frames(&self, text: &str) -> Option<Vec<Frame>> {
        let connections = lock(&self.connections);
        let has_text =
            |connect: &Mutex<Vec<u8>>| String::from_utf8_lossy(&lock(connect)).contains(text);
        let found = connections.iter().find(|(_, connect)| has_text(connect));
        found.map(|(frames, _)| lock(frames).clone())
    }

    fn pass_on(&self, mta: UnixStream, daemon: UnixStream) {
        let (frames, connect) = (Notes::default(), Arc::new(Mutex::default()));
        lock(&self.connections).push((Arc::clone(&frames), Arc::clone(&connect)));
        let Ok((from_mta, to_mta)) = mta.try_clone().map(|clone| (clone, mta)) else {
            return;
        };
        let Ok((from_daemon, to_daemon)) = daemon.try_clone().map(|clone| (clone, daemon)) else {
            return;
        };
        let notes = Arc::clone(&frames);
        thread::spawn(move || {
            let note = |letter, data: &[u8]| {
                if letter == 'C' {
                    *lock(&connect) = data.to_vec();
                }
                lock(&notes).push(Frame::Command(letter));
            };
            copy_frames(from_mta, to_daemon, note)
        });
        thread::spawn(move || {
            copy_frames(from_daemon, to_mta, |letter, _| {
                lock(&frames).push(Frame::Answer(letter));
            })
        });
    }
}

fn copy_frames(mut from: UnixStream, mut to: UnixStream, note: impl Fn(char, &[u8])) {
    while let Ok(frame) = read_frame(&mut from) {
        note(frame.get(4).copied().map_or('?', char::from), &frame[5..]);
        if to.write_all(&frame).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// A frame with its length in front; never without a letter.
fn read_frame(from: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let octets = u32::from_be_bytes(length).max(1) as usize;
    let mut frame = length.to_vec();
    frame.resize(4 + octets, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
