//! CPUID: what is implemented, no more (bits: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).

use crate::core::{Core, RAX, RBX, RCX, RDX};
use crate::int::Int;
use crate::op::{Op, R};
use crate::paging::PHYS_BITS;

/// 12 bytes, as EBX, EDX, ECX.
const VENDOR: &[u8; 12] = b"EvlabEmuMin ";
const HYPERVISOR: &[u8; 12] = b"EvlabEmuMin ";
const BRAND: &[u8; 48] = b"evlab emu-min x86-64 processor in software\0\0\0\0\0\0";

/// FPU, DE, PSE, TSC, MSR, PAE, CX8, PGE, CMOV, PAT, CLFSH, MMX, FXSR, SSE, SSE2.
const FEATURES_EDX: u32 = 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 13
    | 1 << 15
    | 1 << 16
    | 1 << 19
    | 1 << 23
    | 1 << 24
    | 1 << 25
    | 1 << 26;
/// CMPXCHG16B, POPCNT, running under a hypervisor.
const FEATURES_ECX: u32 = 1 << 13 | 1 << 23 | 1 << 31;
/// SSSE3 is there, and so its forms on MMX registers.
pub(crate) const SSSE3: bool = FEATURES_ECX & 1 << 9 != 0;
/// SSE3 is there, and so FISTTP.
pub(crate) const SSE3: bool = FEATURES_ECX & 1 != 0;
/// Leaf 7: FSGSBASE, SMEP.
const STRUCTURED_EBX: u32 = 1 | 1 << 7;
/// SYSCALL, NX, 1 GiB pages, RDTSCP, long mode.
const EXTENDED_EDX: u32 = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29;
/// LAHF in 64-bit mode, PREFETCHW.
const EXTENDED_ECX: u32 = 1 | 1 << 8;

fn word(text: &[u8], index: usize) -> u32 {
    let mut bytes = [0; 4];
    for (byte, value) in bytes.iter_mut().zip(text.iter().skip(index * 4)) {
        *byte = *value;
    }
    u32::from_le_bytes(bytes)
}

/// EAX, EBX, ECX, EDX of a leaf.
fn leaf(number: u32, subleaf: u32) -> [u32; 4] {
    match number {
        0 => [7, word(VENDOR, 0), word(VENDOR, 2), word(VENDOR, 1)],
        // Family 6, model 15; CLFLUSH line of 64 bytes, one logical processor.
        1 => [0x6f1, 8 << 8 | 1 << 16, FEATURES_ECX, FEATURES_EDX],
        7 if subleaf == 0 => [0, STRUCTURED_EBX, 0, 0],
        0x4000_0000 => [0x4000_0000, word(HYPERVISOR, 0), word(HYPERVISOR, 1), word(HYPERVISOR, 2)],
        0x8000_0000 => [0x8000_0008, word(VENDOR, 0), word(VENDOR, 2), word(VENDOR, 1)],
        0x8000_0001 => [0x6f1, 0, EXTENDED_ECX, EXTENDED_EDX],
        0x8000_0002..=0x8000_0004 => {
            let first = (number - 0x8000_0002) as usize * 4;
            [word(BRAND, first), word(BRAND, first + 1), word(BRAND, first + 2), word(BRAND, first + 3)]
        }
        0x8000_0007 => [0, 0, 0, 1 << 8], // invariant TSC, as the host's
        0x8000_0008 => [PHYS_BITS | 48 << 8, 0, 0, 0],
        _ => [0; 4],
    }
}

pub(crate) fn cpuid(core: &mut Core, _: &Op) -> R {
    let [eax, ebx, ecx, edx] = leaf(core.r[RAX] as u32, core.r[RCX] as u32);
    for (register, value) in [(RAX, eax), (RBX, ebx), (RCX, ecx), (RDX, edx)] {
        u32::set(core, register as u8, u64::from(value));
    }
    Ok(())
}
