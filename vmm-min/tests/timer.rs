//! The timer on every virtual CPU that the host has: interrupts, pre-emption and sleep, with the guest kernel and programs
//! of the catalogue.

#[path = "support/machine.rs"]
mod machine;

use std::time::Duration;

use machine::machine;
use vmm_min::{CpuKind, End, GuestSpec, Limits, Outcome};

/// Runs a program of the catalogue with these options and arguments of the kernel command line.
fn run(kind: CpuKind, mechanisms: &str, program: &str, options: &str, args: &str) -> Option<Outcome> {
    let workload = workloads::find(program).expect("a program of the catalogue");
    let mut spec = GuestSpec::new(workloads::kernel())
        .with_module(workload.elf)
        .with_cmdline(format!("{options} -- {program} {args}"));
    spec.ram_mib = 64;
    if !mechanisms.is_empty() {
        let usual = match kind {
            CpuKind::EmuDbt => emu_min::Mechanisms::dbt(),
            CpuKind::EmuInterp => emu_min::Mechanisms::interp(),
            CpuKind::EmuNaive | CpuKind::Kvm => emu_min::Mechanisms::naive(),
        };
        spec.mechanisms = Some(usual.with(mechanisms).expect("mechanisms"));
    }
    let machine = machine(&spec, kind)?;
    Some(machine.run(Limits { wall: Duration::from_secs(60), instructions: None }, &mut ()).unwrap())
}

/// The checksum of a run that ended well.
fn checksum(outcome: &Outcome) -> String {
    let console = String::from_utf8_lossy(&outcome.console);
    assert_eq!(outcome.end, End::Exited(0), "{console}");
    let line = console.lines().find(|line| line.starts_with("result "));
    line.unwrap_or_else(|| panic!("no result: {console}")).to_owned()
}

fn count(outcome: &Outcome, name: &str) -> u64 {
    outcome.counter(name).unwrap_or_else(|| panic!("no counter {name}"))
}

#[test]
fn sleeping_halts_the_guest() {
    for kind in CpuKind::ALL {
        let Some(outcome) = run(kind, "", "sleep", "hz=1000", "100 1000") else { continue };
        checksum(&outcome);
        assert!(count(&outcome, "exit.hlt") > 0 && count(&outcome, "irq.timer") > 0, "{kind:?}");
    }
}

#[test]
fn interrupts_change_no_result() {
    for (program, args) in [("sha256", "40"), ("qsort", "30000"), ("nbody", "3000")] {
        let mut expected = None;
        for kind in CpuKind::ALL {
            let Some(quiet) = run(kind, "", program, "", args) else { continue };
            let Some(ticking) = run(kind, "", program, "hz=1000", args) else { continue };
            let expected = expected.get_or_insert_with(|| checksum(&quiet));
            assert_eq!([&checksum(&quiet), &checksum(&ticking)], [&*expected, &*expected], "{program} on {kind:?}");
            assert_eq!((count(&quiet, "total.irq.timer"), count(&quiet, "total.idle_ns")), (0, 0), "{kind:?}");
            assert_eq!(count(&ticking, "irq.spurious"), 0);
            if kind != CpuKind::Kvm {
                assert!(count(&ticking, "total.irq.timer") > 0, "{program} on {kind:?} is over before a tick");
            }
        }
    }
}

/// Pre-empted processes keep all registers, their rounding mode and their memory: the program checks it.
#[test]
fn preempted_processes_keep_what_is_theirs() {
    let mut expected = None;
    for (kind, rounds) in [(CpuKind::Kvm, 300), (CpuKind::EmuDbt, 300), (CpuKind::EmuInterp, 300)] {
        let Some(outcome) = run(kind, "", "preempt", "procs=3 hz=1000", &rounds.to_string()) else { continue };
        assert_eq!(expected.get_or_insert_with(|| checksum(&outcome)), &checksum(&outcome), "{kind:?}");
        assert!(count(&outcome, "irq.timer") > 1, "{kind:?}");
        let wall = outcome.roi.map_or(Duration::ZERO, |roi| roi.duration());
        assert!(u128::from(count(&outcome, "irq.timer")) <= wall.as_millis() + 2, "{kind:?}: more ticks than time");
    }
}

/// Every mechanism of the emulator is interrupted, alone and with the others.
#[test]
fn every_tier_takes_interrupts() {
    let interp = ["", "link=off", "fuse=off", "bulk=off", "flags=eager", "mmu=walk"].map(|m| (CpuKind::EmuInterp, m));
    let dbt = ["", "chain=off,inline-cache=off", "inline-cache=off"].map(|m| (CpuKind::EmuDbt, m));
    let mut expected = None;
    for (kind, mechanisms) in [(CpuKind::EmuNaive, "")].into_iter().chain(interp).chain(dbt) {
        let outcome = run(kind, mechanisms, "preempt", "procs=3 hz=5000", "25").expect("an emulated CPU");
        assert_eq!(expected.get_or_insert_with(|| checksum(&outcome)), &checksum(&outcome), "{kind:?} {mechanisms}");
        assert!(count(&outcome, "total.irq.timer") > 0, "{kind:?} {mechanisms}");
    }
}

#[test]
fn there_may_be_many_processes() {
    for kind in [CpuKind::Kvm, CpuKind::EmuDbt] {
        for options in ["procs=40", "procs=40 hz=2000"] {
            let Some(outcome) = run(kind, "", "preempt", options, "3") else { continue };
            checksum(&outcome);
        }
        let Some(outcome) = run(kind, "", "sleep", "procs=20 hz=1000", "5 2000") else { continue };
        checksum(&outcome);
    }
}

#[test]
fn without_a_timer_a_sleep_polls() {
    for kind in [CpuKind::Kvm, CpuKind::EmuInterp] {
        let Some(outcome) = run(kind, "", "sleep", "procs=2", "5 1000") else { continue };
        checksum(&outcome);
        assert_eq!((count(&outcome, "exit.hlt"), count(&outcome, "irq.timer")), (0, 0), "{kind:?}");
    }
}

#[test]
fn a_frequency_that_the_timer_does_not_have_is_refused() {
    for options in ["hz=18", "hz=5001"] {
        let outcome = run(CpuKind::EmuInterp, "", "noop", options, "").expect("an emulated CPU");
        assert_eq!(outcome.end, End::Exited(255));
        assert!(String::from_utf8_lossy(&outcome.console).contains("hz= takes 19 to 5000"));
    }
}
