#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openclaw_fuzz::targets::first_frame::run(input));
