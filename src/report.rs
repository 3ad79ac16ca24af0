//! What a log says about the gate: decision lines summed up.
//!
//! [`Tally`] takes the octets of logs and counts what [`crate::logs`] finds in
//! them; [`Summary`] is what it has counted, and `text`, `html` and its JSON form
//! are ways to print it. Memory is bounded whatever the logs hold. No file is
//! opened here and no clock is read.

mod counts;
pub mod html;
mod page;
mod queue;
mod retries;
mod summary;
mod tally;
pub mod text;
mod top_k;

pub use counts::Counts;
pub use summary::{
    Cause, Client, Exempt, ExemptEntry, ExemptUse, Failures, Fates, Hour, Named, Observed, Period,
    Read, Returned, Returns, RollOut, RollOutOfRule, RuleCounts, Summary, Waited,
};
pub use tally::Tally;
