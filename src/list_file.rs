//! List files and directories of them: finding the files, detecting changes, and reading
//! lines. `live` follows them while the program runs, `edit` changes those that
//! commands manage.
//!
//! A list is used only if all of it is valid. One without an entry is an error unless it
//! has the line `# empty`, because a truncated file or failed export would otherwise look
//! like a list from which all entries were removed.

pub mod edit;
pub(crate) mod live;

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The comment that marks a list as intentionally empty.
pub const EMPTY: &str = "# empty";

/// The maximum length of a line in bytes. A file with longer lines is not a list.
const MAX_LINE: u64 = 4096;

/// An error in a list, with its location. `Display` writes one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListError {
    /// The file or directory.
    pub file: PathBuf,
    /// The line number, counted from 1; `None` if the error is not in a single line.
    pub line: Option<usize>,
    /// What is wrong and what to write.
    pub complaint: String,
    /// Whether the error may disappear without a change of the file.
    pub is_passing: bool,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.complaint.replace(char::is_control, " "))
    }
}

impl std::error::Error for ListError {}

impl ListError {
    /// Adds the configuration key that names the file, which helps when the file does not
    /// exist.
    pub(crate) fn with_key(mut self, key: &str) -> Self {
        if self.line.is_none() {
            self.complaint = format!("{} (named by {key})", self.complaint);
        }
        self
    }

    /// Returns the error for files that change whenever they are read.
    pub(crate) fn keeps_changing(paths: &[PathBuf]) -> Self {
        let file = paths.first().cloned().unwrap_or_default();
        at_file(
            &file,
            "the list changes all the time; replace it by renaming".to_owned(),
        )
    }
}

/// The location of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// The line number, counted from 1.
    pub line: usize,
    /// The text after the `#`, if there is one.
    pub comment: String,
}

/// A line of a list.
#[derive(Clone, Copy, Debug)]
pub struct RawLine<'a> {
    /// The line number, counted from 1.
    pub number: usize,
    /// The text before the `#`; may be empty.
    pub text: &'a str,
    /// The text after the `#`; empty if there is none.
    pub comment: &'a str,
}

/// Calls `visit` for each line of one file, including those without an entry.
///
/// # Errors
/// Fails if the file can't be read or has no entry, and with the errors of `visit`.
pub fn each_line(
    file: &Path,
    mut visit: impl FnMut(RawLine<'_>) -> Result<(), String>,
) -> Result<(), ListError> {
    let mut reader = open(file)?;
    let mut bytes = Vec::new();
    let mut number = 0;
    let mut is_meant = false;
    while next_line(&mut reader, &mut bytes).map_err(|e| unreadable(file, &e))? {
        number += 1;
        let wrong = |complaint: String| at_line(file, number, complaint);
        let line = text_of(&bytes, number).map_err(wrong)?;
        let (text, comment) = split(line);
        is_meant |= !text.is_empty() || is_empty_marker(line);
        let line = RawLine {
            number,
            text,
            comment,
        };
        visit(line).map_err(wrong)?;
    }
    match is_meant {
        true => Ok(()),
        false => Err(no_entry(file)),
    }
}

/// Splits a line at the `#` into its text and its comment.
pub fn split(line: &str) -> (&str, &str) {
    let (text, comment) = line.split_once('#').unwrap_or((line, ""));
    (text.trim(), comment.trim())
}

/// Returns whether a line marks the list as intentionally empty.
pub(crate) fn is_empty_marker(line: &str) -> bool {
    line.trim().eq_ignore_ascii_case(EMPTY)
}

fn open(file: &Path) -> Result<BufReader<File>, ListError> {
    // Opening a pipe would block until somebody writes to it.
    match fs::metadata(file) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(at_file(file, "this is not a regular file".to_owned())),
        Err(error) => return Err(unreadable(file, &error)),
    }
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    Ok(BufReader::with_capacity(1 << 16, opened))
}

/// Reads a line with its line break. Returns `false` at the end of the file.
fn next_line(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.clear();
    let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', bytes)?;
    Ok(read > 0)
}

fn text_of(bytes: &[u8], number: usize) -> Result<&str, String> {
    if bytes.len() as u64 == MAX_LINE {
        return Err(format!("the line has more than {MAX_LINE} bytes"));
    }
    let text = str::from_utf8(bytes);
    let text = text.map_err(|_| "this is not UTF-8; save the file as UTF-8".to_owned())?;
    // Some editors begin a file with a byte order mark.
    Ok(match number {
        1 => text.strip_prefix('\u{feff}').unwrap_or(text),
        _ => text,
    })
}

/// Returns the files in the order of the configuration, those of a directory sorted by
/// name.
///
/// # Errors
/// Fails if a directory can't be read or contains no list.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ListError> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            false => files.push(path.clone()),
            true => {
                let lists = files_in(path).map_err(|error| unreadable(path, &error))?;
                if lists.is_empty() {
                    return Err(at_file(path, "the folder has no *.list in it".to_owned()));
                }
                files.extend(lists);
            }
        }
    }
    Ok(files)
}

/// Returns the lists in a directory. Skips hidden files, which editors and copying
/// programs use for unfinished ones.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut lists = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".list") && !bytes.starts_with(b".") {
            lists.push(folder.join(name));
        }
    }
    lists.sort();
    Ok(lists)
}

/// The metadata of files, which changes whenever they are changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, Stamp)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stamp {
    There {
        file: (u64, u64),
        size: u64,
        written: (i64, i64),
        changed: (i64, i64),
    },
    Missing(io::ErrorKind),
}

impl Fingerprint {
    /// Takes the fingerprint of files and directories.
    pub fn take(paths: &[PathBuf]) -> Self {
        let mut stamps = Vec::new();
        for path in paths {
            match path.is_dir().then(|| files_in(path)) {
                None => stamps.push((path.clone(), Stamp::of(path))),
                Some(Ok(lists)) => stamps.extend(lists.into_iter().map(|list| {
                    let stamp = Stamp::of(&list);
                    (list, stamp)
                })),
                Some(Err(error)) => stamps.push((path.clone(), Stamp::Missing(error.kind()))),
            }
        }
        Self(stamps)
    }

    /// Returns whether none of the files exists.
    pub fn is_nothing(&self) -> bool {
        let missing = |stamp: &Stamp| *stamp == Stamp::Missing(io::ErrorKind::NotFound);
        self.0.iter().all(|(_, stamp)| missing(stamp))
    }
}

impl Stamp {
    fn of(file: &Path) -> Self {
        match fs::metadata(file) {
            Ok(found) => Self::There {
                file: (found.dev(), found.ino()),
                size: found.size(),
                written: (found.mtime(), found.mtime_nsec()),
                changed: (found.ctime(), found.ctime_nsec()),
            },
            Err(error) => Self::Missing(error.kind()),
        }
    }
}

fn no_entry(file: &Path) -> ListError {
    let complaint =
        format!("there is no entry in it; if that is meant, write the line \"{EMPTY}\"");
    at_file(file, complaint)
}

pub(crate) fn at_line(file: &Path, line: usize, complaint: String) -> ListError {
    ListError {
        line: Some(line),
        ..at_file(file, complaint)
    }
}

fn at_file(file: &Path, complaint: String) -> ListError {
    ListError {
        file: file.to_owned(),
        line: None,
        complaint,
        is_passing: false,
    }
}

fn unreadable(file: &Path, error: &io::Error) -> ListError {
    // A missing or unreadable file changes the fingerprint when it is fixed.
    let shows = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    );
    ListError {
        is_passing: !shows,
        ..at_file(file, format!("can't be read: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_its_lists_in_order_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.list", "a.list", ".hidden.list", "a.list~", "readme"] {
            fs::write(folder.path().join(name), "# empty\n").unwrap();
        }
        let found = expand(&[folder.path().to_owned()]).unwrap();
        let want = ["a.list", "b.list"].map(|name| folder.path().join(name));
        assert_eq!(found, want);
    }
}
