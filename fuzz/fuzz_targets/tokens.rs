//! `netrewind_fuzz::tokens` over what libFuzzer makes up.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netrewind_fuzz::tokens::read(bytes));
