//! `netrewind_fuzz::dissection` over what libFuzzer makes up.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netrewind_fuzz::dissection::read(bytes));
