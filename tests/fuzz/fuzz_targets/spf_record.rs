//! See `src/targets/spf_record.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sixgate_fuzz::targets::spf_record::check(data));
