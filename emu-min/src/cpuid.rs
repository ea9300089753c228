//! CPUID: what is implemented, no more (bits: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).

use iced_x86::CpuidFeature as F;

use crate::core::{CR4_OSXSAVE, Core, RAX, RBX, RCX, RDX};
use crate::int::Int;
use crate::op::{Op, R};
use crate::paging::PHYS_BITS;
use crate::xsave;

/// 12 bytes, as EBX, EDX, ECX.
const VENDOR: &[u8; 12] = b"EvlabEmuMin ";
const HYPERVISOR: &[u8; 12] = b"EvlabEmuMin ";
const BRAND: &[u8; 48] = b"evlab emu-min x86-64 processor in software\0\0\0\0\0\0";

/// Leaf 1, EDX, what is not about instructions: DE, PSE, PAE, PGE, PAT.
const SYSTEM_EDX: u32 = 1 << 2 | 1 << 3 | 1 << 6 | 1 << 13 | 1 << 16;
/// Leaf 1, ECX: PCID, running under a hypervisor.
const SYSTEM_ECX: u32 = 1 << 17 | 1 << 31;
/// Leaf 1, ECX: CR4.OSXSAVE is set.
const OSXSAVE: u32 = 1 << 27;
/// Leaf 7, EBX: SMEP.
const STRUCTURED_EBX: u32 = 1 << 7;
/// Leaf 7, ECX: UMIP.
const STRUCTURED_ECX: u32 = 1 << 2;
/// Leaf 8000_0001H, EDX: NX, 1 GiB pages, long mode.
const EXTENDED_EDX: u32 = 1 << 20 | 1 << 26 | 1 << 29;

/// A leaf (sub-leaf 0), one of its registers (EAX, EBX, ECX, EDX as 0 to 3) and the bits that tell of extensions.
type Bits = (u32, usize, &'static [(u32, F)]);

/// Where CPUID tells of an extension.
const EXTENSIONS: [Bits; 6] = [
    (
        1,
        3,
        &[
            (0, F::FPU),
            (4, F::TSC),
            (5, F::MSR),
            (8, F::CX8),
            (11, F::SEP),
            (15, F::CMOV),
            (19, F::CLFSH),
            (23, F::MMX),
            (24, F::FXSR),
            (25, F::SSE),
            (26, F::SSE2),
        ],
    ),
    (
        1,
        2,
        &[
            (0, F::SSE3),
            (1, F::PCLMULQDQ),
            (9, F::SSSE3),
            (12, F::FMA),
            (13, F::CMPXCHG16B),
            (19, F::SSE4_1),
            (20, F::SSE4_2),
            (22, F::MOVBE),
            (23, F::POPCNT),
            (25, F::AES),
            (26, F::XSAVE),
            (28, F::AVX),
            (29, F::F16C),
        ],
    ),
    (
        7,
        1,
        &[(0, F::FSGSBASE), (3, F::BMI1), (5, F::AVX2), (8, F::BMI2), (10, F::INVPCID), (20, F::SMAP), (29, F::SHA)],
    ),
    (7, 2, &[(22, F::RDPID)]),
    (0x8000_0001, 2, &[(5, F::LZCNT), (8, F::PREFETCHW)]),
    (0x8000_0001, 3, &[(11, F::SYSCALL), (27, F::RDTSCP)]),
];

fn word(text: &[u8], index: usize) -> u32 {
    let mut bytes = [0; 4];
    for (byte, value) in bytes.iter_mut().zip(text.iter().skip(index * 4)) {
        *byte = *value;
    }
    u32::from_le_bytes(bytes)
}

/// EAX, EBX, ECX, EDX of a leaf.
fn leaf(core: &Core, number: u32, subleaf: u32) -> [u32; 4] {
    let os_xsave = if core.cr4 & CR4_OSXSAVE != 0 { OSXSAVE } else { 0 };
    // Leaf 0DH describes XSAVE.
    let highest = if core.features.has(F::XSAVE) { 0xd } else { 7 };
    let mut answer = match number {
        0 => [highest, word(VENDOR, 0), word(VENDOR, 2), word(VENDOR, 1)],
        // Family 6, model 15; CLFLUSH line of 64 bytes, one logical processor.
        1 => [0x6f1, 8 << 8 | 1 << 16, SYSTEM_ECX | os_xsave, SYSTEM_EDX],
        7 if subleaf == 0 => [0, STRUCTURED_EBX, STRUCTURED_ECX, 0],
        0xd => xsave::leaf(core, subleaf),
        0x4000_0000 => [0x4000_0000, word(HYPERVISOR, 0), word(HYPERVISOR, 1), word(HYPERVISOR, 2)],
        0x8000_0000 => [0x8000_0008, word(VENDOR, 0), word(VENDOR, 2), word(VENDOR, 1)],
        0x8000_0001 => [0x6f1, 0, u32::from(core.model.has_lahf_in_64_bit_mode()), EXTENDED_EDX],
        0x8000_0002..=0x8000_0004 => {
            let first = (number - 0x8000_0002) as usize * 4;
            [word(BRAND, first), word(BRAND, first + 1), word(BRAND, first + 2), word(BRAND, first + 3)]
        }
        0x8000_0007 => [0, 0, 0, 1 << 8], // invariant TSC, as the host's
        0x8000_0008 => [PHYS_BITS | 48 << 8, 0, 0, 0],
        _ => return [0; 4],
    };
    if number != 7 || subleaf == 0 {
        for (_, register, bits) in EXTENSIONS.iter().filter(|(leaf, ..)| *leaf == number) {
            answer[register & 3] |= extensions(core, bits);
        }
    }
    answer
}

fn extensions(core: &Core, bits: &[(u32, F)]) -> u32 {
    bits.iter().filter(|(_, feature)| core.features.has(*feature)).fold(0, |word, (bit, _)| word | 1 << bit)
}

pub(crate) fn cpuid(core: &mut Core, _: &Op) -> R {
    let [eax, ebx, ecx, edx] = leaf(core, core.r[RAX] as u32, core.r[RCX] as u32);
    for (register, value) in [(RAX, eax), (RBX, ebx), (RCX, ecx), (RDX, edx)] {
        u32::set(core, register as u8, u64::from(value));
    }
    Ok(())
}
