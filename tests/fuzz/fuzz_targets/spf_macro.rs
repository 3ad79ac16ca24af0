//! See `src/targets/spf_macro.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sixgate_fuzz::targets::spf_macro::check(data));
