//! Somebody who looks on sees every instruction, and changes none.

mod common;

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use common::{CODE, STRATEGIES, assemble, kernel_machine, machine, run_to_handler};
use emu_min::{Exit, Observer, Sight};
use iced_x86::code_asm::*;

/// Address, instructions retired and RCX at every sight.
type Seen = Arc<Mutex<Vec<(u64, u64, u64)>>>;

#[derive(Debug)]
struct Recorder(Seen);

impl Observer for Recorder {
    fn before(&mut self, sight: &Sight<'_>) {
        assert_eq!(sight.bits, 64);
        assert!(sight.code.len() >= 2, "{sight:x?}");
        let mut here = [0; 2];
        assert_eq!(sight.memory.read(sight.address, &mut here), 2);
        assert!(sight.code.starts_with(&here), "{sight:x?}");
        assert_eq!(sight.memory.read(1 << 60, &mut here), 0, "no canonical address");
        self.0.lock().unwrap().push((sight.address, sight.retired, sight.registers[1]));
    }

    fn counts(&self) -> Vec<(Cow<'static, str>, u64)> {
        vec![("sights".into(), self.0.lock().unwrap().len() as u64)]
    }
}

#[test]
fn every_instruction_is_seen_once_with_its_registers() {
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.mov(ecx, 3)?;
        a.set_label(&mut again)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        let seen = Seen::default();
        cpu.observe(Box::new(Recorder(Arc::clone(&seen))));
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.observer().map(Observer::counts), Some(vec![("sights".into(), 8)]));
        let seen = seen.lock().unwrap();
        let retired: Vec<u64> = seen.iter().map(|s| s.1).collect();
        assert_eq!(retired, (0..8).collect::<Vec<_>>(), "{strategy:?}");
        assert_eq!(cpu.instructions(), 8);
        let counters: Vec<u64> = seen.iter().skip(1).step_by(2).map(|s| s.2).collect();
        assert_eq!(counters, [3, 2, 1, 0], "{strategy:?}");
        assert_eq!(seen[0].0, CODE);
    }
}

/// Computes what has no exact result.
#[derive(Debug, Default)]
struct Divider(f64);

impl Observer for Divider {
    fn before(&mut self, sight: &Sight<'_>) {
        self.0 += 1.0 / (sight.retired as f64 + 3.0);
    }

    fn counts(&self) -> Vec<(Cow<'static, str>, u64)> {
        vec![("sum".into(), (self.0 * 1e6) as u64)]
    }
}

#[test]
fn what_an_observer_computes_is_not_in_the_guests_flags() {
    let code = assemble(|a| {
        a.nop()?;
        a.nop()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let run = |observed: bool| {
            let mut cpu = machine(strategy, &code, 0);
            if observed {
                cpu.observe(Box::new(Divider::default()));
            }
            assert_eq!(cpu.run(), Exit::Halt);
            cpu.state()
        };
        assert_eq!(run(true), run(false), "{strategy:?}");
    }
}

#[test]
fn an_instruction_that_faults_is_seen_and_not_retired() {
    let code = assemble(|a| {
        a.nop()?;
        a.ud2()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        let seen = Seen::default();
        cpu.observe(Box::new(Recorder(Arc::clone(&seen))));
        assert_eq!(run_to_handler(&mut cpu).0, 6, "#UD");
        let retired: Vec<u64> = seen.lock().unwrap().iter().map(|s| s.1).collect();
        // The no-operation, the fault, the handler's HLT.
        assert_eq!(retired, [0, 1, 1], "{strategy:?}");
    }
}

#[test]
fn single_steps_are_seen_too() {
    // POPF sets TF, so that what follows runs alone.
    let code = assemble(|a| {
        a.pushfq()?;
        a.or(dword_ptr(rsp), 0x100)?;
        a.popfq()?;
        a.nop()?;
        a.hlt()
    });
    let mut cpu = kernel_machine(emu_min::Strategy::Interp, &code, 0);
    let seen = Seen::default();
    cpu.observe(Box::new(Recorder(Arc::clone(&seen))));
    assert_eq!(run_to_handler(&mut cpu).0, 1, "#DB");
    let nop = cpu.instructions() - 2;
    assert!(seen.lock().unwrap().iter().any(|s| s.1 == nop), "{seen:?}");
}
