//! What the fuzz targets do with their input. An ordinary test of vmm-min includes these files and replays
//! `fuzz/seeds`, so what was found once stays found without the nightly toolchain.

mod decode_execute;
#[path = "../../vmm-min/tests/support/elf_image.rs"]
mod elf_image;
mod elf_load;
mod guarded;
mod input;
mod page_walk;
mod pvh_boot;

pub use decode_execute::decode_execute;
pub use elf_load::elf_load;
pub use page_walk::page_walk;
pub use pvh_boot::pvh_boot;
