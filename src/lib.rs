//! sixgate: the policy of Exchange Online for anonymous inbound mail over IPv6,
//! as a milter for Postfix and Sendmail.

#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod address;
pub mod authentication_results;
pub mod certificate;
pub mod checks;
pub mod cli;
pub mod commands;
pub mod config;
pub mod deferrals;
pub mod dkim;
pub mod dns;
mod doctor;
pub mod enforcement;
pub mod exempt;
pub mod exit;
pub mod forwarder;
pub mod list_file;
pub mod logs;
pub mod milter;
pub mod monitor;
pub mod opt_in;
#[cfg(any(feature = "redis", feature = "sql", feature = "status"))]
mod password_file;
pub mod policy;
mod probe;
pub mod ptr;
#[cfg(feature = "redis")]
pub mod redis_client;
#[cfg(not(feature = "redis"))]
#[path = "redis_client/absent.rs"]
pub mod redis_client;
pub mod refusal_details;
pub mod reply;
pub mod report;
pub mod server;
pub mod snapshot;
pub mod spf;
#[cfg(feature = "status")]
pub mod status;
#[cfg(not(feature = "status"))]
#[path = "status/absent.rs"]
pub mod status;
pub mod telemetry;
pub mod trace;
pub mod translation;
