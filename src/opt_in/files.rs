//! Opt-in lists as files and folders: which files there are, whether they have
//! changed, and what stands in them.
//!
//! A list is taken as a whole or not at all. One without an entry is an error
//! unless it says that this is meant, because a file that was cut off or not
//! written would otherwise close every domain to mail.

use super::{
    entry::Entry,
    list::{Insertion, List},
};
use std::{
    collections::HashMap,
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The comment by which a file says that it means to have no entry.
pub const EMPTY: &str = "# empty";

/// The longest line that is read. Domains are shorter; what is longer is no list.
const MAX_LINE: u64 = 4096;

/// What is wrong with a list, and where. Shown as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListError {
    /// The file or folder.
    pub file: PathBuf,
    /// Counted from 1; `None` when no single line is at fault.
    pub line: Option<usize>,
    /// What is wrong and what to write.
    pub complaint: String,
    /// Whether it may be gone without a change of the file.
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
    /// The same with the key of the configuration that names the file, for
    /// whoever looks for the file in vain.
    pub(super) fn named_by(mut self, key: &str) -> Self {
        if self.line.is_none() {
            self.complaint = format!("{} (named by {key})", self.complaint);
        }
        self
    }

    /// Files that change whenever they are read.
    pub(super) fn restless(paths: &[PathBuf]) -> Self {
        let file = paths.first().cloned().unwrap_or_default();
        at_file(
            &file,
            "the list changes all the time; replace it by renaming".to_owned(),
        )
    }
}

/// Reads the lists of files and of folders (their `*.list`) as one list.
///
/// # Errors
/// At the first thing that is wrong: a file that can't be read or has no entry,
/// a line that is no entry or says the contrary of an earlier one.
pub fn read(paths: &[PathBuf]) -> Result<List, ListError> {
    let mut list = List::default();
    for file in expand(paths)? {
        each_entry(&file, |line| add(&mut list, &line.entry))?;
    }
    list.shrink_to_fit();
    Ok(list)
}

/// Finds the first line of each entry that is a key of `wanted`. Reads each file
/// once, however many entries are wanted.
pub fn locate(paths: &[PathBuf], wanted: &mut HashMap<Entry, Option<Location>>) {
    // A list that has become unreadable since has no locations.
    for file in expand(paths).unwrap_or_default() {
        let _ = each_entry(&file, |line| {
            if let Some(location @ None) = wanted.get_mut(&line.entry) {
                *location = Some(Location {
                    file: file.clone(),
                    line: line.number,
                    comment: line.comment.to_owned(),
                });
            }
            Ok(())
        });
    }
}

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// What stands behind the `#`, if there is one.
    pub comment: String,
}

/// A line that has an entry.
#[derive(Debug)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: usize,
    /// What it says.
    pub entry: Entry,
    /// What stands behind the `#`; empty if there is none.
    pub comment: &'a str,
}

/// Hands the entries of one file over in their order.
///
/// # Errors
/// As for [`read`], and whatever `visit` complains of.
pub fn each_entry(
    file: &Path,
    mut visit: impl FnMut(Line<'_>) -> Result<(), String>,
) -> Result<(), ListError> {
    let mut reader = open(file)?;
    let mut octets = Vec::new();
    let mut number = 0;
    let mut is_meant = false;
    while next_line(&mut reader, &mut octets).map_err(|e| unreadable(file, &e))? {
        number += 1;
        let wrong = |complaint: String| at_line(file, number, complaint);
        let text = text_of(&octets, number).map_err(wrong)?;
        is_meant |= text.trim().eq_ignore_ascii_case(EMPTY);
        let (entry, comment) = parse_line(text).map_err(wrong)?;
        if let Some(entry) = entry {
            is_meant = true;
            let line = Line {
                number,
                entry,
                comment,
            };
            visit(line).map_err(wrong)?;
        }
    }
    match is_meant {
        true => Ok(()),
        false => Err(no_entry(file)),
    }
}

/// The entry and the comment of a line; both may be missing.
///
/// # Errors
/// When there is something that is no entry: half a line for people.
pub fn parse_line(line: &str) -> Result<(Option<Entry>, &str), String> {
    let (text, comment) = line.split_once('#').unwrap_or((line, ""));
    let entry = match text.trim() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|error: super::entry::EntryError| error.to_string())?,
        ),
    };
    Ok((entry, comment.trim()))
}

fn add(list: &mut List, entry: &Entry) -> Result<(), String> {
    match list.insert(entry) {
        Insertion::Added | Insertion::Duplicate => Ok(()),
        Insertion::Contradiction => Err(contradiction(entry)),
        Insertion::Full => Err("the list has more domains than fit in memory".to_owned()),
    }
}

pub(super) fn contradiction(entry: &Entry) -> String {
    let contrary = entry.contrary();
    format!("{entry} contradicts {contrary} of an earlier line; remove one of them")
}

fn open(file: &Path) -> Result<BufReader<File>, ListError> {
    // Opening a pipe would wait for somebody to write into it.
    match fs::metadata(file) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(at_file(file, "this is no regular file".to_owned())),
        Err(error) => return Err(unreadable(file, &error)),
    }
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    Ok(BufReader::with_capacity(1 << 16, opened))
}

/// Reads a line with its line break. `false` at the end of the file.
fn next_line(reader: &mut impl BufRead, octets: &mut Vec<u8>) -> io::Result<bool> {
    octets.clear();
    let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', octets)?;
    Ok(read > 0)
}

fn text_of(octets: &[u8], number: usize) -> Result<&str, String> {
    if octets.len() as u64 == MAX_LINE {
        return Err(format!("the line has more than {MAX_LINE} octets"));
    }
    let text = str::from_utf8(octets);
    let text = text.map_err(|_| "this is no UTF-8; save the file as UTF-8".to_owned())?;
    // Some editors begin a file with a byte order mark.
    Ok(match number {
        1 => text.strip_prefix('\u{feff}').unwrap_or(text),
        _ => text,
    })
}

/// The files, in the order of the configuration and in a folder by name.
///
/// # Errors
/// When a folder can't be read or has no list in it.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ListError> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            false => files.push(path.clone()),
            true => {
                let lists = lists_in(path).map_err(|error| unreadable(path, &error))?;
                if lists.is_empty() {
                    return Err(at_file(path, "the folder has no *.list in it".to_owned()));
                }
                files.extend(lists);
            }
        }
    }
    Ok(files)
}

/// Hidden files are what editors and copying programs have not finished.
fn lists_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut lists = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let octets = name.as_encoded_bytes();
        if octets.ends_with(b".list") && !octets.starts_with(b".") {
            lists.push(folder.join(name));
        }
    }
    lists.sort();
    Ok(lists)
}

/// What can be seen of files without reading them: whatever changes them
/// changes this.
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
    /// Looks at files and folders.
    pub fn take(paths: &[PathBuf]) -> Self {
        let mut stamps = Vec::new();
        for path in paths {
            match path.is_dir().then(|| lists_in(path)) {
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

    /// Whether none of the files is there.
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

pub(super) fn at_line(file: &Path, line: usize, complaint: String) -> ListError {
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
    // That a file is missing or not ours to read shows in its fingerprint.
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
    fn a_list_is_read_in_every_guise() {
        let long_comment = format!("a.example # {}", "x".repeat(4000));
        let table: [(&[u8], Result<usize, &str>); 14] = [
            (b"a.example", Ok(1)),
            (b"a.example\nb.example\n", Ok(2)),
            (b"a.example\r\n\r\nb.example\r\n", Ok(2)),
            (b"\xef\xbb\xbfa.example\n", Ok(1)),
            (b"\ta.example \n  # b.example\n#c.example", Ok(1)),
            (b"a.example\na.example\n", Ok(1)),
            (long_comment.as_bytes(), Ok(1)),
            (b"# empty\n", Ok(0)),
            (b"# ours\n  # Empty \n", Ok(0)),
            (b"# empty domains\n", Err("list: there is no entry")),
            (b"", Err("list: there is no entry")),
            (b"a.example\0", Err("list:1: ")),
            (b"# b\xfccher\n", Err("list:1: this is no UTF-8")),
            (&[b'x'; 5000], Err("list:1: the line has more than")),
        ];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        for (octets, want) in table {
            fs::write(&file, octets).unwrap();
            let text = octets.escape_ascii();
            match (read(std::slice::from_ref(&file)), want) {
                (Ok(list), Ok(entries)) => assert_eq!(list.len(), entries, "{text}"),
                (Err(error), Err(want)) => {
                    assert!(error.to_string().contains(want), "{text}: {error}");
                }
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

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
