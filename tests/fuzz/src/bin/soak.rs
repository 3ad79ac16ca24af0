//! `soak TARGET COUNT SEED`: runs a fuzz target or a comparison `COUNT` times, without
//! instrumentation. Prints findings, and fails if there are any.

use sixgate_fuzz::{dkim, spf, tally::Tally, targets::Target};
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
    let Some(tally) = run(target, count, seed) else {
        return usage();
    };
    let elapsed = start.elapsed();
    println!("{target}: {count} cases from seed {seed} in {elapsed:?}\n{tally}");
    match tally.is_explained() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn run(target: &str, count: u64, seed: u64) -> Option<Tally> {
    match target {
        "dkim-against-viadkim" => Some(dkim::run(count, seed)),
        "spf-against-viaspf" => Some(spf::run(count, seed)),
        name => Target::named(name).map(|target| {
            target.soak(count, seed);
            Tally::default()
        }),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: soak TARGET COUNT SEED");
    ExitCode::from(64)
}
