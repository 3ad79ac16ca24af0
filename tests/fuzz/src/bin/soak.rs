//! `soak TARGET COUNT SEED`: runs a target or a comparison so many times, without
//! instrumentation. A finding is shown and ends the run with an error.

use sixgate_fuzz::{dkim, spf, tally::Tally};
use std::{env, process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [target, count, seed] = arguments.as_slice() else {
        return usage();
    };
    let (Ok(count), Ok(seed)) = (count.parse(), seed.parse()) else {
        return usage();
    };
    let start = Instant::now();
    match run(target, count, seed) {
        Some(Ok(tally)) => {
            println!(
                "{target}: {count} cases from seed {seed} in {:?}\n{tally}",
                start.elapsed()
            );
            ExitCode::SUCCESS
        }
        Some(Err(finding)) => {
            eprintln!("{target}: {finding}");
            ExitCode::FAILURE
        }
        None => usage(),
    }
}

fn run(target: &str, count: u64, seed: u64) -> Option<Result<Tally, String>> {
    match target {
        "dkim-against-viadkim" => Some(dkim::run(count, seed)),
        "spf-against-viaspf" => Some(spf::run(count, seed)),
        _ => None,
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: soak TARGET COUNT SEED");
    ExitCode::from(64)
}
