//! What several test binaries share: a DNS server to ask.

// Each test binary includes the whole of it and uses a part; `pub` marks what is
// meant for them.
#![allow(dead_code, unreachable_pub)]

pub mod dns;
