//! The milter protocol: callbacks translate, sessions gather facts.

pub mod callbacks;
pub mod drain;
pub mod session;
pub mod stream;
