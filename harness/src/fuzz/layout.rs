//! Where the memory of generated cases lies. All addresses fit into 32 bits, so both modes use the same.

use crate::exec::{Access, Region};

/// The page with the code; nothing is mapped behind it.
pub(super) const CODE: u64 = 0x1000_0000;
/// Two pages to read and write, then one to read only, then nothing.
pub(super) const DATA: u64 = 0x2000_0000;
pub(super) const DATA_LEN: u64 = 0x2000;
/// The page to read only.
pub(super) const FIXED: u64 = DATA + DATA_LEN;
/// The page of the stack; nothing is mapped around it.
pub(super) const STACK: u64 = 0x3000_0000;
/// Bytes of a page.
pub(super) const PAGE: u64 = 0x1000;

/// Index of each region in [`regions`].
pub(super) const CODE_REGION: usize = 0;

/// The regions, zero but for the code page, which is full of `hlt`.
pub(super) fn regions(writable_code: bool) -> Vec<Region> {
    let region = |address, len, fill: u8, access| Region { address, bytes: vec![fill; len as usize], access };
    vec![
        region(CODE, PAGE, 0xf4, if writable_code { Access::RWX } else { Access::RX }),
        region(DATA, DATA_LEN, 0, Access::RW),
        region(FIXED, PAGE, 0, Access::R),
        region(STACK, PAGE, 0, Access::RW),
    ]
}
