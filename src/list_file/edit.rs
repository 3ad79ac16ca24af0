//! Edits a list that a command manages.
//!
//! Editors take turns (flock on the folder), comments and order are kept, and
//! the file is replaced as a whole, so that neither a reader nor a crash ever
//! sees half of it. Does not notify the daemon, which follows the file.

use super::{EMPTY, ListError, at_line, says_empty};
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

/// A list that is edited.
pub(crate) trait Edited: Sized {
    /// What a new file begins with: a comment.
    const HEADER: &'static str;

    /// What identifies an entry: it should be there once.
    type Key: Hash + Eq;

    /// Parses an entry, `None` for a line without one, and makes sure that it fits
    /// the lines before it.
    ///
    /// # Errors
    /// When the line is wrong: half a line that says what to write.
    fn key(line: &str, before: &Lines<Self::Key>) -> Result<Option<Self::Key>, String>;

    /// Takes the lines of the file.
    fn new(lines: Lines<Self::Key>) -> Self;

    /// The lines as they are now.
    fn lines(&self) -> &Lines<Self::Key>;
}

/// Why the list could not be edited. Shown as one line.
#[derive(Debug)]
pub enum EditError {
    /// It has a line that is wrong.
    List(ListError),
    /// A file or folder could not be read or written.
    Io {
        /// Which one.
        file: PathBuf,
        /// What was tried.
        tried: &'static str,
        /// What the system says.
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

/// Changes the list; a file that does not exist is created. Nothing is written
/// unless something has changed.
///
/// # Errors
/// As [`EditError`] says; the file is as it was.
pub(crate) fn edit<L: Edited, T>(
    file: &Path,
    change: impl FnOnce(&mut L) -> T,
) -> Result<T, EditError> {
    // What a symbolic link leads to is replaced, not the link.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("/"));
    // Held until the folder is closed.
    let folder = Folder::lock(folder)?;
    let mut list: L = read(&file)?;
    let outcome = change(&mut list);
    if list.lines().is_changed() {
        folder.replace(&file, &list.lines().text())?;
    }
    Ok(outcome)
}

/// Replaces a file as a whole, in turn with editors of its folder.
///
/// # Errors
/// When the file or its folder can't be written.
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
    /// `None` where one was removed.
    lines: Vec<Option<String>>,
    /// The lines of each entry.
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

    /// The first line of an entry.
    pub(crate) fn get(&self, key: &K) -> Option<&str> {
        let place = *self.index.get(key)?.first()?;
        self.lines[place].as_deref()
    }

    /// Sets the line of an entry, where its first one is or else at the end.
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

    /// The entries, in any order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.index.keys()
    }

    /// Whether anything differs from the file.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        let lines = self.lines.iter().flatten().filter(|line| !says_empty(line));
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

/// The folder of the list, locked.
struct Folder {
    path: PathBuf,
    locked: File,
}

impl Folder {
    fn lock(path: &Path) -> Result<Self, EditError> {
        let locked = File::open(path).map_err(failed(path, "open the folder"))?;
        // The list itself is no good to lock: it is replaced.
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
            // Not there at all, perhaps.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write(&self, file: &Path, new: &Path, text: &str) -> Result<(), EditError> {
        // One that a crash has left is nobody's while we have the lock.
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

    /// Those of the list, or for a new one the owner of the folder, whom it is
    /// for: the daemon must be able to read it when root has made it.
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

/// In UTC, as RFC 3339 writes it.
pub(crate) fn today() -> String {
    Timestamp::now().strftime("%F").to_string()
}

fn failed(file: &Path, tried: &'static str) -> impl FnOnce(io::Error) -> EditError {
    let file = file.to_owned();
    move |error| EditError::Io { file, tried, error }
}
