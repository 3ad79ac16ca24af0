//! See `src/targets/milter_session.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sixgate_fuzz::targets::milter_session::check(data));
