//! What a machine looked like when it ended badly, for a person to read.

use std::fmt;

use crate::cpu::{Registers, VirtualCpu};
use crate::memory::GuestRam;
use crate::walk::translate;

/// Bytes shown at the instruction pointer; the longest instruction has 15.
const CODE_BYTES: usize = 16;
const PAGE: u64 = 4096;

/// Registers, mode, and the bytes at the instruction pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// The registers, or why there are none.
    pub registers: Result<Registers, String>,
    /// The bytes at the instruction pointer, or why there are none.
    pub code: Result<Vec<u8>, String>,
}

impl Dump {
    /// Looks at `cpu`, which is not running.
    pub(crate) fn take(cpu: &mut dyn VirtualCpu, ram: &GuestRam) -> Self {
        let registers = cpu.registers().map_err(|e| e.to_string());
        let code = match &registers {
            Ok(registers) => code_bytes(ram, registers),
            Err(_) => Err("unknown: there are no registers".to_owned()),
        };
        Self { registers, code }
    }
}

/// The bytes at the instruction pointer, up to where they stop being mapped.
fn code_bytes(ram: &GuestRam, registers: &Registers) -> Result<Vec<u8>, String> {
    let start = registers.linear_rip();
    let mut bytes = Vec::with_capacity(CODE_BYTES);
    while bytes.len() < CODE_BYTES {
        let linear = start.wrapping_add(bytes.len() as u64);
        let gpa = match translate(ram, registers, linear) {
            Ok(gpa) => gpa,
            Err(e) if bytes.is_empty() => return Err(e.to_string()),
            Err(_) => break,
        };
        let in_page = (PAGE - linear % PAGE) as usize;
        let mut part = vec![0; in_page.min(CODE_BYTES - bytes.len())];
        let read = ram.read(gpa, &mut part);
        bytes.extend_from_slice(&part[..read]);
        if read < part.len() {
            break;
        }
    }
    if bytes.is_empty() { Err("outside RAM".to_owned()) } else { Ok(bytes) }
}

const GPR_NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
const SEGMENT_NAMES: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
const FLAG_NAMES: [(u32, &str); 9] =
    [(0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF")];

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = match &self.registers {
            Ok(registers) => registers,
            Err(reason) => return write!(f, "no registers: {reason}"),
        };
        write!(f, "{}, ring {}, rflags {:#x}", r.mode(), r.cpl, r.rflags)?;
        for (_, name) in FLAG_NAMES.iter().filter(|(bit, _)| r.rflags >> bit & 1 != 0) {
            write!(f, " {name}")?;
        }
        write!(f, "\nrip {:016x}  code ", r.rip)?;
        match &self.code {
            Ok(bytes) => bytes.iter().try_for_each(|b| write!(f, " {b:02x}"))?,
            Err(reason) => write!(f, " unreadable: {reason}")?,
        }
        for (i, (name, value)) in GPR_NAMES.iter().zip(r.gpr).enumerate() {
            let lead = if i % 4 == 0 { "\n" } else { "  " };
            write!(f, "{lead}{name:<3} {value:016x}")?;
        }
        write!(
            f,
            "\ncr0 {:016x}  cr2 {:016x}  cr3 {:016x}  cr4 {:016x}\nefer {:x}",
            r.cr0, r.cr2, r.cr3, r.cr4, r.efer
        )?;
        for (name, s) in SEGMENT_NAMES.iter().zip(&r.segments) {
            write!(f, "  {name} {:x}", s.selector)?;
            if s.base != 0 {
                write!(f, "@{:x}", s.base)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::cpu::MockCpu;

    #[test]
    fn shows_registers_and_code() {
        let ram = GuestRam::new(2).unwrap();
        ram.memory().write_slice(&[0xeb, 0xfe], GuestAddress(0)).unwrap();
        let text = Dump::take(&mut MockCpu::new([]), &ram).to_string();
        assert!(text.starts_with("real mode, ring 0, rflags 0x2\nrip 0000000000000000  code  eb fe 00"), "{text}");
        assert!(text.contains("r15 0000000000000000\ncr0"), "{text}");
    }

    #[test]
    fn code_stops_at_the_end_of_ram() {
        let ram = GuestRam::new(2).unwrap();
        let at = |rip| code_bytes(&ram, &Registers { rip, ..Registers::default() });
        assert_eq!(at((2 << 20) - 3), Ok(vec![0; 3]));
        assert_eq!(at(2 << 20), Err("outside RAM".to_owned()));
    }
}
