//! Random registers and memory, fitted to the code: pointers that mostly point at something.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use super::layout::{CODE, DATA, FIXED, PAGE, STACK};
use super::rng::Dice;
use crate::exec::{Mode, Region, Registers, X87};

/// Bytes of the pool from which memory is filled.
const POOL: usize = 0x2000;

/// Random bytes that all cases of a seed share: interesting numbers of all kinds.
#[derive(Debug, Clone)]
pub(super) struct Pool(Vec<u8>);

impl Pool {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, u64::MAX);
        let mut bytes = Vec::with_capacity(POOL + 16);
        while bytes.len() < POOL {
            let value = if dice.percent(20) { dice.float80() } else { dice.vector() };
            let len = if dice.percent(20) { 10 } else { 16 };
            bytes.extend_from_slice(&value.to_le_bytes()[..len]);
        }
        bytes.truncate(POOL);
        Self(bytes)
    }

    /// Fills memory, except code, from the pool, starting somewhere in it.
    pub(super) fn fill(&self, regions: &mut [Region], dice: &mut Dice) {
        for region in regions.iter_mut().filter(|region| region.address != CODE) {
            let start = dice.below(POOL as u64) as usize;
            for page in region.bytes.chunks_mut(POOL) {
                let (head, tail) = self.0.split_at(start);
                let first = tail.len().min(page.len());
                page[..first].copy_from_slice(&tail[..first]);
                let rest = page.len() - first;
                page[first..].copy_from_slice(&head[..rest]);
            }
        }
    }
}

/// An address for an access: mostly valid, often aligned, often near or across the end of a page.
pub(super) fn address(dice: &mut Dice) -> u64 {
    let page = match dice.below(20) {
        0..=9 => DATA,
        10..=13 => DATA + PAGE,
        14..=16 => FIXED,
        17 => STACK,
        18 => CODE,
        _ => return odd_address(dice),
    };
    let offset = match dice.below(8) {
        0 => PAGE - 1 - dice.below(40),
        1 => dice.below(32),
        2..=5 => dice.below(PAGE) & !63,
        6 => dice.below(PAGE) & !7,
        _ => dice.below(PAGE),
    };
    page + offset
}

/// An address at which something goes wrong.
fn odd_address(dice: &mut Dice) -> u64 {
    match dice.below(6) {
        0 => FIXED + PAGE + dice.below(64),
        1 => DATA - 1 - dice.below(16),
        2 => 0x7fff_ffff_fff0 + dice.below(32),
        3 => 0xffff_8000_0000_0000 + dice.below(16),
        4 => dice.below(64),
        _ => dice.integer(),
    }
}

/// Random vector, x87, flag and base registers; general registers are random integers.
pub(super) fn registers(mode: Mode, avx: bool, dice: &mut Dice) -> Registers {
    let mut gprs = [0; 16];
    gprs.iter_mut().for_each(|gpr| *gpr = if dice.percent(40) { address(dice) } else { dice.integer() });
    gprs[4] = STACK + (PAGE / 2) + dice.below(64) * 8;
    if mode == Mode::Bits32 {
        gprs.iter_mut().for_each(|gpr| *gpr &= 0xffff_ffff);
    }
    let mut ymm = [[0; 2]; 16];
    // Without AVX nothing can see the upper halves, and some engines do not have them.
    ymm.iter_mut().for_each(|ymm| *ymm = [dice.vector(), if avx { dice.vector() } else { 0 }]);
    Registers {
        gprs,
        rip: CODE,
        rflags: flags(dice),
        selectors: [0; 6],
        fs_base: DATA + 0x400,
        gs_base: DATA + PAGE + 0x400,
        ymm,
        mxcsr: mxcsr(dice),
        x87: x87(dice),
    }
}

fn flags(dice: &mut Dice) -> u64 {
    const STATUS: u64 = 0x8d5;
    let mut flags = Registers::FIXED_FLAGS | dice.u64() & STATUS;
    for (percent, bit) in [(12, 10), (1, 8), (1, 14), (1, 18), (1, 21)] {
        if dice.percent(percent) {
            flags |= 1 << bit;
        }
    }
    flags
}

fn mxcsr(dice: &mut Dice) -> u32 {
    let masks = if dice.percent(75) { 0x1f80 } else { dice.u64() as u32 & 0x1f80 };
    let rounding = if dice.percent(50) { 0 } else { dice.u64() as u32 & 0x6000 };
    let raised = if dice.percent(70) { 0 } else { dice.u64() as u32 & 0x3f };
    let flush = if dice.percent(80) { 0 } else { dice.u64() as u32 & 0x8040 };
    masks | rounding | raised | flush
}

fn x87(dice: &mut Dice) -> X87 {
    let masks = if dice.percent(80) { 0x3f } else { dice.u64() as u16 & 0x3f };
    let precision = if dice.percent(60) { 0x300 } else { dice.pick(&[0, 0x200]) };
    let rounding = if dice.percent(60) { 0 } else { dice.u64() as u16 & 0xc00 };
    let raised = if dice.percent(80) { 0 } else { dice.u64() as u16 & masks };
    let stack_fault = u16::from(raised & 1 != 0 && dice.percent(50)) << 6;
    let conditions = dice.u64() as u16 & 0x4700;
    X87 {
        // Bit 6 is always set.
        fcw: 0x40 | masks | precision | rounding,
        fsw: raised | stack_fault | conditions | (dice.u64() as u16 & 7) << 11,
        ftw: if dice.percent(60) { 0xff } else { dice.u8() },
        st: std::array::from_fn(|_| if dice.percent(80) { dice.float80() } else { dice.u128() & ((1 << 80) - 1) }),
    }
}

/// Number of a general register, whatever its width.
fn gpr(register: Register) -> Option<usize> {
    let full = register.full_register();
    (Register::RAX..=Register::R15).contains(&full).then(|| full as usize - Register::RAX as usize)
}

/// Makes most elements of so many bytes small, of either sign.
fn small_indices(ymm: &mut [u128; 2], size: u32, dice: &mut Dice) {
    for element in 0..32 / size {
        if dice.percent(90) {
            let half = &mut ymm[(element * size / 16) as usize & 1];
            let shift = element * size * 8 % 128;
            let mask = u128::MAX >> (128 - size * 8);
            let index = dice.below(64).wrapping_sub(dice.below(64)) as i64 as i128 as u128;
            *half = *half & !(mask << shift) | (index & mask) << shift;
        }
    }
}

/// Fits the general registers to the code: bases point at memory, indices and counts are small, jump targets are ends
/// of the code. Vectors of indices are small, too.
pub(super) fn fit(
    registers: &mut Registers,
    code: &[Instruction],
    end: u64,
    mode: Mode,
    dice: &mut Dice,
    infos: &mut InstructionInfoFactory,
) {
    let mut fitted = [false; 16];
    let mut set = |registers: &mut Registers, number: usize, value: u64| {
        if !std::mem::replace(&mut fitted[number], true) {
            registers.gprs[number] = if mode == Mode::Bits32 { value & 0xffff_ffff } else { value };
        }
    };
    for instruction in code {
        if instruction.has_rep_prefix() || instruction.has_repne_prefix() {
            set(registers, 1, if dice.percent(90) { dice.below(40) } else { dice.integer() });
        }
        if matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) && dice.percent(70) {
            let high = if dice.percent(50) { dice.below(4) } else { ((registers.gprs[0] as i64) >> 63) as u64 };
            set(registers, 2, high);
        }
        if (instruction.is_jmp_near_indirect() || instruction.is_call_near_indirect())
            && instruction.op0_kind() == OpKind::Register
            && let Some(number) = gpr(instruction.op0_register())
            && dice.percent(80)
        {
            set(registers, number, end);
        }
        if instruction.is_vsib() {
            let size = if instruction.is_vsib64() { 8 } else { 4 };
            small_indices(&mut registers.ymm[instruction.memory_index().number() & 15], size, dice);
        }
        for memory in infos.info(instruction).used_memory() {
            let index = gpr(memory.index());
            if let Some(number) = index
                && dice.percent(90)
            {
                set(registers, number, dice.below(16).wrapping_sub(dice.below(8)));
            }
            let Some(base) = gpr(memory.base()) else { continue };
            if base == 4 && dice.percent(85) {
                continue;
            }
            if !dice.percent(92) {
                continue;
            }
            let offset = memory
                .displacement()
                .wrapping_add(index.map_or(0, |number| registers.gprs[number].wrapping_mul(memory.scale() as u64)));
            let segment = match memory.segment() {
                Register::FS => registers.fs_base,
                Register::GS => registers.gs_base,
                _ => 0,
            };
            let target = address(dice).wrapping_sub(offset).wrapping_sub(segment);
            set(registers, base, target);
        }
    }
}
