//! Hand-assembled 32-bit guests on every virtual CPU that the host has: the machine is one, whatever the CPU.

#[path = "support/elf_image.rs"]
mod elf_image;
#[path = "support/machine.rs"]
mod machine;

use std::time::{Duration, Instant};

use elf_image::kernel;
use vmm_min::{CpuKind, End, GuestSpec, Limits, Machine, Outcome};

/// Far more than any of these guests takes on any CPU.
const AMPLE: Duration = Duration::from_secs(60);
/// Where the guests' code begins.
const CODE: u32 = 0x10_0000;

fn machine(code: &[u8], kind: CpuKind) -> Option<Machine> {
    let file = kernel(code);
    let mut spec = GuestSpec::new(&file[..]);
    spec.ram_mib = 4;
    machine::machine(&spec, kind)
}

/// Runs `code` on every CPU of this host and checks each outcome.
fn on_each(code: &[u8], wall: Duration, check: impl Fn(CpuKind, Outcome)) {
    for kind in CpuKind::ALL {
        if let Some(machine) = machine(code, kind) {
            check(kind, machine.run(Limits { wall, instructions: None }, &mut ()).unwrap());
        }
    }
}

/// `mov al, byte; out port, al`
fn out(port: u8, byte: u8) -> [u8; 4] {
    [0xb0, byte, 0xe6, port]
}

#[test]
fn port_exits_are_counted_exactly() {
    let code = [
        &out(0xe9, b'U')[..],
        &out(0xe9, b'B'),
        &[0xb9, 0xe8, 0x03, 0, 0],       // mov ecx, 1000
        &[0xe6, 0x80, 0x49, 0x75, 0xfb], // l: out 0x80, al; dec ecx; jnz l
        &out(0xe9, b'E'),
        &out(0xf4, 7),
    ]
    .concat();
    on_each(&code, AMPLE, |kind, outcome| {
        assert_eq!(outcome.end, End::Exited(7), "{kind:?}");
        assert_eq!(outcome.counter("exit.io"), Some(1000 + 1), "{kind:?}: the loop and E");
        assert_eq!(outcome.counter("total.exit.io"), Some(1000 + 4), "{kind:?}: and U, B and the exit");
        assert_eq!(outcome.counter("exit.mmio"), Some(0), "{kind:?}");
        let roi = outcome.roi.unwrap();
        assert!(outcome.started < outcome.ring3_at.unwrap() && outcome.ring3_at.unwrap() < roi.begin);
        let accounted = outcome.counter("run_ns").unwrap() + outcome.counter("serve_ns").unwrap();
        assert!(
            u128::from(accounted) <= roi.duration().as_nanos() * 101 / 100 + 1000,
            "{kind:?}: {accounted} of {roi:?}"
        );
        // mov ecx; 1000 times out, dec, jnz; then mov, out for E.
        let counts = kind != CpuKind::Kvm;
        assert_eq!(outcome.guest_instructions, counts.then_some(1 + 3000 + 2), "{kind:?}");
    });
}

#[test]
fn strings_and_wide_accesses_reach_the_devices() {
    let text = b"hello, string output";
    let strings = CODE + 64;
    let mut code = [
        &[0xbe][..],
        &strings.to_le_bytes(), // mov esi, text
        &[0xb9],
        &(text.len() as u32).to_le_bytes(),    // mov ecx, len
        &[0x66, 0xba, 0xf8, 0x03],             // mov dx, 0x3f8
        &[0xfc, 0xf3, 0x6e],                   // cld; rep outsb
        &[0x66, 0xb8, b'!', 0x00, 0x66, 0xef], // mov ax, '!'; out dx, ax: the high byte goes to 0x3f9
        &[0xe5, 0x50],                         // in eax, 0x50: nobody answers
        &[0x40, 0x75, 0x04],                   // inc eax; jnz fail
        &out(0xf4, 5),
        &out(0xf4, 6), // fail:
    ]
    .concat();
    code.resize(64, 0xf4);
    code.extend_from_slice(text);
    on_each(&code, AMPLE, |kind, outcome| {
        assert_eq!(outcome.end, End::Exited(5), "{kind:?}");
        assert_eq!(outcome.console, b"hello, string output!", "{kind:?}");
    });
}

#[test]
fn memory_above_ram_reads_as_ones() {
    let code = [
        &[0xa2, 0, 0, 0, 0xd0][..], // mov [0xd0000000], al
        &[0xa1, 0, 0, 0, 0xd0],     // mov eax, [0xd0000000]
        &[0x40, 0x75, 0x04],        // inc eax; jnz fail
        &out(0xf4, 5),
        &out(0xf4, 6), // fail:
    ]
    .concat();
    on_each(&code, AMPLE, |kind, outcome| {
        assert_eq!(outcome.end, End::Exited(5), "{kind:?}");
        assert_eq!(outcome.counter("total.exit.mmio"), Some(2), "{kind:?}");
    });
}

#[test]
fn halting_ends_at_once() {
    on_each(&[0xf4], AMPLE, |kind, outcome| {
        let End::Halted(dump) = &outcome.end else { panic!("{kind:?}: {}", outcome.end) };
        assert_eq!(dump.registers.as_ref().unwrap().rip, u64::from(CODE) + 1, "{kind:?}");
        assert_eq!(outcome.counter("total.exit.hlt"), Some(1), "{kind:?}");
    });
}

#[test]
fn halting_after_the_exit_code_is_a_good_end() {
    let code = [&out(0xe9, b'X')[..], &out(0xe9, b'2'), &out(0xe9, b'a'), &[0xf4]].concat();
    on_each(&code, AMPLE, |kind, outcome| assert_eq!(outcome.end, End::Exited(0x2a), "{kind:?}"));
}

#[test]
fn a_triple_fault_is_told() {
    // ud2 with an empty interrupt table.
    on_each(&[0x0f, 0x0b], AMPLE, |kind, outcome| {
        assert!(matches!(outcome.end, End::TripleFault(_)), "{kind:?}: {}", outcome.end);
        assert_eq!(outcome.counter("total.exit.shutdown"), Some(1), "{kind:?}");
    });
}

#[test]
fn executing_outside_ram_fails_with_a_report() {
    // mov eax, 0xd0000000; jmp eax
    on_each(&[0xb8, 0, 0, 0, 0xd0, 0xff, 0xe0], AMPLE, |kind, outcome| {
        assert!(matches!(outcome.end, End::Failed { .. } | End::TripleFault(_)), "{kind:?}: {}", outcome.end);
        let dump = outcome.end.dump().unwrap().to_string();
        assert!(dump.contains("rip "), "{kind:?}: {dump}");
    });
}

#[test]
fn an_endless_loop_ends_at_the_limit() {
    on_each(&[0xeb, 0xfe], Duration::from_millis(100), |kind, outcome| {
        let End::TimeLimit(dump) = outcome.end else { panic!("{kind:?}: {}", outcome.end) };
        assert_eq!(dump.registers.as_ref().unwrap().rip, u64::from(CODE), "{kind:?}");
        assert_eq!(dump.code.as_deref().unwrap()[..2], [0xeb, 0xfe], "{kind:?}");
        assert!(dump.to_string().starts_with("32-bit protected mode, ring 0"), "{kind:?}: {dump}");
    });
}

#[test]
fn a_storm_of_exits_ends_at_the_limit() {
    // l: out 0x80, al; jmp l
    on_each(&[0xe6, 0x80, 0xeb, 0xfc], Duration::from_millis(100), |kind, outcome| {
        assert!(matches!(outcome.end, End::TimeLimit(_)), "{kind:?}: {}", outcome.end);
        assert!(outcome.counter("total.exit.io").unwrap() > 1, "{kind:?}");
    });
}

#[test]
fn another_thread_can_stop_a_guest() {
    for kind in CpuKind::ALL {
        let Some(machine) = machine(&[0xeb, 0xfe], kind) else { continue };
        let handle = machine.stop_handle();
        let begin = Instant::now();
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            handle.stop();
        });
        let outcome = machine.run(Limits { wall: AMPLE, instructions: None }, &mut ()).unwrap();
        stopper.join().unwrap();
        assert_eq!(outcome.end, End::Stopped, "{kind:?}");
        assert!(begin.elapsed() < AMPLE, "{kind:?}");
    }
}

#[test]
fn a_stop_before_the_run_counts() {
    for kind in CpuKind::ALL {
        let Some(machine) = machine(&[0xeb, 0xfe], kind) else { continue };
        let handle = machine.stop_handle();
        handle.stop();
        let outcome = machine.run(Limits { wall: AMPLE, instructions: None }, &mut ()).unwrap();
        assert_eq!(outcome.end, End::Stopped, "{kind:?}");
        handle.stop();
    }
}

#[test]
fn an_instruction_budget_needs_a_cpu_that_counts() {
    for kind in CpuKind::ALL {
        let Some(machine) = machine(&[0xeb, 0xfe], kind) else { continue };
        let result = machine.run(Limits { wall: AMPLE, instructions: Some(1000) }, &mut ());
        if kind == CpuKind::Kvm {
            assert!(result.unwrap_err().to_string().contains("KVM cannot stop after a number of instructions"));
        } else {
            assert!(matches!(result.unwrap().end, End::InstructionLimit(_)), "{kind:?}");
        }
    }
}

#[test]
fn kvm_reports_its_statistics() {
    let code = [&out(0xe9, b'B')[..], &out(0xe9, b'E'), &out(0xf4, 0)].concat();
    let Some(machine) = machine(&code, CpuKind::Kvm) else { return };
    let outcome = machine.run(Limits { wall: AMPLE, instructions: None }, &mut ()).unwrap();
    let of_kvm: Vec<_> = outcome.counters.iter().filter(|c| c.source == vmm_min::Source::Kvm).collect();
    if of_kvm.is_empty() {
        eprintln!("skipped: this host's KVM has no binary statistics (before Linux 5.14)");
        return;
    }
    assert!(of_kvm.iter().any(|c| c.name == "exits"), "{of_kvm:?}");
    assert!(of_kvm.iter().any(|c| c.name == "total.exits" && c.value > 0), "{of_kvm:?}");
}
