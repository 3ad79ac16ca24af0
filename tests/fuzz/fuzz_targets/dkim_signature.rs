//! See `src/targets/dkim_signature.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sixgate_fuzz::targets::dkim_signature::check(data));
