//! XSAVE, its variants and XRSTOR: against the host's processor, and what it cannot be asked in a process (Intel SDM
//! volume 1, chapter 13).

mod common;

use common::{CODE, DATA, STRATEGIES, kernel_machine, run_to_handler};
use emu_min::{Cpu, Exit, Strategy};
use rand::{RngExt, SeedableRng};

const OSXSAVE: u64 = 1 << 18;
const COMPACTED: u64 = 1 << 63;
/// Bytes of an area with x87, SSE and AVX.
const BYTES: usize = 832;
const UD: u64 = 6;
const NM: u64 = 7;
const GP: u64 = 13;
const PF: u64 = 14;

/// An area at an address that XSAVE accepts.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Area([u8; BYTES]);

impl Area {
    fn set(&mut self, offset: usize, value: u64) {
        self.0[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn get(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.0[offset..offset + 8].try_into().unwrap())
    }

    /// Random contents that XRSTOR accepts, with these components.
    fn random(random: &mut impl RngExt, present: u64, format: u64) -> Self {
        let mut area = Self([0; BYTES]);
        for offset in (0..BYTES).step_by(8).filter(|offset| !(512..576).contains(offset)) {
            // Registers are often zero, so that components are in their initial configuration.
            area.set(offset, if random.random_bool(0.5) { 0 } else { random.random() });
        }
        if random.random_bool(0.3) {
            area.0[160..512].fill(0);
        }
        if random.random_bool(0.3) {
            area.0[576..].fill(0);
        }
        area.set(0, 0x37f | u64::from(random.random::<u8>()) << 32); // no exception pending
        (0..3).for_each(|i| area.set(8 + i * 8, 0)); // nor last instruction
        area.set(24, if random.random_bool(0.5) { 0x1f80 } else { 0x1fa0 });
        area.set(512, present);
        area.set(520, format);
        // The end of an XMM area is the system's, and of an ST register reserved.
        area.0[416..512].fill(0);
        (0..8).for_each(|i| area.0[42 + i * 16..48 + i * 16].fill(0));
        area
    }
}

/// XRSTOR from RSI with the components in RAX, XRSTOR from RDI with those in R8, then a save to RBX with those in R9.
fn sequence(save: &[u8]) -> Vec<u8> {
    [
        &[0x48, 0x0f, 0xae, 0x2e][..], // xrstor64 [rsi]
        &[0x4c, 0x89, 0xc0],           // mov rax, r8
        &[0x48, 0x0f, 0xae, 0x2f],     // xrstor64 [rdi]
        &[0x4c, 0x89, 0xc8],           // mov rax, r9
        save,
    ]
    .concat()
}

/// With RBX as operand: XSAVE64, XSAVEOPT64, XSAVEC64.
const SAVES: [&[u8]; 3] = [&[0x48, 0x0f, 0xae, 0x23], &[0x48, 0x0f, 0xae, 0x33], &[0x48, 0x0f, 0xc7, 0x23]];

/// The same on the host.
fn on_the_host(kind: usize, areas: &mut [Area; 3], first: u64, second: u64) {
    let [start, image, out] = areas;
    let (mut before, mut control) = (0_u32, 0_u16);
    macro_rules! run {
        ($save:literal) => {
            // SAFETY: the areas are as large and as aligned as the components in the masks need; all vector and x87
            // registers are declared as clobbered, and MXCSR and the x87 control word are restored.
            unsafe {
                std::arch::asm!(
                    "stmxcsr [r11]", "fnstcw [rcx]",
                    "xrstor64 [rsi]", "mov rax, r8", "xrstor64 [rdi]", "mov rax, r9", $save,
                    "fninit", "fldcw [rcx]", "ldmxcsr [r11]",
                    in("r10") out.0.as_mut_ptr(), in("r11") &raw mut before, in("rcx") &raw mut control,
                    in("rsi") start.0.as_ptr(), in("rdi") image.0.as_ptr(), inout("rax") 7_u64 => _, in("rdx") 0_u64,
                    in("r8") first, in("r9") second, clobber_abi("sysv64"),
                );
            }
        };
    }
    match kind {
        0 => run!("xsave64 [r10]"),
        1 => run!("xsaveopt64 [r10]"),
        _ => run!("xsavec64 [r10]"),
    }
}

/// A CPU in ring 3 with XSAVE on and the components of `xcr0` enabled.
fn machine(strategy: Strategy, code: &[u8], cpl: u8, xcr0: u64) -> Cpu {
    let mut cpu = kernel_machine(strategy, code, cpl);
    let mut state = cpu.state();
    state.cr4 |= OSXSAVE;
    state.xcr0 = xcr0;
    cpu.set_state(&state);
    cpu
}

fn on_the_emulator(cpu: &mut Cpu, length: usize, areas: &mut [Area; 3], first: u64, second: u64) {
    for (i, area) in (0..).zip(areas.iter()) {
        assert!(cpu.ram().write(DATA + i * 0x1000, &area.0));
    }
    let mut state = cpu.state();
    state.rip = CODE;
    state.gprs = [7, 0, 0, DATA + 0x2000, state.gprs[4], 0, DATA, DATA + 0x1000, first, second, 0, 0, 0, 0, 0, 0];
    cpu.set_state(&state);
    cpu.set_instruction_budget(Some(5));
    assert_eq!(cpu.run(), Exit::BudgetExhausted);
    assert_eq!(cpu.state().rip, CODE + length as u64);
    for (i, area) in (0..).zip(areas.iter_mut()) {
        assert!(cpu.ram().read(DATA + i * 0x1000, &mut area.0));
    }
}

#[test]
fn saving_and_restoring_is_as_on_the_host() {
    let has =
        [is_x86_feature_detected!("avx"), is_x86_feature_detected!("xsavec"), is_x86_feature_detected!("xsaveopt")];
    if has.contains(&false) {
        println!("skipped: the host lacks AVX, XSAVEOPT or XSAVEC");
        return;
    }
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(13);
    for (kind, save) in SAVES.iter().enumerate() {
        let code = sequence(save);
        let mut cpu = machine(Strategy::Interp, &code, 3, 7);
        for case in 0..2000 {
            let compacted = random.random_bool(0.5);
            let listed = random.random::<u64>() & 7;
            let present = random.random::<u64>() & if compacted { listed } else { 7 };
            let image = Area::random(&mut random, present, if compacted { COMPACTED | listed } else { 0 });
            let start = Area::random(&mut random, 7, 0);
            let mut out = Area::random(&mut random, 0, 0);
            out.set(512, random.random());
            let (first, second) = (random.random::<u64>() & 7, random.random::<u64>() & 7);
            let mut host = [start, image, out];
            let mut emulator = host;
            on_the_host(kind, &mut host, first, second);
            on_the_emulator(&mut cpu, code.len(), &mut emulator, first, second);
            // The mask at 28 says which bits of MXCSR a processor has.
            let differ = (0..BYTES).filter(|i| !(28..32).contains(i)).find(|&i| host[2].0[i] != emulator[2].0[i]);
            assert_eq!(
                differ.map(|i| (i, host[2].0[i], emulator[2].0[i])),
                None,
                "save {kind}, case {case}: present {present:#x}, listed {listed:#x} ({compacted}), restored {first:#x}, \
                 saved {second:#x}: XSTATE_BV {:#x} and {:#x}",
                host[2].get(512),
                emulator[2].get(512),
            );
        }
    }
}

/// The vector of the exception that `code` ends in; `change` prepares the machine.
fn vector(strategy: Strategy, code: &[u8], cpl: u8, change: impl Fn(&mut Cpu)) -> u64 {
    let mut cpu = machine(strategy, &[code, &[0xcc]].concat(), cpl, 7);
    common::set_gate(&cpu, 3, 0, 3);
    change(&mut cpu);
    let (vector, frame) = run_to_handler(&mut cpu);
    assert!(vector == 3 || frame[usize::from(vector == GP || vector == PF)] == CODE, "{vector}: at {:#x}", frame[0]);
    vector
}

/// INT3 behind the code: nothing was raised.
const NOTHING: u64 = 3;

fn registers(cpu: &mut Cpu, changes: &[(usize, u64)]) {
    let mut state = cpu.state();
    changes.iter().for_each(|&(register, value)| state.gprs[register] = value);
    cpu.set_state(&state);
}

#[test]
fn faults_come_in_the_manual_s_order() {
    for strategy in STRATEGIES {
        for code in SAVES.iter().copied().chain([&[0x48, 0x0f, 0xae, 0x2b][..]]) {
            let run = |address: u64, cr4_off: bool, task_switched: bool| {
                vector(strategy, code, 3, |cpu| {
                    registers(cpu, &[(0, 7), (2, 0), (3, address)]);
                    let mut state = cpu.state();
                    state.cr4 &= !(u64::from(cr4_off) * OSXSAVE);
                    state.cr0 |= u64::from(task_switched) << 3;
                    cpu.set_state(&state);
                })
            };
            assert_eq!(run(DATA, false, false), NOTHING, "{code:x?}");
            assert_eq!(run(DATA + 32, true, true), UD, "{code:x?}");
            assert_eq!(run(DATA + 32, false, true), NM, "{code:x?}");
            assert_eq!(run(DATA + 32, false, false), GP, "{code:x?}");
            assert_eq!(run(1 << 47, false, false), GP, "{code:x?}");
            assert_eq!(run(1 << 40, false, false), PF, "{code:x?}");
        }
    }
}

#[test]
fn a_header_with_what_is_reserved_is_refused() {
    const XRSTOR: &[u8] = &[0x48, 0x0f, 0xae, 0x2b];
    // Offset and value; what is raised.
    let cases: [(&[(usize, u64)], u64); 14] = [
        (&[(512, 7)], NOTHING),
        (&[(512, 8)], GP),
        (&[(512, 1 << 63)], GP),
        (&[(520, 1)], GP),
        (&[(528, 1)], GP),
        (&[(536, 1)], NOTHING),
        (&[(520, COMPACTED | 3), (512, 3)], NOTHING),
        (&[(520, COMPACTED | 3), (512, 4)], GP),
        (&[(520, COMPACTED | 8)], GP),
        (&[(520, COMPACTED), (536, 1)], GP),
        (&[(520, COMPACTED), (568, 1)], GP),
        (&[(24, 1 << 16)], GP), // MXCSR in standard format, though SSE is not present
        (&[(24, 1 << 16), (520, COMPACTED)], NOTHING),
        (&[(24, 1 << 16), (520, COMPACTED | 2), (512, 2)], GP),
    ];
    for strategy in STRATEGIES {
        for (words, raised) in cases {
            let mut area = Area([0; BYTES]);
            words.iter().for_each(|&(offset, value)| area.set(offset, value));
            let got = vector(strategy, XRSTOR, 3, |cpu| {
                registers(cpu, &[(0, u64::MAX), (2, u64::MAX), (3, DATA)]);
                assert!(cpu.ram().write(DATA, &area.0));
            });
            assert_eq!(got, raised, "{words:x?}");
        }
    }
}

#[test]
fn xcr0_takes_what_the_manual_allows() {
    const XSETBV: &[u8] = &[0x0f, 0x01, 0xd1];
    const XGETBV: &[u8] = &[0x0f, 0x01, 0xd0];
    for strategy in STRATEGIES {
        let set = |rax: u64, rcx: u64, cpl| {
            vector(strategy, XSETBV, cpl, |cpu| registers(cpu, &[(0, rax), (1, rcx), (2, 0)]))
        };
        assert_eq!(set(3, 0, 0), NOTHING);
        assert_eq!(set(1, 0, 0), NOTHING);
        assert_eq!(set(3, 0, 3), GP);
        assert_eq!(set(3, 1, 0), GP);
        assert_eq!(set(2, 0, 0), GP);
        assert_eq!(set(5, 0, 0), GP); // AVX without SSE
        assert_eq!(set(0x11, 0, 0), GP);
        assert_eq!(set(1 << 32 | 3, 1 << 32, 0), NOTHING); // the upper halves do not count
        let get = |rcx: u64| vector(strategy, XGETBV, 3, |cpu| registers(cpu, &[(1, rcx)]));
        assert_eq!((get(0), get(2)), (NOTHING, GP));
        let off = |cpu: &mut Cpu| {
            let mut state = cpu.state();
            state.cr4 &= !OSXSAVE;
            cpu.set_state(&state);
        };
        assert_eq!((vector(strategy, XGETBV, 3, off), vector(strategy, XSETBV, 3, off)), (UD, UD));
    }
}

#[test]
fn cpuid_follows_cr4_and_xcr0() {
    let code = common::assemble(|a| {
        use iced_x86::code_asm::*;
        a.mov(eax, 1)?;
        a.cpuid()?;
        a.mov(esi, ecx)?;
        a.mov(rax, cr4)?;
        a.or(eax, OSXSAVE as i32)?;
        a.mov(cr4, rax)?;
        a.mov(eax, 1)?;
        a.cpuid()?;
        a.mov(edi, ecx)?;
        a.mov(eax, 0xd)?;
        a.xor(ecx, ecx)?;
        a.cpuid()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        assert_eq!(cpu.run(), Exit::Halt);
        let state = cpu.state();
        assert_eq!((state.gprs[6] >> 26 & 3, state.gprs[7] >> 26 & 3), (1, 3));
        let supported = cpu.xcr0_supported();
        let largest = if supported == 7 { BYTES as u64 } else { 576 };
        assert_eq!([0, 3, 1, 2].map(|i| state.gprs[i]), [supported, 576, largest, 0]);
    }
}

#[test]
fn outside_64_bit_mode_eight_registers_are_saved_and_restored() {
    const CODE_BYTES: &[u8] = &[0x0f, 0xae, 0x23, 0x0f, 0xae, 0x2f]; // xsave [ebx]; xrstor [edi]
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, CODE_BYTES, 3, 7);
        let mut state = cpu.state();
        state.cs = emu_min::Segment { selector: 0x23, base: 0, limit: u32::MAX, attributes: 0xc0fb };
        (state.gprs[0], state.gprs[2], state.gprs[3], state.gprs[7]) = (7, 0, DATA, DATA + 0x1000);
        state.xmm = std::array::from_fn(|i| i as u128 + 1);
        state.ymm_high = std::array::from_fn(|i| i as u128 + 0x101);
        cpu.set_state(&state);
        cpu.set_instruction_budget(Some(2));
        assert_eq!(cpu.run(), Exit::BudgetExhausted);
        let mut area = Area([0; BYTES]);
        assert!(cpu.ram().read(DATA, &mut area.0));
        assert_eq!((area.get(160 + 7 * 16), area.get(160 + 8 * 16)), (8, 0));
        assert_eq!((area.get(576 + 7 * 16), area.get(576 + 8 * 16)), (0x108, 0));
        // The second area is all zeros: everything goes to its initial configuration.
        let after = cpu.state();
        assert_eq!((after.xmm[7], after.xmm[8], after.ymm_high[7], after.ymm_high[8]), (0, 9, 0, 0x109));
    }
}
