#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openclaw_fuzz::targets::scenario_file::run(input));
