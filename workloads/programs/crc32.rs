//! CRC-32 (IEEE 802.3, reflected) of so many KiB, one table look-up a byte.
//!
//! What it shows: a chain in which each load's address hangs on the load before, so that it runs at the latency of a
//! cache hit, and of an emulator's path for a load.
#![no_std]
#![no_main]

use rt::{Checksum, Random};

rt::program!(main, rt::sizes::CRC32, laps);

const POLYNOMIAL: u32 = 0xedb8_8320;

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (if crc & 1 == 1 { POLYNOMIAL } else { 0 });
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

fn main([kib]: [u64; 1]) {
    let data = rt::map::<[u8; 8]>((kib as usize) << 7);
    let mut random = Random::new(6);
    data.fill_with(|| random.bits().to_le_bytes());
    let data = data.as_flattened_mut();

    let timed = rt::laps(data, |_| {}, |data| crc32(data));
    rt::finish(Checksum::of([u64::from(timed.value)]), timed.ticks);
}

#[inline(never)]
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| TABLE[(crc as u8 ^ byte) as usize] ^ (crc >> 8))
}
