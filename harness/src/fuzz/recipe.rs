//! How an instruction is encoded, from the decoder's own tables in the manual's notation ("o64 0F AF /r").

use iced_x86::{Code, EncodingKind, OpCodeInfo, OpCodeOperandKind};

/// What follows the opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModRm {
    /// No ModRM byte.
    None,
    /// A ModRM byte.
    Present {
        /// The reg field, if it belongs to the opcode.
        reg: Option<u8>,
        /// A memory operand is allowed.
        memory: bool,
        /// A register operand is allowed.
        register: bool,
        /// The memory operand has a vector index.
        vsib: bool,
    },
}

/// A VEX prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vex {
    /// `None`: ignored.
    pub(super) l: Option<u8>,
    pub(super) pp: u8,
    pub(super) map: u8,
    /// `None`: ignored.
    pub(super) w: Option<u8>,
    /// An operand is in vvvv.
    pub(super) vvvv: bool,
}

/// How to encode one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) code: Code,
    pub(super) vex: Option<Vex>,
    /// 66, F2 or F3 as part of the opcode.
    pub(super) mandatory: Option<u8>,
    /// Bits of the operand size, if the opcode depends on it.
    pub(super) operand: Option<u32>,
    /// Bits of the address size, if the opcode depends on it.
    pub(super) address: Option<u32>,
    pub(super) opcode: Vec<u8>,
    /// The low three bits of the opcode name a register.
    pub(super) plus: bool,
    pub(super) modrm: ModRm,
    /// Bytes of immediates and displacements that follow.
    pub(super) tail: Vec<Tail>,
}

/// Bytes after the ModRM part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// An immediate or relative displacement of so many bytes.
    Bytes(usize),
    /// An absolute address of the address size.
    Address,
    /// A register in the upper half of a byte.
    Register,
}

impl Recipe {
    /// The recipe for `code`, unless it is not an instruction of a kind that this knows.
    pub(super) fn new(code: Code) -> Option<Self> {
        let info = code.op_code();
        if !info.is_instruction() || !matches!(info.encoding(), EncodingKind::Legacy | EncodingKind::VEX) {
            return None;
        }
        let mut recipe = Self {
            code,
            vex: None,
            mandatory: None,
            operand: None,
            address: None,
            opcode: Vec::new(),
            plus: false,
            modrm: ModRm::None,
            tail: Vec::new(),
        };
        let text = info.op_code_string();
        for token in text.split(' ') {
            recipe.add(token, info)?;
        }
        if recipe.vex.is_none()
            && let [prefix @ (0x66 | 0xf2 | 0xf3), next, ..] = recipe.opcode[..]
            && (next == 0x0f || prefix == 0xf3)
        {
            recipe.mandatory = Some(prefix);
            recipe.opcode.remove(0);
        }
        Some(recipe)
    }

    fn add(&mut self, token: &str, info: &OpCodeInfo) -> Option<()> {
        match token {
            "NP" => {}
            "o16" | "o32" | "o64" => self.operand = token[1..].parse().ok(),
            "a16" | "a32" | "a64" => self.address = token[1..].parse().ok(),
            "ib" | "cb" => self.tail.push(Tail::Bytes(1)),
            "iw" | "cw" => self.tail.push(Tail::Bytes(2)),
            "id" | "cd" => self.tail.push(Tail::Bytes(4)),
            "cp" => self.tail.push(Tail::Bytes(if self.operand == Some(16) { 4 } else { 6 })),
            "io" => self.tail.push(Tail::Bytes(8)),
            "mo" => self.tail.push(Tail::Address),
            "/is4" => self.tail.push(Tail::Register),
            "/r" => self.modrm = modrm(info, None),
            _ if token.starts_with('/') => self.modrm = modrm(info, Some(token[1..].parse().ok()?)),
            _ if token.contains(':') => self.modrm = modrm(info, None),
            _ if token.starts_with("VEX.") => self.vex = Some(vex(token, info)?),
            _ => {
                let (digits, plus) = token.split_once('+').map_or((token, false), |(digits, _)| (digits, true));
                self.plus |= plus;
                self.opcode.push(u8::from_str_radix(digits, 16).ok()?);
            }
        }
        Some(())
    }
}

fn kinds(info: &OpCodeInfo) -> impl Iterator<Item = String> {
    info.op_kinds().iter().map(|kind: &OpCodeOperandKind| format!("{kind:?}"))
}

fn modrm(info: &OpCodeInfo, reg: Option<u8>) -> ModRm {
    let either = kinds(info).any(|kind| kind.ends_with("_or_mem"));
    let memory = kinds(info).any(|kind| kind.starts_with("mem") && kind != "mem_offs");
    let vsib = kinds(info).any(|kind| kind.starts_with("mem_vsib"));
    ModRm::Present { reg, memory: either || memory, register: either || !memory, vsib }
}

fn vex(token: &str, info: &OpCodeInfo) -> Option<Vex> {
    let mut vex = Vex { l: None, pp: 0, map: 0, w: None, vvvv: kinds(info).any(|kind| kind.ends_with("_vvvv")) };
    for part in token.split('.').skip(1) {
        match part {
            "128" | "L0" | "LZ" => vex.l = Some(0),
            "256" | "L1" => vex.l = Some(1),
            "LIG" | "WIG" => {}
            "66" => vex.pp = 1,
            "F3" => vex.pp = 2,
            "F2" => vex.pp = 3,
            "0F" => vex.map = 1,
            "0F38" => vex.map = 2,
            "0F3A" => vex.map = 3,
            "W0" => vex.w = Some(0),
            "W1" => vex.w = Some(1),
            _ => return None,
        }
    }
    Some(vex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_becomes_a_recipe() {
        let imul = Recipe::new(Code::Imul_r64_rm64).unwrap();
        assert_eq!((imul.operand, imul.opcode), (Some(64), vec![0x0f, 0xaf]));
        assert_eq!(imul.modrm, ModRm::Present { reg: None, memory: true, register: true, vsib: false });
        let movq = Recipe::new(Code::Movq_xmm_xmmm64).unwrap();
        assert_eq!((movq.mandatory, movq.opcode), (Some(0xf3), vec![0x0f, 0x7e]));
        let fadd = Recipe::new(Code::Fadd_sti_st0).unwrap();
        assert_eq!((fadd.opcode, fadd.plus, fadd.modrm), (vec![0xdc, 0xc0], true, ModRm::None));
        let gather = Recipe::new(Code::VEX_Vpgatherdd_ymm_vm32y_ymm).unwrap();
        assert_eq!(gather.modrm, ModRm::Present { reg: None, memory: true, register: false, vsib: true });
        assert_eq!(gather.vex, Some(Vex { l: Some(1), pp: 1, map: 2, w: Some(0), vvvv: true }));
        assert_eq!(Recipe::new(Code::INVALID), None);
    }
}
