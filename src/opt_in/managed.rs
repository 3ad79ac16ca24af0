//! Edits the managed list, the file behind `sixgate opt-in`.
//!
//! Editors take turns (flock on the folder), comments and order are kept, and
//! the file is replaced as a whole, so that neither a reader nor a crash ever
//! sees half of it. Asks nobody and tells nobody: the daemon follows the file.

use super::{
    entry::{Entry, Scope},
    files::{self, EMPTY, ListError},
};
use crate::address::Domain;
use jiff::Timestamp;
use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

/// The text of the list, while nobody else edits it.
#[derive(Debug)]
pub struct Managed {
    /// `None` where one was removed.
    lines: Vec<Option<String>>,
    /// Which lines speak of a domain or of its subdomains.
    index: HashMap<(Domain, Scope), Vec<usize>>,
    today: String,
    is_changed: bool,
}

/// What became of an entry that was to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addition {
    /// It is new.
    Added,
    /// It was there already, with this comment.
    AlreadyThere(String),
    /// It took the place of its contrary.
    Turned,
}

/// What became of an entry that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// It was not there.
    NotThere,
    /// It was not there, but its contrary is.
    ContraryIsThere,
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

/// Changes the list; a file that is not there is made. Nothing is written
/// unless something has changed.
///
/// # Errors
/// As [`EditError`] says; the file is as it was.
pub fn edit<T>(file: &Path, change: impl FnOnce(&mut Managed) -> T) -> Result<T, EditError> {
    // What a symbolic link leads to is replaced, not the link.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("/"));
    // Held until the folder is closed.
    let folder = Folder::lock(folder)?;
    let mut managed = Managed::read(&file)?;
    let outcome = change(&mut managed);
    if managed.is_changed {
        folder.replace(&file, &managed.text())?;
    }
    Ok(outcome)
}

/// What a new file begins with.
const HEADER: &str = "# Domains that take mail over IPv6. \
                      \"sixgate opt-in\" edits this file, and so may you.";

impl Managed {
    fn read(file: &Path) -> Result<Self, EditError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => format!("{HEADER}\n"),
            Err(error) => return Err(failed(file, "read it")(error)),
        };
        Self::parse(file, &text)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, EditError> {
        let mut managed = Self {
            lines: Vec::new(),
            index: HashMap::new(),
            today: today(),
            is_changed: false,
        };
        for (index, line) in text.lines().enumerate() {
            let wrong = |complaint| EditError::List(files::at_line(file, index + 1, complaint));
            let (entry, _) = files::parse_line(line).map_err(wrong)?;
            if let Some(entry) = &entry {
                managed.check(entry).map_err(wrong)?;
            }
            managed.push(line.to_owned(), entry.as_ref());
        }
        Ok(managed)
    }

    fn check(&self, entry: &Entry) -> Result<(), String> {
        let place = self.index.get(&key(entry)).and_then(|lines| lines.first());
        match place.map(|place| self.entry_at(*place)) {
            Some((Some(listed), _)) if listed != *entry => Err(files::contradiction(entry)),
            Some(_) | None => Ok(()),
        }
    }

    fn text(&self) -> String {
        let lines = self.lines.iter().flatten().filter(|line| !says_empty(line));
        let mut text: String = lines.flat_map(|line| [line.as_str(), "\n"]).collect();
        if self.index.is_empty() {
            text.push_str(EMPTY);
            text.push('\n');
        }
        text
    }

    /// Adds an entry with its date and a comment, which may be empty.
    pub fn add(&mut self, entry: &Entry, comment: &str) -> Addition {
        let found = self
            .index
            .get(&key(entry))
            .and_then(|lines| lines.first().copied());
        let Some(place) = found else {
            let line = self.line(entry, comment);
            self.push(line, Some(entry));
            self.is_changed = true;
            return Addition::Added;
        };
        match self.entry_at(place) {
            (Some(listed), comment) if listed == *entry => Addition::AlreadyThere(comment),
            (Some(_) | None, _) => {
                self.remove_lines(entry);
                self.lines[place] = Some(self.line(entry, comment));
                self.index.insert(key(entry), vec![place]);
                Addition::Turned
            }
        }
    }

    /// Removes an entry wherever it stands.
    pub fn remove(&mut self, entry: &Entry) -> Removal {
        let places = self.index.get(&key(entry));
        let Some(place) = places.and_then(|places| places.first().copied()) else {
            return Removal::NotThere;
        };
        match self.entry_at(place) {
            (Some(listed), _) if listed == *entry => {
                self.remove_lines(entry);
                Removal::Removed
            }
            (Some(_) | None, _) => Removal::ContraryIsThere,
        }
    }

    fn remove_lines(&mut self, entry: &Entry) {
        for place in self.index.remove(&key(entry)).unwrap_or_default() {
            self.lines[place] = None;
        }
        self.is_changed = true;
    }

    fn entry_at(&self, place: usize) -> (Option<Entry>, String) {
        let line = self.lines[place].as_deref().unwrap_or_default();
        // It was parsed before.
        let (entry, comment) = files::parse_line(line).unwrap_or_default();
        (entry, comment.to_owned())
    }

    fn push(&mut self, line: String, entry: Option<&Entry>) {
        if let Some(entry) = entry {
            let places = self.index.entry(key(entry)).or_default();
            places.push(self.lines.len());
        }
        self.lines.push(Some(line));
    }

    fn line(&self, entry: &Entry, comment: &str) -> String {
        let comment = comment.replace(char::is_control, " ");
        let line = format!("{entry}  # {} {}", self.today, comment.trim());
        line.trim_end().to_owned()
    }
}

fn key(entry: &Entry) -> (Domain, Scope) {
    (entry.domain.clone(), entry.scope)
}

fn says_empty(line: &str) -> bool {
    line.trim().eq_ignore_ascii_case(EMPTY)
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
fn today() -> String {
    Timestamp::now().strftime("%F").to_string()
}

fn failed(file: &Path, tried: &'static str) -> impl FnOnce(io::Error) -> EditError {
    let file = file.to_owned();
    move |error| EditError::Io { file, tried, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_order_and_line_breaks_are_kept() {
        let text = "# ours\n\nb.example\t# 2020 first\na.example\n  # indented\nb.example\n";
        let mut managed = Managed::parse(Path::new("list"), text).unwrap();
        managed.today = "2026-11-21".to_owned();
        let entry = |text: &str| text.parse::<Entry>().unwrap();
        let there = Addition::AlreadyThere("2020 first".to_owned());
        assert_eq!(managed.add(&entry("B.example."), "again"), there);
        assert!(!managed.is_changed);
        assert_eq!(
            managed.add(&entry(".b.example"), "two\nlines"),
            Addition::Added
        );
        assert_eq!(managed.add(&entry("!a.example"), ""), Addition::Turned);
        assert_eq!(
            managed.remove(&entry("a.example")),
            Removal::ContraryIsThere
        );
        assert_eq!(managed.remove(&entry("b.example")), Removal::Removed);
        assert_eq!(managed.remove(&entry("b.example")), Removal::NotThere);
        let want = "# ours\n\n!a.example  # 2026-11-21\n  # indented\n\
                    .b.example  # 2026-11-21 two lines\n";
        assert_eq!(managed.text(), want);
    }

    #[test]
    fn a_list_without_entries_says_that_it_is_meant() {
        let mut managed = Managed::parse(Path::new("list"), "# ours\na.example\n").unwrap();
        managed.remove(&"a.example".parse().unwrap());
        assert_eq!(managed.text(), "# ours\n# empty\n");
        let mut managed = Managed::parse(Path::new("list"), &managed.text()).unwrap();
        managed.today = "2026-11-21".to_owned();
        managed.add(&"a.example".parse().unwrap(), "");
        assert_eq!(managed.text(), "# ours\na.example  # 2026-11-21\n");
    }
}
