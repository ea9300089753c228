//! A bare machine for tests: a little RAM, identity-mapped page tables, code at a fixed address.

use emu_min::{Config, Cpu, GuestRam, Mechanisms, State, Strategy};

/// Bytes of RAM, all mapped to themselves, writable and executable by users.
pub(crate) const RAM: usize = 64 << 20;
/// Where [`machine`] puts the code.
pub(crate) const CODE: u64 = 0x10_0000;
/// Top of a stack.
pub(crate) const STACK: u64 = 0x30_0000;
/// Data that tests may use.
pub(crate) const DATA: u64 = 0x200_0000;
/// Page tables: PML4, PDPT, PD.
pub(crate) const TABLES: u64 = 0x1000;

/// Maps the first GiB to itself with 2 MiB pages.
pub(crate) fn identity_map(ram: &GuestRam) {
    assert!(ram.write_u64(TABLES, (TABLES + 0x1000) | 7));
    assert!(ram.write_u64(TABLES + 0x1000, (TABLES + 0x2000) | 7));
    for i in 0..512 {
        assert!(ram.write_u64(TABLES + 0x2000 + i * 8, (i << 21) | 0x87));
    }
}

/// A CPU in 64-bit mode at privilege level `cpl`, about to execute `code` at [`CODE`].
pub(crate) fn machine(mechanisms: impl Into<Mechanisms>, code: &[u8], cpl: u8) -> Cpu {
    let ram = GuestRam::allocate(RAM);
    identity_map(&ram);
    assert!(ram.write(CODE, code));
    let config = Config { mechanisms: mechanisms.into(), hot: 0, ..Config::default() };
    let mut cpu = Cpu::new(ram, config);
    cpu.set_state(&State::long_mode(CODE, STACK, TABLES, cpl));
    cpu
}

/// Kernel code, user data and user code.
pub(crate) const KERNEL_CS: u64 = 0x10;
pub(crate) const USER_DS: u64 = 0x2b;
pub(crate) const USER_CS: u64 = 0x33;
pub(crate) const GDT: u64 = 0x6000;
pub(crate) const TSS: u64 = 0x7000;
pub(crate) const IDT: u64 = 0xb000;
/// The handler of vector `v` is a HLT at `HANDLERS + 16 * v`.
pub(crate) const HANDLERS: u64 = 0xc000;
/// Stacks for faults from ring 3 and for gates with IST 1.
pub(crate) const RSP0: u64 = 0x2f_0000;
pub(crate) const IST1: u64 = 0x2e_0000;

/// [`machine`] with a GDT, a TSS whose I/O bitmap forbids every port, and an IDT.
pub(crate) fn kernel_machine(mechanisms: impl Into<Mechanisms>, code: &[u8], cpl: u8) -> Cpu {
    let mut cpu = machine(mechanisms, code, cpl);
    let gdt = [
        0,
        0,
        0x00af_9b00_0000_ffff_u64,
        0x00cf_9300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0,
        0x0000_8b00_0000_0000 | (TSS & 0xff_ffff) << 16 | 0x2068,
        0,
    ];
    let ram = cpu.ram().clone();
    for (i, descriptor) in (0..).zip(gdt) {
        assert!(ram.write_u64(GDT + i * 8, descriptor));
    }
    assert!(ram.write_u64(TSS + 4, RSP0) && ram.write_u64(TSS + 36, IST1));
    assert!(ram.write(TSS + 102, &104_u16.to_le_bytes()) && ram.write(TSS + 104, &[0xff; 0x2001]));
    for vector in 0..256 {
        set_gate(&cpu, vector, 0, 0);
        assert!(ram.write(HANDLERS + vector * 16, &[0xf4]));
    }
    let mut state = cpu.state();
    if cpl == 3 {
        (state.cs.selector, state.ss.selector) = (USER_CS as u16, USER_DS as u16);
    }
    state.gdtr = emu_min::Table { base: GDT, limit: 79 };
    state.idtr = emu_min::Table { base: IDT, limit: 4095 };
    state.tr = emu_min::Segment { selector: 0x40, base: TSS, limit: 0x2068, attributes: 0x8b };
    cpu.set_state(&state);
    cpu
}

/// Makes the interrupt gate of `vector` one with this IST index and DPL.
pub(crate) fn set_gate(cpu: &Cpu, vector: u64, ist: u64, dpl: u64) {
    let handler = HANDLERS + vector * 16;
    let low = (handler & 0xffff) | KERNEL_CS << 16 | ist << 32 | 0x8e << 40 | dpl << 45 | (handler >> 16) << 48;
    assert!(cpu.ram().write_u64(IDT + vector * 16, low) && cpu.ram().write_u64(IDT + vector * 16 + 8, 0));
}

/// Assembles 64-bit code for [`CODE`].
pub(crate) fn assemble(
    build: impl FnOnce(&mut iced_x86::code_asm::CodeAssembler) -> Result<(), iced_x86::IcedError>,
) -> Vec<u8> {
    let mut assembler = iced_x86::code_asm::CodeAssembler::new(64).unwrap();
    build(&mut assembler).unwrap();
    assembler.assemble(CODE).unwrap()
}

/// All strategies, so that a test says what holds for each.
pub(crate) const STRATEGIES: [Strategy; 3] = [Strategy::Naive, Strategy::Interp, Strategy::Dbt];

/// Runs to the HLT of an exception handler and returns its vector and the frame it found: error code first, if any,
/// then RIP, CS, RFLAGS, RSP, SS.
pub(crate) fn run_to_handler(cpu: &mut Cpu) -> (u64, [u64; 6]) {
    assert_eq!(cpu.run(), emu_min::Exit::Halt);
    let state = cpu.state();
    let vector = (state.rip - 1 - HANDLERS) / 16;
    let mut frame = [0; 6];
    for (i, slot) in (0..).zip(&mut frame) {
        *slot = cpu.ram().read_u64(state.gprs[4] + i * 8).unwrap();
    }
    (vector, frame)
}

/// The harness checks itself in every test file that includes it.
#[test]
fn the_bare_machine_takes_a_breakpoint_from_ring_3() {
    let code = assemble(|a| {
        a.mov(iced_x86::code_asm::eax, DATA as u32)?;
        a.int3()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        set_gate(&cpu, 3, 1, 3);
        let (vector, frame) = run_to_handler(&mut cpu);
        let state = cpu.state();
        assert_eq!((vector, frame[0]), (3, CODE + code.len() as u64));
        assert_eq!((frame[1], frame[3], frame[4]), (USER_CS, STACK, USER_DS));
        assert_eq!((state.gprs[0], u64::from(state.cs.selector)), (DATA, KERNEL_CS));
        assert_eq!(state.gprs[4], IST1 - 40);
        assert_ne!(IST1, RSP0);
    }
}
