#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evlab_fuzz::page_walk(data));
