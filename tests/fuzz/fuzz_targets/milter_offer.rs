//! See `src/targets/milter_offer.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sixgate_fuzz::targets::milter_offer::check(data));
