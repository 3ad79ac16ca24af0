//! What a log says about the gate: decision lines summed up.
//!
//! [`Tally`] takes the octets of logs, finds the lines that matter among those
//! of other programs and counts; [`Summary`] is what it has counted, and `text`,
//! `html` and its JSON form are ways to print it. Memory is bounded whatever the
//! logs hold. No file is opened here, no clock is read, and nothing of a line
//! that a peer could have chosen is taken for more than a value.

mod arrival;
mod counts;
mod decision;
mod escape;
pub mod html;
mod journal;
mod log_line;
mod page;
mod queue;
mod returns;
mod summary;
mod tally;
pub mod text;
mod timestamp;
mod tops;
pub mod when;

pub use counts::Counts;
pub use log_line::Log;
pub use returns::Fate;
pub use summary::{
    Cause, Client, Failures, Fates, Hour, Named, Observed, Period, Read, Returned, Returns,
    RuleCounts, Summary, Waited,
};
pub use tally::{Tally, Window};
