//! Random encodings of an instruction, polite ones and odd ones.

use super::recipe::{ModRm, Recipe, Tail};
use super::rng::Dice;
use crate::exec::Mode;

/// Longest instruction (Intel SDM volume 2, 2.3.11).
pub(super) const MAX_LEN: usize = 15;

/// Prefixes that are added without need.
const STRAY: [u8; 11] = [0x66, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x67, 0xf0];

/// Random bytes that encode the instruction of `recipe`, or something like it. `odd`: with prefixes that it need not
/// have.
pub(super) fn encode(recipe: &Recipe, mode: Mode, dice: &mut Dice, odd: bool) -> Vec<u8> {
    let long = mode == Mode::Bits64;
    let mut bytes = Vec::with_capacity(MAX_LEN);
    if odd {
        for _ in 0..=dice.below(2) {
            bytes.push(dice.pick(&STRAY));
        }
    }
    if dice.percent(6) {
        bytes.push(dice.pick(&[0x64, 0x65]));
    }
    let address = address_prefix(recipe, mode, dice);
    if address {
        bytes.push(0x67);
    }
    if recipe.operand == Some(16) && recipe.vex.is_none() {
        bytes.push(0x66);
    }
    let plain_rex = dice.percent(45);
    let mut rex = if long && plain_rex { 0x40 | dice.u8() & 7 } else { 0 };
    match recipe.vex {
        Some(vex) => {
            let l = vex.l.unwrap_or_else(|| dice.u8() & 1);
            let w = vex.w.unwrap_or_else(|| dice.u8() & 1);
            // In 32-bit mode the inverted bits R and X must be set, else C4 and C5 are LES and LDS; the others that make
            // a register number greater than 7 are ignored (Intel SDM volume 2, 2.3.5).
            let extend = if long { dice.u8() & 7 } else { 6 | u8::from(!dice.percent(10)) };
            let register = if long || dice.percent(10) { dice.u8() & 15 } else { dice.u8() & 7 };
            let vvvv = if vex.vvvv || odd && dice.percent(20) { register ^ 15 } else { 15 };
            let expressible = vex.map == 1 && w == 0 && extend & 3 == 3 && (long || vvvv >= 8);
            let short = expressible && dice.percent(50);
            if odd && long && dice.percent(10) {
                bytes.push(0x40 | dice.u8() & 15);
            }
            let last = vvvv << 3 | l << 2 | vex.pp;
            if short {
                bytes.extend([0xc5, (extend & 4) << 5 | last]);
            } else {
                bytes.extend([0xc4, extend << 5 | vex.map, w << 7 | last]);
            }
        }
        None => {
            bytes.extend(recipe.mandatory);
            if long && recipe.operand == Some(64) && (!has_64_bit_default(recipe) || dice.percent(30)) {
                rex |= 0x48;
            }
            if odd && long && dice.percent(10) {
                // A REX that another prefix follows is ignored.
                bytes.insert(0, 0x40 | dice.u8() & 15);
            }
            if rex != 0 {
                bytes.push(rex);
            }
        }
    }
    bytes.extend(&recipe.opcode);
    if recipe.plus
        && let Some(last) = bytes.last_mut()
    {
        *last += dice.u8() & 7;
    }
    let narrow = address && !long;
    push_modrm(recipe, mode, narrow, dice, &mut bytes);
    for tail in &recipe.tail {
        let len = match tail {
            Tail::Bytes(len) => *len,
            Tail::Register => 1,
            Tail::Address if long => 8 - 4 * usize::from(address),
            Tail::Address => 4 - 2 * usize::from(address),
        };
        let value = dice.integer();
        bytes.extend_from_slice(&value.to_le_bytes()[..len.min(8)]);
    }
    bytes
}

/// Whether an address-size prefix is put.
fn address_prefix(recipe: &Recipe, mode: Mode, dice: &mut Dice) -> bool {
    match (recipe.address, mode) {
        (Some(64), _) => false,
        (Some(32), Mode::Bits64) | (Some(16), Mode::Bits32) => true,
        (Some(32), Mode::Bits32) => false,
        _ => dice.percent(4),
    }
}

/// Stack operations and near branches need no REX.W for 64 bits; nothing else goes wrong with it.
fn has_64_bit_default(recipe: &Recipe) -> bool {
    matches!(recipe.opcode[..], [0x50..=0x5f | 0x68 | 0x6a | 0x8f | 0xc2 | 0xc3 | 0xc8 | 0xc9 | 0xe8 | 0xe9 | 0xeb, ..])
        || matches!(recipe.opcode[..], [0x70..=0x7f | 0xe0..=0xe3, ..] | [0x0f, 0x80..=0x8f | 0xa0 | 0xa1 | 0xa8 | 0xa9, ..])
}

fn push_modrm(recipe: &Recipe, mode: Mode, narrow: bool, dice: &mut Dice, bytes: &mut Vec<u8>) {
    let ModRm::Present { reg, memory, register, vsib } = recipe.modrm else { return };
    let reg = reg.unwrap_or_else(|| dice.u8() & 7) << 3;
    if register && !(memory && dice.percent(55)) {
        bytes.push(0xc0 | reg | dice.u8() & 7);
        return;
    }
    if narrow {
        let (mode, rm) = (dice.u8() & 0x80, dice.u8() & 7);
        bytes.push(mode | reg | rm);
        let displacement = if mode == 0x80 || rm == 6 { 2 } else { 0 };
        bytes.extend_from_slice(&dice.u64().to_le_bytes()[..displacement]);
        return;
    }
    let with_sib = vsib || dice.percent(30);
    let (mod_bits, rm) = match dice.below(10) {
        // Absolute, or relative to RIP in 64-bit mode; the displacement is filled in later.
        0 if !with_sib => (0, 5),
        0..=3 => (0, if with_sib { 4 } else { dice.pick(&[0, 1, 2, 3, 6, 7]) }),
        4..=7 => (1, if with_sib { 4 } else { dice.pick(&[0, 1, 2, 3, 5, 6, 7]) }),
        _ => (2, if with_sib { 4 } else { dice.pick(&[0, 1, 2, 3, 5, 6, 7]) }),
    };
    bytes.push(mod_bits << 6 | reg | rm);
    let mut wide = mod_bits == 2 || (mod_bits == 0 && rm == 5);
    if rm == 4 {
        let index = if vsib || dice.percent(60) { dice.u8() & 7 } else { 4 };
        let base = if mode == Mode::Bits64 && dice.percent(5) { 5 } else { dice.u8() & 7 };
        bytes.push((dice.u8() & 3) << 6 | index << 3 | base);
        wide |= mod_bits == 0 && base == 5;
    }
    if mod_bits == 1 {
        bytes.push(dice.u8());
    } else if wide {
        // Small, so that pointers stay near what they point at.
        let displacement = dice.below(0x400) as i32 - 0x200;
        bytes.extend_from_slice(&displacement.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Decoder, DecoderOptions};

    use super::*;

    /// How many of 300 encodings decode to the instruction they were made for.
    fn hits(code: Code, mode: Mode) -> usize {
        let recipe = Recipe::new(code).unwrap();
        (0..300)
            .filter(|&i| {
                let bytes = encode(&recipe, mode, &mut Dice::new(1, i), false);
                Decoder::new(mode.bits(), &bytes, DecoderOptions::NONE).decode().code() == code
            })
            .count()
    }

    #[test]
    fn encodings_are_of_the_instruction_asked_for() {
        for code in [
            Code::Add_rm8_r8,
            Code::Imul_r64_rm64_imm32,
            Code::Push_r64,
            Code::Movsq_m64_m64,
            Code::Pshufb_xmm_xmmm128,
            Code::Fld_m80fp,
            Code::Mov_RAX_moffs64,
            Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm,
            Code::Cmpxchg16b_m128,
        ] {
            assert!(hits(code, Mode::Bits64) > 200, "{code:?}: {}", hits(code, Mode::Bits64));
        }
        for code in [Code::Inc_r32, Code::Aaa, Code::Les_r32_m1632, Code::Jecxz_rel8_32, Code::Add_rm16_r16] {
            assert!(hits(code, Mode::Bits32) > 150, "{code:?}: {}", hits(code, Mode::Bits32));
        }
    }
}
