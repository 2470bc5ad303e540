#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| campaignd::fuzzing::check("template", input));
