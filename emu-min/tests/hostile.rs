//! Random bytes as code: no panic, no way out of RAM, and both strategies do exactly the same.

mod common;

use common::{CODE, DATA, IST1, RSP0, STACK, TABLES, kernel_machine};
use emu_min::{Cpu, Exit, State, Strategy};
use proptest::prelude::*;

/// A machine with little memory within reach, so that a repetition with a random count soon meets its end.
fn small_machine(strategy: Strategy, code: &[u8], cpl: u8) -> Cpu {
    let cpu = kernel_machine(strategy, code, cpl);
    let ram = cpu.ram().clone();
    for i in 0..512 {
        assert!(ram.write_u64(TABLES + 0x2000 + i * 8, 0));
    }
    // Descriptor tables and handlers, code, stacks, data: each a few 4 KiB pages. The page tables are out of reach: a
    // change of theirs may be seen late.
    for (first, pages) in
        [(0x6000, 10), (CODE, 1), (IST1 - 0x4000, 4), (RSP0 - 0x4000, 4), (STACK - 0x4000, 5), (DATA, 16)]
    {
        let table = PAGE_TABLE + (first >> 21) * 0x1000;
        assert!(ram.write_u64(TABLES + 0x2000 + (first >> 21) * 8, table | 7));
        for page in (first >> 12)..(first >> 12) + pages {
            assert!(ram.write_u64(table + (page & 511) * 8, (page << 12) | 7));
        }
    }
    cpu
}

/// Page tables, one for each 2 MiB, outside what they map.
const PAGE_TABLE: u64 = 0x40_0000;

/// Runs up to `budget` instructions, serving exits; what the machine saw.
fn drive(cpu: &mut Cpu, budget: u64) -> Vec<Exit> {
    let mut exits = Vec::new();
    cpu.set_instruction_budget(Some(budget));
    for round in 0..64 {
        let exit = cpu.run();
        exits.push(exit);
        match exit {
            Exit::IoIn { .. } => cpu.complete_in(0x5a5a_0000 | round),
            Exit::MmioRead { .. } => cpu.complete_mmio_read(u64::MAX),
            Exit::BudgetExhausted | Exit::TripleFault => break,
            _ => {}
        }
    }
    exits
}

fn outcome(
    strategy: Strategy,
    code: &[u8],
    data: &[u8],
    registers: [u64; 16],
    cpl: u8,
) -> (Vec<Exit>, State, u64, Vec<u8>) {
    let mut cpu = small_machine(strategy, code, cpl);
    assert!(cpu.ram().write(DATA, data));
    let mut state = cpu.state();
    let rsp = state.gprs[4];
    state.gprs = registers;
    state.gprs[4] = rsp;
    for (i, xmm) in state.xmm.iter_mut().enumerate() {
        *xmm = u128::from(registers[i]) << 64 | u128::from(registers[15 - i]);
    }
    cpu.set_state(&state);
    let exits = drive(&mut cpu, 400);
    let mut memory = vec![0; 0x1_0000];
    assert!(cpu.ram().read(DATA, &mut memory));
    (exits, cpu.state(), cpu.counters().instructions, memory)
}

/// Bytes that are instructions more often than chance would have it.
fn code() -> impl Strategy_<Value = Vec<u8>> {
    let opcode = prop_oneof![
        4 => any::<u8>().prop_map(|b| vec![b]),
        2 => any::<u8>().prop_map(|b| vec![0x0f, b]),
        2 => (0x40..0x50_u8, any::<u8>()).prop_map(|(rex, b)| vec![rex, b]),
        1 => (0x48..0x50_u8, any::<u8>()).prop_map(|(rex, b)| vec![rex, 0x0f, b]),
        1 => any::<u8>().prop_map(|b| vec![0x66, 0x0f, b]),
        1 => any::<u8>().prop_map(|b| vec![0xf3, 0x0f, b]),
        1 => any::<u8>().prop_map(|b| vec![0xf2, 0x0f, b]),
        1 => any::<u8>().prop_map(|b| vec![0xf3, b]),
    ];
    let instruction = (opcode, any::<[u8; 3]>()).prop_map(|(mut bytes, tail)| {
        bytes.extend(tail);
        bytes
    });
    prop::collection::vec(instruction, 1..40).prop_map(|list| list.concat())
}

/// The trait has the name of emu-min's enum.
use proptest::strategy::Strategy as Strategy_;

/// Values that are often addresses of the data area.
fn registers() -> impl Strategy_<Value = [u64; 16]> {
    prop::array::uniform16(prop_oneof![3 => (0..0xff00_u64).prop_map(|o| DATA + o), 1 => 0..64_u64, 1 => any::<u64>()])
}

/// Whether the time-stamp counter was read: it differs from run to run.
fn reads_time(code: &[u8]) -> bool {
    code.windows(2).any(|w| w == [0x0f, 0x31] || w == [0x0f, 0x01] || w == [0x0f, 0x32])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn strategies_agree_on_any_code(code in code(), registers in registers(), user in any::<bool>(), data in prop::collection::vec(any::<u8>(), 256)) {
        prop_assume!(!reads_time(&code));
        let cpl = if user { 3 } else { 0 };
        let naive = outcome(Strategy::Naive, &code, &data, registers, cpl);
        let interp = outcome(Strategy::Interp, &code, &data, registers, cpl);
        prop_assert_eq!(naive.0, interp.0);
        prop_assert_eq!(naive.1, interp.1);
        prop_assert_eq!(naive.2, interp.2);
        prop_assert!(naive.3 == interp.3, "memory differs");
    }

    #[test]
    fn any_state_survives_any_code(code in code(), registers in registers(), cr0 in any::<u64>(), cr4 in any::<u64>(), efer in any::<u64>(), attributes in any::<u16>()) {
        let mut cpu = small_machine(Strategy::Interp, &code, 0);
        let mut state = cpu.state();
        state.gprs = registers;
        (state.cr0, state.cr4, state.efer) = (cr0, cr4, efer);
        state.cs.attributes = attributes;
        state.rip = CODE;
        cpu.set_state(&state);
        drive(&mut cpu, 200);
    }
}
