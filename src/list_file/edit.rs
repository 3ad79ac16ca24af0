//! Edits a list file that a command manages.
//!
//! A lock (flock on the directory) serializes editors. Comments and order are preserved,
//! and the file is replaced atomically, so that neither a reader nor a crash sees a
//! partial file. The daemon follows the file, so it needs no notification.

use super::{EMPTY, ListError, at_line, is_empty_marker};
use jiff::Timestamp;
use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, OpenOptions, Permissions},
    hash::Hash,
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

/// A list that can be edited.
pub(crate) trait Edited: Sized {
    /// The comment at the beginning of a new file.
    const HEADER: &'static str;

    /// The type that identifies an entry; each key should occur once.
    type Key: Hash + Eq;

    /// Parses the entry of a line, `None` if there is none, and checks it against the
    /// lines before it.
    ///
    /// # Errors
    /// Fails with a part of a line that says what to write if the line is invalid.
    fn key(line: &str, before: &Lines<Self::Key>) -> Result<Option<Self::Key>, String>;

    /// Creates the list from the lines of the file.
    fn new(lines: Lines<Self::Key>) -> Self;

    /// Returns the current lines.
    fn lines(&self) -> &Lines<Self::Key>;
}

/// Why the list could not be edited. `Display` writes one line.
#[derive(Debug)]
pub enum EditError {
    /// The list has an invalid line.
    List(ListError),
    /// A file or directory could not be read or written.
    Io {
        /// The file or directory.
        file: PathBuf,
        /// The operation that failed.
        tried: &'static str,
        /// The error of the operating system.
        error: io::Error,
    },
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(error) => error.fmt(f),
            Self::Io { file, tried, error } => {
                write!(f, "{}: can't {tried}: {error}", file.display())
            }
        }
    }
}

impl std::error::Error for EditError {}

/// Edits the list. Creates a missing file, and writes only if something has changed.
///
/// # Errors
/// Fails with an [`EditError`] and leaves the file unchanged.
pub(crate) fn edit<L: Edited, T>(
    file: &Path,
    change: impl FnOnce(&mut L) -> T,
) -> Result<T, EditError> {
    // Replaces the target of a symbolic link, not the link.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("/"));
    // The lock is held until the directory is closed.
    let folder = Folder::lock(folder)?;
    let mut list: L = read(&file)?;
    let outcome = change(&mut list);
    if list.lines().is_changed() {
        folder.replace(&file, &list.lines().text())?;
    }
    Ok(outcome)
}

/// Replaces a file atomically, while holding the lock of its directory.
///
/// # Errors
/// Fails if the file or its directory can't be written.
pub(crate) fn replace(file: &Path, text: &str) -> Result<(), EditError> {
    let folder = Folder::lock(file.parent().unwrap_or(Path::new("/")))?;
    folder.replace(file, text)
}

fn read<L: Edited>(file: &Path) -> Result<L, EditError> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => format!("{}\n", L::HEADER),
        Err(error) => return Err(failed(file, "read it")(error)),
    };
    parse(file, &text)
}

/// Parses the text of a list. `file` is its name in errors.
pub(crate) fn parse<L: Edited>(file: &Path, text: &str) -> Result<L, EditError> {
    let mut lines = Lines::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |complaint| EditError::List(at_line(file, index + 1, complaint));
        let key = L::key(line, &lines).map_err(wrong)?;
        lines.push(line.to_owned(), key);
    }
    Ok(L::new(lines))
}

/// The lines of a list, with the places of its entries.
#[derive(Debug)]
pub(crate) struct Lines<K> {
    /// The lines; `None` for a removed line.
    lines: Vec<Option<String>>,
    /// The line numbers of each entry.
    index: HashMap<K, Vec<usize>>,
    is_changed: bool,
}

impl<K: Hash + Eq> Lines<K> {
    fn new() -> Self {
        Self {
            lines: Vec::new(),
            index: HashMap::new(),
            is_changed: false,
        }
    }

    fn push(&mut self, line: String, key: Option<K>) {
        if let Some(key) = key {
            self.index.entry(key).or_default().push(self.lines.len());
        }
        self.lines.push(Some(line));
    }

    /// Returns the first line of an entry.
    pub(crate) fn get(&self, key: &K) -> Option<&str> {
        let place = *self.index.get(key)?.first()?;
        self.lines[place].as_deref()
    }

    /// Replaces the first line of an entry, or appends one.
    pub(crate) fn set(&mut self, key: K, line: String) {
        self.is_changed = true;
        match self.index.get_mut(&key) {
            Some(places) if !places.is_empty() => {
                for place in places.split_off(1) {
                    self.lines[place] = None;
                }
                self.lines[places[0]] = Some(line);
            }
            Some(_) | None => self.push(line, Some(key)),
        }
    }

    /// Removes all lines of an entry.
    pub(crate) fn remove(&mut self, key: &K) {
        for place in self.index.remove(key).unwrap_or_default() {
            self.lines[place] = None;
            self.is_changed = true;
        }
    }

    /// Returns the keys of the entries, in any order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.index.keys()
    }

    /// Returns whether the lines differ from the file.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Returns the text of the file.
    pub(crate) fn text(&self) -> String {
        let lines = self
            .lines
            .iter()
            .flatten()
            .filter(|line| !is_empty_marker(line));
        let mut text: String = lines.flat_map(|line| [line.as_str(), "\n"]).collect();
        if self.index.is_empty() {
            text.push_str(EMPTY);
            text.push('\n');
        }
        text
    }
}

/// Appends a date and a comment, which may be empty, to an entry.
pub(crate) fn with_comment(entry: impl fmt::Display, date: &str, comment: &str) -> String {
    let comment = comment.replace(char::is_control, " ");
    let line = format!("{entry}  # {date} {}", comment.trim());
    line.trim_end().to_owned()
}

/// The directory of the list, locked.
struct Folder {
    path: PathBuf,
    locked: File,
}

impl Folder {
    fn lock(path: &Path) -> Result<Self, EditError> {
        let locked = File::open(path).map_err(failed(path, "open the folder"))?;
        // The list itself can't serve as the lock, because it is replaced.
        locked.lock().map_err(failed(path, "lock the folder"))?;
        Ok(Self {
            path: path.to_owned(),
            locked,
        })
    }

    fn replace(&self, file: &Path, text: &str) -> Result<(), EditError> {
        let name = file.file_name().unwrap_or_default();
        let new = self.path.join(format!(".{}.new", name.display()));
        let written = self.write(file, &new, text);
        if written.is_err() {
            // The file may not exist.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write(&self, file: &Path, new: &Path, text: &str) -> Result<(), EditError> {
        // Removes a file left over from a crash; no other process uses it while we hold the
        // lock.
        let _ = fs::remove_file(new);
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let created = options.open(new).map_err(failed(new, "make it"))?;
        let mut out = BufWriter::new(&created);
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(failed(new, "write it"))?;
        self.keep_owner_and_mode(file, &created)
            .map_err(failed(new, "give it the owner and mode of the list"))?;
        created.sync_all().map_err(failed(new, "write it"))?;
        fs::rename(new, file).map_err(failed(file, "replace it"))?;
        self.locked
            .sync_all()
            .map_err(failed(&self.path, "write the folder"))
    }

    /// Copies the owner and mode of the list. A new list gets the owner of the directory,
    /// so that the daemon can read a list that root has created.
    fn keep_owner_and_mode(&self, file: &Path, new: &File) -> io::Result<()> {
        let (like, mode) = match fs::metadata(file) {
            Ok(old) => (old.uid_and_gid(), old.mode()),
            Err(_) => (self.locked.metadata()?.uid_and_gid(), 0o644),
        };
        let (uid, gid) = like;
        if new.metadata()?.uid_and_gid() != like {
            fchown(new, Some(uid), Some(gid))?;
        }
        new.set_permissions(Permissions::from_mode(mode & 0o7777))
    }
}

trait Owned {
    fn uid_and_gid(&self) -> (u32, u32);
}

impl Owned for fs::Metadata {
    fn uid_and_gid(&self) -> (u32, u32) {
        (self.uid(), self.gid())
    }
}

/// Returns the current date in UTC, as in RFC 3339.
pub(crate) fn today() -> String {
    Timestamp::now().strftime("%F").to_string()
}

fn failed(file: &Path, tried: &'static str) -> impl FnOnce(io::Error) -> EditError {
    let file = file.to_owned();
    move |error| EditError::Io { file, tried, error }
}
