//! What the manuals leave undefined, instruction by instruction. Only what stands here is not compared.
//!
//! SDM: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, "Flags Affected" or "FPU Flags
//! Affected" of the instruction named. APM: AMD64 Architecture Programmer's Manual, volume 3 (general) or 5 (x87), "rFLAGS Affected", entries marked U.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use crate::exec::Registers;

const CF: u64 = 1;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;
/// All that arithmetic sets.
pub(super) const STATUS: u64 = CF | PF | AF | ZF | SF | OF;

const C0: u16 = 1 << 8;
const C1: u16 = 1 << 9;
const C2: u16 = 1 << 10;
const C3: u16 = 1 << 14;

/// When a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// The count, masked to 5 or 6 bits, is not 0.
    Counted,
    /// It is greater than 1.
    CountAbove1,
    /// It is at least the operand size.
    CountFull,
    /// It is greater than the operand size.
    CountBeyond,
    /// The operand has 16 bits.
    Word,
}

/// One sentence of a manual.
struct Rule {
    mnemonics: &'static [Mnemonic],
    when: When,
    /// RFLAGS bits that are undefined.
    flags: u64,
    /// x87 status bits that are undefined.
    fsw: u16,
    /// The destination is undefined too.
    result: bool,
    /// Where it says so.
    source: &'static str,
}

const fn flags(mnemonics: &'static [Mnemonic], when: When, flags: u64, source: &'static str) -> Rule {
    Rule { mnemonics, when, flags, fsw: 0, result: false, source }
}

const fn x87(mnemonics: &'static [Mnemonic], fsw: u16, source: &'static str) -> Rule {
    Rule { mnemonics, when: When::Always, flags: 0, fsw, result: false, source }
}

use Mnemonic as M;

static RULES: [Rule; 27] = [
    flags(&[M::And, M::Or, M::Xor, M::Test], When::Always, AF, "SDM AND, OR, XOR, TEST: AF is undefined; APM: AF U"),
    flags(&[M::Mul, M::Imul], When::Always, SF | ZF | AF | PF, "SDM MUL, IMUL: SF, ZF, AF, PF are undefined; APM: U"),
    flags(&[M::Div, M::Idiv], When::Always, STATUS, "SDM DIV, IDIV: CF, OF, SF, ZF, AF, PF are undefined; APM: U"),
    flags(
        &[M::Shl, M::Sal, M::Shr, M::Sar],
        When::Counted,
        AF,
        "SDM SAL/SAR/SHL/SHR: for a non-zero count AF is undefined; APM: AF U",
    ),
    flags(
        &[M::Shl, M::Sal, M::Shr, M::Sar],
        When::CountAbove1,
        OF,
        "SDM SAL/SAR/SHL/SHR: OF is affected only for 1-bit shifts, otherwise undefined; APM: same",
    ),
    flags(
        &[M::Shl, M::Sal, M::Shr],
        When::CountFull,
        CF,
        "SDM SAL/SAR/SHL/SHR: CF is undefined for SHL and SHR where the count is at least the size of the operand",
    ),
    flags(
        &[M::Rcl, M::Rcr, M::Rol, M::Ror],
        When::CountAbove1,
        OF,
        "SDM RCL/RCR/ROL/ROR: OF is affected only by single-bit rotates, undefined otherwise; APM: same",
    ),
    flags(
        &[M::Shld, M::Shrd],
        When::Counted,
        AF,
        "SDM SHLD, SHRD: if the count is 1 or greater AF is undefined; APM: AF U",
    ),
    flags(
        &[M::Shld, M::Shrd],
        When::CountAbove1,
        OF,
        "SDM SHLD, SHRD: for shifts greater than 1 bit OF is undefined; APM: same",
    ),
    Rule {
        mnemonics: &[M::Shld, M::Shrd],
        when: When::CountBeyond,
        flags: STATUS,
        fsw: 0,
        result: true,
        source: "SDM SHLD, SHRD: if the count is greater than the operand size, flags and result are undefined; APM: same",
    },
    flags(
        &[M::Bt, M::Btc, M::Btr, M::Bts],
        When::Always,
        OF | SF | AF | PF,
        "SDM BT, BTC, BTR, BTS: OF, SF, AF, PF are undefined; APM: U",
    ),
    flags(
        &[M::Bsf, M::Bsr],
        When::Always,
        CF | OF | SF | AF | PF,
        "SDM BSF, BSR: CF, OF, SF, AF, PF are undefined; APM: U (a zero source leaves the destination, APM BSF, BSR)",
    ),
    flags(
        &[M::Lzcnt, M::Tzcnt],
        When::Always,
        OF | SF | AF | PF,
        "SDM LZCNT, TZCNT: OF, SF, PF, AF are undefined; APM: U",
    ),
    flags(&[M::Bextr], When::Always, AF | SF | PF, "SDM BEXTR: AF, SF, PF are undefined; APM: U"),
    flags(
        &[M::Andn, M::Blsi, M::Blsmsk, M::Blsr, M::Bzhi],
        When::Always,
        AF | PF,
        "SDM ANDN, BLSI, BLSMSK, BLSR, BZHI: AF and PF are undefined; APM: U",
    ),
    flags(&[M::Aaa, M::Aas], When::Always, OF | SF | ZF | PF, "SDM AAA, AAS: OF, SF, ZF, PF are undefined; APM: U"),
    flags(&[M::Aam, M::Aad], When::Always, OF | AF | CF, "SDM AAM, AAD: OF, AF, CF are undefined; APM: U"),
    flags(&[M::Daa, M::Das], When::Always, OF, "SDM DAA, DAS: OF is undefined; APM: U"),
    Rule {
        mnemonics: &[M::Bswap],
        when: When::Word,
        flags: 0,
        fsw: 0,
        result: true,
        source: "SDM BSWAP: with a 16-bit register the result is undefined; APM: same",
    },
    x87(
        &[
            M::Fadd,
            M::Faddp,
            M::Fiadd,
            M::Fsub,
            M::Fsubp,
            M::Fisub,
            M::Fsubr,
            M::Fsubrp,
            M::Fisubr,
            M::Fmul,
            M::Fmulp,
            M::Fimul,
            M::Fdiv,
            M::Fdivp,
            M::Fidiv,
            M::Fdivr,
            M::Fdivrp,
            M::Fidivr,
            M::Fsqrt,
            M::Frndint,
            M::Fscale,
            M::Fxtract,
        ],
        C0 | C2 | C3,
        "SDM FADD, FSUB, FMUL, FDIV, FSQRT, FRNDINT, FSCALE, FXTRACT: C0, C2, C3 are undefined; APM: U",
    ),
    x87(
        &[
            M::Fld,
            M::Fild,
            M::Fbld,
            M::Fst,
            M::Fstp,
            M::Fist,
            M::Fistp,
            M::Fisttp,
            M::Fbstp,
            M::Fld1,
            M::Fldl2e,
            M::Fldl2t,
            M::Fldlg2,
            M::Fldln2,
            M::Fldpi,
            M::Fldz,
            M::Fstpnce,
            M::Fxch,
            M::Fabs,
            M::Fchs,
            M::Fincstp,
            M::Fdecstp,
            M::Fcmovb,
            M::Fcmovbe,
            M::Fcmove,
            M::Fcmovnb,
            M::Fcmovnbe,
            M::Fcmovne,
            M::Fcmovnu,
            M::Fcmovu,
        ],
        C0 | C2 | C3,
        "SDM FLD, FILD, FBLD, FST, FIST, FISTTP, FBSTP, FLD1.., FXCH, FABS, FCHS, FINCSTP, FDECSTP, FCMOVcc: C0, C2, C3 \
         are undefined; APM: U",
    ),
    x87(
        &[M::F2xm1, M::Fyl2x, M::Fyl2xp1, M::Fpatan],
        C0 | C2 | C3,
        "SDM F2XM1, FYL2X, FYL2XP1, FPATAN: C0, C2, C3 are undefined; APM: U",
    ),
    x87(
        &[M::Fsin, M::Fcos, M::Fsincos, M::Fptan],
        C0 | C3,
        "SDM FSIN, FCOS, FSINCOS, FPTAN: C0 and C3 are undefined; APM: U",
    ),
    x87(&[M::Ffree, M::Ffreep], C0 | C1 | C2 | C3, "SDM FFREE: C0, C1, C2, C3 are undefined; APM: U"),
    x87(
        &[M::Fldcw, M::Fnstcw, M::Fnstenv, M::Fnclex, M::Fnop],
        C0 | C1 | C2 | C3,
        "SDM FLDCW, FSTCW, FSTENV, FCLEX, FNOP: C0, C1, C2, C3 are undefined; APM: U",
    ),
    x87(&[M::Fnstsw], C0 | C1 | C2 | C3, "SDM FSTSW: C0, C1, C2, C3 are undefined; APM: U"),
    x87(&[M::Wait], C0 | C1 | C2 | C3, "SDM WAIT/FWAIT: C0, C1, C2, C3 are undefined; APM: U"),
];

/// What is not compared, and where the manuals say so.
pub(super) fn sources() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.source)
}

/// What an instruction left undefined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Undefined {
    pub(super) flags: u64,
    pub(super) fsw: u16,
    pub(super) result: bool,
}

/// What `instruction` leaves undefined when it is executed with `registers`; the most that it can, if they are not
/// known.
pub(super) fn undefined(instruction: &Instruction, registers: Option<&Registers>) -> Undefined {
    let mnemonic = instruction.mnemonic();
    let mut sum = Undefined::default();
    for rule in RULES.iter().filter(|rule| rule.mnemonics.contains(&mnemonic)) {
        if applies(rule.when, instruction, registers) {
            sum.flags |= rule.flags;
            sum.fsw |= rule.fsw;
            sum.result |= rule.result;
        }
    }
    sum
}

fn applies(when: When, instruction: &Instruction, registers: Option<&Registers>) -> bool {
    let size = operand_bits(instruction);
    if when == When::Always {
        return true;
    }
    if when == When::Word {
        return size == 16;
    }
    let Some(count) = count(instruction, registers) else { return true };
    let count = count & if size == 64 { 63 } else { 31 };
    match when {
        When::Always | When::Word => true,
        When::Counted => count != 0,
        When::CountAbove1 => count > 1,
        When::CountFull => count >= size,
        When::CountBeyond => count > size,
    }
}

/// Bits of the first operand.
fn operand_bits(instruction: &Instruction) -> u32 {
    let bytes = if instruction.op0_kind() == OpKind::Memory {
        instruction.memory_size().size()
    } else {
        instruction.op0_register().size()
    };
    bytes as u32 * 8
}

/// The last operand of a shift or rotate, unless it is a register that is not known.
fn count(instruction: &Instruction, registers: Option<&Registers>) -> Option<u32> {
    let last = instruction.op_count().checked_sub(1)?;
    match instruction.op_kind(last) {
        OpKind::Register if instruction.op_register(last) == Register::CL => registers.map(|r| r.gprs[1] as u32 & 0xff),
        OpKind::Immediate8 => Some(u32::from(instruction.immediate8())),
        _ => None,
    }
}

/// Flags that `instruction` reads, and whether it reads the x87 condition codes.
pub(super) fn reads(instruction: &Instruction) -> (u64, bool) {
    let bits = instruction.rflags_read();
    let table = [
        (iced_x86::RflagsBits::CF, CF),
        (iced_x86::RflagsBits::PF, PF),
        (iced_x86::RflagsBits::AF, AF),
        (iced_x86::RflagsBits::ZF, ZF),
        (iced_x86::RflagsBits::SF, SF),
        (iced_x86::RflagsBits::OF, OF),
    ];
    let flags = table.iter().filter(|(bit, _)| bits & bit != 0).fold(0, |sum, (_, flag)| sum | flag);
    let status = matches!(
        instruction.mnemonic(),
        M::Fnstsw
            | M::Fnstenv
            | M::Fnsave
            | M::Fxsave
            | M::Fxsave64
            | M::Xsave
            | M::Xsave64
            | M::Xsaveopt
            | M::Xsaveopt64
    );
    (flags, status)
}

/// Flags that are defined after `instruction`, whatever they were before.
pub(super) fn defines(instruction: &Instruction) -> u64 {
    let written = instruction.rflags_written() | instruction.rflags_cleared() | instruction.rflags_set();
    let table = [
        (iced_x86::RflagsBits::CF, CF),
        (iced_x86::RflagsBits::PF, PF),
        (iced_x86::RflagsBits::AF, AF),
        (iced_x86::RflagsBits::ZF, ZF),
        (iced_x86::RflagsBits::SF, SF),
        (iced_x86::RflagsBits::OF, OF),
    ];
    // A shift by a count of 0 writes nothing, nor does a repeated comparison of no elements.
    let conditional = matches!(
        instruction.mnemonic(),
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rcl | M::Rcr | M::Rol | M::Ror | M::Shld | M::Shrd
    ) || instruction.has_rep_prefix()
        || instruction.has_repne_prefix();
    if conditional {
        return 0;
    }
    table.iter().filter(|(bit, _)| written & bit != 0).fold(0, |sum, (_, flag)| sum | flag)
}

/// Instructions whose result is an approximation: the relative error is bounded, the bits are not defined (SDM RCPPS,
/// RCPSS, RSQRTPS, RSQRTSS: |relative error| <= 1.5 * 2^-12).
pub(super) fn approximates(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        M::Rcpps | M::Rcpss | M::Rsqrtps | M::Rsqrtss | M::Vrcpps | M::Vrcpss | M::Vrsqrtps | M::Vrsqrtss
    )
}

/// Instructions whose result may differ in the last place (SDM volume 1, 8.3.10: error below 1 ulp in extended
/// precision, the bits not defined; APM volume 1, 6.4.5: same).
pub(super) fn transcendental(mnemonic: Mnemonic) -> bool {
    matches!(mnemonic, M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fpatan | M::Fptan | M::Fsin | M::Fcos | M::Fsincos)
}

/// A factory, for those who ask about memory that an instruction uses.
pub(super) fn info_factory() -> InstructionInfoFactory {
    InstructionInfoFactory::new()
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Decoder, DecoderOptions, RflagsBits};

    use super::*;

    fn decode(bytes: &[u8]) -> Instruction {
        Decoder::new(64, bytes, DecoderOptions::NONE).decode()
    }

    #[test]
    fn counts_decide_for_shifts() {
        let shl = decode(&[0xc1, 0xe0, 1]); // shl eax, 1
        assert_eq!(undefined(&shl, None).flags, AF);
        assert_eq!(undefined(&decode(&[0xc1, 0xe0, 0x20]), None), Undefined::default());
        let by_cl = decode(&[0xd2, 0xe0]); // shl al, cl
        let with = |cl| {
            let mut registers = Registers::default();
            registers.gprs[1] = cl;
            undefined(&by_cl, Some(&registers)).flags
        };
        assert_eq!((with(0), with(1), with(2), with(8)), (0, AF, AF | OF, AF | OF | CF));
        assert_eq!(undefined(&by_cl, None).flags, AF | OF | CF);
        let shld = decode(&[0x66, 0x0f, 0xa4, 0xc8, 17]); // shld ax, cx, 17
        assert!(undefined(&shld, None).result);
        assert_eq!(undefined(&shld, None).flags, STATUS);
    }

    #[test]
    fn the_table_agrees_with_the_decoder_s_about_every_instruction_without_a_count() {
        let table = [
            (RflagsBits::CF, CF),
            (RflagsBits::PF, PF),
            (RflagsBits::AF, AF),
            (RflagsBits::ZF, ZF),
            (RflagsBits::SF, SF),
            (RflagsBits::OF, OF),
        ];
        for code in Code::values().filter(|code| code.op_code().is_instruction()) {
            let mut instruction = Instruction::new();
            instruction.set_code(code);
            let mine = RULES
                .iter()
                .filter(|rule| rule.when == When::Always && rule.mnemonics.contains(&code.mnemonic()))
                .fold(0, |sum, rule| sum | rule.flags);
            let theirs = instruction.rflags_undefined();
            let theirs = table.iter().filter(|(bit, _)| theirs & bit != 0).fold(0, |sum, (_, flag)| sum | flag);
            let counted =
                RULES.iter().any(|rule| rule.when != When::Always && rule.mnemonics.contains(&code.mnemonic()));
            assert!(counted || mine == 0 || mine == theirs, "{code:?}: {mine:#x} here, {theirs:#x} there");
        }
    }

    #[test]
    fn every_rule_names_its_source() {
        for rule in &RULES {
            assert!(rule.source.starts_with("SDM "), "{}", rule.source);
            assert!(rule.flags != 0 || rule.fsw != 0 || rule.result);
        }
    }

    #[test]
    fn readers_and_writers_of_flags_are_known() {
        assert_eq!(reads(&decode(&[0x11, 0xc0])).0, CF); // adc
        assert_eq!(reads(&decode(&[0x9c])).0, STATUS); // pushfq
        assert_eq!(reads(&decode(&[0xdf, 0xe0])), (0, true)); // fnstsw ax
        assert_eq!(defines(&decode(&[0x01, 0xc0])), STATUS);
        assert_eq!(defines(&decode(&[0xd3, 0xe0])), 0);
        assert_eq!(defines(&decode(&[0x90])), 0);
    }
}
