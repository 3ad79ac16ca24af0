//! An opt-in list of a million domains compared with a hash set: time to load, memory for
//! each domain, time of a lookup. Ten million domains are loaded once. Times are CPU times,
//! so that a busy machine matters little.
//!
//! `cargo bench --bench opt_in_list`

use criterion::{Criterion, criterion_group, criterion_main};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use sixgate::{
    address::Domain,
    opt_in::{SourceAnswer, files, list::List},
};
use std::{
    collections::HashSet,
    fs::{self, File},
    hint::black_box,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

const MILLION: usize = 1_000_000;

/// The number of lookups.
const LOOKUPS: u32 = 1 << 16;

fn opt_in_list(criterion: &mut Criterion) {
    let folder = TempDir::new().expect("a folder");
    let file = write_list(folder.path(), MILLION);
    let bytes = fs::metadata(&file).expect("a file").len() as f64 / MILLION as f64 - 1.0;
    eprintln!("names of {bytes:.1} bytes on average");
    let list = load_once("List", MILLION, || load_list(&file));
    let set = load_once("HashSet<String>", MILLION, || load_set(&file));
    load(criterion, &file);
    look_up(criterion, &list, &set);
    drop((list, set));
    let file = write_list(folder.path(), 10 * MILLION);
    drop(load_once("List", 10 * MILLION, || load_list(&file)));
}

fn load(criterion: &mut Criterion, file: &PathBuf) {
    let mut group = criterion.benchmark_group("load a million");
    group.sample_size(10);
    group.bench_function("List", |b| {
        b.iter_custom(|times| cpu_time(times, || load_list(file)))
    });
    group.bench_function("HashSet<String>", |b| {
        b.iter_custom(|times| cpu_time(times, || load_set(file)))
    });
    group.finish();
}

fn look_up(criterion: &mut Criterion, list: &List, set: &HashSet<String>) {
    // Spread over the whole list, to minimize the effect of CPU caches.
    let some = (0..LOOKUPS as usize).map(|n| n * 7919 % MILLION);
    let hits: Vec<Domain> = some.clone().map(|n| domain(&name(n))).collect();
    let misses: Vec<Domain> = some.map(|n| domain(&name(n + 10 * MILLION))).collect();
    for (what, domains) in [("hit", &hits), ("miss", &misses)] {
        let mut group = criterion.benchmark_group(format!("{what} in a million"));
        // The CPU clock is coarse, so measure all lookups and divide.
        group.bench_function("List", |b| {
            b.iter_custom(|times| {
                cpu_time(times, || {
                    domains
                        .iter()
                        .filter(|d| list.answer(d) == SourceAnswer::Yes)
                        .count()
                }) / LOOKUPS
            })
        });
        group.bench_function("HashSet<String>", |b| {
            b.iter_custom(|times| {
                cpu_time(times, || {
                    domains.iter().filter(|d| set.contains(d.as_str())).count()
                }) / LOOKUPS
            })
        });
        group.finish();
    }
}

fn load_list(file: &PathBuf) -> List {
    files::read(std::slice::from_ref(file)).expect("a good list")
}

fn load_set(file: &PathBuf) -> HashSet<String> {
    let lines = BufReader::new(File::open(file).expect("a file")).lines();
    lines.map(|line| line.expect("a line")).collect()
}

/// Returns the CPU time of running `work` this many times.
fn cpu_time<T>(times: u64, mut work: impl FnMut() -> T) -> Duration {
    let start = thread_cpu_time();
    for _ in 0..times {
        black_box(work());
    }
    thread_cpu_time() - start
}

fn thread_cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("Linux");
    let micros = [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds());
    Duration::from_micros(micros.iter().sum::<i64>().unsigned_abs())
}

/// Loads a list once and prints the CPU time and the memory that it takes.
fn load_once<T>(what: &str, domains: usize, make: impl FnOnce() -> T) -> T {
    let before = resident();
    let start = thread_cpu_time();
    let made = make();
    let elapsed = thread_cpu_time() - start;
    let bytes = (resident() - before) as f64 / domains as f64;
    eprintln!("{what}, {domains} domains: {elapsed:.2?}, {bytes:.1} bytes for each domain");
    made
}

/// Returns the resident memory of this process in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|kib| kib.parse::<usize>().ok())
        .expect("a number")
        * 1024
}

fn write_list(folder: &Path, domains: usize) -> PathBuf {
    let file = folder.join(format!("{domains}.list"));
    let mut out = BufWriter::new(File::create(&file).expect("a file"));
    for n in 0..domains {
        writeln!(out, "{}", name(n)).expect("room on the disk");
    }
    out.flush().expect("room on the disk");
    file
}

/// Returns name number `n`: distinct names of 8 to 24 bytes in no particular order.
fn name(n: usize) -> String {
    const LETTERS: &[u8] = b"etaoinsrhldcumfpgwybvkxjqz";
    const TOP_LEVEL: [&str; 6] = ["com", "de", "net", "org", "co.uk", "example"];
    let mut name = String::new();
    let mut rest = n;
    while rest > 0 || name.len() < 4 {
        name.push(char::from(LETTERS[rest % 26]));
        rest /= 26;
    }
    let mut noise = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    name.push('-');
    for _ in 0..noise % 12 {
        name.push(char::from(LETTERS[noise % 26]));
        noise /= 7;
    }
    name.push_str("x.");
    name + TOP_LEVEL[n % 6]
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).expect("a domain")
}

criterion_group!(benches, opt_in_list);
criterion_main!(benches);
