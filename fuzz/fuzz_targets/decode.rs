#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tocsin_fuzz::decode(input));
