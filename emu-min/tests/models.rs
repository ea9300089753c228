//! CPU models: what CPUID says is what executes.

mod common;

use common::{CODE, RAM, STACK, STRATEGIES, TABLES, assemble, identity_map};
use emu_min::{Config, Cpu, Exit, GuestRam, Model, State, Strategy};
use iced_x86::code_asm::*;

/// A CPU of this model in 64-bit mode without interrupt table: any exception is a triple fault.
fn machine(strategy: Strategy, model: Model, code: &[u8]) -> Cpu {
    let ram = GuestRam::allocate(RAM);
    identity_map(&ram);
    assert!(ram.write(CODE, code));
    let mut cpu = Cpu::new(ram, Config { model, ..Config::of(strategy) });
    cpu.set_state(&State::long_mode(CODE, STACK, TABLES, 0));
    cpu
}

/// EAX, EBX, ECX, EDX of a leaf.
fn cpuid(model: Model, leaf: u32) -> [u32; 4] {
    let code = assemble(|a| {
        a.mov(eax, leaf)?;
        a.xor(ecx, ecx)?;
        a.cpuid()?;
        a.hlt()
    });
    let mut cpu = machine(Strategy::Interp, model, &code);
    assert_eq!(cpu.run(), Exit::Halt);
    let gprs = cpu.state().gprs;
    [gprs[0] as u32, gprs[3] as u32, gprs[1] as u32, gprs[2] as u32]
}

/// RAX after `code` with the zero-extended 0x10 in RCX, or the instruction that was undefined.
fn run(model: Model, code: &[u8]) -> Result<u64, String> {
    let mut results = STRATEGIES.map(|strategy| {
        let mut cpu = machine(strategy, model, &[code, &[0xf4]].concat());
        let mut state = cpu.state();
        state.gprs[1] = 0x10;
        cpu.set_state(&state);
        match cpu.run() {
            Exit::Halt => Ok(cpu.state().gprs[0]),
            Exit::TripleFault => Err(cpu.counters().undefined.keys().cloned().collect::<Vec<_>>().join(" ")),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(results[0], results[1]);
    std::mem::replace(&mut results[0], Ok(0))
}

#[test]
fn cpuid_names_what_executes_in_each_model() {
    const POPCNT: &[u8] = &[0xf3, 0x0f, 0xb8, 0xc1]; // popcnt eax, ecx
    const LAHF: &[u8] = &[0x9f];
    for (model, offered) in [(Model::V1, false), (Model::V2, true), (Model::V3, true)] {
        assert_eq!(cpuid(model, 1)[2] >> 23 & 1 != 0, offered, "{model}");
        assert_eq!(run(model, POPCNT), if offered { Ok(1) } else { Err("popcnt".to_owned()) });
        assert_eq!(cpuid(model, 0x8000_0001)[2] & 1 != 0, offered, "{model}");
        assert_eq!(run(model, LAHF).is_ok(), offered, "{model}");
        // FPU, TSC, MSR, CX8, CMOV, MMX, FXSR, SSE, SSE2 and SYSCALL, NX, long mode are in all.
        assert_eq!(cpuid(model, 1)[3] & 0x0780_8131, 0x0780_8131, "{model}");
        assert_eq!(cpuid(model, 0x8000_0001)[3] & 0x2010_0800, 0x2010_0800, "{model}");
    }
}

#[test]
fn vector_extensions_are_offered_and_executed_by_level() {
    const PSHUFB: &[u8] = &[0x66, 0x0f, 0x38, 0x00, 0xc0]; // pshufb xmm0, xmm0
    const CRC32: &[u8] = &[0xf2, 0x0f, 0x38, 0xf1, 0xc1]; // crc32 eax, ecx
    const VPABSB: &[u8] = &[0xc4, 0xe2, 0x7d, 0x1c, 0xc0]; // vpabsb ymm0, ymm0
    for model in Model::ALL.into_iter().filter(|model| model.available().is_ok()) {
        let (v2, v3) = (model >= Model::V2, model >= Model::V3);
        let offered = cpuid(model, 1)[2];
        // SSE3, SSSE3, SSE4.1, SSE4.2; then FMA, AVX, F16C.
        assert_eq!(offered & 0x0018_0201, if v2 { 0x0018_0201 } else { 0 }, "{model}");
        assert_eq!(offered & 0x3000_1000, if v3 { 0x3000_1000 } else { 0 }, "{model}");
        assert_eq!(cpuid(model, 7)[1] & 1 << 5 != 0, v3, "{model}");
        assert_eq!(run(model, PSHUFB).err(), (!v2).then(|| "pshufb".to_owned()));
        assert_eq!(run(model, CRC32).is_ok(), v2, "{model}");
        // AVX waits for the system to turn it on.
        assert!(run(model, VPABSB).is_err());
        for strategy in STRATEGIES {
            let mut cpu = machine(strategy, model, &[VPABSB, &[0xf4]].concat());
            let mut state = cpu.state();
            (state.cr4, state.xcr0) = (state.cr4 | 1 << 18, 7);
            cpu.set_state(&state);
            assert_eq!(cpu.run() == Exit::Halt, v3, "{model}");
        }
    }
}

#[test]
fn encodings_that_extensions_took_over_keep_their_meaning_without_them() {
    const LZCNT: &[u8] = &[0xf3, 0x0f, 0xbd, 0xc1]; // bsr eax, ecx
    const TZCNT: &[u8] = &[0xf3, 0x0f, 0xbc, 0xc1]; // bsf eax, ecx
    assert_eq!(run(Model::V1, LZCNT), Ok(4));
    assert_eq!(run(Model::V1, TZCNT), Ok(4));
    // TZCNT stores the operand size where BSF leaves the destination alone.
    let zero = [&[0x31, 0xc9][..], TZCNT].concat();
    assert_eq!(run(Model::V1, &zero), Ok(0));
    // ENDBR64, RDSSPQ and CLDEMOTE are no-operations where they are not known.
    for hint in [&[0xf3, 0x0f, 0x1e, 0xfa][..], &[0xf3, 0x48, 0x0f, 0x1e, 0xc8], &[0x0f, 0x1c, 0x01]] {
        assert_eq!(run(Model::V1, hint), Ok(0), "{hint:x?}");
    }
}

#[test]
fn the_highest_model_is_the_default() {
    assert_eq!(Config::default().model, Model::highest());
}
