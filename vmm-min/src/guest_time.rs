//! The guest's own time, which its instructions make: what the machine must do so that the timer interrupts at the same
//! instruction in every run.

use crate::cpu::{CpuError, VirtualCpu};

/// How far the CPU may run before the machine must look at the time.
#[derive(Debug, Default)]
pub(crate) struct GuestTime {
    /// What is left of the limit of the whole run.
    left: Option<u64>,
    /// The current budget, and how many instructions were retired when it was given.
    budget: u64,
    begin: u64,
}

impl GuestTime {
    /// The run is to end after so many instructions.
    pub(crate) fn set_end(&mut self, cpu: &dyn VirtualCpu, limit: Option<u64>) {
        (self.left, self.budget, self.begin) = (limit, 0, retired(cpu));
    }

    /// Lets the CPU run to the end, or to the tick that is so many instructions away.
    pub(crate) fn limit(&mut self, cpu: &mut dyn VirtualCpu, until_tick: Option<u64>) -> Result<(), CpuError> {
        self.count(cpu);
        self.budget = [self.left, until_tick].into_iter().flatten().min().unwrap_or(u64::MAX);
        cpu.set_budget(self.budget)
    }

    /// The budget is used up. Yields how much of it went to work that retires no instruction, such as exceptions; `None` if
    /// the run is over.
    pub(crate) fn used_up(&mut self, cpu: &dyn VirtualCpu) -> Option<u64> {
        let done = self.count(cpu);
        let charged = self.budget.saturating_sub(done);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(charged);
        }
        (self.left != Some(0)).then_some(charged)
    }

    /// Takes what was retired since the last time from the limit.
    fn count(&mut self, cpu: &dyn VirtualCpu) -> u64 {
        let now = retired(cpu);
        let done = now - self.begin;
        self.begin = now;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(done);
        }
        done
    }
}

fn retired(cpu: &dyn VirtualCpu) -> u64 {
    cpu.instructions().unwrap_or(0)
}
