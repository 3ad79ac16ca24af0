//! Code that several test binaries share: a DNS server, the MTA's side of the milter
//! protocol, and the real daemon.

// Each test binary includes all of it and uses a part; `pub` marks the interface.
#![allow(dead_code, unreachable_pub)]

pub mod daemon;
pub mod database;
pub mod datagrams;
pub mod dns;
pub mod faketime;
pub mod http;
pub mod logs;
pub mod milter;
pub mod mta;
pub mod name_server;
pub mod opt_in;
pub mod outage;
pub mod output;
pub mod port;
pub mod programs;
pub mod redis;
pub mod socketmap;
pub mod trial;
