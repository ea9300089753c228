//! The events of the model: what they are, and which counters of a profile they are made of.

use super::data::{Kind, Profile};
use crate::model::EngineId;

/// Something that happens while a program runs, and takes time each time.
#[derive(Debug, PartialEq)]
pub struct Event {
    /// Its short name, as in tables and in `costs.json`.
    pub name: &'static str,
    /// What it is, in words that fit behind a number.
    pub what: &'static str,
    /// The counters of a profile that are it, each with its factor.
    terms: &'static [(&'static str, f64)],
    /// It occurs once in each region of interest, besides.
    once: bool,
    /// Its cost, nanoseconds, where that is no question.
    pub(super) known_ns: Option<f64>,
}

impl Event {
    /// How often it occurs in a program with this profile.
    #[must_use]
    pub fn count(&self, profile: &Profile) -> f64 {
        let counted: f64 = self.terms.iter().map(|(counter, factor)| profile.count(counter) * factor).sum();
        counted + if self.once && profile.kind == Kind::Workload { 1.0 } else { 0.0 }
    }
}

macro_rules! event {
    ($id:ident, $name:literal, $what:literal, $($counter:literal)*) => {
        static $id: Event = Event { name: $name, what: $what, terms: &[$(($counter, 1.0)),*], once: false, known_ns: None };
    };
}

/// Sleeping for a nanosecond takes a nanosecond.
static WAITED: Event = Event {
    name: "waited",
    what: "nanoseconds for which the guest sleeps",
    terms: &[("wait_ns", 1.0)],
    once: false,
    known_ns: Some(1.0),
};

/// Linux wakes a process when it asked to be woken, and may do so 50 us later, to wake several at once (`PR_SET_TIMERSLACK` in prctl(2)).
static SLEPT: Event = Event {
    name: "slept",
    what: "nanoseconds that Linux lets it sleep",
    terms: &[("sleep.asked_ns", 1.0), ("sleep.calls", 50_000.0)],
    once: false,
    known_ns: Some(1.0),
};

static REGION: Event =
    Event { name: "region", what: "begin and end of the region of interest", terms: &[], once: true, known_ns: None };

event!(ISSUE, "issue", "cycles in which instructions issue", "ring3.cycles.issue");
event!(DEPENDENCE, "dependence", "cycles that wait for a result", "ring3.cycles.dependence");
event!(MISPREDICT, "mispredict", "cycles after a branch that was not foreseen", "ring3.cycles.branch");
event!(LOADING, "loading", "cycles that wait for a load from L1", "ring3.cycles.load");
event!(L2, "l2", "cycles that wait for L2", "ring3.cycles.l2");
event!(L3, "l3", "cycles that wait for a core's share of the last-level cache", "ring3.cycles.l3");
event!(LLC, "llc", "cycles that wait for the rest of the last-level cache", "ring3.cycles.llc");
event!(FAR, "far", "cycles that wait for memory and the rest of the last-level cache", "ring3.cycles.llc" "ring3.cycles.dram");
event!(DRAM, "dram", "cycles that wait for memory", "ring3.cycles.dram");
event!(WALK, "walk", "cycles that wait for a page walk", "ring3.cycles.walk");
event!(STREAMED, "streamed", "cache lines fetched ahead", "ring3.streamed");
event!(STREAMED_DRAM, "streamed-memory", "cache lines fetched ahead from memory", "ring3.streamed.dram");
event!(STREAMED_STORE, "streamed-store", "cache lines fetched ahead to be written", "ring3.streamed.store");
event!(BEYOND_L3, "beyond-l3", "accesses beyond a core's share of the caches", "ring3.miss.l3");
event!(LINES, "lines", "accesses to memory", "ring3.miss.dram");
event!(TAKEN, "taken", "branches that are taken", "ring3.taken");
event!(STORED, "stored", "stores in ring 3", "ring3.store");
event!(L1, "l1", "accesses beyond L1", "ring3.miss.l1");
event!(BYTES, "string-bytes", "bytes of string instructions", "ring3.string.bytes");
event!(SYSCALL, "syscall", "system calls", "ring3.enter");
event!(FAULT, "page-fault", "page faults", "exception.pf");
event!(SYSTEM3, "system", "cpuid, rdtsc and the like in ring 3", "ring3.system");

event!(RING0, "ring0", "instructions of the guest's kernel", "ring0.instructions");
event!(LEAVE, "leave", "returns to ring 3", "ring0.leave");
event!(SYSTEM0, "system0", "privileged instructions", "ring0.system");
event!(MOVED0, "moved0", "elements moved by the guest's kernel", "ring0.string.moved");
event!(IO3, "port3", "accesses to ports from ring 3", "ring3.port");
event!(IO, "port", "accesses to ports", "device.io");
event!(MMIO, "mmio", "accesses outside RAM", "device.mmio");
event!(SPACE, "cr3", "switches of the address space", "flush.space");
event!(PAGE, "invlpg", "dropped translations", "flush.page");

event!(INTERRUPT, "interrupt", "interrupts of the timer", "interrupt");

event!(INSTRUCTION, "instruction", "instructions", "instructions");
event!(LOAD, "load", "loads", "ring0.load" "ring3.load");
event!(STORE, "store", "stores", "ring0.store" "ring3.store");
event!(TRANSFER, "transfer", "branches, jumps, calls and returns", "ring0.branch" "ring0.jump" "ring0.call" "ring0.return" "ring0.indirect" "ring3.branch" "ring3.jump" "ring3.call" "ring3.return" "ring3.indirect");
event!(INDIRECT, "indirect", "indirect jumps, calls and returns", "ring0.return" "ring0.indirect" "ring3.return" "ring3.indirect");
event!(UNFORESEEN, "unforeseen", "branches that were not foreseen", "ring0.miss.branch" "ring0.miss.target" "ring3.miss.branch" "ring3.miss.target");
event!(MULTIPLY, "multiply", "integer multiplications", "ring0.multiply" "ring3.multiply");
event!(DIVIDE, "divide", "integer divisions", "ring0.divide" "ring3.divide");
event!(FLOAT, "float", "floating-point operations", "ring0.float" "ring3.float");
event!(LANES, "lanes", "further numbers of packed operations", "ring0.lanes" "ring3.lanes");
event!(WIDE, "wide", "accesses to 16 bytes", "ring0.wide" "ring3.wide");
event!(FLOAT_DIVIDE, "float-divide", "floating-point divisions and roots", "ring0.float_divide" "ring3.float_divide");
event!(VECTOR, "vector", "other operations on XMM registers", "ring0.vector" "ring3.vector");
event!(X87, "x87", "x87 and MMX operations", "ring0.x87" "ring3.x87");
event!(STRING, "string", "string instructions", "ring0.string" "ring3.string");
event!(MOVED, "moved", "elements moved by string instructions", "ring0.string.moved" "ring3.string.moved");
event!(COMPARED, "compared", "elements compared by string instructions", "ring0.string.compared" "ring3.string.compared");
event!(TLB64, "tlb-64", "accesses beyond 64 translations", "ring0.miss.tlb64" "ring3.miss.tlb64");
event!(TLB, "tlb-2048", "accesses beyond 2048 translations", "ring0.miss.tlb" "ring3.miss.tlb");
event!(BEYOND_L2, "beyond-l2", "accesses beyond L2", "ring0.miss.l2" "ring3.miss.l2");
event!(MEMORY, "memory", "accesses to memory", "ring0.miss.dram" "ring3.miss.dram");
event!(NEW, "new-code", "instructions that run for the first time", "code.new");
event!(HOT, "hot-code", "instructions that become hot", "code.hot");
event!(CHANGED, "changed-code", "instructions that were overwritten", "code.changed");
event!(ENTER, "enter", "system calls and software interrupts", "ring0.enter" "ring3.enter");
event!(SYSTEM, "system", "privileged instructions, cpuid, rdtsc", "ring0.system" "ring3.system");

/// What the processor does of itself.
static PROCESSOR: [&Event; 21] = [
    &ISSUE,
    &DEPENDENCE,
    &LOADING,
    &MISPREDICT,
    &TAKEN,
    &STORED,
    &L1,
    &L2,
    &L3,
    &FAR,
    &WALK,
    &STREAMED,
    &STREAMED_DRAM,
    &STREAMED_STORE,
    &BEYOND_L3,
    &LINES,
    &BYTES,
    &NEW,
    &CHANGED,
    &SYSTEM3,
    &REGION,
];
/// What Linux does for a process.
static LINUX: [&Event; 4] = [&SYSCALL, &FAULT, &PAGE, &SLEPT];
/// What a hypervisor does for a guest, and the guest's kernel on it.
static HYPERVISOR: [&Event; 13] =
    [&SYSCALL, &FAULT, &INTERRUPT, &RING0, &MOVED0, &LEAVE, &SYSTEM0, &IO, &IO3, &MMIO, &SPACE, &PAGE, &WAITED];
/// What an emulator does.
static EMULATOR: [&Event; 40] = [
    &INSTRUCTION,
    &LOAD,
    &STORE,
    &WIDE,
    &TRANSFER,
    &INDIRECT,
    &UNFORESEEN,
    &DEPENDENCE,
    &LOADING,
    &L2,
    &L3,
    &LLC,
    &DRAM,
    &MULTIPLY,
    &DIVIDE,
    &FLOAT,
    &LANES,
    &FLOAT_DIVIDE,
    &VECTOR,
    &X87,
    &STRING,
    &MOVED,
    &COMPARED,
    &TLB64,
    &TLB,
    &BEYOND_L2,
    &MEMORY,
    &NEW,
    &HOT,
    &CHANGED,
    &ENTER,
    &LEAVE,
    &FAULT,
    &INTERRUPT,
    &SYSTEM,
    &SPACE,
    &PAGE,
    &IO,
    &REGION,
    &WAITED,
];

/// The events that take time on an engine.
#[must_use]
pub fn events(engine: EngineId) -> Vec<&'static Event> {
    match engine {
        EngineId::Native => PROCESSOR.iter().chain(&LINUX).copied().collect(),
        EngineId::Kvm | EngineId::QemuKvm => PROCESSOR.iter().chain(&HYPERVISOR).copied().collect(),
        EngineId::EmuNaive | EngineId::EmuInterp | EngineId::EmuDbt | EngineId::QemuTcg => EMULATOR.to_vec(),
    }
}
