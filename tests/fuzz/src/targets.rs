//! The fuzz targets, one in each file. Each states what must hold for any input, besides the
//! absence of panics.

pub mod body_chunks;
pub mod dkim_signature;
pub mod header_block;
pub mod key_record;
pub mod milter_offer;
pub mod milter_session;
pub mod spf_macro;
pub mod spf_record;

use crate::random::{Random, mix, mutate};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, on the command line and in `fuzz_targets/`.
    pub name: &'static str,
    /// Checks one input, and panics if something that must hold does not.
    pub check: fn(&[u8]),
    /// The inputs that are mutated.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mutations insert.
    pub dictionary: &'static [&'static str],
}

/// All targets.
pub const TARGETS: [Target; 8] = [
    spf_record::TARGET,
    spf_macro::TARGET,
    dkim_signature::TARGET,
    key_record::TARGET,
    header_block::TARGET,
    body_chunks::TARGET,
    milter_offer::TARGET,
    milter_session::TARGET,
];

impl Target {
    /// Returns the target with this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Checks `count` inputs: the seeds, and then mutations of them.
    pub fn soak(&self, count: u64, seed: u64) {
        let seeds = (self.seeds)();
        for number in 0..count {
            if let Some(seed) = usize::try_from(number).ok().and_then(|n| seeds.get(n)) {
                (self.check)(seed);
                continue;
            }
            let mut random = Random::new(mix(seed.wrapping_add(number)));
            let mut input = seeds[random.below(seeds.len())].clone();
            for _ in 0..=random.below(6) {
                mutate(&mut random, &mut input, self.dictionary);
            }
            (self.check)(&input);
        }
    }
}
