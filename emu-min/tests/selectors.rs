//! Questions about descriptors, SYSENTER and SYSEXIT, and what loads of system registers check (Intel SDM volume 2).

mod common;

use common::{CODE, DATA, GDT, STACK, STRATEGIES, TSS, USER_CS, USER_DS, assemble, kernel_machine, run_to_handler};
use emu_min::{Cpu, Exit, Strategy};
use iced_x86::code_asm::*;

const ZF: u64 = 0x40;
const GP: u64 = 13;
/// The first address that is not canonical.
const HOLE: u64 = 1 << 47;

/// Runs one instruction on a selector in ECX, followed by UD2; ZF and RAX.
fn ask(strategy: Strategy, instruction: &[u8], cpl: u8, selector: u64) -> (bool, u64) {
    let mut cpu = kernel_machine(strategy, &[instruction, &[0x0f, 0x0b]].concat(), cpl);
    // 0x18: a data segment of 4 KiB less 1, read-only; 0x38: conforming code of level 0, not readable.
    assert!(cpu.ram().write_u64(GDT + 0x18, 0x0040_9100_0000_0ffe));
    assert!(cpu.ram().write_u64(GDT + 0x38, 0x00af_9d00_0000_ffff));
    let mut state = cpu.state();
    (state.gprs[0], state.gprs[1]) = (0x5555_5555_5555_5555, selector);
    cpu.set_state(&state);
    let (vector, frame) = run_to_handler(&mut cpu);
    assert_eq!((vector, frame[0]), (6, CODE + instruction.len() as u64), "{instruction:02x?}");
    (frame[2] & ZF != 0, cpu.state().gprs[0])
}

#[test]
fn lar_and_lsl_tell_of_visible_descriptors() {
    const UNTOUCHED: u64 = 0x5555_5555_5555_5555;
    let lar = [0x0f, 0x02, 0xc1]; // lar eax, cx
    let lsl = [0x0f, 0x03, 0xc1]; // lsl eax, cx
    // Level, selector, what LAR and LSL give.
    let cases = [
        (0, 0x10, Some(0x00a0_9b00), Some(0xffff_ffff)),
        (0, 0x18, Some(0x0040_9100), Some(0xffe)),
        (0, 0x40, Some(0x0000_8b00), Some(0x2068)), // the TSS
        (3, USER_CS, Some(0x00a0_fb00), Some(0xffff_ffff)),
        (3, 0x10, None, None),                           // DPL below CPL
        (0, 0x13, None, None),                           // DPL below RPL
        (3, 0x3b, Some(0x00a0_9d00), Some(0xffff_ffff)), // conforming
        (3, 0x40, None, None),
        (0, 0, None, None),
        (0, 3, None, None),
        (0, 0x50, None, None), // beyond the limit
        (0, 0x14, None, None), // no LDT
    ];
    for strategy in STRATEGIES {
        for (cpl, selector, rights, limit) in cases {
            for (code, expected) in [(lar, rights), (lsl, limit)] {
                let wanted = (expected.is_some(), expected.unwrap_or(UNTOUCHED));
                assert_eq!(ask(strategy, &code, cpl, selector), wanted, "{code:02x?} {selector:x} at {cpl}");
            }
        }
        // Operand sizes: 16 bits keep the rest of the register, 64 bits zero-extend.
        assert_eq!(ask(strategy, &[0x66, 0x0f, 0x03, 0xc1], 0, 0x18), (true, 0x5555_5555_5555_0ffe));
        assert_eq!(ask(strategy, &[0x48, 0x0f, 0x02, 0xc1], 0, 0x10), (true, 0x00a0_9b00));
    }
}

#[test]
fn verr_and_verw_say_what_is_allowed() {
    let verr = [0x0f, 0x00, 0xe1]; // verr cx
    let verw = [0x0f, 0x00, 0xe9]; // verw cx
    // Level, selector, readable, writable.
    let cases = [
        (0, 0x10, true, false),
        (0, 0x18, true, false),
        (3, USER_DS, true, true),
        (0, USER_DS, true, true),
        (3, 0x18, false, false),
        (0, 0x38, false, false), // code that cannot be read
        (0, 0x40, false, false), // a TSS
        (0, 0, false, false),
        (0, 0x50, false, false),
    ];
    for strategy in STRATEGIES {
        for (cpl, selector, readable, writable) in cases {
            assert_eq!(ask(strategy, &verr, cpl, selector).0, readable, "verr {selector:x} at {cpl}");
            assert_eq!(ask(strategy, &verw, cpl, selector).0, writable, "verw {selector:x} at {cpl}");
        }
    }
}

/// A CPU with the MSRs of SYSENTER set, and its segments in the order it wants: 0x10, 0x18, then users' 32-bit code,
/// data, 64-bit code, data.
fn entering(strategy: Strategy, code: &[u8], cpl: u8, kernel: u64) -> Cpu {
    let mut cpu = kernel_machine(strategy, code, cpl);
    let mut state = cpu.state();
    state.msrs.sysenter = [0x10, STACK - 0x1000, kernel];
    state.rflags |= 0x200;
    cpu.set_state(&state);
    cpu
}

#[test]
fn sysenter_and_sysexit_switch_levels() {
    let kernel = CODE + 0x100;
    let mut code = assemble(|a| {
        a.sysenter()?;
        a.ud2()
    });
    code.resize(0x100, 0x90);
    code.extend(assemble(|a| {
        a.mov(rbx, rsp)?;
        a.mov(ebp, cs)?;
        a.mov(esi, ss)?;
        a.pushfq()?;
        a.pop(rdi)?;
        a.mov(rdx, CODE + 2)?;
        a.mov(rcx, STACK)?;
        a.sysexitq()
    }));
    for strategy in STRATEGIES {
        let mut cpu = entering(strategy, &code, 3, kernel);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0], frame[3]), (6, CODE + 2, STACK));
        assert_eq!((frame[1], frame[4]), (0x33, 0x3b), "SYSENTER_CS + 32 and + 40, RPL 3");
        let state = cpu.state();
        assert_eq!((state.gprs[3], state.gprs[5], state.gprs[6]), (STACK - 0x1000, 0x10, 0x18));
        assert_eq!(state.gprs[7] & 0x200, 0, "SYSENTER clears IF");
        assert_eq!(frame[2] & 0x200, 0, "SYSEXIT does not restore it");
    }
}

#[test]
fn sysexit_to_compatibility_mode() {
    // sysexit; behind it, at the same address in compatibility mode, inc eax is one byte.
    for strategy in STRATEGIES {
        let mut cpu = entering(strategy, &[0x0f, 0x35, 0x40, 0x0f, 0x0b], 0, 0);
        let mut state = cpu.state();
        (state.gprs[0], state.gprs[1], state.gprs[2]) = (0, 0xffff_ffff_0000_1000, 0xffff_ffff_0010_0002);
        cpu.set_state(&state);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0], frame[3]), (6, CODE + 3, 0x1000));
        assert_eq!((frame[1], frame[4], cpu.state().gprs[0]), (0x23, 0x2b, 1));
    }
}

#[test]
fn sysenter_and_sysexit_fault() {
    let sysenter = [0x0f, 0x34];
    let sysexit = [0x48, 0x0f, 0x35];
    // Code, level, SYSENTER_CS, RCX, RDX.
    let cases = [
        (&sysenter[..], 3, 3, 0, 0),
        (&sysexit[..], 0, 0, 0, 0),
        (&sysexit[..], 3, 0x10, 0, 0),
        (&sysexit[..], 0, 0x10, HOLE, 0),
        (&sysexit[..], 0, 0x10, 0, HOLE),
    ];
    for strategy in STRATEGIES {
        for (i, (code, cpl, selector, rcx_value, rdx_value)) in cases.into_iter().enumerate() {
            let mut cpu = entering(strategy, code, cpl, CODE);
            let mut state = cpu.state();
            state.msrs.sysenter[0] = selector;
            (state.gprs[1], state.gprs[2]) = (rcx_value, rdx_value);
            cpu.set_state(&state);
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!((vector, frame[0], frame[1]), (GP, 0, CODE), "case {i}");
        }
    }
}

#[test]
fn addresses_in_system_registers_must_be_canonical() {
    let wrmsr = |msr: u32| {
        assemble(|a| {
            a.mov(ecx, msr)?;
            a.xor(eax, eax)?;
            a.mov(edx, 0x8000)?;
            a.wrmsr()
        })
    };
    let mut cases: Vec<Vec<u8>> = [0x175, 0x176, 0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101, 0xc000_0102]
        .into_iter()
        .map(wrmsr)
        .collect();
    cases.push(vec![0x0f, 0x01, 0x13]); // lgdt [rbx]
    cases.push(vec![0x0f, 0x01, 0x1b]); // lidt [rbx]
    cases.push(vec![0x48, 0xff, 0x6b, 0x10]); // jmp far [rbx + 16], 64-bit offset
    cases.push(vec![0x48, 0xff, 0x5b, 0x10]); // call far
    cases.push(vec![0x48, 0xcb]); // retfq
    cases.push(vec![0x48, 0xcf]); // iretq
    cases.push(vec![0x48, 0x0f, 0x07]); // sysretq
    cases.push(vec![0xf3, 0x48, 0x0f, 0xae, 0xd1]); // wrfsbase rcx
    for strategy in STRATEGIES {
        for code in &cases {
            let mut cpu = kernel_machine(strategy, code, 0);
            let ram = cpu.ram().clone();
            assert!(ram.write(DATA + 2, &HOLE.to_le_bytes()));
            assert!(ram.write_u64(DATA + 16, HOLE) && ram.write(DATA + 24, &[0x10, 0]));
            for (i, value) in (0..).zip([HOLE, 0x10, 2, STACK, 0x18]) {
                assert!(ram.write_u64(STACK - 0x100 + i * 8, value));
            }
            let mut state = cpu.state();
            (state.gprs[3], state.gprs[4], state.gprs[1]) = (DATA, STACK - 0x100, HOLE);
            state.cr4 |= 1 << 16;
            cpu.set_state(&state);
            let before = cpu.state();
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!((vector, frame[0], frame[2]), (GP, 0, 0x10), "{code:02x?}");
            let last = code.len() as u64;
            assert!(frame[1] == CODE || frame[1] == CODE + last - 2, "{code:02x?}: {:x}", frame[1]);
            assert_eq!(frame[4], STACK - 0x100, "nothing was popped or pushed");
            assert_eq!((cpu.state().msrs, cpu.state().gdtr), (before.msrs, before.gdtr));
        }
    }
}

#[test]
fn ltr_and_lldt_check_their_descriptors() {
    const BUSY: u64 = 2 << 40;
    let tss = 0x0000_8900_0000_0000 | (TSS & 0xff_ffff) << 16 | 0x2068;
    let table = 0x0000_8200_0000_0000 | (DATA & 0xff_ffff) << 16 | 0xff;
    let ltr = [0x0f, 0x00, 0xd9]; // ltr cx
    let lldt = [0x0f, 0x00, 0xd1]; // lldt cx
    // Code, both halves of the descriptor at 0x18, selector, vector and error code.
    let cases = [
        (ltr, tss, 0, 0x18, None),
        (ltr, tss | BUSY, 0, 0x18, Some((GP, 0x18))),
        (ltr, tss & !(1 << 47), 0, 0x18, Some((11, 0x18))),
        (ltr, tss, 1 << 40, 0x18, Some((GP, 0x18))), // a type in the upper half
        (ltr, tss, HOLE >> 32, 0x18, Some((GP, 0x18))),
        (ltr, tss, 0, 0, Some((GP, 0))),
        (ltr, tss, 0, 0x1c, Some((GP, 0x1c))), // in the LDT
        (ltr, table, 0, 0x18, Some((GP, 0x18))),
        (lldt, table, 0, 0x18, None),
        (lldt, table, 0, 0, None),
        (lldt, tss, 0, 0x18, Some((GP, 0x18))),
        (lldt, table & !(1 << 47), 0, 0x18, Some((11, 0x18))),
        (lldt, table, HOLE >> 32, 0x18, Some((GP, 0x18))),
    ];
    for strategy in STRATEGIES {
        for (i, (code, low, high, selector, fault)) in cases.into_iter().enumerate() {
            let mut cpu = kernel_machine(strategy, &[&code[..], &[0xf4]].concat(), 0);
            let ram = cpu.ram().clone();
            assert!(ram.write_u64(GDT + 0x18, low) && ram.write_u64(GDT + 0x20, high));
            let mut state = cpu.state();
            state.gprs[1] = selector;
            cpu.set_state(&state);
            match fault {
                Some(expected) => {
                    let (vector, frame) = run_to_handler(&mut cpu);
                    assert_eq!((vector, frame[0]), expected, "case {i}");
                }
                None => {
                    assert_eq!(cpu.run(), Exit::Halt);
                    assert_eq!(cpu.state().rip, CODE + 4, "case {i}");
                    assert_eq!(ram.read_u64(GDT + 0x18).unwrap() & BUSY != 0, code == ltr || low & BUSY != 0);
                }
            }
        }
    }
}
