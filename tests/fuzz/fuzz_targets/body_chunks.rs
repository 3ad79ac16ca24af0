//! See `src/targets/body_chunks.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sixgate_fuzz::targets::body_chunks::check(data));
