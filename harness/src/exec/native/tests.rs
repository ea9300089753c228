//! What the native engine promises, on the processor of the host.

use super::*;
use crate::exec::{Access, Region, Registers, X87};

const CODE: u64 = 0x1000_0000;
const DATA: u64 = 0x2000_0000;

fn snippet(mode: Mode, code: &[u8]) -> Snippet {
    let mut bytes = vec![0xf4; 0x1000];
    bytes[..code.len()].copy_from_slice(code);
    let mut registers = Registers { rip: CODE, ..Registers::default() };
    registers.gprs[4] = DATA + 0x800;
    registers.gprs[3] = DATA;
    Snippet {
        mode,
        registers,
        regions: vec![
            Region { address: CODE, bytes, access: Access::RX },
            Region { address: DATA, bytes: vec![0; 0x1000], access: Access::RW },
        ],
        budget: 1000,
    }
}

fn runner() -> NativeRunner {
    NativeRunner::new().expect("this host executes snippets natively")
}

fn exception(vector: u8, error: u32, address: u64) -> End {
    End::Exception(Exception::new(vector, error, address))
}

#[test]
fn every_register_is_loaded_and_captured() {
    let mut s = snippet(Mode::Bits64, &[0x90]);
    s.registers = Registers {
        gprs: std::array::from_fn(|i| 0x1111_1111_1111_1111 * i as u64),
        rip: CODE,
        rflags: 0xad7,
        fs_base: 0x1234_5678_9abc,
        gs_base: 0x77,
        ymm: std::array::from_fn(|i| [u128::MAX / 3 + i as u128, u128::MAX / 5 - i as u128]),
        mxcsr: 0x7fbf,
        x87: X87 {
            fcw: 0x37f,
            fsw: 0x3800,
            ftw: 0xff,
            st: std::array::from_fn(|i| 0x3fff_8000_0000_0000_0000 + i as u128),
        },
        selectors: [0x2b, 0x33, 0x2b, 0x2b, 0x2b, 0x2b],
    };
    let state = runner().run(&s).unwrap();
    assert_eq!(state.end, End::Hlt);
    let mut expected = s.registers.clone();
    expected.rip = CODE + 2;
    assert_eq!(state.registers, expected);
    assert_eq!(state.memory, []);
}

#[test]
fn exceptions_come_with_their_error_code_and_address() {
    let mut runner = runner();
    let cases: [(&[u8], End); 9] = [
        (&[0x0f, 0x0b], exception(6, 0, 0)),
        (&[0xcc], exception(3, 0, 0)),
        (&[0xcd, 0x77], exception(13, 0x77 * 8 + 2, 0)),
        (&[0xc6, 0x03, 1, 0xc6, 0x83, 0, 0x10, 0, 0, 1], exception(14, 6, DATA + 0x1000)),
        (&[0x8b, 0x83, 0xfe, 0x0f, 0, 0], exception(14, 4, DATA + 0x1000)),
        (&[0xc6, 0x05, 0xf9, 0xff, 0xff, 0xff, 0], exception(14, 7, CODE)),
        (&[0xff, 0xe3], exception(14, 0x15, DATA)),
        (&[0x31, 0xc9, 0xf7, 0xf1], exception(0, 0, 0)),
        (&[0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8a, 0x00], exception(13, 0, 0)),
    ];
    for (code, end) in cases {
        assert_eq!(runner.run(&snippet(Mode::Bits64, code)).unwrap().end, end, "{code:x?}");
    }
}

#[test]
fn memory_changes_are_reported_and_do_not_leak_into_the_next_case() {
    let mut runner = runner();
    let store = snippet(Mode::Bits64, &[0xc6, 0x43, 0x10, 0x7f]);
    let fill = snippet(Mode::Bits64, &[0x48, 0x89, 0xdf, 0xb9, 0, 0x10, 0, 0, 0xb0, 1, 0xf3, 0xaa]);
    let idle = snippet(Mode::Bits64, &[0x90]);
    let states = runner.run_many(&[store.clone(), fill, idle, store]);
    let memory: Vec<_> = states.into_iter().map(|state| state.unwrap().memory).collect();
    let one = vec![crate::exec::MemoryChange { address: DATA + 0x10, bytes: vec![0x7f] }];
    let all = vec![crate::exec::MemoryChange { address: DATA, bytes: vec![1; 0x1000] }];
    assert_eq!(memory, [one.clone(), all, vec![], one]);
}

#[test]
fn more_changes_than_a_slot_holds_are_still_complete() {
    let mut s = snippet(Mode::Bits64, &[0x48, 0x89, 0xdf, 0xb9, 0, 0, 1, 0, 0xb0, 9, 0xf3, 0xaa]);
    s.regions[1].bytes = vec![0; 0x1_0000];
    let idle = snippet(Mode::Bits64, &[0x90]);
    let states = runner().run_many(&[s, idle]);
    let first = states.into_iter().next().unwrap().unwrap();
    assert_eq!(first.end, End::Hlt);
    assert_eq!(first.memory, [crate::exec::MemoryChange { address: DATA, bytes: vec![9; 0x1_0000] }]);
}

#[test]
fn thirty_two_bit_code_runs_in_compatibility_mode() {
    // inc eax; into; with OF clear; then mov ecx, cs
    let mut s = snippet(Mode::Bits32, &[0x40, 0xce, 0x8c, 0xc9]);
    s.registers.gprs[0] = 6;
    let state = runner().run(&s).unwrap();
    assert_eq!((state.end, state.registers.gprs[0], state.registers.gprs[1]), (End::Hlt, 7, 0x23));
}

#[test]
fn system_calls_of_the_code_under_test_are_refused() {
    let mut runner = runner();
    for code in [&[0x0f, 0x05][..], &[0xcd, 0x80]] {
        let mut s = snippet(Mode::Bits64, code);
        s.registers.gprs[0] = 231; // exit_group
        assert_eq!(runner.run(&s).unwrap().end, End::KernelCall, "{code:x?}");
    }
    let mut s = snippet(Mode::Bits32, &[0xcd, 0x80]);
    s.registers.gprs[0] = 1;
    assert_eq!(runner.run(&s).unwrap().end, End::KernelCall);
}

#[test]
fn endless_loops_end() {
    let state = runner().run(&snippet(Mode::Bits64, &[0xeb, 0xfe])).unwrap();
    assert_eq!((state.end, state.registers.rip), (End::Budget, CODE));
}

#[test]
fn odd_flags_and_segments_do_not_hurt_the_runner() {
    let mut runner = runner();
    // push 0x244dd5; popfq with TF, NT, AC and ID; then nop
    let flags = snippet(Mode::Bits64, &[0x68, 0xd5, 0x4d, 0x24, 0x00, 0x9d, 0x90]);
    // xor eax, eax; mov fs, eax; mov ds, eax; mov es, eax; mov gs, eax; mov rsp, 1
    let segments =
        snippet(Mode::Bits64, &[0x31, 0xc0, 0x8e, 0xe0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe8, 0xbc, 1, 0, 0, 0]);
    let state = runner.run(&flags).unwrap();
    assert_eq!(state.end, exception(1, 0, 0));
    let state = runner.run(&segments).unwrap();
    assert_eq!((state.end, state.registers.selectors), (End::Hlt, [0, 0x33, 0x2b, 0, 0, 0]));
    assert_eq!(runner.run(&snippet(Mode::Bits64, &[0x90])).unwrap().end, End::Hlt);
}

#[test]
fn regions_that_cannot_be_mapped_are_named() {
    let mut runner = runner();
    let mut s = snippet(Mode::Bits64, &[0x90]);
    let taken = std::ptr::from_ref(&runner) as u64 & !0xfff;
    s.regions[1].address = taken;
    assert!(matches!(runner.run(&s), Err(ExecError::NativeAddress { address, .. }) if address == taken));
    assert_eq!(runner.run(&snippet(Mode::Bits64, &[0x90])).unwrap().end, End::Hlt);
}
