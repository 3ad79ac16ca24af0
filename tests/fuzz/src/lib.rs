//! Fuzz targets of sixgate, and its comparison with viaspf and viadkim.
//!
//! The body of each target is a plain function in [`targets`]. libFuzzer calls it with
//! inputs that it finds by coverage (`fuzz_targets/`). The program `soak` calls it with
//! mutations of the same seeds, without instrumentation and much faster. `soak` also runs the
//! comparisons in [`spf`] and [`dkim`].

pub mod dkim;
pub mod message;
pub mod now;
pub mod random;
pub mod signed;
pub mod spf;
pub mod tally;
pub mod targets;
pub mod zone;
