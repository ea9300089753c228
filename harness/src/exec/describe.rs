//! A final state for readers.

use std::fmt::Write;

use super::diff::{describe_end, flags};
use super::json::bytes_hex;
use super::names::{get_register, hex};
use super::runner::FinalState;
use super::snippet::Mode;
use super::{Registers, Scope};

const GPRS64: [&str; 16] =
    ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
const GPRS32: [&str; 8] = ["eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp"];

/// The state in several lines: the end, all general registers, and of the rest what is not as after reset.
#[must_use]
pub fn describe(state: &FinalState, mode: Mode) -> String {
    let registers = &state.registers;
    let mut text = format!("{}\n", describe_end(&state.end, &Scope::default()));
    let (names, width): (&[&str], usize) = match mode {
        Mode::Bits64 => (&GPRS64, 16),
        Mode::Bits32 => (&GPRS32, 8),
    };
    let value = |name: &str| get_register(registers, name).map_or([0; 2], |(value, _)| value);
    for row in names.chunks(4) {
        text += "   ";
        for name in row {
            let _ = write!(text, " {name:>3} {:0width$x}", value(name)[0]);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "    rip {:0width$x} rflags {}", registers.rip, flags(registers.rflags));
    let _ = writeln!(
        text,
        "    mxcsr {:#x} fcw {:#x} fsw {:#x} ftw {:#x} fs_base {:#x} gs_base {:#x}",
        registers.mxcsr, registers.x87.fcw, registers.x87.fsw, registers.x87.ftw, registers.fs_base, registers.gs_base
    );
    let initial = Registers::default();
    let rest = (0..8).map(|i| format!("st{i}")).chain((0..16).map(|i| format!("ymm{i}")));
    for name in rest {
        let now = value(&name);
        if get_register(&initial, &name).is_some_and(|(before, _)| before != now) {
            let _ = writeln!(text, "    {name} {}", hex(now));
        }
    }
    for change in &state.memory {
        let shown = change.bytes.get(..64).unwrap_or(&change.bytes);
        let more = if shown.len() < change.bytes.len() { " ..." } else { "" };
        let _ = writeln!(text, "    [{:#x}] {}{more}", change.address, bytes_hex(shown));
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{End, Exception, MemoryChange};

    #[test]
    fn a_state_shows_its_end_its_registers_and_its_memory() {
        let mut registers = Registers { rip: 0x400003, rflags: 0x203, ..Registers::default() };
        registers.gprs[3] = 42;
        registers.ymm[2] = [5, 0];
        let memory = vec![MemoryChange { address: 0x2000, bytes: vec![1; 70] }];
        let state = FinalState { end: End::Exception(Exception::new(14, 6, 0x10)), registers, memory };
        let text = describe(&state, Mode::Bits64);
        for part in ["#PF(0x6) at 0x10", "rbx 000000000000002a", "[CF]", "ymm2 0x5", "[0x2000] 01 01", "01 ..."] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("ymm3") && !text.contains("st0"));
        assert!(describe(&state, Mode::Bits32).contains("ebx 0000002a"));
    }
}
