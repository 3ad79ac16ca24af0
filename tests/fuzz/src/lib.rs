//! Fuzz targets of sixgate, and its comparison with viaspf and viadkim.
//!
//! The body of each target is a plain function in [`targets`]. libFuzzer calls it
//! with what it finds (`fuzz_targets/`), and the program `soak` with mutations of
//! the same seeds, without instrumentation but much faster. [`spf`] and [`dkim`]
//! have the differential runs, which `soak` starts too.

pub mod dkim;
pub mod message;
pub mod now;
pub mod random;
pub mod signed;
pub mod spf;
pub mod tally;
pub mod zone;
