//! CRC32 of SSE4.2: the one instruction of it on general registers.

use core::arch::asm;

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::core::Core;
use crate::int::{Int, by_size};
use crate::op::{Op, R, Selected, seq};

/// The sum over a source of `T`: the host's own instruction.
#[inline(always)]
fn crc32<T: Int>(sum: u64, source: u64) -> u64 {
    let mut sum = sum;
    // SAFETY: CPUs offer CRC32 only on hosts that have it; it works on registers alone and leaves the flags.
    unsafe {
        match T::BITS {
            8 => {
                asm!("crc32 {0:e}, {1}", inout(reg) sum, in(reg_byte) source as u8, options(pure, nomem, nostack, preserves_flags));
            }
            16 => {
                asm!("crc32 {0:e}, {1:x}", inout(reg) sum, in(reg) source, options(pure, nomem, nostack, preserves_flags));
            }
            32 => {
                asm!("crc32 {0:e}, {1:e}", inout(reg) sum, in(reg) source, options(pure, nomem, nostack, preserves_flags));
            }
            _ => {
                asm!("crc32 {0:r}, {1:r}", inout(reg) sum, in(reg) source, options(pure, nomem, nostack, preserves_flags));
            }
        }
    }
    sum & 0xffff_ffff
}

fn registers<T: Int>(core: &mut Core, op: &Op) -> R {
    let sum = crc32::<T>(u32::get(core, op.dst), T::get(core, op.src));
    u32::set(core, op.dst, sum);
    Ok(())
}

fn memory<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, false)?;
    let source = core.load::<T>(address)?;
    let sum = crc32::<T>(u32::get(core, op.dst), source);
    u32::set(core, op.dst, sum);
    Ok(())
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    if op.mnemonic != Mnemonic::Crc32 {
        return None;
    }
    if ins.op1_kind() == OpKind::Memory {
        return by_size!(ins.memory_size().size(), T => seq!(memory::<T>));
    }
    by_size!(ins.op1_register().size(), T => seq!(registers::<T>))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc_32c_comes_out() {
        if !is_x86_feature_detected!("sse4.2") {
            eprintln!("skipped: this host has no CRC32");
            return;
        }
        let bytes = b"123456789";
        let sum = bytes.iter().fold(0xffff_ffff, |sum, &byte| crc32::<u8>(sum, u64::from(byte)));
        assert_eq!(sum ^ 0xffff_ffff, 0xe306_9283);
        let (low, last) = bytes.split_at(8);
        let sum = crc32::<u64>(0xffff_ffff, u64::from_le_bytes(low.try_into().unwrap()));
        assert_eq!(crc32::<u8>(sum, u64::from(last[0])) ^ 0xffff_ffff, 0xe306_9283);
    }
}
