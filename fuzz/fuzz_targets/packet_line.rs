//! `netrewind_fuzz::packet_line` over what libFuzzer makes up.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netrewind_fuzz::packet_line::read(bytes));
