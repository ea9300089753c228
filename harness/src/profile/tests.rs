//! Profiles of guests that are small enough to be counted by hand.

use std::collections::BTreeMap;

use emu_min::{Config, Cpu, Exit, GuestRam, State};

use super::Profiler;

/// Where the code is.
const CODE: u64 = 0x1000;

/// What is counted of 32-bit code in ring 0, without paging, up to its last instruction but one: HLT is never settled.
fn counts(code: &[u8]) -> BTreeMap<String, u64> {
    let ram = GuestRam::allocate(1 << 20);
    assert!(ram.write(CODE, code));
    let mut cpu = Cpu::new(ram, Config::default());
    cpu.set_state(&State::pvh(CODE, 0));
    cpu.observe(Profiler::boxed());
    assert_eq!(cpu.run(), Exit::Halt);
    let observer = cpu.observer().expect("it was set");
    observer.counts().into_iter().map(|(name, count)| (name.into_owned(), count)).collect()
}

fn count(counts: &BTreeMap<String, u64>, name: &str) -> u64 {
    counts[&format!("ring0.{name}")]
}

#[test]
fn a_loop_is_counted_exactly() {
    let code = [
        0xb9, 10, 0, 0, 0, // mov ecx, 10
        0x01, 0x05, 0x00, 0x20, 0, 0,    // add [0x2000], eax
        0x49, // dec ecx
        0x75, 0xf7, // jnz to the addition
        0xf4, // hlt
    ];
    let counts = counts(&code);
    let found = ["integer", "branch", "load", "store", "taken"].map(|name| count(&counts, name));
    assert_eq!(found, [1 + 10 + 10, 10, 10, 10, 9]);
    assert_eq!(["miss.l1", "miss.dram", "miss.tlb64", "miss.tlb"].map(|name| count(&counts, name)), [1, 1, 1, 1]);
    assert_eq!((counts["code.new"], counts["code.hot"], counts["code.changed"]), (5, 0, 0));
    assert_eq!(counts["ring3.integer"], 0);
    let all: u64 = counts.iter().filter(|(name, _)| name.starts_with("ring3.")).map(|(_, count)| count).sum();
    assert_eq!(all, 0, "nothing runs in ring 3");
}

#[test]
fn calls_and_indirect_jumps_are_told_apart() {
    let code = [
        0xbc, 0x00, 0x80, 0, 0, // mov esp, 0x8000
        0xe8, 0x07, 0, 0, 0, // call f
        0xb8, 0x13, 0x10, 0, 0, // mov eax, end
        0xff, 0xe0, // jmp eax
        0xc3, // f: ret, at 0x1011
        0x90, // nop
        0xf4, // end: hlt, at 0x1013
    ];
    let counts = counts(&code);
    let found = ["call", "return", "indirect", "integer", "load", "store", "taken"].map(|name| count(&counts, name));
    assert_eq!(found, [1, 1, 1, 2, 1, 1, 3]);
    assert_eq!(count(&counts, "miss.target"), 1, "the return was foreseen, the jump was not");
}

#[test]
fn elements_of_a_repetition_are_counted() {
    let code = [
        0xbf, 0x00, 0x40, 0, 0, // mov edi, 0x4000
        0xb9, 0x00, 0x02, 0, 0, // mov ecx, 512
        0xf3, 0xab, // rep stosd
        0xf4,
    ];
    let counts = counts(&code);
    assert_eq!(
        ["string", "string.moved", "string.bytes", "store", "load"].map(|name| count(&counts, name)),
        [1, 512, 2048, 512, 0]
    );
    assert_eq!(count(&counts, "miss.l1"), 32, "a line each");
    assert_eq!(count(&counts, "streamed"), 31, "all but the first follow another");
}

#[test]
fn code_that_becomes_hot_or_changes_is_noticed() {
    let code = [
        0xb9, 0x64, 0, 0, 0,    // mov ecx, 100
        0x49, // dec ecx
        0x75, 0xfd, // jnz
        0x90, // nop, at 0x1008
        0xc6, 0x05, 0x08, 0x10, 0, 0, 0x40, // mov byte [0x1008], inc eax
        0x43, // inc ebx
        0x83, 0xfb, 0x02, // cmp ebx, 2
        0x72, 0xf2, // jb to 0x1008
        0xf4,
    ];
    let counts = counts(&code);
    assert_eq!(counts["code.hot"], 2, "dec and jnz");
    assert_eq!(counts["code.changed"], 1);
}

#[test]
fn the_observer_changes_nothing() {
    let code = [0xb9, 0x0a, 0, 0, 0, 0x01, 0xc8, 0x49, 0x75, 0xfb, 0xf4];
    let run = |observed: bool| {
        let ram = GuestRam::allocate(1 << 20);
        assert!(ram.write(CODE, &code));
        let mut cpu = Cpu::new(ram, Config::default());
        cpu.set_state(&State::pvh(CODE, 0));
        if observed {
            cpu.observe(Profiler::boxed());
        }
        assert_eq!(cpu.run(), Exit::Halt);
        (cpu.state(), cpu.instructions())
    };
    assert_eq!(run(true), run(false));
}
