//! The SSE registers and MXCSR.
//!
//! SSE instructions execute as themselves on the host. While a CPU runs, the host's MXCSR has its default controls and
//! its sticky exception flags collect the guest's: with the guest's controls at their default too (`plain`) an
//! arithmetic instruction is just that instruction. Under any other rounding mode, denormal handling or exception mask
//! the guest's controls are loaded around it.

use core::arch::asm;

use crate::core::{CR0_EM, CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, Core};
use crate::exception::{NM, UD, XM};
use crate::op::{Form, Op, R};

/// Sticky exception flags of MXCSR.
const STATUS: u32 = 0x3f;
/// Those that are found before the operation: invalid, denormal and division by zero.
const BEFORE: u32 = 7;
/// Exception masks.
const MASKS: u32 = 0x1f80;
/// MXCSR after reset: all exceptions masked, round to nearest, denormals kept.
const DEFAULT: u32 = 0x1f80;

/// Bits of XCR0 that AVX needs.
const XCR0_SSE_AVX: u64 = crate::xsave::SSE | crate::xsave::AVX;

/// XMM and YMM registers, MXCSR and what follows from it. Stubs know how far the halves of a register are apart.
#[repr(C)]
pub(crate) struct Sse {
    pub(crate) xmm: [u128; 16],
    /// Bits 128-255 of the YMM registers.
    pub(crate) ymm_high: [u128; 16],
    /// MXCSR but for flags that the host's MXCSR has collected since.
    mxcsr: u32,
    /// The controls are the host's.
    pub(crate) plain: bool,
    /// CR0 and CR4 let SSE instructions execute.
    pub(crate) enabled: bool,
    /// `plain` and `enabled`: nothing stands in the way of an SSE instruction.
    pub(crate) quick: bool,
    /// CR0, CR4 and XCR0 let AVX instructions execute.
    pub(crate) avx_enabled: bool,
    running: bool,
    host_mxcsr: u32,
}

impl Default for Sse {
    fn default() -> Self {
        Self {
            xmm: [0; 16],
            ymm_high: [0; 16],
            mxcsr: DEFAULT,
            plain: true,
            enabled: false,
            quick: false,
            avx_enabled: false,
            running: false,
            host_mxcsr: DEFAULT,
        }
    }
}

fn read_host() -> u32 {
    let mut value = 0_u32;
    // SAFETY: STMXCSR stores 4 bytes at a valid address.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack)) };
    value
}

fn write_host(value: u32) {
    // SAFETY: LDMXCSR loads 4 bytes from a valid address; callers pass the host's own controls or the default ones,
    // so compiled code meets the floating-point environment it expects.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, readonly)) };
}

impl Sse {
    /// The CPU begins to run on this thread.
    pub(crate) fn enter(&mut self) {
        self.host_mxcsr = read_host();
        write_host(DEFAULT);
        self.running = true;
    }

    /// Lets somebody who is not the guest compute with floating-point numbers: what that raises is not in the guest's flags.
    pub(crate) fn aside(compute: impl FnOnce()) {
        let collected = read_host();
        compute();
        write_host(collected);
    }

    /// The CPU stops running: collects the flags and gives the thread its MXCSR back.
    pub(crate) fn leave(&mut self) {
        self.mxcsr = self.mxcsr();
        self.running = false;
        write_host(self.host_mxcsr);
    }

    pub(crate) fn mxcsr(&self) -> u32 {
        self.mxcsr | if self.running { read_host() & STATUS } else { 0 }
    }

    pub(crate) fn set_mxcsr(&mut self, value: u32) {
        self.mxcsr = value & crate::fpu::MXCSR_MASK;
        self.plain = self.mxcsr & !STATUS == DEFAULT;
        self.quick = self.plain && self.enabled;
        if self.running {
            write_host(DEFAULT);
        }
    }

    /// The guest's rounding and denormal controls, with exceptions masked and no flags.
    pub(crate) fn controls(&self) -> u32 {
        self.mxcsr & !STATUS | MASKS
    }
}

/// What of the flags of an operation is raised: if an exception that is found before it is not masked, nothing was
/// computed, so nothing overflowed or was rounded (Intel SDM volume 1, 11.5.3.1).
pub(crate) fn raised(flags: u32, mxcsr: u32) -> u32 {
    if flags & !(mxcsr >> 7) & BEFORE != 0 { flags & BEFORE } else { flags }
}

impl Core {
    /// Raises what an SSE instruction raises while the system has it turned off.
    #[inline(always)]
    pub(crate) fn sse_ready(&mut self) -> R {
        if self.sse.enabled { Ok(()) } else { self.sse_off() }
    }

    #[cold]
    fn sse_off(&mut self) -> R {
        let undefined = self.cr0 & CR0_EM != 0 || self.cr4 & CR4_OSFXSR == 0;
        Err(self.fault(if undefined { UD } else { NM }))
    }

    /// Raises what a VEX-encoded instruction raises while the system has AVX turned off (Intel SDM volume 2, 2.4).
    #[inline(always)]
    pub(crate) fn avx_ready(&mut self) -> R {
        if self.sse.avx_enabled { Ok(()) } else { self.avx_off() }
    }

    #[cold]
    fn avx_off(&mut self) -> R {
        let undefined = self.cr4 & CR4_OSXSAVE == 0 || self.xcr0 & XCR0_SSE_AVX != XCR0_SSE_AVX;
        Err(self.fault(if undefined { UD } else { NM }))
    }

    /// Recomputes whether SSE and AVX are on. Call after any change of CR0, CR4 or XCR0.
    pub(crate) fn update_sse(&mut self) {
        self.sse.enabled = self.cr0 & (CR0_EM | CR0_TS) == 0 && self.cr4 & CR4_OSFXSR != 0;
        self.sse.quick = self.sse.plain && self.sse.enabled;
        self.sse.avx_enabled =
            self.cr0 & CR0_TS == 0 && self.cr4 & CR4_OSXSAVE != 0 && self.xcr0 & XCR0_SSE_AVX == XCR0_SSE_AVX;
    }

    /// Notes the exception flags of an operation that ran under the guest's own controls; raises #XM (or #UD, if the
    /// system does not know #XM) if one is not masked.
    pub(crate) fn sse_flags(&mut self, flags: u32) -> R {
        self.sse_raise(raised(flags, self.sse.mxcsr))
    }

    /// As [`Self::sse_flags`], with the flags that the operation left.
    pub(crate) fn sse_raise(&mut self, flags: u32) -> R {
        let flags = flags & STATUS;
        self.sse.mxcsr |= flags;
        if flags & !(self.sse.mxcsr >> 7) & STATUS == 0 {
            return Ok(());
        }
        Err(self.fault(if self.cr4 & CR4_OSXMMEXCPT != 0 { XM } else { UD }))
    }

    #[inline(always)]
    pub(crate) fn xmm(&self, number: u8) -> u128 {
        self.sse.xmm[(number & 15) as usize]
    }

    #[inline(always)]
    pub(crate) fn set_xmm(&mut self, number: u8, value: u128) {
        self.sse.xmm[(number & 15) as usize] = value;
    }

    /// The second operand: a register, or as much memory as the instruction says, zero-extended. Sixteen bytes must
    /// be aligned.
    #[inline(always)]
    pub(crate) fn xmm_source(&mut self, op: &Op) -> R<u128> {
        if op.form == Form::RR {
            return Ok(self.xmm(op.src));
        }
        self.xmm_memory(op)
    }

    /// The memory operand of `op.size` bytes, zero-extended; sixteen bytes must be aligned.
    #[inline(always)]
    pub(crate) fn xmm_memory(&mut self, op: &Op) -> R<u128> {
        // The alignment comes before the segment's limit.
        if op.size == 16 && self.linear_unchecked(op) & 15 != 0 {
            return Err(self.gp());
        }
        let address = self.linear(op, u64::from(op.size), false)?;
        match op.size {
            16 => self.load128(address),
            8 => self.load::<u64>(address).map(u128::from),
            4 => self.load::<u32>(address).map(u128::from),
            _ => self.load::<u16>(address).map(u128::from),
        }
    }
}

/// `$a op= $b` on two XMM values, for instructions without floating-point exceptions.
macro_rules! exact {
    ($name:expr, $a:expr, $b:expr) => {{
        let mut value: core::arch::x86_64::__m128i = $crate::sse::vector($a);
        // SAFETY: the instruction is part of SSE2, which every x86-64 host has, and works on registers only.
        unsafe {
            core::arch::asm!(concat!($name, " {a}, {b}"), a = inout(xmm_reg) value, b = in(xmm_reg) $crate::sse::vector($b),
                options(pure, nomem, nostack, preserves_flags));
        }
        $crate::sse::bits(value)
    }};
}
pub(crate) use exact;

/// `$a op= $b` on two XMM values under the guest's MXCSR: `R<u128>`. The name may carry a predicate after `$b`.
macro_rules! rounded {
    ($core:expr, $name:expr, $tail:expr, $a:expr, $b:expr) => {{
        let mut value: core::arch::x86_64::__m128i = $crate::sse::vector($a);
        let source: core::arch::x86_64::__m128i = $crate::sse::vector($b);
        if $core.sse.plain {
            // SAFETY: an SSE2 instruction on registers; it may set MXCSR's flags, which `preserves_flags` would deny.
            unsafe {
                core::arch::asm!(concat!($name, " {a}, {b}", $tail), a = inout(xmm_reg) value, b = in(xmm_reg) source,
                    options(nomem, nostack));
            }
            Ok($crate::sse::bits(value))
        } else {
            let controls = $core.sse.controls();
            let run = |mut value: core::arch::x86_64::__m128i, source: core::arch::x86_64::__m128i| {
                let mut status = controls;
                let mut saved = 0_u32;
                // SAFETY: as above; the host's MXCSR is saved and restored within the block.
                unsafe {
                    core::arch::asm!("stmxcsr [{saved}]", "ldmxcsr [{status}]", concat!($name, " {a}, {b}", $tail),
                        "stmxcsr [{status}]", "ldmxcsr [{saved}]", a = inout(xmm_reg) value, b = in(xmm_reg) source,
                        saved = in(reg) &raw mut saved, status = in(reg) &raw mut status, options(nostack));
                }
                (value, status)
            };
            let (result, mut flags) = run(value, source);
            let mxcsr = $core.sse.mxcsr();
            if $crate::sse_range::is_unmasked(mxcsr) {
                let (a, b) = ($crate::sse::bits(value), $crate::sse::bits(source));
                flags = $crate::sse_range::flags($name, a, b, mxcsr, flags);
            }
            $core.sse_flags(flags).map(|()| $crate::sse::bits(result))
        }
    }};
}
pub(crate) use rounded;

/// The host's vector type of a value.
#[inline(always)]
pub(crate) fn vector(value: u128) -> core::arch::x86_64::__m128i {
    // SAFETY: both types are 16 bytes without invalid values.
    unsafe { core::mem::transmute(value) }
}

/// The value of a host vector.
#[inline(always)]
pub(crate) fn bits(value: core::arch::x86_64::__m128i) -> u128 {
    // SAFETY: both types are 16 bytes without invalid values.
    unsafe { core::mem::transmute(value) }
}

/// Joins two halves in a vector register, so that the result is stored in one piece and can be forwarded from there.
#[inline(always)]
pub(crate) fn join(low: u64, high: u64) -> u128 {
    // SAFETY: SSE2 is part of every x86-64 host.
    bits(unsafe { core::arch::x86_64::_mm_set_epi64x(high as i64, low as i64) })
}
