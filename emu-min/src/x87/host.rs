//! The host's own x87 unit as the arithmetic of the guest's: each function is one x87 instruction under the guest's
//! control word, so results, rounding and flags are the silicon's, transcendental functions included.
//!
//! An operation runs with the guest's exception masks. An unmasked exception does not trap: the x87 reports it at the
//! next waiting instruction, and FNSTSW and FNCLEX, which do not wait, come first. Whether an instruction that hit an
//! unmasked exception still pushed, popped or stored is seen in TOP of the status word that is returned.
//!
//! This is the only file of the x87 with `unsafe` code, and it needs an x86-64 host.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("emu-min computes x87 arithmetic on the host's x87 unit: build it for x86_64");

use std::arch::asm;

use super::f80::F80;

/// The status word after an operation on a cleared unit, in which only the exception flags, the condition codes and
/// TOP matter.
pub(super) type Status = u16;

/// An instruction on ST0 and ST1 that leaves TOP alone: the new ST0.
pub(super) type Registers = fn(u16, F80, F80) -> (F80, Status);
/// An instruction on ST0 and a memory operand that leaves TOP alone: the new ST0.
pub(super) type Memory = fn(u16, F80, u64) -> (F80, Status);
/// An instruction on ST0 and ST1 that replaces both by one result.
pub(super) type Popping = fn(u16, F80, F80) -> (F80, Status, bool);
/// An instruction that replaces ST0 and pushes a second result: the new ST1 and ST0, and whether it pushed. If it did
/// not, the first value is ST0.
pub(super) type Pushing = fn(u16, F80) -> (F80, F80, Status, bool);
/// An instruction that pushes a value from memory, and whether it did.
pub(super) type Load = fn(u16, u128) -> (F80, Status, bool);
/// An instruction that stores and pops ST0: the bytes stored, and whether it stored.
pub(super) type Store = fn(u16, F80) -> (u128, Status, bool);

/// Runs `$op` on ST1 = `$b`, ST0 = `$a` under control word `$cw`, then `$take`, which must leave the stack empty.
/// Evaluates to the status word after `$op`.
macro_rules! run {
    ($cw:expr, [$($load:literal),*], $op:expr, [$($take:literal),*], $($name:ident = $pointer:expr),*) => {{
        let cw: u16 = $cw;
        let mut host_cw = 0_u16;
        let status: u16;
        // SAFETY: the pointers are to live locals of at least the size of each access, which nothing else uses.
        // The x87 stack is empty on entry, because all its registers are declared as clobbered, and `$take` empties it
        // for each way in which `$op` can end. FNCLEX comes before the guest's control word, so that no old flag
        // becomes an unmasked exception, and again before the first waiting instruction after `$op` (ES is bit 7 of
        // the status word), so nothing traps. The host's control word is put back.
        unsafe {
            asm!(
                "fnstcw word ptr [{host}]",
                "fnclex",
                "fldcw word ptr [{cw}]",
                $($load,)*
                $op,
                "fnstsw ax",
                "test al, al",
                "jns 2f",
                "fnclex",
                "2:",
                $($take,)*
                "fldcw word ptr [{host}]",
                host = in(reg) &raw mut host_cw,
                cw = in(reg) &raw const cw,
                $($name = in(reg) $pointer,)*
                out("ax") status,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                options(nostack),
            );
        }
        status
    }};
}

/// TOP of `status` when the operation began at `begin`: did it change?
fn moved(status: Status, begin: u16) -> bool {
    (status >> 11 & 7) != begin
}

macro_rules! registers {
    ($($name:ident $op:literal,)*) => {$(
        pub(super) fn $name(cw: u16, st0: F80, st1: F80) -> (F80, Status) {
            let mut value = st0;
            let status = run!(
                cw, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], $op,
                ["fstp tbyte ptr [{a}]", "fstp st(0)"],
                a = &raw mut value, b = &raw const st1
            );
            (value, status)
        }
    )*};
}

registers! {
    fadd "fadd st(0), st(1)",
    fmul "fmul st(0), st(1)",
    fcom "fcom st(1)",
    fsub "fsub st(0), st(1)",
    fsubr "fsubr st(0), st(1)",
    fdiv "fdiv st(0), st(1)",
    fdivr "fdivr st(0), st(1)",
    fucom "fucom st(1)",
    fprem "fprem",
    fprem1 "fprem1",
    fscale "fscale",
    ftst "ftst",
    fxam "fxam",
    fsqrt "fsqrt",
    frndint "frndint",
    f2xm1 "f2xm1",
    fsin "fsin",
    fcos "fcos",
}

macro_rules! memory {
    ($module:ident $size:literal: $($name:ident $op:literal,)*) => {
        /// Operations with a memory operand of one type.
        pub(super) mod $module {
            use super::{F80, Status, asm};
            $(
                pub(in super::super) fn $name(cw: u16, st0: F80, operand: u64) -> (F80, Status) {
                    let mut value = st0;
                    let status = run!(
                        cw, ["fld tbyte ptr [{a}]"], concat!($op, " ", $size, " ptr [{m}]"),
                        ["fstp tbyte ptr [{a}]"],
                        a = &raw mut value, m = &raw const operand
                    );
                    (value, status)
                }
            )*
        }
    };
}

memory!(m32 "dword": fadd "fadd", fmul "fmul", fcom "fcom", fsub "fsub", fsubr "fsubr", fdiv "fdiv", fdivr "fdivr",);
memory!(m64 "qword": fadd "fadd", fmul "fmul", fcom "fcom", fsub "fsub", fsubr "fsubr", fdiv "fdiv", fdivr "fdivr",);
memory!(i16 "word": fadd "fiadd", fmul "fimul", fcom "ficom", fsub "fisub", fsubr "fisubr", fdiv "fidiv",
    fdivr "fidivr",);
memory!(i32 "dword": fadd "fiadd", fmul "fimul", fcom "ficom", fsub "fisub", fsubr "fisubr", fdiv "fidiv",
    fdivr "fidivr",);

macro_rules! popping {
    ($($name:ident $op:literal,)*) => {$(
        pub(super) fn $name(cw: u16, st0: F80, st1: F80) -> (F80, Status, bool) {
            let mut value = st0;
            let status = run!(
                cw, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], $op,
                // TOP was 6; it is odd if the instruction popped.
                ["fstp tbyte ptr [{a}]", "bt eax, 11", "jc 3f", "fstp st(0)", "3:"],
                a = &raw mut value, b = &raw const st1
            );
            (value, status, moved(status, 6))
        }
    )*};
}

popping! {
    fyl2x "fyl2x",
    fyl2xp1 "fyl2xp1",
    fpatan "fpatan",
}

macro_rules! pushing {
    ($($name:ident $op:literal,)*) => {$(
        pub(super) fn $name(cw: u16, st0: F80) -> (F80, F80, Status, bool) {
            let mut value = st0;
            let mut pushed = F80::ZERO;
            let status = run!(
                cw, ["fld tbyte ptr [{a}]"], $op,
                // TOP was 7; it is even if the instruction pushed.
                ["bt eax, 11", "jc 3f", "fstp tbyte ptr [{p}]", "3:", "fstp tbyte ptr [{a}]"],
                a = &raw mut value, p = &raw mut pushed
            );
            (value, pushed, status, moved(status, 7))
        }
    )*};
}

pushing! {
    fptan "fptan",
    fsincos "fsincos",
    fxtract "fxtract",
}

macro_rules! loads {
    ($($name:ident $op:literal,)*) => {$(
        pub(super) fn $name(cw: u16, operand: u128) -> (F80, Status, bool) {
            let mut value = F80::ZERO;
            let status = run!(
                cw, [], $op,
                // TOP was 0; it is 7 if the instruction pushed. The operand's register is named for every form's sake.
                ["bt eax, 11", "jnc 3f", "fstp tbyte ptr [{a}]", "3:", "/* {m} */"],
                a = &raw mut value, m = &raw const operand
            );
            (value, status, moved(status, 0))
        }
    )*};
}

loads! {
    fld_m32 "fld dword ptr [{m}]",
    fld_m64 "fld qword ptr [{m}]",
    fbld "fbld [{m}]",
    fldl2t "fldl2t",
    fldl2e "fldl2e",
    fldpi "fldpi",
    fldlg2 "fldlg2",
    fldln2 "fldln2",
}

macro_rules! stores {
    ($($name:ident $op:literal,)*) => {$(
        pub(super) fn $name(cw: u16, st0: F80) -> (u128, Status, bool) {
            let mut bytes = 0_u128;
            let status = run!(
                cw, ["fld tbyte ptr [{a}]"], $op,
                // TOP was 7; it is 0 if the instruction stored and popped.
                ["bt eax, 11", "jnc 3f", "fstp st(0)", "3:"],
                a = &raw const st0, m = &raw mut bytes
            );
            (bytes, status, moved(status, 7))
        }
    )*};
}

stores! {
    fstp_m32 "fstp dword ptr [{m}]",
    fstp_m64 "fstp qword ptr [{m}]",
    fistp_m16 "fistp word ptr [{m}]",
    fistp_m32 "fistp dword ptr [{m}]",
    fistp_m64 "fistp qword ptr [{m}]",
    fisttp_m16 "fisttp word ptr [{m}]",
    fisttp_m32 "fisttp dword ptr [{m}]",
    fisttp_m64 "fisttp qword ptr [{m}]",
    fbstp "fbstp [{m}]",
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: F80 = F80::new(0x4000, 1 << 63);

    #[test]
    fn the_control_word_rules_rounding_and_is_put_back() {
        let (third, status) = fdiv(0x37f, F80::ONE, F80::from_integer(3));
        assert_eq!(third, F80::new(0x3ffd, 0xaaaa_aaaa_aaaa_aaab));
        assert_eq!(status & 0x3f, 0x20);
        let (third, _) = fdiv(0xc7f, F80::ONE, F80::from_integer(3)); // single precision, towards zero
        assert_eq!(third, F80::new(0x3ffd, 0xaaaa_aa00_0000_0000));
        let (third, _) = fdiv(0x37f, F80::ONE, F80::from_integer(3));
        assert_eq!(third.significand & 0xffff, 0xaaab);
    }

    #[test]
    fn unmasked_exceptions_are_returned_instead_of_raised() {
        let (kept, status) = fdiv(0x37b, TWO, F80::ZERO);
        assert_eq!(kept, TWO, "an aborted operation leaves its destination alone");
        assert_eq!(status & 0x84, 0x84);
        let (_, status, popped) = fyl2x(0x37e, F80::ZERO, F80::ZERO);
        assert!(!popped && status & 0x81 == 0x81);
        let (_, status, pushed) = fld_m32(0x37e, 0x7f80_0001);
        assert!(!pushed && status & 0x81 == 0x81);
        let (_, status, stored) = fistp_m16(0x37e, F80::from_integer(1 << 40));
        assert!(!stored && status & 0x81 == 0x81);
        let (one, kept, status, pushed) = fxtract(0x37b, F80::ZERO);
        assert!(!pushed && status & 0x84 == 0x84);
        assert_eq!((one, kept), (F80::ZERO, F80::ZERO));
    }

    #[test]
    fn stores_and_loads_convert() {
        assert_eq!(fstp_m64(0x37f, TWO), (u128::from(2.0_f64.to_bits()), 0, true));
        assert_eq!(fld_m64(0x37f, u128::from(2.0_f64.to_bits())).0, TWO);
        assert_eq!(fbstp(0x37f, F80::from_integer(-90)).0, 0x8000_0000_0000_0000_0090);
        let (exponent, significand, _, pushed) = fxtract(0x37f, TWO);
        assert!(pushed);
        assert_eq!((exponent, significand), (F80::ONE, F80::ONE));
    }
}
