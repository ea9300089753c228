//! Any bytes as a program file.

use vmm_min::{PROGRAM_HIGH, PROGRAM_LOW, check_program};

/// Guest RAM that a program must fit into, MiB.
const RAM_MIB: u32 = 16;

/// Checks `data` as a program: a verdict, never a panic, and what is accepted keeps the contract.
pub fn elf_load(data: &[u8]) {
    match check_program(data, RAM_MIB) {
        Ok(info) => {
            assert!(info.low >= PROGRAM_LOW && info.high <= PROGRAM_HIGH && info.low < info.high, "{info:?}");
            assert!(info.memory <= u64::from(RAM_MIB) << 20, "{info:?}");
            assert!(data.len() as u64 <= u64::from(RAM_MIB) << 20);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
