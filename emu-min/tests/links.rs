//! Blocks that lead to one another without a lookup, while what they lead to changes.

mod common;

use std::time::Duration;

use common::{CODE, DATA, KERNEL_CS, STRATEGIES, TABLES, assemble, kernel_machine, machine, run_to_handler};
use emu_min::{Exit, Gpr, Mechanisms, Strategy};
use iced_x86::code_asm::*;

/// Two linear pages of code, apart from the tests' own.
const PAGE: u64 = 0x60_0000;
const OTHER: u64 = 0x61_0000;

/// A function that returns `value` in EAX.
fn returning(value: u32) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(value.to_le_bytes());
    code.push(0xc3);
    code
}

/// Maps the 2 MiB around [`PAGE`] by a table of 4 KiB pages, so that one of them can be remapped; returns the address of
/// the entry of [`PAGE`].
fn split(ram: &emu_min::GuestRam, directory: u64, table: u64) -> u64 {
    let base = PAGE & !0x1f_ffff;
    assert!(ram.write_u64(directory + (PAGE >> 21) * 8, table | 7));
    for i in 0..512 {
        assert!(ram.write_u64(table + i * 8, (base + i * 4096) | 7));
    }
    table + (PAGE >> 12 & 511) * 8
}

#[test]
fn a_linked_loop_ends_when_the_block_it_leads_to_is_overwritten() {
    // Block A, block B (linked to one another); after 50 rounds A writes HLT over B.
    let code = assemble(|a| {
        let (mut first, mut second, mut on) = (a.create_label(), a.create_label(), a.create_label());
        a.xor(ecx, ecx)?;
        a.lea(rbx, qword_ptr(second))?;
        a.set_label(&mut first)?;
        a.inc(ecx)?;
        a.cmp(ecx, 50)?;
        a.jne(on)?;
        a.mov(byte_ptr(rbx), 0xf4)?;
        a.set_label(&mut on)?;
        a.jmp(second)?;
        // Apart from A by more than the 64 bytes within which a write is taken for one to the code.
        a.db(&[0xcc; 100])?;
        a.set_label(&mut second)?;
        a.nop()?;
        a.jmp(first)
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        cpu.set_instruction_budget(Some(10_000));
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[Gpr::Rcx as usize], 50);
        if strategy == Strategy::Interp {
            let counters = cpu.counters();
            assert!(counters.link_hit > 100, "{}", counters.link_hit);
            assert!(counters.link_miss < 20, "{}", counters.link_miss);
            assert_eq!(counters.block_executed, counters.link_hit + counters.link_miss);
        }
    }
}

#[test]
fn a_call_sees_the_page_that_is_mapped_now() {
    // Each round remaps the page of the function, drops its translation and calls it.
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.xor(edi, edi)?;
        a.mov(ecx, 20)?;
        a.mov(ebx, PAGE as u32)?;
        a.set_label(&mut again)?;
        a.mov(rax, qword_ptr(rsi))?;
        a.xor(rax, (PAGE ^ OTHER) as i32)?;
        a.mov(qword_ptr(rsi), rax)?;
        a.invlpg(byte_ptr(rbx))?;
        a.call(PAGE)?;
        a.add(edi, eax)?;
        a.call(rbx)?;
        a.add(edi, eax)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        let entry = split(cpu.ram(), TABLES + 0x2000, 0x8000);
        assert!(cpu.ram().write(PAGE, &returning(1)) && cpu.ram().write(OTHER, &returning(100)));
        let mut state = cpu.state();
        state.gprs[Gpr::Rsi as usize] = entry;
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[Gpr::Rdi as usize], 2 * (10 * 100 + 10));
    }
}

#[test]
fn a_call_sees_the_page_of_the_current_address_space() {
    const SECOND: u64 = 0x2_0000;
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.xor(edi, edi)?;
        a.mov(ecx, 20)?;
        a.mov(ebx, TABLES as u32)?;
        a.set_label(&mut again)?;
        a.xor(ebx, (TABLES ^ SECOND) as u32)?;
        a.mov(cr3, rbx)?;
        a.call(PAGE)?;
        a.add(edi, eax)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        let ram = cpu.ram().clone();
        // The second space differs in one page.
        assert!(ram.write_u64(SECOND, (SECOND + 0x1000) | 7) && ram.write_u64(SECOND + 0x1000, (SECOND + 0x2000) | 7));
        for i in 0..512 {
            assert!(ram.write_u64(SECOND + 0x2000 + i * 8, (i << 21) | 0x87));
        }
        let entry = split(&ram, SECOND + 0x2000, SECOND + 0x3000);
        assert!(ram.write_u64(entry, OTHER | 7));
        assert!(ram.write(PAGE, &returning(1)) && ram.write(OTHER, &returning(100)));
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[Gpr::Rdi as usize], 10 * 100 + 10);
        if strategy == Strategy::Interp {
            assert_eq!(cpu.counters().flushes.space, 20);
        }
    }
}

#[test]
fn a_link_made_by_the_supervisor_does_not_let_a_user_in() {
    // A page of users leads to one of the supervisor; the supervisor goes there first.
    let kernel = assemble(|a| {
        a.mov(ebx, PAGE as u32)?;
        a.mov(ecx, 10)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.call(rbx)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &kernel, 0);
        let ram = cpu.ram().clone();
        let entry = split(&ram, TABLES + 0x2000, 0x2_8000);
        assert!(ram.write_u64(entry + 8 * ((OTHER - PAGE) >> 12), OTHER | 3));
        let mut assembler = CodeAssembler::new(64).unwrap();
        assembler.jmp(OTHER).unwrap();
        assert!(ram.write(PAGE, &assembler.assemble(PAGE).unwrap()) && ram.write(OTHER, &returning(1)));
        assert_eq!(cpu.run(), Exit::Halt);
        let mut state = cpu.state();
        assert_eq!(state.gprs[Gpr::Rax as usize], 1);
        (state.cs, state.ss) = {
            let user = emu_min::State::long_mode(0, 0, 0, 3);
            (user.cs, user.ss)
        };
        state.rip = PAGE;
        cpu.set_state(&state);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0] & 0x1f, frame[1]), (14, 0x15, OTHER), "{KERNEL_CS}");
    }
}

/// A loop with fused pairs, calls, memory and flags that are read late.
fn busy_loop() -> Vec<u8> {
    assemble(|a| {
        let (mut again, mut function, mut skip) = (a.create_label(), a.create_label(), a.create_label());
        a.mov(esi, DATA as u32)?;
        a.xor(ecx, ecx)?;
        a.set_label(&mut again)?;
        a.inc(rcx)?;
        a.add(rax, rcx)?;
        a.mov(qword_ptr(rsi + rcx * 8), rax)?;
        a.call(function)?;
        a.test(eax, 3)?;
        a.je(skip)?;
        a.sub(rax, qword_ptr(rsi + rcx * 8))?;
        a.pushfq()?;
        a.pop(rdx)?;
        a.set_label(&mut skip)?;
        a.cmp(ecx, 1000)?;
        a.jb(again)?;
        a.xor(ecx, ecx)?;
        a.jmp(again)?;
        a.set_label(&mut function)?;
        a.add(rbx, rax)?;
        a.shl(rbx, 3)?;
        a.xor(rbx, rcx)?;
        a.ret()
    })
}

#[test]
fn a_budget_ends_at_the_same_instruction_with_every_set_of_mechanisms() {
    let code = busy_loop();
    let sets = [
        "",
        "link=off",
        "fuse=off",
        "flags=eager",
        "link=off,fuse=off,bulk=off",
        "mmu=walk",
        "mmu=walk,flags=eager,fuse=off",
        "decode=each,link=off,fuse=off",
    ];
    for budget in (1..140).chain([10_000, 10_001, 10_063, 123_456]) {
        let run = |mechanisms: Mechanisms| {
            let mut cpu = machine(mechanisms, &code, 3);
            cpu.set_instruction_budget(Some(budget));
            assert_eq!(cpu.run(), Exit::BudgetExhausted);
            assert_eq!(cpu.counters().instructions, budget);
            cpu.state()
        };
        let naive = run(Mechanisms::naive());
        for set in sets {
            let mechanisms = Mechanisms::interp().with(set).unwrap();
            assert_eq!(run(mechanisms), naive, "{budget} instructions with {mechanisms}");
        }
    }
}

#[test]
fn accesses_are_counted_the_same_with_links_and_without() {
    let code = busy_loop();
    let run = |set| {
        let mut cpu = machine(Mechanisms::interp().with(set).unwrap(), &code, 3);
        cpu.set_instruction_budget(Some(100_000));
        assert_eq!(cpu.run(), Exit::BudgetExhausted);
        cpu.counters()
    };
    let (linked, unlinked) = (run(""), run("link=off"));
    assert_eq!(linked.tlb_hit, unlinked.tlb_hit);
    assert_eq!(linked.block_executed, unlinked.block_executed);
    assert_eq!(unlinked.link_hit, 0);
    assert!(linked.link_miss < linked.link_hit / 10);
}

#[test]
fn a_single_step_stops_after_each_instruction_of_a_linked_loop() {
    let code = busy_loop();
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        // The loop is linked by now.
        cpu.set_instruction_budget(Some(1000));
        assert_eq!(cpu.run(), Exit::BudgetExhausted);
        cpu.set_instruction_budget(None);
        for _ in 0..30 {
            let before = cpu.counters().instructions;
            let mut state = cpu.state();
            let user = (state.cs, state.ss);
            state.rflags |= 0x100;
            cpu.set_state(&state);
            let (vector, frame) = run_to_handler(&mut cpu);
            // The instruction, and the HLT of the handler.
            assert_eq!((vector, cpu.counters().instructions - before), (1, 2));
            let mut state = cpu.state();
            (state.cs, state.ss) = user;
            (state.rip, state.rflags, state.gprs[Gpr::Rsp as usize]) = (frame[0], frame[2] & !0x100, frame[3]);
            cpu.set_state(&state);
        }
    }
}

#[test]
fn a_linked_loop_can_be_stopped_and_interrupted() {
    // A jump to itself.
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0xeb, 0xfe], 0);
        let stop = cpu.stop_handle();
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            stop.stop();
        });
        assert_eq!(cpu.run(), Exit::Stopped);
        stopper.join().unwrap();
        let mut state = cpu.state();
        state.rflags |= 0x200;
        cpu.set_state(&state);
        cpu.inject_interrupt(0x40);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0]), (0x40, CODE));
    }
}
