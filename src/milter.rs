//! The milter protocol: connections translate it, sessions collect facts and apply the
//! policy.

mod command;
pub mod connection;
pub mod drain;
pub mod error;
mod frame;
mod idle_timeout;
mod macros;
mod negotiation;
mod replies;
pub mod session;
mod wire;
