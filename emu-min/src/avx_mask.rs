//! Masked moves of AVX: elements that the mask leaves out are not accessed, and alignment is never checked (Intel SDM
//! volume 2, VMASKMOV, VPMASKMOV).

use iced_x86::{Instruction, Mnemonic};

use crate::core::Core;
use crate::int::Int;
use crate::op::{Form, Op, R, Selected, seq, store};

/// Element `i` of `T` of a YMM value.
#[inline(always)]
pub(crate) fn element<T: Int>(value: [u128; 2], i: u32) -> u64 {
    let bit = i * T::BITS;
    T::trunc((value[(bit / 128) as usize & 1] >> (bit % 128)) as u64)
}

/// Replaces element `i` of a YMM value.
#[inline(always)]
pub(crate) fn set_element<T: Int>(value: &mut [u128; 2], i: u32, element: u64) {
    let bit = i * T::BITS;
    let half = &mut value[(bit / 128) as usize & 1];
    *half = *half & !(u128::from(T::MASK) << (bit % 128)) | u128::from(element) << (bit % 128);
}

/// Whether the mask has element `i`: its top bit is set.
#[inline(always)]
pub(crate) fn is_chosen<T: Int>(mask: [u128; 2], i: u32) -> bool {
    element::<T>(mask, i) & T::SIGN != 0
}

/// The linear address of element `i` of the memory operand.
fn address<T: Int>(core: &mut Core, op: &Op, i: u32, write: bool) -> R<u64> {
    let at = Op { disp: op.disp.wrapping_add(u64::from(i) * T::SIZE), ..*op };
    core.linear(&at, T::SIZE, write)
}

fn masked_load<const BYTES: u32, T: Int>(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let mask = core.ymm(op.src);
    let mut value = [0; 2];
    for i in (0..BYTES * 8 / T::BITS).filter(|&i| is_chosen::<T>(mask, i)) {
        let address = address::<T>(core, op, i, false)?;
        let loaded = core.load_as(address, T::SIZE, core.user)?;
        set_element::<T>(&mut value, i, loaded);
    }
    core.set_ymm(op.dst, value);
    Ok(())
}

fn masked_store<const BYTES: u32, T: Int>(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let (mask, value) = (core.ymm(op.src), core.ymm(op.aux));
    let chosen = || (0..BYTES * 8 / T::BITS).filter(|&i| is_chosen::<T>(mask, i));
    for i in chosen() {
        let address = address::<T>(core, op, i, true)?;
        core.check_unaligned_write(address, T::SIZE)?;
    }
    for i in chosen() {
        let address = address::<T>(core, op, i, true)?;
        core.store_as(address, T::SIZE, element::<T>(value, i), core.user)?;
    }
    Ok(())
}

fn masked<T: Int>(ins: &Instruction, op: &Op) -> Selected {
    match (op.form == Form::MR, ins.op1_register().is_ymm()) {
        (false, false) => seq!(masked_load::<16, T>),
        (false, true) => seq!(masked_load::<32, T>),
        (true, false) => store!(masked_store::<16, T>),
        (true, true) => store!(masked_store::<32, T>),
    }
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    use Mnemonic as M;
    match op.mnemonic {
        M::Vmaskmovps | M::Vpmaskmovd => masked::<u32>(ins, op),
        M::Vmaskmovpd | M::Vpmaskmovq => masked::<u64>(ins, op),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_where_the_register_has_them() {
        let mut value = [0; 2];
        set_element::<u32>(&mut value, 5, 0x8000_0001);
        set_element::<u64>(&mut value, 1, u64::MAX);
        assert_eq!(value, [u128::from(u64::MAX) << 64, 0x8000_0001 << 32]);
        assert!(is_chosen::<u32>(value, 5) && !is_chosen::<u32>(value, 4) && is_chosen::<u64>(value, 1));
        set_element::<u32>(&mut value, 3, 0);
        assert_eq!(element::<u64>(value, 1), 0xffff_ffff);
    }
}
