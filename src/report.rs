//! Summarizes decisions from mail logs.
//!
//! [`Tally`] counts the lines that [`crate::logs`] finds; [`Summary`] is the result,
//! which `text`, `html` and its JSON form print. Memory is bounded for any log. This
//! module opens no files and reads no clock.

mod counts;
pub mod html;
mod page;
mod queue;
mod retries;
mod summary;
mod tally;
pub mod text;
mod top_k;

pub use counts::{Cause, Counts, Failures};
pub use summary::{
    Client, Exempt, ExemptEntry, ExemptUse, Fates, Hour, Named, Observed, Period, Read, Returned,
    Returns, RollOut, RollOutOfRule, RuleCounts, Summary, Waited,
};
pub use tally::Tally;
