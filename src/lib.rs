//! A milter that applies the policy of Exchange Online for anonymous inbound mail over IPv6
//! on Postfix and Sendmail.
//!
//! `docs/architecture.md` explains the design. The modules, in the order in which a message
//! meets them:
//!
//! - [`server`]: accepts connections of MTAs, runs each in a task, and drains them
//! - [`milter`]: the milter protocol, and the session that turns its commands into facts
//! - [`snapshot`]: the configuration and the checks that a connection uses
//! - [`address`]: client addresses, domains, reverse-paths and recipients, parsed once
//! - [`translation`]: IPv4 addresses that are embedded in IPv6 addresses
//! - [`exempt`]: exempt networks, from the configuration and from a managed list
//! - [`certificate`]: names of client certificates that exempt
//! - [`checks`]: starts lookups in the background, each with a deadline
//! - [`ptr`]: reverse DNS of the client
//! - [`opt_in`]: recipient domains that accept mail over IPv6, from lists and servers
//! - [`spf`]: SPF evaluation
//! - [`forwarder`]: whether the client is a known forwarder
//! - [`dkim`]: DKIM verification while the message is received
//! - [`dns`]: the only interface to the DNS, with failover and a cache
//! - [`policy`]: the decision table, without any input or output
//! - [`enforcement`]: whether a refusal is enforced or only observed
//! - [`deferrals`]: for how long senders have been deferred
//! - [`reply`]: SMTP replies and their templates
//! - [`refusal_details`]: the additional lines of a refusal
//! - [`authentication_results`]: the header field with the results
//! - [`telemetry`]: decision lines, the journal, metrics
//!
//! The modules around that path:
//!
//! - [`cli`], [`commands`], [`exit`]: the command line, its commands, their exit codes
//! - [`config`]: every setting, validated
//! - [`list_file`], [`redis_client`], `password_file`: lists in files and in Redis, passwords
//! - [`monitor`], [`status`]: metrics and health, and the status page, over HTTP
//! - [`logs`], [`report`], [`trace`]: decision lines, summarized and by message
//! - `doctor`, `probe`: checks an installation, and connects to the running daemon

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
