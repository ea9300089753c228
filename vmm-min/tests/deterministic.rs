//! The guest's own time: two runs are alike to the last counter, with a timer too, whatever the host does meanwhile.

#[path = "support/machine.rs"]
mod machine;

use std::time::Duration;

use machine::machine;
use vmm_min::{Counter, CpuKind, End, GuestSpec, Limits, Machine, Outcome};

const EMULATED: [CpuKind; 3] = [CpuKind::EmuNaive, CpuKind::EmuInterp, CpuKind::EmuDbt];

fn spec<'a>(program: &str, options: &str, args: &str) -> GuestSpec<'a> {
    let workload = workloads::find(program).expect("a program of the catalogue");
    let mut spec = GuestSpec::new(workloads::kernel())
        .with_module(workload.elf)
        .with_cmdline(format!("{options} -- {program} {args}"));
    spec.ram_mib = 64;
    spec.deterministic = true;
    spec
}

fn run(kind: CpuKind, program: &str, options: &str, args: &str, instructions: Option<u64>) -> Outcome {
    let machine = machine(&spec(program, options, args), kind).expect("emulators are everywhere");
    machine.run(Limits { wall: Duration::from_secs(120), instructions }, &mut ()).expect("it runs")
}

/// What must be the same: everything but times of the host.
fn exact(outcome: &Outcome) -> Vec<Counter> {
    outcome.counters.iter().filter(|counter| !counter.name.ends_with("_ns")).cloned().collect()
}

fn console(outcome: &Outcome) -> String {
    assert_eq!(outcome.end, End::Exited(0));
    String::from_utf8_lossy(&outcome.console).into_owned()
}

#[test]
fn two_runs_are_alike() {
    for kind in EMULATED {
        for (program, options, args) in [
            ("sieve", "", "20000"),
            ("preempt", "procs=3 hz=1000", ""),
            ("sleep", "hz=1000", "20 1000"),
            ("two_processes", "procs=2", "50"),
        ] {
            let [one, two] = [(); 2].map(|()| run(kind, program, options, args, None));
            assert_eq!(console(&one), console(&two), "{program} on {kind:?}");
            assert_eq!(exact(&one), exact(&two), "{program} on {kind:?}");
        }
    }
}

#[test]
fn every_engine_sees_the_same_time() {
    let consoles: Vec<String> = EMULATED.map(|kind| console(&run(kind, "sleep", "hz=1000", "20 1000", None))).to_vec();
    assert!(consoles.windows(2).all(|pair| pair[0] == pair[1]), "{consoles:?}");
    let counts = EMULATED.map(|kind| {
        let outcome = run(kind, "preempt", "procs=3 hz=1000", "", None);
        let count = |name| outcome.counter(name).expect("counted");
        (outcome.guest_instructions, count("irq.timer"), console(&outcome))
    });
    assert!(counts[0].1 > 0, "the timer ticked");
    assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{counts:?}");
}

#[test]
fn a_second_of_sleep_takes_no_second() {
    let begin = std::time::Instant::now();
    let outcome = run(CpuKind::EmuInterp, "sleep", "hz=1000", "1000 10000", None);
    console(&outcome);
    // Ten seconds to the guest.
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert!(outcome.counter("irq.timer").expect("counted") >= 10_000);
}

#[test]
fn the_limit_is_kept_between_ticks() {
    for kind in EMULATED {
        let outcome = run(kind, "preempt", "procs=3 hz=1000", "", Some(5_000_000));
        assert!(matches!(outcome.end, End::InstructionLimit(_)), "{kind:?}: {:?}", outcome.end);
        let interrupts = outcome.counter("total.irq.timer").expect("counted");
        assert!((3..=5).contains(&interrupts), "{kind:?}: a tick each million instructions, not {interrupts}");
    }
}

#[test]
fn kvm_has_only_the_time_of_the_host() {
    match Machine::new(&spec("noop", "", ""), CpuKind::Kvm) {
        Err(error) => assert!(error.to_string().contains("cannot keep the guest's own time"), "{error}"),
        Ok(_) => panic!("no processor counts its guest's instructions exactly"),
    }
}
