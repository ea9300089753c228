//! The images of the micro-benchmarks; `crate::Event` says what they time.

/// The program: its arguments are the number of an [`crate::Event`], the ring (0 or 3) and how often.
pub fn micro_program() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/micro.elf"))
}

/// The guest kernel with ring 0's part of them.
pub fn micro_kernel() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/micro-kernel.elf"))
}
