//! A server of Postfix's socketmap protocol for tests: answers from a table in memory, or
//! misbehaves. It has its own codec, so that it shares no defect with the program under
//! test.

use std::{
    collections::HashMap,
    fs, io,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A running server. Dropping it stops it and closes its connections.
pub struct SocketmapServer {
    place: Place,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The address of a server.
#[derive(Clone, Debug)]
pub enum Place {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    /// Returns a map of the server in the syntax of milter.yaml and Postfix.
    pub fn table(&self, map: &str) -> String {
        match self {
            Self::Inet(address) => format!("inet:{address}:{map}"),
            Self::Unix(path) => format!("unix:{}:{map}", path.display()),
        }
    }
}

/// The behavior of a server at a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// Sends the reply of the table, or NOTFOUND.
    #[default]
    Answer,
    /// Does so and closes the connection.
    AnswerOnce,
    /// Does not answer.
    Silent,
    /// Sends these bytes and closes the connection.
    Send(Vec<u8>),
}

#[derive(Default)]
struct Shared {
    replies: Mutex<HashMap<String, String>>,
    behaviour: Mutex<Behaviour>,
    requests: Mutex<Vec<String>>,
    connections: Mutex<Vec<Connection>>,
    stopping: AtomicBool,
}

enum Connection {
    Inet(TcpStream),
    Unix(UnixStream),
}

enum Listener {
    Inet(TcpListener),
    Unix(UnixListener),
}

impl SocketmapServer {
    /// Starts on a free port of 127.0.0.1, with requests and their replies.
    pub fn start(replies: &[(&str, &str)]) -> Self {
        let any = Place::Inet(([127, 0, 0, 1], 0).into());
        Self::start_at(&any, replies).expect("a port")
    }

    /// Starts at a given address.
    pub fn start_at(place: &Place, replies: &[(&str, &str)]) -> io::Result<Self> {
        let listener = Listener::bind(place)?;
        let place = listener.place(place)?;
        let shared = Arc::<Shared>::default();
        let server = Arc::clone(&shared);
        let server = Self {
            place,
            thread: Some(thread::spawn(move || server.serve(&listener))),
            shared,
        };
        for (request, reply) in replies {
            server.set(request, reply);
        }
        Ok(server)
    }

    /// In the syntax of milter.yaml and Postfix.
    pub fn table(&self, map: &str) -> String {
        self.place.table(map)
    }

    /// Gives a request such as `map key` another reply, such as `OK yes`.
    pub fn set(&self, request: &str, reply: &str) {
        lock(&self.shared.replies).insert(request.to_owned(), reply.to_owned());
    }

    /// Changes the behavior from the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).len()
    }
}

impl Drop for SocketmapServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // A connection wakes up the thread.
        match &self.place {
            Place::Inet(address) => drop(TcpStream::connect(address)),
            Place::Unix(path) => {
                drop(UnixStream::connect(path));
                let _ = fs::remove_file(path);
            }
        }
        let _ = self.thread.take().map(JoinHandle::join);
        for connection in lock(&self.shared.connections).drain(..) {
            connection.close();
        }
    }
}

impl Listener {
    fn bind(place: &Place) -> io::Result<Self> {
        Ok(match place {
            Place::Inet(address) => Self::Inet(TcpListener::bind(address)?),
            Place::Unix(path) => Self::Unix(UnixListener::bind(path)?),
        })
    }

    fn place(&self, asked_for: &Place) -> io::Result<Place> {
        match self {
            Self::Inet(listener) => listener.local_addr().map(Place::Inet),
            Self::Unix(_) => Ok(asked_for.clone()),
        }
    }

    fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Inet(listener) => listener.accept().map(|(s, _)| Connection::Inet(s)),
            Self::Unix(listener) => listener.accept().map(|(s, _)| Connection::Unix(s)),
        }
    }
}

impl Connection {
    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Inet(stream) => stream.try_clone().map(Self::Inet),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    fn close(&self) {
        let _ = match self {
            Self::Inet(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self.try_clone()? {
            Self::Inet(stream) => Box::new(stream),
            Self::Unix(stream) => Box::new(stream),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Inet(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, listener: &Listener) {
        while let Ok(connection) = listener.accept() {
            if self.stopping.load(Ordering::SeqCst) {
                break;
            }
            if let Ok(clone) = connection.try_clone() {
                lock(&self.connections).push(clone);
            }
            let shared = Arc::clone(self);
            // Ends when the client, or Drop, closes the connection.
            thread::spawn(move || shared.serve_connection(connection));
        }
    }

    fn serve_connection(&self, mut connection: Connection) -> Option<()> {
        let mut reader = BufReader::new(connection.reader().ok()?);
        while let Some(request) = read_netstring(&mut reader) {
            lock(&self.requests).push(request.clone());
            let behaviour = lock(&self.behaviour).clone();
            let bytes = match &behaviour {
                Behaviour::Answer | Behaviour::AnswerOnce => self.reply(&request),
                Behaviour::Silent => continue,
                Behaviour::Send(bytes) => bytes.clone(),
            };
            connection.write(&bytes).ok()?;
            if behaviour != Behaviour::Answer {
                break;
            }
        }
        connection.close();
        Some(())
    }

    fn reply(&self, request: &str) -> Vec<u8> {
        let reply = lock(&self.replies).get(request).cloned();
        let reply = reply.unwrap_or_else(|| "NOTFOUND ".to_owned());
        format!("{}:{reply},", reply.len()).into_bytes()
    }
}

fn read_netstring(reader: &mut impl BufRead) -> Option<String> {
    let mut length = Vec::new();
    reader.read_until(b':', &mut length).ok()?;
    let length = str::from_utf8(length.strip_suffix(b":")?).ok()?;
    let mut text = vec![0; length.parse().ok()?];
    reader.read_exact(&mut text).ok()?;
    let mut comma = [0];
    reader.read_exact(&mut comma).ok()?;
    (comma == *b",").then(|| String::from_utf8(text).ok())?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
