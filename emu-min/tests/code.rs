//! Code that changes, moves and crosses pages.

mod common;

use common::{CODE, DATA, STRATEGIES, TABLES, assemble, machine};
use emu_min::{Exit, Gpr, Strategy};
use iced_x86::code_asm::*;

#[test]
fn a_store_into_the_running_block_takes_effect_at_once() {
    // The store replaces the immediate of the next MOV but one.
    let code = assemble(|a| {
        let mut target = a.create_label();
        a.mov(ecx, 3)?;
        a.lea(rbx, qword_ptr(target))?;
        a.mov(dword_ptr(rbx + 1), 0x77)?;
        a.nop()?;
        a.set_label(&mut target)?;
        a.mov(eax, 0x11)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[0], 0x77);
        assert_eq!(cpu.counters().instructions, 6);
    }
}

#[test]
fn a_loop_that_rewrites_a_function_sees_each_version() {
    let code = assemble(|a| {
        let mut top = a.create_label();
        let mut function = a.create_label();
        a.xor(edx, edx)?;
        a.mov(ecx, 10)?;
        a.lea(rbx, qword_ptr(function))?;
        a.set_label(&mut top)?;
        a.mov(byte_ptr(rbx + 1), cl)?;
        a.call(function)?;
        a.add(edx, eax)?;
        a.dec(ecx)?;
        a.jne(top)?;
        a.hlt()?;
        a.set_label(&mut function)?;
        a.mov(eax, 0)?;
        a.ret()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[Gpr::Rdx as usize], 55);
        if strategy == Strategy::Interp {
            assert!(cpu.counters().block_invalidated >= 9);
        }
    }
}

#[test]
fn a_repeated_store_over_its_own_instruction_ends_where_it_was_overwritten() {
    // rep stosb writes HLT over everything from itself on.
    let code = assemble(|a| {
        let mut here = a.create_label();
        a.lea(rdi, qword_ptr(here))?;
        a.mov(al, 0xf4)?;
        a.mov(ecx, 64)?;
        a.set_label(&mut here)?;
        a.rep().stosb()?;
        a.ud2()
    });
    let mut ends = Vec::new();
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert_eq!(cpu.run(), Exit::Halt);
        ends.push(cpu.state().rip);
    }
    // Processors may finish the repetition or notice at once; here the first element stops it.
    assert!(ends.iter().all(|rip| *rip > CODE), "{ends:x?}");
}

#[test]
fn an_instruction_may_cross_pages() {
    // mov eax, imm32 whose immediate lies in the next page, which then is mapped elsewhere.
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &[], 0);
        let ram = cpu.ram().clone();
        // 4 KiB pages at DATA: a page table at 0x5000.
        assert!(ram.write_u64(TABLES + 0x2000 + (DATA >> 21) * 8, 0x5007));
        for i in 0..512 {
            assert!(ram.write_u64(0x5000 + i * 8, (DATA + i * 4096) | 7));
        }
        assert!(ram.write(DATA + 0xffd, &[0xb8, 1, 2, 3, 4, 0xf4]));
        assert!(ram.write(DATA + 0x2000, &[7, 8, 0xf4]));
        let mut state = cpu.state();
        state.rip = DATA + 0xffd;
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[0], 0x0403_0201);
        // A guest remaps the second page and flushes by reloading CR3; set_state does as much.
        assert!(ram.write_u64(0x5008, (DATA + 0x2000) | 7));
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[0], 0x0807_0201);
    }
}

#[test]
fn invlpg_makes_a_changed_mapping_visible() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(rdx, TABLES + 0x2000 + (DATA >> 21) * 8)?;
        a.mov(rcx, (DATA + 0x20_0000) | 0x87)?;
        a.mov(qword_ptr(rdx), rcx)?;
        a.invlpg(byte_ptr(rbx))?;
        a.mov(rsi, qword_ptr(rbx))?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert!(cpu.ram().write_u64(DATA, 1) && cpu.ram().write_u64(DATA + 0x20_0000, 2));
        assert_eq!(cpu.run(), Exit::Halt);
        let state = cpu.state();
        assert_eq!((state.gprs[0], state.gprs[Gpr::Rsi as usize]), (1, 2));
    }
}

#[test]
fn code_at_one_address_of_two_processes_stays_apart() {
    // The same linear page on two frames under two CR3 values.
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rbp, 0x2_0000_u64)?;
        a.mov(r12, cr3)?;
        for _ in 0..3 {
            a.call(rbx)?;
            a.add(rsi, rax)?;
            a.mov(cr3, rbp)?;
            a.call(rbx)?;
            a.imul_2(rsi, rax)?;
            a.mov(cr3, r12)?;
        }
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        let ram = cpu.ram().clone();
        assert!(ram.write_u64(0x2_0000, 0x2_1007) && ram.write_u64(0x2_1000, 0x2_2007));
        for i in 0..512 {
            let frame = if i == DATA >> 21 { i + 1 } else { i };
            assert!(ram.write_u64(0x2_2000 + i * 8, (frame << 21) | 0x87));
        }
        assert!(ram.write(DATA, &[0xb8, 5, 0, 0, 0, 0xc3])); // mov eax, 5; ret
        assert!(ram.write(DATA + 0x20_0000, &[0xb8, 3, 0, 0, 0, 0xc3])); // mov eax, 3; ret
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[Gpr::Rsi as usize], ((5 * 3 + 5) * 3 + 5) * 3);
    }
}

#[test]
fn protected_mode_code_reaches_long_mode() {
    // 32-bit code at CODE: page tables are there already; set PAE, CR3, LME, PG; far jump to 64-bit code.
    #[rustfmt::skip]
    let code: Vec<u8> = [
        &[0x0f, 0x01, 0x15, 0x00, 0x05, 0x00, 0x00][..], // lgdt [0x500]
        &[0x0f, 0x20, 0xe0],                             // mov eax, cr4
        &[0x83, 0xc8, 0x20],                             // or eax, 0x20
        &[0x0f, 0x22, 0xe0],                             // mov cr4, eax
        &[0xb8, 0x00, 0x10, 0x00, 0x00],                 // mov eax, 0x1000
        &[0x0f, 0x22, 0xd8],                             // mov cr3, eax
        &[0xb9, 0x80, 0x00, 0x00, 0xc0],                 // mov ecx, 0xc0000080
        &[0x0f, 0x32],                                   // rdmsr
        &[0x0d, 0x00, 0x01, 0x00, 0x00],                 // or eax, 0x100
        &[0x0f, 0x30],                                   // wrmsr
        &[0x0f, 0x20, 0xc0],                             // mov eax, cr0
        &[0x0d, 0x00, 0x00, 0x00, 0x80],                 // or eax, 0x80000000
        &[0x0f, 0x22, 0xc0],                             // mov cr0, eax: compatibility mode from here on
        &[0x40],                                         // inc eax: a REX prefix in 64-bit mode
        &[0xea, 0x00, 0x02, 0x10, 0x00, 0x10, 0x00],     // jmp 0x10:0x100200
    ].concat();
    let long = [0x48, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8, 0x8c, 0xc9, 0xf4]; // mov rbx, 0x0807060504030201; mov ecx, cs; hlt
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        let ram = cpu.ram().clone();
        assert!(ram.write(0x500, &[0x1f, 0, 0, 6, 0, 0]) && ram.write_u64(0x610, 0x00af_9b00_0000_ffff));
        assert!(ram.write(CODE + 0x200, &long));
        cpu.set_state(&emu_min::State::pvh(CODE, 0x9000));
        assert_eq!(cpu.run(), Exit::Halt);
        let state = cpu.state();
        assert_eq!(state.gprs[Gpr::Rbx as usize], 0x0807_0605_0403_0201);
        assert_eq!(state.gprs[Gpr::Rcx as usize], 0x10);
        assert_eq!(state.efer & 0x500, 0x500);
        assert_eq!(state.gprs[0] & 0xffff_ffff, 0x8000_0012);
        assert_eq!(cpu.translate(DATA + 5), Some(DATA + 5));
        let mut bytes = [0; 4];
        assert_eq!(cpu.read_virtual(CODE + 0x200, &mut bytes), 4);
        assert_eq!(bytes, long[..4]);
    }
}

#[test]
fn a_store_through_another_mapping_takes_effect_at_once() {
    // DATA maps the frames of the code. The store and what it changes are in one block.
    let code = assemble(|a| {
        let mut target = a.create_label();
        a.lea(rbx, qword_ptr(target))?;
        a.mov(rdx, DATA)?;
        a.mov(eax, dword_ptr(rbx + rdx))?; // caches the other mapping
        a.mov(dword_ptr(rbx + rdx + 1), 0x77)?;
        a.set_label(&mut target)?;
        a.mov(eax, 0x11)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert!(cpu.ram().write_u64(TABLES + 0x2000 + (DATA >> 21) * 8, 0x87));
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[0], 0x77);
    }
}

#[test]
fn a_change_of_the_second_page_of_an_instruction_is_seen() {
    // mov eax, imm32 at the end of a page; its immediate lies in the next, and is counted down from there.
    let code = assemble(|a| {
        let mut top = a.create_label();
        a.mov(rbx, DATA + 0xffe)?;
        a.mov(ecx, 5)?;
        a.set_label(&mut top)?;
        a.call(rbx)?;
        a.add(edx, eax)?;
        a.inc(byte_ptr(rbx + 2))?;
        a.dec(ecx)?;
        a.jne(top)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert!(cpu.ram().write(DATA + 0xffe, &[0xb8, 1, 0, 0, 0, 0xc3])); // mov eax, 1; ret
        assert_eq!(cpu.run(), Exit::Halt);
        // The byte that changes is the second of the immediate, the first in the second page.
        assert_eq!(cpu.state().gprs[Gpr::Rdx as usize], 5 + 0x100 * (1 + 2 + 3 + 4));
    }
}

#[test]
fn every_kind_of_store_can_change_the_next_instruction() {
    // Each writes the four bytes at RDI (in AL, EAX, XMM0, MM0 or ST0 where it takes them from a register), which are
    // the immediate of the MOV behind it. RCX = 1, RSI points to what is written.
    let stores: [(&str, &[u8]); 16] = [
        ("mov [rdi], eax", &[0x89, 0x07]),
        ("stosd", &[0xab]),
        ("movsd", &[0xa5]),
        ("rep stosd", &[0xf3, 0xab]),
        ("rep movsd", &[0xf3, 0xa5]),
        ("xchg [rdi], eax", &[0x87, 0x07]),
        ("or [rdi], eax", &[0x09, 0x07]),
        ("lock xadd [rdi], eax", &[0xf0, 0x0f, 0xc1, 0x07]),
        ("cmpxchg [rdi], edx", &[0x31, 0xc0, 0x0f, 0xb1, 0x17]), // after xor eax, eax
        ("movd [rdi], xmm0", &[0x66, 0x0f, 0x7e, 0x07]),
        ("movss [rdi], xmm0", &[0xf3, 0x0f, 0x11, 0x07]),
        ("movd [rdi], mm0", &[0x0f, 0x7e, 0x07]),
        ("pop [rdi]", &[0x8f, 0x07]),
        ("fistp dword [rdi]", &[0xdb, 0x06, 0xdb, 0x1f]), // after fild dword [rsi]
        ("movnti [rdi], eax", &[0x0f, 0xc3, 0x07]),
        ("not dword [rdi]", &[0xf7, 0x17, 0xf7, 0x17, 0x09, 0x07]),
    ];
    const VALUE: u32 = 0x0012_3456;
    for strategy in STRATEGIES {
        for (name, store) in stores {
            // xor edx, edx...; store; mov eax, 0; then HLT, four times so that a wider store leaves one.
            let code = [store, &[0xb8, 0, 0, 0, 0], &[0xf4; 8]].concat();
            let mut cpu = machine(strategy, &code, 0);
            let target = CODE + store.len() as u64 + 1;
            let halts = 0xf4f4_f4f4_u64 << 32;
            assert!(cpu.ram().write_u64(DATA, u64::from(VALUE) | halts));
            let mut state = cpu.state();
            for register in [Gpr::Rax, Gpr::Rdx] {
                state.gprs[register as usize] = u64::from(VALUE);
            }
            state.gprs[Gpr::Rcx as usize] = 1;
            state.gprs[Gpr::Rsi as usize] = DATA;
            state.gprs[Gpr::Rsp as usize] = DATA;
            state.gprs[Gpr::Rdi as usize] = target;
            state.xmm[0] = u128::from(VALUE);
            state.fpu.st[0] = u128::from(VALUE) | 0xffff << 64; // MM0
            cpu.set_state(&state);
            assert_eq!(cpu.run(), Exit::Halt, "{name}");
            assert_eq!(cpu.state().gprs[0], u64::from(VALUE), "{name}");
        }
    }
}
