//! Three processes that compute and never yield: the timer takes the processor from each, thousands of instructions at a
//! time. Each keeps values of its own in every register, in the rounding mode and at the same virtual address, and checks
//! that it finds them again. It is over when all three are: when the first is depends on whose turn it was.
//!
//! What it shows: what a timer interrupt and a forced switch cost. Under Linux the three are forked and share one
//! processor, too.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use rt::syscall::{Errno, StartingLine, fork_beside, getpid, processes, sched_yield, wait_for_children};
use rt::{Checksum, EXIT_USAGE, EXIT_WRONG, Random};

rt::program!(main, rt::sizes::PREEMPT);

/// Processes where the program itself makes them; a guest has as many as its option `procs` says.
const PROCESSES: u32 = 3;

/// Lies at the same address in every process.
static OWN: AtomicU64 = AtomicU64::new(0);

fn main([rounds]: [u64; 1]) {
    // Under Linux the program makes the processes, and they wait for each other; a guest's have their turn when process 1 has
    // had its own.
    let (number, line) = if processes().is_err() {
        let (number, line) = fork_to_line();
        (number, Some(line))
    } else {
        (getpid(), None)
    };
    let mut process = Process { number, random: Random::new(u64::from(number)), checksum: Checksum::new() };
    if number != 1 {
        process.rounds(rounds);
        return;
    }
    let mut wrong = 0;
    let timed = rt::roi(|| match line {
        Some(line) => {
            line.start(PROCESSES - 1);
            process.rounds(rounds);
            wrong = wait_for_children();
        }
        None => {
            process.rounds(rounds);
            // A process that found a wrong value ends the machine with an exit code of its own.
            while processes().is_ok_and(|left| left > 1) {
                sched_yield();
            }
        }
    });
    if wrong != 0 {
        rt::fail(EXIT_WRONG, format_args!("preempt: another process found a wrong value"));
    }
    rt::finish(process.checksum.value(), timed.ticks);
}

/// Makes the other processes; they return when process 1 starts them. Yields the number of this one, and where they start.
fn fork_to_line() -> (u32, StartingLine) {
    let made = StartingLine::draw().and_then(|line| {
        let number = fork_beside(PROCESSES)?;
        if number != 1 {
            line.wait()?;
        }
        Ok((number, line))
    });
    made.unwrap_or_else(|Errno(errno)| {
        rt::fail(EXIT_USAGE, format_args!("preempt: cannot make processes (error {errno})"))
    })
}

struct Process {
    number: u32,
    random: Random,
    checksum: Checksum,
}

impl Process {
    fn rounds(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.round();
        }
    }

    /// Computes with all registers full, and checks those that the computation leaves alone.
    fn round(&mut self) {
        let mut given = State::new(self.number);
        given.fill(|| self.random.bits());
        OWN.store(given.general[0], Ordering::Relaxed);
        let mut found = given;
        // SAFETY: the state is ours, and the function keeps the ABI.
        unsafe { spin(&raw mut found, rt::sizes::PREEMPT_STEPS) };
        if given.is_lost(&found) {
            rt::fail(EXIT_WRONG, format_args!("preempt: process {} lost a register", self.number));
        }
        if OWN.load(Ordering::Relaxed) != given.general[0] {
            rt::fail(EXIT_WRONG, format_args!("preempt: process {} found another one's memory", self.number));
        }
        self.checksum.add(found.vector[0][0]);
    }
}

/// What `spin` loads, and what it finds in the registers at its end.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct State {
    /// XMM0 to XMM15. The computation is in XMM0, with 1.0 in XMM1; XMM2 is scratch.
    vector: [[u64; 2]; 16],
    /// RAX, RBX, RCX, RDX, RBP, R8 to R15.
    general: [u64; 13],
    /// The top of the x87 stack.
    x87: f64,
    /// Control and status of SSE: each process rounds its own way.
    mxcsr: u32,
}

impl State {
    fn new(number: u32) -> Self {
        // Process 1 rounds to nearest.
        let mxcsr = 0x1f80 | ((number - 1) & 3) << 13;
        Self { vector: [[0; 2]; 16], general: [0; 13], x87: f64::from(number) + 0.5, mxcsr }
    }

    fn fill(&mut self, mut next: impl FnMut() -> u64) {
        self.vector = self.vector.map(|_| [next(), next()]);
        self.general = self.general.map(|_| next());
        // From 1 to 2.
        self.vector[0][0] = 0x3ff0_0000_0000_0000 | self.vector[0][0] >> 12;
        self.vector[1][0] = 1.0_f64.to_bits();
    }

    /// Whether anything that the computation does not change is another; of MXCSR the flags may be.
    fn is_lost(&self, found: &Self) -> bool {
        let mut lost = (self.vector[1][0] ^ found.vector[1][0]) | (self.x87.to_bits() ^ found.x87.to_bits());
        lost |= u64::from((self.mxcsr ^ found.mxcsr) & 0xffc0);
        for (given, found) in self.vector.iter().zip(&found.vector).skip(3) {
            lost |= (given[0] ^ found[0]) | (given[1] ^ found[1]);
        }
        for (given, found) in self.general.iter().zip(&found.general) {
            lost |= given ^ found;
        }
        lost != 0
    }
}

unsafe extern "C" {
    /// Computes `x = x - 1/x` that often, a chaotic sequence: no value that was lost would come back.
    fn spin(state: *mut State, steps: u64);
}

core::arch::global_asm!(
    ".globl spin",
    ".type spin, @function",
    "spin:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "stmxcsr [rsp]",
    "ldmxcsr [rdi + 368]",
    "fld qword ptr [rdi + 360]",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "movaps xmm\\n, [rdi + 16 * \\n]",
    ".endr",
    "mov rax, [rdi + 256]",
    "mov rbx, [rdi + 264]",
    "mov rcx, [rdi + 272]",
    "mov rdx, [rdi + 280]",
    "mov rbp, [rdi + 288]",
    ".irp n, 8, 9, 10, 11, 12, 13, 14, 15",
    "mov r\\n, [rdi + 232 + 8 * \\n]",
    ".endr",
    "2: movapd xmm2, xmm1",
    "divsd xmm2, xmm0",
    "subsd xmm0, xmm2",
    "dec rsi",
    "jnz 2b",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "movaps [rdi + 16 * \\n], xmm\\n",
    ".endr",
    "mov [rdi + 256], rax",
    "mov [rdi + 264], rbx",
    "mov [rdi + 272], rcx",
    "mov [rdi + 280], rdx",
    "mov [rdi + 288], rbp",
    ".irp n, 8, 9, 10, 11, 12, 13, 14, 15",
    "mov [rdi + 232 + 8 * \\n], r\\n",
    ".endr",
    "fstp qword ptr [rdi + 360]",
    "stmxcsr [rdi + 368]",
    "ldmxcsr [rsp]",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".size spin, . - spin",
);

const _: () = assert!(core::mem::offset_of!(State, general) == 256);
const _: () = assert!(core::mem::offset_of!(State, x87) == 360);
const _: () = assert!(core::mem::offset_of!(State, mxcsr) == 368);
