#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fedsx_genesis::fuzzing::schema(data));
