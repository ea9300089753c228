//! Random cases: from a seed and a number, always the same.

use std::fmt;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpKind};

use super::catalog::Catalog;
use super::encode::encode;
use super::layout::{self, CODE, CODE_REGION, PAGE};
use super::rng::Dice;
use super::state::{self, Pool};
use super::undefined;
use crate::exec::{Mode, Snippet};

/// Instructions after which a case counts as endless.
pub(super) const BUDGET: u64 = 2000;
/// Most instructions of a case.
const MAX_INSTRUCTIONS: u64 = 5;
/// Cases in a row whose code page has the same rights, so that engines need not map memory anew.
const LAYOUT_RUN: u64 = 256;

/// A case: the snippet, and the instructions it was made of.
#[derive(Clone)]
pub struct Case {
    /// What is executed.
    pub snippet: Snippet,
    /// The code, instruction by instruction, where each was put.
    pub code: Vec<Instruction>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("code", &self.code).finish_non_exhaustive()
    }
}

impl Case {
    /// A case of a snippet in the standard layout whose code is `len` bytes long.
    #[must_use]
    pub fn of(snippet: Snippet, len: usize) -> Self {
        let start = snippet.registers.rip;
        let bytes = snippet.regions.iter().find_map(|region| region.at(start)).unwrap_or_default();
        let bytes = bytes.get(..len).unwrap_or(bytes);
        let code = Decoder::with_ip(snippet.mode.bits(), bytes, start, DecoderOptions::NONE).into_iter().collect();
        Self { snippet, code }
    }

    /// The bytes of the code, without the `hlt` behind it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let len = self.code.iter().map(Instruction::len).sum();
        let start = self.snippet.registers.rip;
        let bytes = self.snippet.regions.iter().find_map(|region| region.at(start)).unwrap_or_default();
        bytes.get(..len).unwrap_or(bytes).to_vec()
    }
}

/// Makes cases.
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    catalog: Catalog,
    pool: Pool,
    infos: Infos,
}

/// The factory has neither `Debug` nor `Clone`.
struct Infos(InstructionInfoFactory);

impl fmt::Debug for Infos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Infos")
    }
}

impl Clone for Infos {
    fn clone(&self) -> Self {
        Self(undefined::info_factory())
    }
}

impl Generator {
    /// A generator of cases of the instructions in `catalog`.
    #[must_use]
    pub fn new(seed: u64, catalog: Catalog) -> Self {
        Self { seed, catalog, pool: Pool::new(seed), infos: Infos(undefined::info_factory()) }
    }

    /// The instructions that are fuzzed.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The case number `index`.
    #[must_use]
    pub fn case(&mut self, index: u64) -> Case {
        let mut dice = Dice::new(self.seed, index);
        let run = Dice::new(self.seed, u64::MAX - 1 - index / LAYOUT_RUN).below(100);
        let writable_code = run < 8;
        let mut mode = if dice.percent(72) { Mode::Bits64 } else { Mode::Bits32 };
        if self.catalog.recipes(mode).is_empty() {
            mode = if mode == Mode::Bits64 { Mode::Bits32 } else { Mode::Bits64 };
        }
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        let count = if dice.percent(55) { 1 } else { 1 + dice.below(MAX_INSTRUCTIONS) };
        for _ in 0..count {
            starts.push(bytes.len());
            bytes.extend(self.instruction(mode, &mut dice));
        }
        let room = PAGE as usize - bytes.len();
        let start = match dice.below(40) {
            // The code ends with the page: going on is a page fault.
            0 => room,
            // It is cut off by the end of the page.
            1 => room + dice.below(bytes.len().min(4) as u64) as usize,
            _ => 0x100 + dice.below(64) as usize,
        };
        let origin = CODE + start as u64;
        patch(&mut bytes, &starts, origin, mode, &mut dice);
        let code = decode(&bytes, origin, mode);

        let mut regions = layout::regions(writable_code);
        let page = &mut regions[CODE_REGION].bytes[start..];
        let kept = bytes.len().min(page.len());
        page[..kept].copy_from_slice(&bytes[..kept]);
        self.pool.fill(&mut regions, &mut dice);

        let mut registers = state::registers(mode, self.catalog.has_avx(), &mut dice);
        registers.rip = origin;
        let end = origin + bytes.len() as u64;
        state::fit(&mut registers, &code, end, mode, &mut dice, &mut self.infos.0);
        if dice.percent(50) {
            seed_stack(&mut regions, registers.gprs[4], end, mode);
        }
        Case { snippet: Snippet { mode, registers, regions, budget: BUDGET }, code }
    }

    /// Bytes of one instruction that may be executed and compared.
    fn instruction(&self, mode: Mode, dice: &mut Dice) -> Vec<u8> {
        let recipes = self.catalog.recipes(mode);
        loop {
            let index = dice.below(recipes.len() as u64) as usize;
            // An empty catalogue is never asked: `Catalog::only` refuses to make one.
            let Some(recipe) = recipes.get(index) else { return vec![0x90] };
            let odd = dice.percent(12);
            let mut bytes = encode(recipe, mode, dice, odd);
            if odd && dice.percent(15) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << dice.below(8);
            }
            let decoded = decode(&bytes, 0, mode);
            let allowed = decoded.iter().all(|instruction| {
                self.catalog.allows(instruction)
                    && instruction.code() != Code::Hlt
                    && !is_ambiguous(instruction, &bytes, mode)
            });
            let undefined = decoded.iter().any(|instruction| instruction.code() == Code::INVALID);
            if allowed && !(undefined && dice.percent(80)) {
                return bytes;
            }
        }
    }
}

/// Whether processors disagree about what the bytes are:
/// - a near branch with an operand-size prefix in 64-bit mode is 16-bit on AMD (APM volume 1, 3.7.9) and 64-bit on Intel
///   (SDM volume 2, JMP, CALL, Jcc);
/// - a far pointer with REX.W has a 32-bit offset on AMD (APM volume 3, JMP (Far), LFS: mem16:32 only) and a 64-bit one
///   on Intel (SDM volume 2, JMP, LDS/LES/LFS/LGS/LSS: m16:64);
/// - F2 and F3 before LOOPE and LOOPNE are reserved (SDM volume 2, REP: "such use may cause unpredictable behavior");
///   processors take them for the condition;
/// - LOCK before MOV CR0 means CR8 on AMD (APM volume 3, MOV CRn) and is undefined on Intel;
/// - LOCK before VERW is #UD by both manuals, but AMD processors whose VERW clears buffers ignore it;
/// - MOVSXD with a 16-bit register reads 32 bits on AMD and 16 on Intel (SDM volume 2, MOVSXD);
/// - 0F 0D with a register is undefined on AMD (APM volume 3, PREFETCH) and a reserved NOP on Intel;
/// - VPEXTRD and VPINSRD with VEX.W1 outside 64-bit mode behave as with W0 on Intel (SDM volume 2, PEXTRB/PEXTRD/PEXTRQ and
///   PINSRB/PINSRD/PINSRQ, notes on VEX.W), and are undefined on AMD;
/// - 66, F2 and F3 are not allowed before the register forms of 0F 01 on Intel (SDM volume 2, 3.1.1.1, "NP"), AMD
///   processors ignore them before some.
pub(super) fn is_ambiguous(instruction: &Instruction, bytes: &[u8], mode: Mode) -> bool {
    let near = instruction.is_jmp_short_or_near()
        || instruction.is_jcc_short_or_near()
        || instruction.is_call_near()
        || instruction.is_call_near_indirect()
        || instruction.is_jmp_near_indirect()
        || instruction.is_loop()
        || instruction.is_loopcc()
        || instruction.is_jcx_short()
        || matches!(
            instruction.code(),
            Code::Retnw | Code::Retnd | Code::Retnq | Code::Retnw_imm16 | Code::Retnd_imm16 | Code::Retnq_imm16
        );
    let other = processors_differ(instruction.code());
    let locked = bytes.iter().take(6).any(|&byte| byte == 0xf0);
    let control = bytes.windows(2).any(|pair| matches!(pair, [0x0f, 0x20 | 0x22]));
    let verw = bytes.windows(3).any(|run| matches!(run, [0x0f, 0x00, modrm] if modrm >> 3 & 7 == 5));
    let repeated = instruction.is_loopcc() && bytes.iter().take(6).any(|&byte| matches!(byte, 0xf2 | 0xf3));
    let wide = mode == Mode::Bits32
        && matches!(instruction.mnemonic(), Mnemonic::Vpextrd | Mnemonic::Vpinsrd)
        && bytes.windows(3).any(|run| matches!(run, [0xc4, _, w] if w & 0x80 != 0));
    let system = bytes.windows(3).any(|triple| matches!(triple, [0x0f, 0x01, 0xc0..=0xff]));
    let refused = instruction.code() == Code::INVALID
        && system
        && bytes.iter().take(6).any(|&byte| matches!(byte, 0x66 | 0xf2 | 0xf3));
    other
        || wide
        || refused
        || repeated
        || locked && (control || verw)
        || mode == Mode::Bits64 && near && bytes.iter().take(6).any(|&byte| byte == 0x66)
}

/// Encodings that processors take for different instructions.
pub(super) fn processors_differ(code: Code) -> bool {
    matches!(
        code,
        Code::Jmp_m1664
            | Code::Call_m1664
            | Code::Lfs_r64_m1664
            | Code::Lgs_r64_m1664
            | Code::Lss_r64_m1664
            | Code::Movsxd_r16_rm16
            | Code::Reservednop_rm16_r16_0F0D
            | Code::Reservednop_rm32_r32_0F0D
            | Code::Reservednop_rm64_r64_0F0D
    )
}

/// Decodes all of `bytes`, which begin at `origin`.
fn decode(bytes: &[u8], origin: u64, mode: Mode) -> Vec<Instruction> {
    Decoder::with_ip(mode.bits(), bytes, origin, DecoderOptions::NONE).into_iter().collect()
}

/// Points relative branches at later instructions, and absolute and RIP-relative operands at memory.
fn patch(bytes: &mut [u8], starts: &[usize], origin: u64, mode: Mode, dice: &mut Dice) {
    for (i, &start) in starts.iter().enumerate() {
        let stop = starts.get(i + 1).copied().unwrap_or(bytes.len());
        let mut decoder =
            Decoder::with_ip(mode.bits(), &bytes[start..stop], origin + start as u64, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let offsets = decoder.get_constant_offsets(&instruction);
        let branch =
            matches!(instruction.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64);
        if branch && offsets.has_immediate() && !dice.percent(4) {
            let later: Vec<usize> = starts[i + 1..].iter().copied().chain([bytes.len()]).collect();
            let target = dice.pick(&later) as i64 - (start + instruction.len()) as i64;
            put(bytes, start + offsets.immediate_offset(), target as u64, offsets.immediate_size());
        }
        let far = matches!(instruction.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32);
        if far && offsets.has_immediate() && dice.percent(85) {
            let end = origin + bytes.len() as u64;
            put(bytes, start + offsets.immediate_offset(), end, offsets.immediate_size());
            let selector = dice.pick(&[0x23, 0x23, 0x33, 0x2b, 0x10, 0, 0x5b]);
            put(bytes, start + offsets.immediate_offset2(), selector, 2);
        }
        let absolute = instruction.memory_base() == iced_x86::Register::None
            && instruction.memory_index() == iced_x86::Register::None;
        let relative = instruction.is_ip_rel_memory_operand();
        if offsets.has_displacement() && offsets.displacement_size() >= 4 && (absolute || relative) {
            let from = if relative { origin + (start + instruction.len()) as u64 } else { 0 };
            let target = state::address(dice).wrapping_sub(from);
            put(bytes, start + offsets.displacement_offset(), target, offsets.displacement_size());
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: u64, size: usize) {
    if let Some(place) = bytes.get_mut(at..at + size.min(8)) {
        place.copy_from_slice(&value.to_le_bytes()[..size.min(8)]);
    }
}

/// Puts what a return, near, far or from an interrupt, wants onto the stack.
fn seed_stack(regions: &mut [crate::exec::Region], rsp: u64, end: u64, mode: Mode) {
    let frame = [end, u64::from(mode.code_selector()), 0x202, rsp, 0x2b];
    let size = if mode == Mode::Bits64 { 8 } else { 4 };
    for region in regions.iter_mut().filter(|region| region.at(rsp).is_some()) {
        let at = (rsp - region.address) as usize;
        for (i, value) in frame.into_iter().enumerate() {
            put(&mut region.bytes, at + i * size, value, size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::features;

    #[test]
    fn cases_are_reproducible_valid_and_of_the_catalogue() {
        let catalog = Catalog::new(&features::host());
        let mut one = Generator::new(7, catalog.clone());
        let mut two = Generator::new(7, catalog.clone());
        for index in (0..2000).rev() {
            let case = one.case(index);
            assert_eq!(case.snippet.validate().map_err(|e| e.to_string()), Ok(()));
            assert!(case.code.iter().all(|instruction| catalog.allows(instruction)), "{case:?}");
            if index % 100 == 0 {
                assert_eq!(case.snippet, two.case(index).snippet);
            }
        }
        assert_ne!(one.case(1).snippet, Generator::new(8, catalog).case(1).snippet);
    }

    #[test]
    fn a_case_can_be_made_again_from_its_snippet() {
        let mut generator = Generator::new(3, Catalog::new(&features::host()));
        for index in 0..50 {
            let case = generator.case(index);
            let bytes = case.bytes();
            assert_eq!(Case::of(case.snippet.clone(), bytes.len()).bytes(), bytes);
        }
    }
}
