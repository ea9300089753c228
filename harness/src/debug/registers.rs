//! The registers as gdb has them: those of `org.gnu.gdb.i386.core`, `.sse` and `.segments`, and the system registers besides.

use std::num::NonZeroUsize;

use gdbstub::arch::{Arch, RegId};
use gdbstub_arch::x86::reg::{X86_64CoreRegs, X86SegmentRegs, X87FpuInternalRegs};
use vmm_min::{FloatRegisters, Registers};

/// x86-64 with SSE and system registers.
#[derive(Debug)]
pub(super) enum GuestArch {}

impl Arch for GuestArch {
    type Usize = u64;
    type Registers = GuestRegisters;
    type RegId = Number;
    type BreakpointKind = usize;

    fn target_description_xml() -> Option<&'static str> {
        Some(include_str!("target.xml"))
    }
}

/// Bytes of the registers of core and SSE, which come first.
const CORE: usize = 0x218;
/// Registers behind them, of 8 bytes each: bases of FS and GS, then CR0, CR2, CR3, CR4 and EFER.
const FURTHER: usize = 7;
/// Of those, how many may be written: the bases.
const WRITABLE: usize = 2;

/// Index of each of gdb's general registers in [`Registers::gpr`]: RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8 to R15.
const GPR: [usize; 16] = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];

/// All registers, in the order of the target description.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct GuestRegisters {
    core: X86_64CoreRegs,
    further: [u64; FURTHER],
}

/// gdb tries to change a register that it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadOnly;

impl GuestRegisters {
    /// The registers of a guest.
    pub(super) fn new(registers: &Registers, float: &FloatRegisters) -> Self {
        let fpu = &float.fpu;
        let [es, cs, ss, ds, fs, gs] = registers.segments.map(|segment| u32::from(segment.selector));
        let core = X86_64CoreRegs {
            regs: GPR.map(|i| registers.gpr[i]),
            eflags: registers.rflags as u32,
            rip: registers.rip,
            segments: X86SegmentRegs { cs, ss, ds, es, fs, gs },
            st: fpu.st.map(|value| {
                let mut bytes = [0; 10];
                bytes.copy_from_slice(&value.to_le_bytes()[..10]);
                bytes
            }),
            fpu: X87FpuInternalRegs {
                fctrl: u32::from(fpu.fcw),
                fstat: u32::from(fpu.fsw),
                ftag: u32::from(tags(fpu.ftw, fpu.fsw, &fpu.st)),
                fiseg: u32::from(fpu.fcs),
                fioff: fpu.fip as u32,
                foseg: u32::from(fpu.fds),
                fooff: fpu.fdp as u32,
                fop: u32::from(fpu.fop),
            },
            xmm: float.xmm,
            mxcsr: float.mxcsr,
        };
        let [_, _, _, _, fs, gs] = &registers.segments;
        let r = registers;
        Self { core, further: [fs.base, gs.base, r.cr0, r.cr2, r.cr3, r.cr4, r.efer] }
    }

    /// Changes what gdb changed.
    ///
    /// # Errors
    /// Something that it may not.
    pub(super) fn apply(&self, registers: &mut Registers, float: &mut FloatRegisters) -> Result<(), ReadOnly> {
        let before = Self::new(registers, float);
        let core = &self.core;
        let (segments, old) = (&core.segments, &before.core.segments);
        // CS and SS are the privilege level, and control registers the mode: changed alone, they make no sense.
        if (segments.cs, segments.ss) != (old.cs, old.ss) || self.further[WRITABLE..] != before.further[WRITABLE..] {
            return Err(ReadOnly);
        }
        for (value, i) in core.regs.iter().zip(GPR) {
            registers.gpr[i] = *value;
        }
        registers.rip = core.rip;
        registers.rflags = u64::from(core.eflags) | 2;
        for (i, selector) in [(3, segments.ds), (0, segments.es), (4, segments.fs), (5, segments.gs)] {
            registers.segments[i].selector = selector as u16;
        }
        let [fs_base, gs_base, ..] = self.further;
        (registers.segments[4].base, registers.segments[5].base) = (fs_base, gs_base);
        float.xmm = core.xmm;
        float.mxcsr = core.mxcsr;
        let fpu = &mut float.fpu;
        fpu.fcw = core.fpu.fctrl as u16;
        fpu.fsw = core.fpu.fstat as u16;
        fpu.fop = core.fpu.fop as u16;
        fpu.st = core.st.map(|bytes| {
            let mut value = [0; 16];
            value[..10].copy_from_slice(&bytes);
            u128::from_le_bytes(value)
        });
        if core.fpu.ftag != before.core.fpu.ftag {
            fpu.ftw = (0..8).filter(|i| core.fpu.ftag >> (i * 2) & 3 != 3).fold(0, |ftw, i| ftw | 1 << i);
        }
        Ok(())
    }

    /// Reads one register: its bytes.
    pub(super) fn get(&self, number: Number) -> Vec<u8> {
        let (offset, size) = number.place();
        self.bytes().get(offset..offset + size).unwrap_or_default().to_vec()
    }

    /// Replaces one register; false if those are not its bytes.
    pub(super) fn set(&mut self, number: Number, value: &[u8]) -> bool {
        let (offset, size) = number.place();
        let mut bytes = self.bytes();
        match bytes.get_mut(offset..offset + size) {
            Some(place) if value.len() == size => place.copy_from_slice(value),
            _ => return false,
        }
        gdbstub::arch::Registers::gdb_deserialize(self, &bytes).is_ok()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CORE + FURTHER * 8);
        gdbstub::arch::Registers::gdb_serialize(self, |byte| bytes.push(byte.unwrap_or(0)));
        bytes
    }
}

impl gdbstub::arch::Registers for GuestRegisters {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.core.rip
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        let mut written = 0;
        // Behind SSE come bytes for registers that this target description places itself.
        self.core.gdb_serialize(|byte| {
            if written < CORE {
                write_byte(byte);
            }
            written += 1;
        });
        self.further.iter().flat_map(|value| value.to_le_bytes()).for_each(|byte| write_byte(Some(byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.core.gdb_deserialize(bytes)?;
        let further = bytes.get(CORE..).unwrap_or_default();
        for (value, bytes) in self.further.iter_mut().zip(further.as_chunks::<8>().0) {
            *value = u64::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

/// A register, by its number in the target description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(usize);

impl Number {
    const COUNT: usize = 57 + FURTHER;

    /// Offset and size, bytes.
    fn place(self) -> (usize, usize) {
        match self.0 {
            n @ 0..=16 => (n * 8, 8),
            n @ 17..=23 => (0x88 + (n - 17) * 4, 4),
            n @ 24..=31 => (0xa4 + (n - 24) * 10, 10),
            n @ 32..=39 => (0xf4 + (n - 32) * 4, 4),
            n @ 40..=55 => (0x114 + (n - 40) * 16, 16),
            56 => (0x214, 4),
            n => (CORE + (n - 57) * 8, 8),
        }
    }
}

impl RegId for Number {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let number = (id < Self::COUNT).then_some(Self(id))?;
        Some((number, NonZeroUsize::new(number.place().1)))
    }
}

/// The tag word: two bits for each physical register (Intel SDM volume 1, 8.1.7), of which FXSAVE keeps whether it is empty.
fn tags(in_use: u8, status: u16, st: &[u128; 8]) -> u16 {
    let top = usize::from(status >> 11 & 7);
    (0..8).fold(0, |word, i| {
        let tag = if in_use >> i & 1 == 0 { 3 } else { tag(st[(i + 8 - top) % 8]) };
        word | tag << (i * 2)
    })
}

/// 0: a number, 1: zero, 2: anything else.
fn tag(value: u128) -> u16 {
    let exponent = value >> 64 & 0x7fff;
    let mantissa = value as u64;
    match (exponent, mantissa) {
        (0, 0) => 1,
        (0 | 0x7fff, _) => 2,
        (_, mantissa) if mantissa >> 63 == 0 => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use emu_min::Fpu;

    use super::*;

    fn sample() -> (Registers, FloatRegisters) {
        let mut registers = Registers { rip: 0x40_1000, rflags: 0x246, cr3: 0x1234_5000, ..Registers::default() };
        registers.gpr = std::array::from_fn(|i| 0x1111_1111_1111_1111 * i as u64);
        for (i, segment) in registers.segments.iter_mut().enumerate() {
            (segment.selector, segment.base) = (0x10 + i as u16, 0x1000 * i as u64);
        }
        let one = 0x3fff_8000_0000_0000_0000;
        let fpu = Fpu { fsw: 7 << 11, ftw: 0x80, st: [one, 0, 0, 0, 0, 0, 0, 0], ..Fpu::default() };
        (registers, FloatRegisters { fpu, xmm: std::array::from_fn(|i| i as u128 + 7), mxcsr: 0x1f80 })
    }

    #[test]
    fn nothing_changes_on_the_way_there_and_back() {
        let (registers, float) = sample();
        let seen = GuestRegisters::new(&registers, &float);
        let mut again = GuestRegisters::default();
        gdbstub::arch::Registers::gdb_deserialize(&mut again, &seen.bytes()).unwrap();
        assert_eq!(again, seen);
        let (mut after, mut float_after) = sample();
        again.apply(&mut after, &mut float_after).unwrap();
        assert_eq!((after, float_after), (registers, float));
    }

    #[test]
    fn each_number_is_the_register_of_the_description() {
        let (registers, float) = sample();
        let seen = GuestRegisters::new(&registers, &float);
        let word = |n| u64::from_le_bytes(seen.get(Number(n)).try_into().unwrap());
        let half = |n| u32::from_le_bytes(seen.get(Number(n)).try_into().unwrap());
        assert_eq!((word(1), word(7), word(15)), (registers.gpr[3], registers.gpr[4], registers.gpr[15]));
        assert_eq!((word(16), half(17), half(18)), (0x40_1000, 0x246, 0x11));
        assert_eq!((half(34), half(56)), (0x3fff, 0x1f80));
        assert_eq!(seen.get(Number(41)), 8u128.to_le_bytes());
        assert_eq!((word(57), word(58), word(61)), (0x4000, 0x5000, 0x1234_5000));
        // The registers follow one another without a gap.
        let mut end = 0;
        for n in 0..Number::COUNT {
            let (offset, size) = Number(n).place();
            assert_eq!(offset, end, "register {n}");
            end = offset + size;
        }
        assert_eq!(end, seen.bytes().len());
        assert!(Number::from_raw_id(Number::COUNT).is_none());
    }

    #[test]
    fn the_description_has_as_many_registers() {
        let xml = GuestArch::target_description_xml().unwrap();
        assert_eq!(xml.matches("<reg ").count(), Number::COUNT);
    }

    #[test]
    fn what_makes_no_sense_alone_is_refused() {
        let (mut registers, mut float) = sample();
        for (number, allowed) in [(0, true), (16, true), (18, false), (20, true), (57, true), (61, false), (56, true)] {
            let mut seen = GuestRegisters::new(&registers, &float);
            let value = vec![1; Number(number).place().1];
            assert!(seen.set(Number(number), &value) && !seen.set(Number(number), &[0; 3]));
            let result = seen.apply(&mut registers, &mut float);
            assert_eq!(result.is_ok(), allowed, "register {number}");
        }
        assert_eq!((registers.rip, registers.segments[3].selector), (0x0101_0101_0101_0101, 0x101));
    }

    #[test]
    fn tags_tell_kinds_of_numbers() {
        assert_eq!(tags(0, 0, &[0; 8]), 0xffff);
        let st = [0, 0x3fff_8000_0000_0000_0000, 0x7fff_8000_0000_0000_0000, 1, 0, 0, 0, 0];
        assert_eq!(tags(0x0f, 0, &st), 0xff00 | 2 << 6 | 2 << 4 | 1);
        // With TOP 6, ST1 is physical register 7.
        assert_eq!(tags(0x80, 6 << 11, &st), 0x3fff);
    }
}
