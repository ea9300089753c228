//! What an instruction may read and change.

use crate::state::Fpu;

/// Bytes of memory at RSI and RDI.
pub(super) const MEMORY: usize = 128;

/// Registers and memory before or after an instruction. An FIP within the instruction is relative to its begin, and an
/// FDP within the memory to its own, with bit 63 set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) fpu: Fpu,
    pub(super) tag_word: u16,
    pub(super) xmm: [u128; 16],
    pub(super) mxcsr: u32,
    pub(super) memory: [u8; MEMORY],
    pub(super) rflags: u64,
    pub(super) rax: u64,
    pub(super) rcx: u64,
}

/// The low half of a pointer, marked if it points into `size` bytes at `base`.
pub(super) fn relative(pointer: u64, base: u64, size: u64) -> u64 {
    let offset = u64::from((pointer as u32).wrapping_sub(base as u32));
    if offset < size { offset | 1 << 63 } else { pointer & 0xffff_ffff }
}

impl Snapshot {
    /// What is not equal: its name, this value (the silicon's), the other's.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let mut compare = |name: &str, a: u128, b: u128| {
            if a != b {
                all.push(format!("{name} {a:x} not {b:x}"));
            }
        };
        let words = |s: &Self| {
            [
                ("fcw", u128::from(s.fpu.fcw)),
                ("fsw", u128::from(s.fpu.fsw)),
                ("ftw", u128::from(s.fpu.ftw)),
                ("fop", u128::from(s.fpu.fop)),
                ("fip", u128::from(s.fpu.fip)),
                ("fdp", u128::from(s.fpu.fdp)),
                ("tags", u128::from(s.tag_word)),
                ("mxcsr", u128::from(s.mxcsr)),
                ("rflags", u128::from(s.rflags)),
                ("rax", u128::from(s.rax)),
                ("rcx", u128::from(s.rcx)),
            ]
        };
        for ((name, a), (_, b)) in words(self).into_iter().zip(words(other)) {
            compare(name, a, b);
        }
        for i in 0..8 {
            compare(&format!("st{i}"), self.fpu.st[i], other.fpu.st[i]);
        }
        for i in 0..16 {
            compare(&format!("xmm{i}"), self.xmm[i], other.xmm[i]);
        }
        for i in 0..MEMORY {
            compare(&format!("memory[{i}]"), self.memory[i].into(), other.memory[i].into());
        }
        all
    }

    /// What matters for most instructions.
    pub(super) fn brief(&self) -> String {
        format!(
            "{:x?}, operand {:02x?}, flags {:x}, rax {:x}, xmm1 {:x}, xmm2 {:x}, mxcsr {:x}",
            self.fpu,
            &self.memory[..10],
            self.rflags,
            self.rax,
            self.xmm[1],
            self.xmm[2],
            self.mxcsr
        )
    }
}
