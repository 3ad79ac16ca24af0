//! See `src/targets/key_record.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sixgate_fuzz::targets::key_record::check(data));
