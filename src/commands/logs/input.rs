//! Opens logs: files, compressed or not, standard input, and the journal.

use crate::logs::Log;
use anyhow::Context;
use flate2::read::MultiGzDecoder;
use jiff::{Timestamp, tz::TimeZone};
use lzma_rust2::XzReader;
use std::{
    fs::File,
    io::{self, BufReader, Chain, Cursor, Read},
    os::fd::AsRawFd,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// How much of a file is read to find the time of its first line.
const PEEK: usize = 64 * 1024;

/// The maximum memory for decompressing an xz file, in KiB: four times that of `xz -9`. The
/// zstd library limits itself to 128 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// A log to be read.
pub(crate) struct Input {
    /// The name in messages.
    pub(super) name: String,
    pub(super) reader: Box<dyn Read + Send>,
    pub(super) log: Log,
    /// The time of its first line. Inputs that can't be opened twice are last.
    pub(super) begin: i64,
    /// The stored size in bytes; 0 if unknown.
    pub(super) length: u64,
    /// How many bytes were read so far.
    pub(super) position: Arc<AtomicU64>,
}

/// Opens a file, or standard input for `-`.
pub(super) fn open(path: &Path, zone: &TimeZone) -> anyhow::Result<Input> {
    if path == Path::new("-") {
        return input(
            "standard input",
            io::stdin(),
            Log::new(zone.clone(), Timestamp::now()),
        );
    }
    open_file(&path.display().to_string(), path, zone)
}

/// Opens an unnamed file again, from its beginning. `original` is for messages.
pub(super) fn reopen(original: &Path, file: &File, zone: &TimeZone) -> anyhow::Result<Input> {
    let name = match original == Path::new("-") {
        true => "standard input".to_owned(),
        false => original.display().to_string(),
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    open_file(&name, Path::new(&path), zone)
}

fn open_file(name: &str, path: &Path, zone: &TimeZone) -> anyhow::Result<Input> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    anyhow::ensure!(!metadata.is_dir(), "is a directory: name the files in it");
    let written = Timestamp::try_from(metadata.modified()?).unwrap_or_else(|_| Timestamp::now());
    let log = Log::new(zone.clone(), written);
    let mut input = input(name, file, log)?;
    // A pipe can be read only once.
    if metadata.is_file() {
        input.length = metadata.len();
        input.begin = begin(path, &mut input.log.clone())?.unwrap_or(i64::MAX);
    }
    Ok(input)
}

/// Runs journalctl to read the lines of sixgate and of programs with the facility mail.
pub(super) fn journal(
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    zone: &TimeZone,
) -> anyhow::Result<Input> {
    let bound = |option, time: Option<Timestamp>| {
        time.map(|time| format!("--{option}=@{}", time.as_second()))
    };
    let mut child = Command::new("journalctl")
        .args(["--quiet", "--no-pager", "--output=json"])
        .arg("--output-fields=MESSAGE,SYSLOG_IDENTIFIER")
        .args(bound("since", since))
        .args(bound("until", until))
        .args(["SYSLOG_IDENTIFIER=sixgate", "+", "SYSLOG_FACILITY=2"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("journalctl can't be run")?;
    let stdout = child.stdout.take().context("journalctl has no output")?;
    let log = Log::new(zone.clone(), Timestamp::now());
    input("the journal", Journal { stdout, child }, log)
}

fn input(name: &str, raw: impl Read + Send + 'static, log: Log) -> anyhow::Result<Input> {
    let position = Arc::new(AtomicU64::new(0));
    let counted = Counted {
        raw,
        position: Arc::clone(&position),
    };
    Ok(Input {
        name: name.to_owned(),
        reader: unpacked(counted)?,
        log,
        begin: i64::MAX,
        length: 0,
        position,
    })
}

fn begin(path: &Path, log: &mut Log) -> anyhow::Result<Option<i64>> {
    let mut text = Vec::with_capacity(PEEK);
    let peek = unpacked(File::open(path)?)?
        .take(PEEK as u64)
        .read_to_end(&mut text);
    // Errors are reported when the file is read.
    Ok(peek.ok().and_then(|_| log.first_time(&text)))
}

/// Decompresses a log. The first bytes determine the format, because logrotate can be
/// configured to use any file name.
fn unpacked(mut raw: impl Read + Send + 'static) -> anyhow::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::with_capacity(6);
    raw.by_ref().take(6).read_to_end(&mut magic)?;
    let file = |magic| BufReader::with_capacity(1 << 18, whole(magic, raw));
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file(magic))),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            Box::new(XzReader::new_mem_limit(file(magic), true, XZ_MEMORY))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file(magic))?),
        [b'B', b'Z', b'h', ..] => anyhow::bail!(
            "is compressed with bzip2: decompress it (bzip2 -dc FILE | sixgate ... -)"
        ),
        _ => Box::new(file(magic)),
    })
}

fn whole<R: Read>(magic: Vec<u8>, rest: R) -> Chain<Cursor<Vec<u8>>, R> {
    Cursor::new(magic).chain(rest)
}

struct Counted<R> {
    raw: R,
    position: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(buffer)?;
        self.position.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The output of journalctl, whose end is an error if journalctl failed.
struct Journal {
    stdout: ChildStdout,
    child: Child,
}

impl Read for Journal {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stdout.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            let status = self.child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("journalctl ended with {status}")));
            }
        }
        Ok(read)
    }
}
