//! Connects to the sockets of a running daemon, as an MTA or a browser would.

pub(crate) mod http;
pub(crate) mod milter;
