//! What stays in the TLB and what drops it: global pages, process-context identifiers, INVLPG, INVPCID, page faults
//! (Intel SDM volume 3, 5.10; volume 2, INVPCID).
//!
//! Where the manual lets a processor keep a stale translation, `Interp`, which has a TLB, is expected to keep it and
//! `Naive`, which has none, not to.

mod common;

use common::{CODE, DATA, HANDLERS, STRATEGIES, TABLES, assemble, kernel_machine, run_to_handler};
use emu_min::{Cpu, Exit, Strategy};
use iced_x86::code_asm::*;

const PGE: u64 = 1 << 7;
const PCIDE: u64 = 1 << 17;
const DATA_PDE: u64 = TABLES + 0x2000 + (DATA >> 21) * 8;
const OTHER: u64 = DATA + 0x20_0000;
const G: u64 = 0x100;
/// Tables of a second address space, which maps DATA to OTHER.
const TABLES2: u64 = 0x2_0000;
const KEEP: u64 = 1 << 63;

/// Ring 0 with `cr4` bits; 1 at DATA, 2 at OTHER.
fn kernel(strategy: Strategy, code: &[u8], enabled: u64) -> Cpu {
    let mut cpu = kernel_machine(strategy, code, 0);
    let ram = cpu.ram().clone();
    assert!(ram.write_u64(DATA, 1) && ram.write_u64(OTHER, 2));
    assert!(ram.write_u64(TABLES2, (TABLES2 + 0x1000) | 7) && ram.write_u64(TABLES2 + 0x1000, (TABLES2 + 0x2000) | 7));
    for i in 0..512 {
        let frame = if i == DATA >> 21 { i + 1 } else { i };
        assert!(ram.write_u64(TABLES2 + 0x2000 + i * 8, (frame << 21) | 0x87));
    }
    let mut state = cpu.state();
    state.cr4 |= enabled;
    cpu.set_state(&state);
    cpu
}

/// Caches DATA, maps it to OTHER, does something and reads DATA again into RSI.
fn remapped(
    strategy: Strategy,
    enabled: u64,
    flags: u64,
    act: impl Fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) -> u64 {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(rdx, DATA_PDE)?;
        a.mov(rcx, OTHER | flags | 0x87)?;
        a.mov(qword_ptr(rdx), rcx)?;
        act(a)?;
        a.mov(rsi, qword_ptr(rbx))?;
        a.hlt()
    });
    let mut cpu = kernel(strategy, &code, enabled);
    assert!(cpu.ram().write_u64(DATA_PDE, DATA | flags | 0x87));
    assert_eq!(cpu.run(), Exit::Halt);
    assert_eq!((cpu.state().rip, cpu.state().gprs[0]), (CODE + code.len() as u64, 1));
    cpu.state().gprs[6]
}

/// What a stale translation reads.
fn stale(strategy: Strategy) -> u64 {
    if strategy == Strategy::Naive { 2 } else { 1 }
}

fn reload_cr3(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    a.mov(rdi, cr3)?;
    a.mov(cr3, rdi)
}

#[test]
fn mov_to_cr3_keeps_global_pages_alone() {
    for strategy in STRATEGIES {
        assert_eq!(remapped(strategy, PGE, G, reload_cr3), stale(strategy));
        assert_eq!(remapped(strategy, PGE, 0, reload_cr3), 2);
        assert_eq!(remapped(strategy, 0, G, reload_cr3), 2, "G means nothing without CR4.PGE");
        assert_eq!(remapped(strategy, PGE, G, |_| Ok(())), stale(strategy));
    }
}

#[test]
fn invlpg_and_a_change_of_pge_drop_global_pages() {
    for strategy in STRATEGIES {
        let elsewhere_in_the_page = |a: &mut CodeAssembler| a.invlpg(byte_ptr(rbx + 0x12_3456));
        for flags in [0, G] {
            assert_eq!(remapped(strategy, PGE, flags, |a| a.invlpg(byte_ptr(rbx))), 2);
            assert_eq!(remapped(strategy, PGE, flags, elsewhere_in_the_page), 2, "the whole 2 MiB page goes");
        }
        let toggle = |a: &mut CodeAssembler| {
            a.mov(rdi, cr4)?;
            a.xor(rdi, PGE as i32)?;
            a.mov(cr4, rdi)
        };
        assert_eq!(remapped(strategy, PGE, G, toggle), 2);
    }
}

#[test]
fn a_page_fault_drops_the_page() {
    // The page is read-only and cached; the fault's handler gives it another frame, without INVLPG.
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx + 8), rax)?;
        a.mov(rsi, qword_ptr(rbx))?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel(strategy, &code, 0);
        let ram = cpu.ram().clone();
        assert!(ram.write_u64(DATA_PDE, DATA | 0x85));
        assert!(ram.write(HANDLERS + 14 * 16, &[0xf4, 0x48, 0x83, 0xc4, 8, 0x48, 0xcf])); // hlt; add rsp, 8; iretq
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0]), (14, 3));
        assert!(ram.write_u64(DATA_PDE, OTHER | 0x87));
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!((cpu.state().gprs[0], cpu.state().gprs[6]), (1, 2));
        assert_eq!((ram.read_u64(DATA + 8), ram.read_u64(OTHER + 8)), (Some(0), Some(1)));
    }
}

/// Reads DATA under identifier 1 (tables TABLES) and 2 (TABLES2), remaps it under 1 while in 2, does something in 2,
/// and reads it again under 1. Returns the first two reads and the last.
fn tagged(
    strategy: Strategy,
    back: u64,
    flags: u64,
    act: impl Fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) -> (u64, u64, u64) {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rdi, TABLES | 1)?;
        a.mov(cr3, rdi)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(rdi, TABLES2 | 2)?;
        a.mov(cr3, rdi)?;
        a.mov(rcx, qword_ptr(rbx))?;
        a.mov(rdx, DATA_PDE)?;
        a.mov(rsi, OTHER | flags | 0x87)?;
        a.mov(qword_ptr(rdx), rsi)?;
        act(a)?;
        a.mov(rdi, TABLES | 1 | back)?;
        a.mov(cr3, rdi)?;
        a.mov(rsi, qword_ptr(rbx))?;
        a.mov(rdi, cr3)?;
        a.hlt()
    });
    let mut cpu = kernel(strategy, &code, PCIDE | if flags == G { PGE } else { 0 });
    assert!(cpu.ram().write_u64(DATA_PDE, DATA | flags | 0x87));
    assert_eq!(cpu.run(), Exit::Halt);
    let state = cpu.state();
    assert_eq!((state.rip, state.gprs[7]), (CODE + code.len() as u64, TABLES | 1), "bit 63 is not kept");
    (state.gprs[0], state.gprs[1], state.gprs[6])
}

/// INVPCID of a type for an identifier and DATA.
fn invpcid(kind: u64, identifier: u64) -> impl Fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    move |a| {
        a.push(rbx)?;
        a.push(identifier as i32)?;
        a.mov(rbp, kind)?;
        a.invpcid(rbp, xmmword_ptr(rsp))?;
        a.add(rsp, 16)
    }
}

#[test]
fn identifiers_keep_address_spaces_apart() {
    for strategy in STRATEGIES {
        assert_eq!(tagged(strategy, KEEP, 0, |_| Ok(())), (1, 2, stale(strategy)));
        assert_eq!(tagged(strategy, 0, 0, |_| Ok(())), (1, 2, 2));
        // A global page belongs to both spaces: the second sees the first's translation.
        assert_eq!(tagged(strategy, KEEP, G, |_| Ok(())), (1, stale(strategy), stale(strategy)));
    }
}

#[test]
fn invpcid_drops_what_its_type_says() {
    for strategy in STRATEGIES {
        assert_eq!(tagged(strategy, KEEP, 0, invpcid(0, 1)).2, 2);
        assert_eq!(tagged(strategy, KEEP, 0, invpcid(1, 1)).2, 2);
        assert_eq!(tagged(strategy, KEEP, 0, invpcid(1, 2)).2, stale(strategy), "the other identifier");
        for kind in [2, 3] {
            assert_eq!(tagged(strategy, KEEP, 0, invpcid(kind, 0)).2, 2);
        }
        assert_eq!(tagged(strategy, KEEP, G, invpcid(2, 0)).2, 2);
        assert_eq!(tagged(strategy, KEEP, G, invpcid(3, 0)).2, stale(strategy), "global pages stay");
        assert_eq!(tagged(strategy, KEEP, G, invpcid(1, 1)).2, stale(strategy), "global pages stay");
    }
}

#[test]
fn invpcid_faults_on_what_it_does_not_know() {
    // CR4.PCIDE, privilege level, type, identifier, address.
    let cases = [
        (true, 0, 4, 0, 0),
        (true, 0, 1 << 32, 0, 0),
        (true, 0, 1, 0x1000, 0),
        (true, 0, 3, 0x1000, 0),
        (true, 0, 0, 1, 1 << 47),
        (false, 0, 0, 1, 0),
        (false, 0, 1, 1, 0),
        (true, 3, 2, 0, 0),
    ];
    let fine = [(true, 0, 0, 0xfff, 0), (false, 0, 1, 0, 0), (true, 0, 1, 5, 1 << 47), (false, 0, 2, 7, 0)];
    let code = assemble(|a| {
        a.invpcid(rax, xmmword_ptr(rbx))?;
        a.ud2()
    });
    for strategy in STRATEGIES {
        for (i, (pcide, cpl, kind, identifier, address)) in cases.into_iter().chain(fine).enumerate() {
            let mut cpu = kernel_machine(strategy, &code, cpl);
            assert!(cpu.ram().write_u64(DATA, identifier) && cpu.ram().write_u64(DATA + 8, address));
            let mut state = cpu.state();
            state.cr4 |= if pcide { PCIDE } else { 0 };
            (state.gprs[0], state.gprs[3]) = (kind, DATA);
            cpu.set_state(&state);
            let (vector, frame) = run_to_handler(&mut cpu);
            if i < cases.len() {
                assert_eq!((vector, frame[0], frame[1]), (13, 0, CODE), "case {i}");
            } else {
                assert_eq!(vector, 6, "case {i}");
            }
        }
    }
}

#[test]
fn rules_of_cr3_and_cr4() {
    let to_cr3 = assemble(|a| {
        a.mov(cr3, rax)?;
        a.ud2()
    });
    let to_cr4 = assemble(|a| {
        a.mov(cr4, rax)?;
        a.ud2()
    });
    // Code, CR3 and CR4 before, the value written, whether it faults.
    let cases = [
        (&to_cr3, TABLES, 0x620, TABLES | KEEP, true),
        (&to_cr3, TABLES, 0x620 | PCIDE, TABLES | KEEP, false),
        (&to_cr3, TABLES, 0x620 | PCIDE, TABLES | 1 << 62, true),
        (&to_cr3, TABLES, 0x620, TABLES | 1 << 46, true),
        (&to_cr3, TABLES, 0x620, TABLES | 0x18, false),
        (&to_cr4, TABLES | 0x18, 0x620, 0x620 | PCIDE, true),
        (&to_cr4, TABLES, 0x620, 0x620 | PCIDE, false),
        (&to_cr4, TABLES | 5, 0x620 | PCIDE, 0x620 | PCIDE | PGE, false),
        (&to_cr4, TABLES, 0x620, 0x600, true),
        (&to_cr4, TABLES, 0x620, 0x620 | 1 << 12, true),
    ];
    for strategy in STRATEGIES {
        for (i, (code, tables, enabled, value, faults)) in cases.into_iter().enumerate() {
            let mut cpu = kernel(strategy, code, 0);
            let mut state = cpu.state();
            (state.cr3, state.cr4, state.gprs[0]) = (tables, enabled, value);
            cpu.set_state(&state);
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!(vector, if faults { 13 } else { 6 }, "case {i}");
            if faults {
                assert_eq!((frame[0], frame[1]), (0, CODE));
                assert_eq!((cpu.state().cr3, cpu.state().cr4), (tables, enabled));
            }
        }
    }
}
