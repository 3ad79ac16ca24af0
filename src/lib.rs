//! sixgate: the policy of Exchange Online for anonymous inbound mail over IPv6,
//! as a milter for Postfix and Sendmail.

pub mod address;
pub mod config;
pub mod dkim;
pub mod dns;
pub mod policy;
pub mod reply;
