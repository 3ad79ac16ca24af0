//! The milter protocol: connections translate, sessions gather facts.

pub mod closed;
mod command;
pub mod connection;
pub mod drain;
mod frame;
mod macros;
mod negotiation;
mod patience;
mod replies;
pub mod session;
mod wire;
