//! What the soft TLB says that it holds.

mod common;

use common::{CODE, DATA, STRATEGIES, TABLES, assemble, machine};
use emu_min::{Cpu, Exit, Strategy, TlbAccess, TlbEntry, TlbRights};
use iced_x86::code_asm::*;

/// As far away as makes two pages share a slot of the first array: its 1024 entries times 4 KiB.
const SAME_SLOT: u64 = 1024 * 4096;

fn held(cpu: &Cpu, linear: u64) -> Vec<(TlbAccess, u8, u64)> {
    let entries = cpu.tlb_entries(linear).expect("it has a TLB");
    entries.iter().map(|&TlbEntry { access, level, gpa, .. }| (access, level, gpa)).collect()
}

#[test]
fn what_was_accessed_is_held_until_cr3_is_loaded() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(qword_ptr(rbx + 8), 1)?;
        a.hlt()?;
        a.mov(rax, qword_ptr(rbx))?;
        a.hlt()?;
        a.mov(rax, qword_ptr(rbx + SAME_SLOT as i32))?;
        a.hlt()?;
        a.mov(rax, cr3)?;
        a.mov(cr3, rax)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert_eq!(cpu.run(), Exit::Halt);
        if strategy == Strategy::Naive {
            assert_eq!(cpu.tlb_entries(DATA), None);
            continue;
        }
        let address = DATA + 0x123;
        assert_eq!(held(&cpu, address), [(TlbAccess::Write, 1, address)], "{strategy:?}");
        assert_eq!(held(&cpu, CODE), [(TlbAccess::Fetch, 1, CODE)], "{strategy:?}");
        assert!(held(&cpu, DATA + 0x1000).is_empty() && held(&cpu, 1 << 47).is_empty());
        assert_eq!(cpu.run(), Exit::Halt);
        let both = [(TlbAccess::Read, 1, DATA), (TlbAccess::Write, 1, DATA)];
        assert_eq!(held(&cpu, DATA), both, "{strategy:?}");
        let before = cpu.counters();
        assert_eq!(cpu.run(), Exit::Halt);
        let moved = [(TlbAccess::Read, 2, DATA), (TlbAccess::Write, 1, DATA)];
        assert_eq!(held(&cpu, DATA), moved, "{strategy:?}: the read moved behind the first array");
        assert_eq!(held(&cpu, DATA), moved, "and looking moves nothing");
        assert_eq!(cpu.counters().tlb_recall, before.tlb_recall);
        assert_eq!(cpu.run(), Exit::Halt);
        assert!(held(&cpu, DATA).is_empty(), "{strategy:?}");
    }
}

#[test]
fn rights_and_global_pages_are_told() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.jmp(CODE + 64)
    });
    for strategy in [Strategy::Interp, Strategy::Dbt] {
        let mut cpu = machine(strategy, &code, 3);
        let slot = TABLES + 0x2000 + (DATA >> 21) * 8;
        assert!(cpu.ram().write_u64(slot, DATA | 0x187) && cpu.ram().write(CODE + 64, &[0xeb, 0xfe]));
        let mut state = cpu.state();
        state.cr4 |= 1 << 7; // PGE
        cpu.set_state(&state);
        cpu.set_instruction_budget(Some(100));
        assert_eq!(cpu.run(), Exit::BudgetExhausted);
        let entry = TlbEntry { access: TlbAccess::Read, rights: TlbRights::User, level: 1, global: true, gpa: DATA };
        assert_eq!(cpu.tlb_entries(DATA), Some(vec![entry]), "{strategy:?}");
    }
}
