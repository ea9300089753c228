//! Gathers of AVX2: elements from addresses that a vector register holds.
//!
//! The elements are loaded from the lowest on. One that is complete is in the destination, and its mask is cleared, so
//! that after a fault in the middle the instruction goes on where it was. Alignment is never checked (Intel SDM volume 2,
//! VPGATHERDD).

use iced_x86::{Instruction, Mnemonic, Register};

use crate::avx_mask::{element, is_chosen, set_element};
use crate::core::{Core, Pending};
use crate::int::Int;
use crate::op::{ADDR32, Op, R, Selected, Trap, ZERO, seq};

/// The linear address that index `i` of `I` selects.
fn address<I: Int>(core: &mut Core, op: &Op, indices: [u128; 2], i: u32, size: u64) -> R<u64> {
    let index = I::sext(element::<I>(indices, i));
    let at = Op { index: ZERO, disp: op.disp.wrapping_add(index << (op.scale & 3)), ..*op };
    core.linear(&at, size, false)
}

/// `COUNT` elements of `T` at indices of `I`; destination and mask are cleared above them.
fn gather<const COUNT: u32, I: Int, T: Int>(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let indices = core.ymm(op.index);
    let (mut value, mut mask) = (core.ymm(op.dst), core.ymm(op.aux));
    for i in 0..COUNT {
        if is_chosen::<T>(mask, i) {
            let loaded = address::<I>(core, op, indices, i, T::SIZE)
                .and_then(|address| core.load_as(address, T::SIZE, core.user));
            let Ok(loaded) = loaded else {
                // An access outside RAM starts again from the beginning: its log has all accesses so far.
                if matches!(core.pending, Pending::Fault { .. }) {
                    core.set_ymm(op.dst, value);
                    core.set_ymm(op.aux, mask);
                }
                return Err(Trap);
            };
            set_element::<T>(&mut value, i, loaded);
        }
        set_element::<T>(&mut mask, i, 0);
    }
    (COUNT..256 / T::BITS).for_each(|i| set_element::<T>(&mut value, i, 0));
    core.set_ymm(op.dst, value);
    core.set_ymm(op.aux, [0; 2]);
    Ok(())
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    use Mnemonic as M;
    let selected = match (op.mnemonic, ins.op0_register().is_ymm(), ins.memory_index().is_ymm()) {
        (M::Vpgatherdd | M::Vgatherdps, false, _) => seq!(gather::<4, u32, u32>),
        (M::Vpgatherdd | M::Vgatherdps, true, _) => seq!(gather::<8, u32, u32>),
        (M::Vpgatherdq | M::Vgatherdpd, false, _) => seq!(gather::<2, u32, u64>),
        (M::Vpgatherdq | M::Vgatherdpd, true, _) => seq!(gather::<4, u32, u64>),
        (M::Vpgatherqd | M::Vgatherqps, _, false) => seq!(gather::<2, u64, u32>),
        (M::Vpgatherqd | M::Vgatherqps, _, true) => seq!(gather::<4, u64, u32>),
        (M::Vpgatherqq | M::Vgatherqpd, false, _) => seq!(gather::<2, u64, u64>),
        (M::Vpgatherqq | M::Vgatherqpd, true, _) => seq!(gather::<4, u64, u64>),
        _ => return None,
    };
    // The index is a vector register, which says nothing of the address size.
    if ins.memory_base() == Register::None && ins.memory_displ_size() == 4 {
        op.flags |= ADDR32;
    }
    selected
}
