//! The milter protocol: callbacks translate, sessions gather facts.

pub mod callbacks;
pub mod session;
pub mod stream;
