//! PSHUFD, PSHUFLW and PSHUFHW, whose immediate is data here: the host shuffles bytes by a mask from a table.

use core::arch::asm;
use core::arch::x86_64::__m128i;

use iced_x86::Mnemonic as M;

use super::{Body, body};
use crate::core::Core;
use crate::op::{Form, Handler, Op};
use crate::sse::{bits, vector};

/// Shuffles four elements of `SIZE` bytes from byte `FIRST` on.
struct Shuffle<const SIZE: usize, const FIRST: usize>;

impl<const SIZE: usize, const FIRST: usize> Shuffle<SIZE, FIRST> {
    /// For each immediate, the source of each byte.
    const MASKS: [[u8; 16]; 256] = {
        let mut masks = [[0; 16]; 256];
        let mut immediate = 0;
        while immediate < 256 {
            let mut byte = 0;
            while byte < 16 {
                masks[immediate][byte] = if byte < FIRST || byte >= FIRST + 4 * SIZE {
                    byte as u8
                } else {
                    let element = (byte - FIRST) / SIZE;
                    let chosen = immediate >> (2 * element) & 3;
                    (FIRST + chosen * SIZE + (byte - FIRST) % SIZE) as u8
                };
                byte += 1;
            }
            immediate += 1;
        }
        masks
    };
}

/// The tables, aligned as the host needs them.
#[repr(align(16))]
struct Aligned([[u8; 16]; 256]);

static DWORDS: Aligned = Aligned(Shuffle::<4, 0>::MASKS);
static LOW_WORDS: Aligned = Aligned(Shuffle::<2, 0>::MASKS);
static HIGH_WORDS: Aligned = Aligned(Shuffle::<2, 8>::MASKS);

#[inline(always)]
fn shuffle(core: &mut Core, op: &Op, masks: &Aligned) -> bool {
    if !core.sse.quick {
        return false;
    }
    let mask = masks.0[usize::from(op.imm as u8)].as_ptr();
    let mut value: __m128i = vector(core.xmm(op.src));
    // SAFETY: the host has SSSE3 (`select`); the table's entries are 16 bytes, aligned.
    unsafe {
        asm!("pshufb {value}, [{mask}]", value = inout(xmm_reg) value, mask = in(reg) mask,
            options(pure, readonly, nostack, preserves_flags));
    }
    core.set_xmm(op.dst, bits(value));
    true
}

struct Pshufd;
struct Pshuflw;
struct Pshufhw;

impl Body for Pshufd {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        shuffle(core, op, &DWORDS)
    }
}

impl Body for Pshuflw {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        shuffle(core, op, &LOW_WORDS)
    }
}

impl Body for Pshufhw {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        shuffle(core, op, &HIGH_WORDS)
    }
}

/// Between registers, on a host that can.
pub(super) fn select(op: &Op) -> Option<Handler> {
    if op.form != Form::RR || !is_x86_feature_detected!("ssse3") {
        return None;
    }
    match op.mnemonic {
        M::Pshufd => body!(Pshufd),
        M::Pshuflw => body!(Pshuflw),
        M::Pshufhw => body!(Pshufhw),
        _ => None,
    }
}
