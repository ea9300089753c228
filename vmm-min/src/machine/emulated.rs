//! The virtual CPU of a machine without KVM.

use std::sync::Arc;

use emu_min::{Clock, Mechanisms};

use crate::cpu::emu::{Drive, EmuCpu, Free, Stepper};
use crate::cpu::{CpuError, VirtualCpu};
use crate::memory::GuestRam;
use crate::spec::GuestSpec;

/// emu-min's processor with the mechanisms asked for, or else the usual ones.
pub(super) fn emulated(
    ram: &Arc<GuestRam>,
    spec: &GuestSpec<'_>,
    usual: Mechanisms,
) -> Result<Box<dyn VirtualCpu>, CpuError> {
    let mechanisms = spec.mechanisms.unwrap_or(usual);
    let clock = if spec.deterministic { Clock::Instructions } else { Clock::Host };
    let instruction_ns = spec.instruction_ns();
    if spec.stepped {
        let cpu = EmuCpu::<Stepper>::new(Arc::clone(ram), mechanisms, spec.cpu_model, clock, instruction_ns)?;
        return Ok(Box::new(planted(cpu, spec)));
    }
    let cpu = EmuCpu::<Free>::new(Arc::clone(ram), mechanisms, spec.cpu_model, clock, instruction_ns)?;
    Ok(Box::new(planted(cpu, spec)))
}

/// The processor with somebody who looks on, and with what tests plant into it.
fn planted<D: Drive>(cpu: EmuCpu<D>, spec: &GuestSpec<'_>) -> EmuCpu<D> {
    let cpu = cpu.with_observer(spec.observer);
    #[cfg(debug_assertions)]
    let cpu = cpu.with_bug(spec.bug);
    #[cfg(any(debug_assertions, feature = "planted"))]
    let cpu = cpu.with_regression(spec.regression);
    cpu
}
