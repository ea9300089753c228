//! One instruction on an emulated CPU.

use super::snapshot::{MEMORY, Snapshot, relative};
use crate::flags::STATUS;
use crate::{Config, Cpu, Exit, Gpr, GuestRam, State, Strategy};

const TABLES: u64 = 0x1000;
const CODE: u64 = 0x18000;
const DATA: u64 = 0x19000;

/// A CPU in flat 64-bit mode.
pub(super) struct Emulator {
    cpu: Cpu,
}

impl Emulator {
    pub(super) fn new() -> Self {
        let cpu = Cpu::new(GuestRam::allocate(0x20000), Config::of(Strategy::Naive));
        // One large page, mapped one to one: PML4, page directory pointers, page directory.
        for (at, entry) in [(TABLES, 0x2003), (0x2000, 0x3003), (0x3000, 0x83)] {
            assert!(cpu.ram().write_u64(at, entry));
        }
        Self { cpu }
    }

    /// Runs `code`, which is one instruction or a wait before one.
    pub(super) fn run(&mut self, start: &Snapshot, code: &[u8]) -> Snapshot {
        let mut state = State::long_mode(CODE, 0x7000, TABLES, 0);
        state.cr0 |= 1 << 5; // NE
        state.gprs[Gpr::Rax as usize] = start.rax;
        state.gprs[Gpr::Rcx as usize] = start.rcx;
        state.gprs[Gpr::Rsi as usize] = DATA;
        state.gprs[Gpr::Rdi as usize] = DATA;
        state.rflags = start.rflags | 2;
        (state.fpu, state.xmm, state.mxcsr) = (start.fpu, start.xmm, start.mxcsr);
        assert!(self.cpu.ram().write(CODE, code) && self.cpu.ram().write(DATA, &start.memory));
        self.cpu.set_state(&state);
        let instructions = if code.len() > 1 && code[0] == 0x9b { 2 } else { 1 };
        self.cpu.set_instruction_budget(Some(instructions));
        let exit = self.cpu.run();
        let end = self.cpu.state();
        assert_eq!((exit, end.rip), (Exit::BudgetExhausted, CODE + code.len() as u64), "{code:02x?}");
        let mut memory = [0; MEMORY];
        assert!(self.cpu.ram().read(DATA, &mut memory));
        let mut fpu = end.fpu;
        fpu.fip = relative(fpu.fip, CODE, 16);
        fpu.fdp = relative(fpu.fdp, DATA, MEMORY as u64);
        Snapshot {
            fpu,
            tag_word: crate::x87::X87::from_state(&end.fpu).tag_word(),
            xmm: end.xmm,
            mxcsr: end.mxcsr,
            memory,
            rflags: end.rflags & STATUS,
            rax: end.gprs[Gpr::Rax as usize],
            rcx: end.gprs[Gpr::Rcx as usize],
        }
    }
}
