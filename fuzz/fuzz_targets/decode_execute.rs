#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evlab_fuzz::decode_execute(data));
