//! Any bytes as code, on a small machine, with both strategies of emu-min.

use std::cell::RefCell;
use std::sync::OnceLock;

use emu_min::{Config, Cpu, Exit, GuestRam, Model, Segment, State, Strategy, Table};

use super::guarded::Guarded;
use super::input::Input;

/// Bytes of RAM. Behind them, the last two mapped pages are devices.
const RAM: usize = 0x4_0000;
const TABLES: u64 = 0x1000;
const GDT: u64 = 0x6000;
const TSS: u64 = 0x7000;
const IDT: u64 = 0xb000;
const HANDLERS: u64 = 0xc000;
const CODE: u64 = 0x1_0000;
const STACK: u64 = 0x2_0000;
const STACK_0: u64 = 0x2_4000;
const DATA: u64 = 0x2_8000;
/// Limit of the task state: its I/O bitmap covers 256 ports.
const TASK_LIMIT: u32 = 0x68 + 32;
/// The extended state of AVX is on.
const CR4_OSXSAVE: u64 = 1 << 18;
/// x87, SSE and AVX.
const XCR0_ALL: u64 = 7;
const BUDGET: u64 = 120;
/// Exits that are served.
const ROUNDS: u32 = 32;

/// How a machine ended.
#[derive(Debug, PartialEq)]
struct Outcome {
    exits: Vec<Exit>,
    state: State,
    instructions: u64,
    memory: Vec<u8>,
}

/// Executes `data` as a start state, code and memory: nothing may panic, outlive its budget or reach beside the RAM, and
/// interpreters must do the same. What is translated leaves undefined flags as the host does, so its end is not compared.
pub fn decode_execute(data: &[u8]) {
    let naive = execute(data, Strategy::Naive);
    let interp = execute(data, Strategy::Interp);
    execute(data, Strategy::Dbt);
    if naive == interp || [&naive, &interp].iter().any(|end| tables_changed(end, data) || repetition_changed(end, data))
    {
        return;
    }
    // What differs from run to run (the time-stamp counter) tells nothing.
    if execute(data, Strategy::Naive) != naive {
        return;
    }
    assert_eq!(naive.exits, interp.exits, "exits");
    assert_eq!(naive.state, interp.state, "registers");
    assert_eq!(naive.instructions, interp.instructions, "instructions");
    assert!(naive.memory == interp.memory, "memory differs");
}

/// Whether the guest chose other page tables, which need not take effect at once everywhere.
fn tables_changed(outcome: &Outcome, data: &[u8]) -> bool {
    let before = initial_state(&mut Input::new(data));
    let paging = |state: &State| (state.cr0 & (1 << 31 | 1 << 16 | 1), state.cr3, state.cr4, state.efer);
    paging(&outcome.state) != paging(&before)
}

/// Whether code with a repeated string instruction was overwritten. One that overwrites itself may end or go on.
fn repetition_changed(outcome: &Outcome, data: &[u8]) -> bool {
    let mut input = Input::new(data);
    initial_state(&mut input);
    let len = usize::from(input.u8());
    let code = input.take(len);
    let is_string = |byte: &u8| matches!(byte, 0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf);
    let mut places = code.windows(2).enumerate();
    let repeats = places.any(|(i, pair)| matches!(pair[0], 0xf2 | 0xf3) && code[i + 1..].iter().take(4).any(is_string));
    repeats && !outcome.memory.starts_with(code)
}

thread_local! {
    /// One machine for each strategy: a CPU is large, so it is made once and reset for each input.
    static MACHINES: [RefCell<Machine>; 3] =
        [Strategy::Naive, Strategy::Interp, Strategy::Dbt].map(|strategy| RefCell::new(Machine::new(strategy)));
}

/// A CPU on RAM whose surroundings are watched.
struct Machine {
    // Dropped before the memory it runs on.
    cpu: Cpu,
    memory: Guarded,
}

impl Machine {
    fn new(strategy: Strategy) -> Self {
        let memory = Guarded::new(RAM);
        // SAFETY: the only handle goes to the CPU, which is dropped before `memory`.
        let ram = unsafe { memory.ram() };
        Self { cpu: Cpu::new(ram, Config { hot: 0, ..Config::of(strategy) }), memory }
    }

    fn execute(&mut self, data: &[u8]) -> Outcome {
        static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
        let ram = self.cpu.ram();
        assert!(ram.write(0, IMAGE.get_or_init(image)));
        let mut input = Input::new(data);
        let state = initial_state(&mut input);
        let len = usize::from(input.u8());
        assert!(ram.write(CODE, input.take(len)));
        let rest = input.rest();
        assert!(ram.write(DATA, &rest[..rest.len().min(0x8000)]));
        self.cpu.flush_code();
        self.cpu.set_state(&state);
        let outcome = drive(&mut self.cpu);
        self.memory.check();
        outcome
    }
}

fn execute(data: &[u8], strategy: Strategy) -> Outcome {
    let index = match strategy {
        Strategy::Naive => 0,
        Strategy::Interp => 1,
        Strategy::Dbt => 2,
    };
    MACHINES.with(|machines| machines[index].borrow_mut().execute(data))
}

fn drive(cpu: &mut Cpu) -> Outcome {
    let before = cpu.counters().instructions;
    cpu.set_instruction_budget(Some(BUDGET));
    let mut exits = Vec::new();
    for round in 0..ROUNDS {
        let exit = cpu.run();
        exits.push(exit);
        match exit {
            Exit::IoIn { .. } => cpu.complete_in(0x5a5a_0000 | round),
            Exit::MmioRead { gpa, .. } => cpu.complete_mmio_read(gpa ^ u64::MAX),
            Exit::BudgetExhausted | Exit::TripleFault => break,
            _ => {}
        }
    }
    let instructions = cpu.counters().instructions - before;
    assert!(instructions <= BUDGET, "{instructions} instructions of a budget of {BUDGET}");
    let mut memory = vec![0; RAM - CODE as usize];
    assert!(cpu.ram().read(CODE, &mut memory));
    Outcome { exits, state: cpu.state(), instructions, memory }
}

/// The RAM at the start: descriptor tables, handlers (`hlt; iretq`) and page tables, which no linear address reaches.
fn image() -> Vec<u8> {
    let ram = GuestRam::allocate(RAM);
    fill(&ram);
    let mut bytes = vec![0; RAM];
    assert!(ram.read(0, &mut bytes));
    bytes
}

fn fill(ram: &GuestRam) {
    let put = |at: u64, value: u64| assert!(ram.write_u64(at, value));
    for (table, next) in [(0, 1), (1, 2), (2, 3)] {
        put(TABLES + table * 0x1000, (TABLES + next * 0x1000) | 7);
    }
    let mapped = (GDT >> 12)..(RAM as u64 >> 12) + 2;
    mapped.for_each(|page| put(TABLES + 0x3000 + page * 8, page << 12 | 7));
    let task = 0x0000_8b00_0000_0000 | (TSS & 0xff_ffff) << 16 | u64::from(TASK_LIMIT);
    let descriptors = [
        0,
        0x00cf_9b00_0000_ffff,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0x0000_9b00_0000_ffff,
        task,
        0,
        0x0040_f300_1000_0fff, // a small data segment
        0x00cf_f700_0000_0fff, // one that expands down
    ];
    (0..).zip(descriptors).for_each(|(i, descriptor)| put(GDT + i * 8, descriptor));
    put(TSS + 4, STACK_0);
    put(TSS + 36, STACK_0 - 0x1000);
    assert!(ram.write(TSS + 102, &104_u16.to_le_bytes()) && ram.write(TSS + 104, &[0xf0; 33]));
    for vector in 0..256 {
        let handler = HANDLERS + vector * 16;
        let (dpl, stack) = (u64::from(vector < 6) * 3, u64::from(vector == 8));
        let gate = handler & 0xffff | 0x10 << 16 | stack << 32 | (0x8e | dpl << 5) << 40 | (handler >> 16) << 48;
        put(IDT + vector * 16, gate);
        assert!(ram.write(handler, &[0xf4, 0x48, 0xcf]));
    }
}

/// The registers that the first bytes of the input ask for.
fn initial_state(input: &mut Input<'_>) -> State {
    let kind = input.u8();
    let user = kind & 1 != 0;
    let mut state = State::long_mode(CODE, STACK - 0x100, TABLES, if user { 3 } else { 0 });
    (state.cs.selector, state.ss.selector) = if user { (0x33, 0x2b) } else { (0x10, 0x18) };
    state.gdtr = Table { base: GDT, limit: 12 * 8 - 1 };
    state.idtr = Table { base: IDT, limit: 4095 };
    state.tr = Segment { selector: 0x40, base: TSS, limit: TASK_LIMIT, attributes: 0x8b };
    for (i, gpr) in state.gprs.iter_mut().enumerate() {
        let value = u64::from(input.u16());
        if i != 4 {
            *gpr = match value >> 14 {
                0 => DATA + value,
                1 => value & 0x3f,
                2 => (1_u64 << (value & 63)).wrapping_sub(value >> 6 & 3),
                _ => (RAM as u64 - 0x20).wrapping_add(value & 0x3f),
            };
        }
    }
    for (i, xmm) in state.xmm.iter_mut().enumerate() {
        let spread = (i as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        *xmm = spread ^ u128::from(state.gprs[i]);
    }
    state.rflags = u64::from(input.u16()) & 0x7fd5 | 2;
    state.mxcsr = u32::from(input.u16()) ^ 0x1f80;
    state.fpu.fcw = input.u16() ^ 0x37f;
    match kind >> 1 & 3 {
        // Compatibility mode.
        1 => state.cs = Segment { attributes: state.cs.attributes & !0x2000 | 0x4000, ..state.cs },
        // Protected mode without paging.
        2 => {
            let pvh = State::pvh(CODE, DATA);
            (state.cs, state.ss) = (pvh.cs, pvh.ss);
            (state.ds, state.es, state.fs, state.gs) = (pvh.ds, pvh.es, pvh.fs, pvh.gs);
            (state.cr0, state.cr3, state.cr4, state.efer) = (pvh.cr0, pvh.cr3, pvh.cr4, pvh.efer);
        }
        // Anything.
        3 => {
            (state.cr0, state.cr4, state.efer) = (input.u64(), input.u64(), input.u64());
            state.cs.attributes = input.u16();
            state.ss.attributes = input.u16();
        }
        _ => {}
    }
    if kind & 8 != 0 && Model::highest() == Model::V3 {
        state.cr4 |= CR4_OSXSAVE;
        state.xcr0 = XCR0_ALL;
        for (high, low) in state.ymm_high.iter_mut().zip(state.xmm) {
            *high = low.rotate_left(40);
        }
    }
    state
}
