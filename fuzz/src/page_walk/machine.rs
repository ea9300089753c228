//! A guest kernel of a few instructions that does one step at a time: what and how it reads in a page of parameters,
//! and what came of it it writes there.

use std::sync::OnceLock;

use emu_min::{Config, Cpu, Exit, GuestRam, Segment, State, Strategy, Table};

use super::ops::Kind;
use super::ops::Table as PageTable;
use super::tables::{self, DATA, DATA_PAGES, P, RAM, RW, US, entry};

/// Linear base of the kernel, and the guest-physical pages behind it.
const KERNEL: u64 = 0xffff_ff80_0000_0000;
const PAGES: u64 = 0x1_0000;
const CODE: u64 = KERNEL;
const USER_CODE: u64 = KERNEL + 0x1000;
const GDT: u64 = KERNEL + 0x2000;
const TSS: u64 = KERNEL + 0x2800;
const IDT: u64 = KERNEL + 0x3000;
const STUBS: u64 = KERNEL + 0x4000;
const STACK: u64 = KERNEL + 0x6000;
const PARAMETERS: u64 = KERNEL + 0x7000;
/// Tables that map the kernel.
const KERNEL_TABLES: u64 = 0x2_0000;
/// The port at which the guest waits for its next step.
const PORT: u16 = 0x80;
/// The vector by which ring 3 comes back.
const DONE: u8 = 0x50;
/// The vector that a jump to data page 0 ends with; that of page 1 is the next, and so on.
pub(super) const FETCHED: u8 = 0x40;
/// Where in a page the code lies that jumps go to.
pub(super) const CODE_OFFSET: u64 = 0xf00;
/// Instructions that a step may take.
const BUDGET: u64 = 100;

/// `out PORT, al; mov rdi, [r15 + 8]; mov rax, [r15 + 16]; push [r15 + 24]; popfq; jmp [r15]`
const LOOP: [u8; 19] =
    [0xe6, PORT as u8, 0x49, 0x8b, 0x7f, 8, 0x49, 0x8b, 0x47, 16, 0x41, 0xff, 0x77, 24, 0x9d, 0x41, 0xff, 0x27, 0x90];
/// `mov [r15 + 32], rcx; mov [r15 + 40], rax; mov rcx, [rsp]; mov [r15 + 48], rcx; mov rcx, cr2; mov [r15 + 56], rcx;
/// mov rsp, r14; jmp LOOP`, entered with the vector popped into RCX.
const FINISH: [u8; 29] = [
    0x59, 0x49, 0x89, 0x4f, 32, 0x49, 0x89, 0x47, 40, 0x48, 0x8b, 0x0c, 0x24, 0x49, 0x89, 0x4f, 48, 0x0f, 0x20, 0xd1,
    0x49, 0x89, 0x4f, 56, 0x4c, 0x89, 0xf4, 0xeb, 0,
];
const FINISH_AT: u64 = 0x40;

/// A step as the guest knows it: where its code is, and the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Access(Kind, bool),
    Invalidate,
    Space,
    Cr0,
    Cr4,
}

/// The code of the steps in ring 0, each followed by `int DONE`: offset in the page and bytes.
const ROUTINES: [(u64, &[u8]); 7] = [
    (0x100, &[0x48, 0x8b, 0x07, 0xcd, DONE]), // mov rax, [rdi]
    (0x140, &[0x48, 0x89, 0x07, 0xcd, DONE]), // mov [rdi], rax
    (0x180, &[0xff, 0xe7]),                   // jmp rdi
    (0x1c0, &[0x0f, 0x01, 0x3f, 0xcd, DONE]), // invlpg [rdi]
    (0x200, &[0x0f, 0x22, 0xd8, 0xcd, DONE]), // mov cr3, rax
    (0x240, &[0x0f, 0x22, 0xc0, 0xcd, DONE]), // mov cr0, rax
    (0x280, &[0x0f, 0x22, 0xe0, 0xcd, DONE]), // mov cr4, rax
];
/// `push 0x2b; push r14; push [r15 + 24]; push 0x33; push [r15 + 64]; iretq`: on to ring 3.
const TO_USER: (u64, [u8; 16]) =
    (0x2c0, [0x6a, 0x2b, 0x41, 0x56, 0x41, 0xff, 0x77, 24, 0x6a, 0x33, 0x41, 0xff, 0x77, 64, 0x48, 0xcf]);

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    pub(super) vector: u8,
    pub(super) rax: u64,
    /// Valid for exceptions that have one.
    pub(super) error: u32,
    pub(super) cr2: u64,
    /// A device access: its address and, of a write, the value.
    pub(super) device: Option<(u64, Option<u64>)>,
}

/// The guest on its CPU.
pub(super) struct Machine {
    pub(super) cpu: Cpu,
}

impl Machine {
    pub(super) fn new(strategy: Strategy) -> Self {
        let ram = GuestRam::allocate(RAM);
        Self { cpu: Cpu::new(ram, Config::of(strategy)) }
    }

    /// Back to the start, with EFER.NXE or without.
    pub(super) fn reset(&mut self, nxe: bool) {
        fill(self.cpu.ram());
        self.cpu.flush_code();
        let mut state = State::long_mode(CODE, STACK, tables::space(0), 0);
        (state.cs.selector, state.ss.selector) = (0x10, 0x18);
        state.gprs[14] = STACK;
        state.gprs[15] = PARAMETERS;
        state.gdtr = Table { base: GDT, limit: 10 * 8 - 1 };
        state.idtr = Table { base: IDT, limit: 4095 };
        state.tr = Segment { selector: 0x40, base: TSS, limit: 0x67, attributes: 0x8b };
        state.cr0 |= 1 << 16;
        state.efer = if nxe { state.efer | 1 << 11 } else { state.efer & !(1 << 11) };
        self.cpu.set_state(&state);
        self.run();
    }

    pub(super) fn ram(&self) -> &GuestRam {
        self.cpu.ram()
    }

    /// Has the guest do one step.
    pub(super) fn step(&mut self, step: Step, rdi: u64, rax: u64, ac: bool) -> Seen {
        let routine = match step {
            Step::Access(Kind::Read, _) => 0,
            Step::Access(Kind::Write, _) => 1,
            Step::Access(Kind::Fetch, _) => 2,
            Step::Invalidate => 3,
            Step::Space => 4,
            Step::Cr0 => 5,
            Step::Cr4 => 6,
        };
        let offset = ROUTINES[routine].0;
        let user = matches!(step, Step::Access(_, true));
        let entry = CODE + if user { TO_USER.0 } else { offset };
        let flags = 2 | u64::from(ac) << 18;
        let words = [entry, rdi, rax, flags, 0, 0, 0, 0, USER_CODE + offset];
        for (at, word) in (physical(PARAMETERS)..).step_by(8).zip(words) {
            assert!(self.ram().write_u64(at, word));
        }
        let device = self.run();
        let word = |i: u64| self.ram().read_u64(physical(PARAMETERS) + i * 8).unwrap_or(0);
        Seen { vector: word(4) as u8, rax: word(5), error: word(6) as u32, cr2: word(7), device }
    }

    /// Runs to the port; device accesses on the way are answered with the inverse of their address.
    fn run(&mut self) -> Option<(u64, Option<u64>)> {
        let mut device = None;
        self.cpu.set_instruction_budget(Some(BUDGET));
        loop {
            match self.cpu.run() {
                Exit::IoOut { port: PORT, .. } => return device,
                Exit::MmioRead { gpa, .. } => {
                    self.cpu.complete_mmio_read(!gpa);
                    device = Some((gpa, None));
                }
                Exit::MmioWrite { gpa, value, .. } => device = Some((gpa, Some(value))),
                other => panic!("{other:?} with {:x?}", self.cpu.state()),
            }
        }
    }
}

/// Guest-physical address behind an address of the kernel.
fn physical(linear: u64) -> u64 {
    PAGES + (linear - KERNEL)
}

fn fill(ram: &GuestRam) {
    static IMAGE: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    const SPANS: [(u64, u64); 2] = [(0, KERNEL_TABLES + 0x3000), (DATA, DATA_PAGES * 0x1000)];
    let images = IMAGE.get_or_init(|| {
        let ram = GuestRam::allocate(RAM);
        build(&ram);
        SPANS.map(|(at, len)| {
            let mut bytes = vec![0; len as usize];
            assert!(ram.read(at, &mut bytes));
            bytes
        })
    });
    for ((at, _), bytes) in SPANS.iter().zip(images) {
        assert!(ram.write(*at, bytes));
    }
}

fn build(ram: &GuestRam) {
    let put = |at: u64, value: u64| assert!(ram.write_u64(at, value));
    let write = |linear: u64, bytes: &[u8]| assert!(ram.write(physical(linear), bytes));
    for space in 0..2 {
        put(tables::space(space) + 511 * 8, KERNEL_TABLES | P | RW | US);
    }
    put(KERNEL_TABLES, (KERNEL_TABLES + 0x1000) | P | RW | US);
    put(KERNEL_TABLES + 0x1000, (KERNEL_TABLES + 0x2000) | P | RW | US);
    for page in 0..8 {
        let user = if KERNEL + page * 0x1000 == USER_CODE { US } else { 0 };
        put(KERNEL_TABLES + 0x2000 + page * 8, (PAGES + page * 0x1000) | P | RW | user);
    }
    write(CODE, &LOOP);
    let mut finish = FINISH;
    finish[28] = (CODE.wrapping_sub(CODE + FINISH_AT + FINISH.len() as u64)) as u8;
    write(CODE + FINISH_AT, &finish);
    for (offset, bytes) in ROUTINES {
        write(CODE + offset, bytes);
        write(USER_CODE + offset, bytes);
    }
    write(CODE + TO_USER.0, &TO_USER.1);
    let task = TSS & 0xff_ffff | (TSS >> 24 & 0xff) << 40;
    let descriptors = [
        0,
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0,
        0x8b << 40 | 0x67 | (task & 0xff_ffff) << 16 | (task >> 40) << 56,
        TSS >> 32,
    ];
    (physical(GDT)..).step_by(8).zip(descriptors).for_each(|(at, word)| put(at, word));
    put(physical(TSS) + 4, STACK);
    for vector in 0..256_u64 {
        // push vector; jmp FINISH
        let stub = STUBS + vector * 16;
        let distance = (CODE + FINISH_AT).wrapping_sub(stub + 10) as u32;
        let mut bytes = [0x68, vector as u8, 0, 0, 0, 0xe9, 0, 0, 0, 0];
        bytes[6..].copy_from_slice(&distance.to_le_bytes());
        write(stub, &bytes);
        let low = stub & 0xffff | 0x10 << 16 | 0xee << 40 | (stub >> 16 & 0xffff) << 48;
        put(physical(IDT) + vector * 16, low);
        put(physical(IDT) + vector * 16 + 8, stub >> 32);
    }
    // All 16 pages mapped to begin with: user pages, the first data pages behind them.
    for number in 0..2 {
        for table in [
            PageTable::Top(number),
            PageTable::Pointers(number),
            PageTable::Directory(number),
            PageTable::Pages(number),
        ] {
            let (level, at) = table.place();
            let target = |i: u8| if level == 0 { number * 2 + i } else { i };
            (0..2).for_each(|i| put(at + u64::from(i) * 8, entry(level, 6, target(i))));
        }
    }
    for page in 0..DATA_PAGES {
        let base = DATA + page * 0x1000;
        (0..512).for_each(|i| put(base + i * 8, base << 32 | i));
        assert!(ram.write(base + CODE_OFFSET, &[0xcd, FETCHED + page as u8]));
    }
}
