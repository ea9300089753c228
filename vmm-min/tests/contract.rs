//! The guest contract, kept by the machine and the guest kernel together, on every virtual CPU that the host has.

#[path = "support/elf_image.rs"]
mod elf_image;
#[path = "support/machine.rs"]
mod machine;

use std::time::Duration;

use elf_image::{image, kernel, load, pvh_note};
use machine::machine;
use vmm_min::{CpuKind, End, GuestSpec, Limits, Machine, Outcome, Source, check_program};

/// Far more than any of these guests takes on any CPU.
const AMPLE: Duration = Duration::from_secs(120);
/// From the marker `U` to a program's first instruction it takes less.
const PATIENCE: Duration = Duration::from_millis(200);
/// Where the hand-assembled programs begin.
const CODE: u64 = 0x40_0000;

/// Runs `program` on every CPU of this host and checks each outcome.
fn on_each(program: &[u8], cmdline: &str, check: impl Fn(CpuKind, &Outcome)) {
    for kind in CpuKind::ALL {
        if let Some(outcome) = run(kind, program, cmdline, AMPLE) {
            check(kind, &outcome);
        }
    }
}

/// Runs `program` on a CPU of `kind`, if the host has one.
fn run(kind: CpuKind, program: &[u8], cmdline: &str, wall: Duration) -> Option<Outcome> {
    let info = check_program(program, vmm_min::DEFAULT_RAM_MIB).unwrap();
    assert!(info.low < info.high);
    let spec = GuestSpec::new(workloads::kernel()).with_module(program).with_cmdline(cmdline);
    let machine = machine(&spec, kind)?;
    let outcome = machine.run(Limits { wall, instructions: None }, &mut ()).unwrap();
    let dump = outcome.end.dump().map(ToString::to_string).unwrap_or_default();
    println!("{kind:?}: {}\n{dump}\nconsole: {}", outcome.end, String::from_utf8_lossy(&outcome.console));
    Some(outcome)
}

/// A program of hand-assembled 64-bit code.
fn program(code: &[u8]) -> Vec<u8> {
    image(2, CODE, &[load(CODE, code, 0)])
}

fn elf(name: &str) -> &'static [u8] {
    workloads::find(name).unwrap().elf
}

#[test]
fn a_program_runs_and_exits() {
    // mov edi, 42; mov eax, 60; syscall
    let code = [0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    on_each(&program(&code), "", |kind, outcome| {
        assert_eq!(outcome.end, End::Exited(42), "{kind:?}");
        assert!(outcome.ring3_at.is_some_and(|at| at > outcome.started), "{kind:?}");
        assert_eq!(outcome.roi, None, "{kind:?}");
    });
}

#[test]
fn an_environment_moves_the_stack_and_is_the_string_of_the_contract() {
    // mov edi, esp; shr edi, 4; mov eax, 60; syscall: where the stack starts, in units of 16 bytes, modulo 256
    let start = program(&[0x89, 0xe7, 0xc1, 0xef, 4, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    // mov rsi, [rsp+24]; xor edi, edi; again: lodsb; movzx eax, al; add edi, eax; test eax, eax; jnz again; exit(edi):
    // the sum of the bytes of envp[0], modulo 256
    let code = [0x48, 0x8b, 0x74, 0x24, 24, 0x31, 0xff, 0xac, 0x0f, 0xb6, 0xc0, 0x01, 0xc7, 0x85, 0xc0, 0x75, 0xf6];
    let sum = program(&[&code[..], &[0xb8, 60, 0, 0, 0, 0x0f, 0x05]].concat());
    for bytes in [16u64, 32, 2048, 4080, 4096] {
        let line = format!("env={bytes} -- p");
        let moved = |without: u8| without.wrapping_sub((bytes / 16) as u8);
        // With the string comes its pointer in envp; the block is aligned to 16 bytes again.
        on_each(&start, &line, |kind, outcome| {
            let End::Exited(code) = outcome.end else { panic!("{kind:?}: {}", outcome.end) };
            let plain = run(kind, &start, "env=0 -- p", AMPLE).expect("it ran before").end;
            let End::Exited(plain) = plain else { panic!("{kind:?}: {plain}") };
            assert!([moved(plain), moved(plain).wrapping_sub(1)].contains(&code), "{kind:?}, {bytes}: {plain} {code}");
        });
        let text = [b"E=".to_vec(), vec![b'x'; bytes as usize - 3]].concat();
        let expected = text.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        on_each(&sum, &line, |kind, outcome| assert_eq!(outcome.end, End::Exited(expected), "{kind:?}, {bytes}"));
    }
    for bad in ["env=8", "env=4112"] {
        on_each(&start, bad, |kind, outcome| {
            assert_eq!(outcome.end, End::Exited(255), "{kind:?}");
            assert!(String::from_utf8_lossy(&outcome.console).contains("env= takes a multiple of 16"), "{kind:?}");
        });
    }
}

#[test]
fn counts_do_not_depend_on_where_stack_and_program_lie() {
    for kind in CpuKind::ALL {
        let mut counts = Vec::new();
        for (environment, offset) in [(0, 0), (16, 7), (2000, 200), (4080, 255)] {
            let line = format!("env={environment} -- sieve 20000");
            let mut spec = GuestSpec::new(workloads::kernel()).with_module(elf("sieve")).with_cmdline(line);
            spec.module_offset_pages = offset;
            let Some(machine) = machine(&spec, kind) else { continue };
            let outcome = machine.run(Limits { wall: AMPLE, instructions: None }, &mut ()).unwrap();
            assert_eq!(outcome.end, End::Exited(0), "{kind:?}");
            counts.push((outcome.guest_instructions, outcome.counter("exit.io")));
        }
        assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{kind:?}: {counts:?}");
    }
}

#[test]
fn an_empty_region_has_one_exit() {
    on_each(elf("noop"), "-- noop", |kind, outcome| {
        assert_eq!(outcome.end, End::Exited(0), "{kind:?}");
        let console = String::from_utf8_lossy(&outcome.console);
        assert!(console.lines().any(|line| line.starts_with("result ")), "{kind:?}: {console}");
        assert!(outcome.roi.is_some(), "{kind:?}");
        assert_eq!((outcome.counter("exit.total"), outcome.counter("exit.io")), (Some(1), Some(1)), "{kind:?}");
    });
}

#[test]
fn port_writes_are_counted_exactly() {
    on_each(elf("port_io"), "-- port_io 500", |kind, outcome| {
        assert_eq!(outcome.end, End::Exited(0), "{kind:?}");
        assert_eq!(outcome.counter("exit.io"), Some(500 + 1), "{kind:?}: the writes and E");
        assert_eq!(outcome.counter("exit.total"), Some(500 + 1), "{kind:?}");
        assert_eq!(outcome.guest_instructions.is_some(), kind != CpuKind::Kvm, "{kind:?}");
        let source = if kind == CpuKind::Kvm { Source::Kvm } else { Source::Emu };
        assert!(outcome.counters.iter().any(|c| c.source == source), "{kind:?}");
    });
}

#[test]
fn two_processes_are_isolated() {
    on_each(elf("two_processes"), "procs=2 -- two_processes 10", |kind, outcome| {
        assert_eq!(outcome.end, End::Exited(0), "{kind:?}");
    });
}

#[test]
fn a_jump_to_nowhere_ends_the_process() {
    // xor eax, eax; jmp rax
    on_each(&program(&[0x31, 0xc0, 0xff, 0xe0]), "", |kind, outcome| {
        assert_eq!(outcome.end, End::Exited(139), "{kind:?}");
    });
}

#[test]
fn a_privileged_instruction_ends_the_process() {
    on_each(&program(&[0xf4]), "", |kind, outcome| assert_eq!(outcome.end, End::Exited(139), "{kind:?}"));
}

#[test]
fn a_program_that_loops_is_stopped_and_shown() {
    let program = program(&[0xeb, 0xfe]);
    for kind in CpuKind::ALL {
        // A busy host may take long until the guest's kernel has started the program, so the limit grows until it has.
        let looping = |outcome: &Outcome| outcome.ring3_at.is_some_and(|at| outcome.ended - at > PATIENCE);
        let mut last = None;
        for power in 1..8 {
            last = run(kind, &program, "", PATIENCE * (1 << power));
            if last.as_ref().is_none_or(looping) {
                break;
            }
        }
        let Some(outcome) = last else { continue };
        let End::TimeLimit(dump) = &outcome.end else { panic!("{kind:?}: {}", outcome.end) };
        let registers = dump.registers.as_ref().unwrap();
        assert_eq!((registers.rip, registers.cpl, registers.mode()), (CODE, 3, "64-bit mode"), "{kind:?}");
        assert_eq!(dump.code.as_ref().unwrap()[..2], [0xeb, 0xfe], "{kind:?}: through the guest's page tables");
    }
}

#[test]
fn a_held_machine_ends_by_its_reported_code() {
    let code = [0xbf, 3, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    on_each(&program(&code), "hold", |kind, outcome| {
        assert_eq!(outcome.end, End::Exited(3), "{kind:?}");
        assert_eq!(outcome.counter("total.exit.hlt"), Some(1), "{kind:?}");
    });
}

#[test]
fn a_guest_too_large_is_refused() {
    let kernel = kernel(b"\xf4");
    let spec = GuestSpec::new(&kernel[..]).with_module(vec![0; 256 << 20]);
    let refused = |spec: &GuestSpec<'_>| Machine::new(spec, CpuKind::EmuInterp).unwrap_err().to_string();
    assert_eq!(refused(&spec), "module 1 of 268435456 bytes does not fit into 256 MiB of guest RAM; raise --ram");
    let large = image(2, 0, &[load(0x10_0000, b"\xf4", 1 << 30), pvh_note(0x10_0000)]);
    assert!(refused(&GuestSpec::new(&large[..])).contains("beyond the 256 MiB of guest RAM; raise --ram"));
}
