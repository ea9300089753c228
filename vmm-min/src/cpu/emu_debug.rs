//! What a debugger does to emu-min's processor: all of it is the processor's own ability.

use emu_min::{DebugStop, Segment, State, Watchpoint};

use super::emu::{Drive, EmuCpu};
use super::{CpuError, Registers};
use crate::debug::{DebugCpu, FloatRegisters, InsertError};

impl<D: Drive> DebugCpu for EmuCpu<D> {
    fn complete(&mut self) -> Result<Option<DebugStop>, CpuError> {
        self.hand_over();
        Ok(self.cpu.take_debug_stop())
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<(), CpuError> {
        self.hand_over();
        let mut state = self.cpu.state();
        change(&mut state, registers);
        self.cpu.set_state(&state);
        Ok(())
    }

    fn float_registers(&mut self) -> Result<FloatRegisters, CpuError> {
        let state = self.cpu.state();
        Ok(FloatRegisters { fpu: state.fpu, xmm: state.xmm, mxcsr: state.mxcsr })
    }

    fn set_float_registers(&mut self, registers: &FloatRegisters) -> Result<(), CpuError> {
        self.hand_over();
        let state = State {
            fpu: registers.fpu,
            xmm: registers.xmm,
            // A reserved bit would be #GP in the guest (Intel SDM volume 1, 10.2.3).
            mxcsr: registers.mxcsr & 0xffff,
            ..self.cpu.state()
        };
        self.cpu.set_state(&state);
        Ok(())
    }

    fn insert(&mut self, point: Watchpoint) -> Result<(), InsertError> {
        self.points.push(point);
        self.cpu.set_watchpoints(&self.points);
        Ok(())
    }

    fn remove(&mut self, point: Watchpoint) -> bool {
        let found = self.points.iter().position(|known| *known == point);
        if let Some(index) = found {
            self.points.swap_remove(index);
            self.cpu.set_watchpoints(&self.points);
        }
        found.is_some()
    }

    fn memory_written(&mut self) {
        self.cpu.flush_code();
    }

    fn arm(&mut self, step: bool) -> Result<Option<DebugStop>, CpuError> {
        self.cpu.set_stepping(step);
        Ok(None)
    }
}

/// Changes what a debugger may change.
fn change(state: &mut State, registers: &Registers) {
    state.gprs = registers.gpr;
    state.rip = registers.rip;
    state.rflags = registers.rflags;
    let [es, _, _, ds, fs, gs] = &registers.segments;
    let targets: [&mut Segment; 4] = [&mut state.es, &mut state.ds, &mut state.fs, &mut state.gs];
    for (target, source) in targets.into_iter().zip([es, ds, fs, gs]) {
        target.selector = source.selector;
        target.base = source.base;
    }
}
