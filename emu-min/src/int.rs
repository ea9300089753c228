//! The four operand sizes as types, so that one generic function is the semantics for all of them.

use crate::core::Core;

/// An integer operand size. Values travel as `u64`, zero-extended unless said otherwise.
pub(crate) trait Int: 'static {
    const BITS: u32;
    const SIZE: u64 = Self::BITS as u64 / 8;
    const MASK: u64 = u64::MAX >> (64 - Self::BITS);
    const SIGN: u64 = 1 << (Self::BITS - 1);

    /// Reads general register operand `reg` (see [`crate::op::Op`] for the encoding of high-byte registers).
    fn get(core: &Core, reg: u8) -> u64;
    /// Writes general register operand `reg`: 32 bits zero-extend, 8 and 16 merge.
    fn set(core: &mut Core, reg: u8, value: u64);

    #[inline(always)]
    fn trunc(value: u64) -> u64 {
        value & Self::MASK
    }

    /// Sign-extends the low bits to 64.
    #[inline(always)]
    fn sext(value: u64) -> u64 {
        (((value << (64 - Self::BITS)) as i64) >> (64 - Self::BITS)) as u64
    }

    /// Reads from host memory.
    ///
    /// # Safety
    /// `ptr` must be valid for reading `SIZE` bytes.
    unsafe fn read(ptr: *const u8) -> u64;

    /// Writes to host memory.
    ///
    /// # Safety
    /// `ptr` must be valid for writing `SIZE` bytes.
    unsafe fn write(ptr: *mut u8, value: u64);
}

macro_rules! memory {
    ($t:ty) => {
        #[inline(always)]
        unsafe fn read(ptr: *const u8) -> u64 {
            // SAFETY: the caller promises `SIZE` readable bytes; no alignment is assumed.
            u64::from(unsafe { ptr.cast::<$t>().read_unaligned() })
        }

        #[inline(always)]
        unsafe fn write(ptr: *mut u8, value: u64) {
            // SAFETY: the caller promises `SIZE` writable bytes; no alignment is assumed.
            unsafe { ptr.cast::<$t>().write_unaligned(value as $t) };
        }
    };
}

impl Int for u8 {
    const BITS: u32 = 8;

    #[inline(always)]
    fn get(core: &Core, reg: u8) -> u64 {
        (core.r[(reg & 31) as usize] >> ((reg >> 5) * 8)) & 0xff
    }

    #[inline(always)]
    fn set(core: &mut Core, reg: u8, value: u64) {
        let shift = (reg >> 5) * 8;
        let slot = &mut core.r[(reg & 31) as usize];
        *slot = (*slot & !(0xff << shift)) | ((value & 0xff) << shift);
    }

    memory!(u8);
}

impl Int for u16 {
    const BITS: u32 = 16;

    #[inline(always)]
    fn get(core: &Core, reg: u8) -> u64 {
        core.r[reg as usize] & 0xffff
    }

    #[inline(always)]
    fn set(core: &mut Core, reg: u8, value: u64) {
        let slot = &mut core.r[reg as usize];
        *slot = (*slot & !0xffff) | (value & 0xffff);
    }

    memory!(u16);
}

impl Int for u32 {
    const BITS: u32 = 32;

    #[inline(always)]
    fn get(core: &Core, reg: u8) -> u64 {
        core.r[reg as usize] & 0xffff_ffff
    }

    #[inline(always)]
    fn set(core: &mut Core, reg: u8, value: u64) {
        core.r[reg as usize] = value & 0xffff_ffff;
    }

    memory!(u32);
}

impl Int for u64 {
    const BITS: u32 = 64;

    #[inline(always)]
    fn get(core: &Core, reg: u8) -> u64 {
        core.r[reg as usize]
    }

    #[inline(always)]
    fn set(core: &mut Core, reg: u8, value: u64) {
        core.r[reg as usize] = value;
    }

    memory!(u64);
}

/// Calls a function generic over [`Int`] with the type of `$size` bytes.
macro_rules! by_size {
    ($size:expr, $t:ident => $body:expr) => {
        match $size {
            1 => {
                type $t = u8;
                $body
            }
            2 => {
                type $t = u16;
                $body
            }
            4 => {
                type $t = u32;
                $body
            }
            _ => {
                type $t = u64;
                $body
            }
        }
    };
}
pub(crate) use by_size;
