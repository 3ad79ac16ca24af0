//! The status page: what was decided, why, and how the daemon is doing, for people who
//! have a browser and no monitoring.

pub mod charts;
pub mod history;
