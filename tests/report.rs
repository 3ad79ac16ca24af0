//! `sixgate report`: logs of every form through the real program.

#[path = "report/synthetic.rs"]
mod synthetic;

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// Nov 21 2026 12:00 UTC: when the logs were written last.
const WRITTEN: u64 = 1_795_262_400;

/// Files that a report is made of.
struct Logs {
    directory: TempDir,
}

impl Logs {
    fn new() -> Self {
        Self {
            directory: TempDir::new().expect("a directory"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a log, packed if its name ends so.
    fn write(&self, name: &str, lines: impl AsRef<[u8]>) {
        let path = self.path(name);
        let octets = match name.ends_with(".gz") {
            true => gzip(lines.as_ref()),
            false => lines.as_ref().to_vec(),
        };
        fs::write(&path, octets).expect("a log");
        let file = File::options().write(true).open(&path).expect("the log");
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(WRITTEN);
        file.set_modified(written).expect("a time");
    }

    fn report(&self, arguments: &str, input: &[u8]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .arg("report")
            .args(arguments.split_whitespace())
            .current_dir(self.directory.path())
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = program.stdin.take().expect("a pipe");
        // A program that has no use for its input may be gone.
        let _ = stdin.write_all(input);
        drop(stdin);
        program.wait_with_output().expect("the program ends")
    }

    fn json(&self, arguments: &str) -> Value {
        json(&self.report(&format!("--json {arguments}"), b""))
    }
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(octets).expect("room");
    encoder.finish().expect("room")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
#[ignore = "makes and reads a gigabyte; --nocapture shows the time; SIXGATE_LOG keeps the log"]
fn a_gigabyte_is_summed_up() {
    let directory = TempDir::new().expect("a directory");
    let kept = std::env::var_os("SIXGATE_LOG").map(PathBuf::from);
    let path = kept.unwrap_or_else(|| directory.path().join("mail.log"));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).expect("a log"));
    let truth = synthetic::write(&mut file, 6, 1_000_000_000).expect("room");
    file.flush().expect("room");
    let begin = std::time::Instant::now();
    let told = json(&report_of(&path));
    println!(
        "{} lines, {:.1} s",
        truth.lines,
        begin.elapsed().as_secs_f64()
    );
    assert_eq!(told["read"]["lines"], truth.lines);
    assert_eq!(told["totals"]["accepted"], truth.accepted);
    assert_eq!(told["totals"]["deferred"], truth.deferred);
    assert_eq!(told["totals"]["rejected"], truth.rejected);
}

fn report_of(path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sixgate"))
        .args(["report", "--json"])
        .arg(path)
        .env("TZ", "UTC")
        .output()
        .expect("the program runs")
}
