//! Where two final states differ.

use std::fmt;

use super::end::{End, exception_name};
use super::names::{get_register, hex};
use super::registers::Registers;
use super::runner::FinalState;
use super::snippet::Mode;

/// One difference: what, and its two values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The register, `end` or `memory <address>`.
    pub what: String,
    /// Its value in the first state.
    pub left: String,
    /// Its value in the second.
    pub right: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} != {}", self.what, self.left, self.right)
    }
}

/// Bits that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// RFLAGS.
    pub rflags: u64,
    /// x87 status word.
    pub fsw: u16,
    /// Page-fault error code, where the address is in the kernel's half of the address space.
    pub kernel_half_error: u32,
}

impl Default for Scope {
    /// Everything.
    fn default() -> Self {
        Self { rflags: u64::MAX, fsw: u16::MAX, kernel_half_error: u32::MAX }
    }
}

/// The 16-, 32- or 64-bit registers that exist in `mode`, and the rest of the register file.
fn register_names(mode: Mode) -> Vec<String> {
    let gprs: &[&str] = match mode {
        Mode::Bits64 => &[
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
            "r15",
        ],
        Mode::Bits32 => &["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"],
    };
    let fixed = ["rip", "fs_base", "gs_base", "mxcsr", "fcw", "ftw"];
    let vectors = if mode == Mode::Bits64 { 16 } else { 8 };
    gprs.iter()
        .chain(&fixed)
        .map(|&name| name.to_owned())
        .chain((0..8).map(|i| format!("st{i}")))
        .chain((0..vectors).map(|i| format!("ymm{i}")))
        .collect()
}

const SELECTORS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

/// What differs between two states within `scope`, in a fixed order.
#[must_use]
pub fn differences(left: &FinalState, right: &FinalState, mode: Mode, scope: &Scope) -> Vec<Difference> {
    let mut found = Vec::new();
    if left == right {
        return found;
    }
    let mut note = |what: &str, left: String, right: String| {
        if left != right {
            found.push(Difference { what: what.to_owned(), left, right });
        }
    };
    note("end", describe_end(&left.end, scope), describe_end(&right.end, scope));
    let (l, r) = (&left.registers, &right.registers);
    if significant(l, mode) != significant(r, mode) {
        for name in register_names(mode) {
            let value = |registers: &Registers| get_register(registers, &name).map(|(value, _)| hex(value));
            note(&name, value(l).unwrap_or_default(), value(r).unwrap_or_default());
        }
    }
    note("rflags", flags(l.rflags & scope.rflags), flags(r.rflags & scope.rflags));
    note("fsw", format!("{:#x}", l.x87.fsw & scope.fsw), format!("{:#x}", r.x87.fsw & scope.fsw));
    for (i, name) in SELECTORS.into_iter().enumerate() {
        note(name, format!("{:#x}", l.selectors[i]), format!("{:#x}", r.selectors[i]));
    }
    for (address, left, right) in memory_differences(left, right) {
        note(&format!("memory {address:#x}"), left, right);
    }
    found
}

/// The registers without those that [`Scope`] masks or the mode lacks.
fn significant(registers: &Registers, mode: Mode) -> Registers {
    let mut registers = registers.clone();
    registers.rflags = 0;
    registers.x87.fsw = 0;
    registers.selectors = [0; 6];
    if mode == Mode::Bits32 {
        registers.gprs[8..].fill(0);
        registers.ymm[8..].fill([0; 2]);
    }
    registers
}

pub(crate) fn describe_end(end: &End, scope: &Scope) -> String {
    let End::Exception(exception) = end else { return end.name().to_owned() };
    let in_kernel_half = exception.address.is_some_and(|address| address >> 63 != 0);
    let mask = if in_kernel_half { scope.kernel_half_error } else { u32::MAX };
    let mut text = exception_name(exception.vector).to_owned();
    if text == "interrupt" {
        text = format!("vector {}", exception.vector);
    }
    if let Some(code) = exception.error_code {
        text += &format!("({:#x})", code & mask);
    }
    if let Some(address) = exception.address {
        text += &format!(" at {address:#x}");
    }
    text
}

/// Value and the names of the flags that are set.
pub(crate) fn flags(rflags: u64) -> String {
    const NAMES: [(u32, &str); 12] = [
        (0, "CF"),
        (2, "PF"),
        (4, "AF"),
        (6, "ZF"),
        (7, "SF"),
        (8, "TF"),
        (10, "DF"),
        (11, "OF"),
        (14, "NT"),
        (16, "RF"),
        (18, "AC"),
        (21, "ID"),
    ];
    let set: Vec<&str> = NAMES.iter().filter(|(bit, _)| rflags >> bit & 1 != 0).map(|&(_, name)| name).collect();
    format!("{rflags:#x} [{}]", set.join(" "))
}

/// Runs of bytes at which the two memories differ: address and the bytes on each side, `same` where that side did not
/// change them.
fn memory_differences(left: &FinalState, right: &FinalState) -> Vec<(u64, String, String)> {
    if left.memory == right.memory {
        return Vec::new();
    }
    let bytes = |state: &FinalState| -> std::collections::BTreeMap<u64, u8> {
        let run = |c: &super::MemoryChange| {
            c.bytes.clone().into_iter().zip(c.address..).map(|(b, a)| (a, b)).collect::<Vec<_>>()
        };
        state.memory.iter().flat_map(run).collect()
    };
    let (l, r) = (bytes(left), bytes(right));
    let mut runs: Vec<(u64, u64, String, String)> = Vec::new();
    let addresses: std::collections::BTreeSet<u64> = l.keys().chain(r.keys()).copied().collect();
    for address in addresses {
        let (a, b) = (l.get(&address), r.get(&address));
        if a == b {
            continue;
        }
        let text = |byte: Option<&u8>| byte.map_or("..".to_owned(), |byte| format!("{byte:02x}"));
        match runs.last_mut() {
            Some((_, next, left, right)) if *next == address => {
                *next += 1;
                *left += &format!(" {}", text(a));
                *right += &format!(" {}", text(b));
            }
            _ => runs.push((address, address + 1, text(a), text(b))),
        }
    }
    runs.into_iter().map(|(address, _, left, right)| (address, left, right)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Exception, MemoryChange};

    fn state() -> FinalState {
        FinalState { end: End::Hlt, registers: Registers::default(), memory: Vec::new() }
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        let left = state();
        let mut right = state();
        right.registers.gprs[0] = 1;
        right.registers.rflags |= 1;
        right.registers.ymm[3] = [0, 1];
        right.memory = vec![MemoryChange { address: 0x1000, bytes: vec![1, 2] }];
        right.end = End::Exception(Exception::new(14, 6, 0x10));
        let found = differences(&left, &right, Mode::Bits64, &Scope::default());
        let text: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "end: hlt != #PF(0x6) at 0x10",
                "rax: 0x0 != 0x1",
                &format!("ymm3: 0x0 != 0x1{}", "0".repeat(32)),
                "rflags: 0x202 [] != 0x203 [CF]",
                "memory 0x1000: .. .. != 01 02",
            ]
        );
    }

    #[test]
    fn masked_bits_do_not_count() {
        let left = state();
        let mut right = state();
        right.registers.rflags |= 0x10;
        right.registers.x87.fsw = 0x100;
        right.registers.gprs[9] = 4;
        let scope = Scope { rflags: !0x10, fsw: !0x100, ..Scope::default() };
        assert_eq!(differences(&left, &right, Mode::Bits32, &scope), []);
        assert_eq!(differences(&left, &right, Mode::Bits64, &scope).len(), 1);
    }

    #[test]
    fn the_present_bit_is_masked_only_in_the_kernel_half() {
        let fault = |error, address| FinalState { end: End::Exception(Exception::new(14, error, address)), ..state() };
        let scope = Scope { kernel_half_error: !1, ..Scope::default() };
        let high = 0xffff_8000_0000_0000;
        assert_eq!(differences(&fault(5, high), &fault(4, high), Mode::Bits64, &scope), []);
        assert_eq!(differences(&fault(5, 0), &fault(4, 0), Mode::Bits64, &scope).len(), 1);
    }
}
