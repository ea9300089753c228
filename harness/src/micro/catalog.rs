//! The list of micro-benchmarks.

use workloads::Event;

use super::benchmark::{Benchmark, Exits, Group, Measure, Ring};

/// What the counter of `ring0.s` is set to, in nanoseconds: 239 periods of 1.193182 MHz.
const WAIT_NS: f64 = 239.0 * 1e9 / 1_193_182.0;
/// Timer interrupts per second where there are any.
const HZ: u32 = 1000;
/// Nanoseconds between them: 1193 periods of 1.193182 MHz.
pub const PERIOD_NS: f64 = 1193.0 * 1e9 / 1_193_182.0;

const SIGNAL: Option<&str> = Some("Linux turns it into a signal, which is another thing");
const MACHINE: Option<&str> = Some("Linux gives a process no devices");
const TIMER: Option<&str> = Some("Linux gives a process no timer interrupts");

const ONE: Benchmark = Benchmark {
    event: Event::Loop,
    ring: Ring::Three,
    group: Group::Control,
    summary: "",
    control: Some(Event::Loop),
    operations: 1,
    exits: Exits { io: 0, mmio: 0, hlt: 0 },
    wait_ns: 0.0,
    most: u64::MAX,
    hz: 0,
    processes: 1,
    measure: Measure::Time,
    not_native: None,
};

/// Every micro-benchmark, controls first, then by group and ring.
#[must_use]
pub fn benchmarks() -> Vec<Benchmark> {
    let mut all = controls();
    all.extend(kernel());
    all.extend(devices());
    all.extend(instructions());
    all.extend(translation());
    all.extend(memory());
    all.extend(code());
    all.extend(arithmetic());
    all.extend(time());
    all
}

/// The same in ring 3 and in ring 0.
fn both(benchmark: Benchmark) -> [Benchmark; 2] {
    [Benchmark { ring: Ring::Three, ..benchmark.clone() }, Benchmark { ring: Ring::Zero, ..benchmark }]
}

fn in_ring(ring: Ring, group: Group, event: Event, summary: &'static str) -> Benchmark {
    Benchmark { event, ring, group, summary, ..ONE }
}

fn controls() -> Vec<Benchmark> {
    let control = |ring, event, summary| Benchmark { control: None, ..in_ring(ring, Group::Control, event, summary) };
    vec![
        control(Ring::Three, Event::Loop, "an empty loop: dec, jnz"),
        control(Ring::Zero, Event::Loop, "an empty loop: dec, jnz"),
        control(Ring::Three, Event::LoopMove, "a loop with one further instruction"),
        control(Ring::Zero, Event::LoopMove, "a loop with one further instruction"),
        control(Ring::Three, Event::LoopRandom, "the random numbers of the random reads, without the reads"),
        Benchmark {
            exits: Exits { io: 3, mmio: 0, hlt: 0 },
            hz: HZ,
            ..control(Ring::Zero, Event::LoopArm, "three port writes that set the timer")
        },
        control(Ring::Zero, Event::LoopFrame, "an interrupt frame, pushed and dropped"),
        control(Ring::Zero, Event::LoopLoad, "one load"),
        control(Ring::Zero, Event::LoopLoads, "loads from 8 pages"),
    ]
}

fn kernel() -> Vec<Benchmark> {
    let group = Group::Kernel;
    let exception = |event, summary| Benchmark { not_native: SIGNAL, ..in_ring(Ring::Three, group, event, summary) };
    let mut all = vec![
        Benchmark {
            control: Some(Event::LoopMove),
            ..in_ring(Ring::Three, group, Event::Syscall, "system call: getpid, there and back")
        },
        Benchmark {
            control: Some(Event::LoopMove),
            most: 24_000,
            ..in_ring(Ring::Three, group, Event::PageFault, "first touch of a page: demand paging by the kernel")
        },
        Benchmark {
            operations: 16,
            ..in_ring(Ring::Three, group, Event::Unmap, "page of 16 that are mapped, touched and unmapped")
        },
        Benchmark {
            control: Some(Event::LoopMove),
            processes: 2,
            not_native: Some("a Linux process alone has nobody to yield to"),
            ..in_ring(Ring::Three, group, Event::Yield, "sched_yield to another process and back: two switches")
        },
    ];
    for benchmark in [
        exception(Event::Divide, "division by zero: #DE, the shortest handler, back"),
        exception(Event::Undefined, "undefined instruction: #UD, the shortest handler, back"),
        exception(Event::Breakpoint, "int3: #BP, the shortest handler, back"),
        exception(Event::Interrupt, "int n: software interrupt, the shortest handler, back"),
        exception(Event::DataFault, "read of an unmapped address: #PF, the shortest handler, back"),
        exception(Event::FetchFault, "jump to an unmapped address: #PF, the shortest handler, back"),
    ] {
        all.extend(both(benchmark));
    }
    all.push(Benchmark {
        control: Some(Event::LoopFrame),
        ..in_ring(Ring::Zero, group, Event::Iret, "iretq to the next instruction")
    });
    all
}

fn devices() -> Vec<Benchmark> {
    let device = |event, io, mmio, summary| Benchmark {
        exits: Exits { io, mmio, hlt: 0 },
        not_native: MACHINE,
        ..in_ring(Ring::Three, Group::Devices, event, summary)
    };
    [
        device(Event::PortOut, 1, 0, "out to a port that the monitor serves"),
        device(Event::PortIn, 1, 0, "in from a port that the monitor serves"),
        device(Event::MmioWrite, 0, 1, "store where there is no memory"),
        device(Event::MmioRead, 0, 1, "load where there is no memory"),
    ]
    .into_iter()
    .flat_map(both)
    .collect()
}

fn instructions() -> Vec<Benchmark> {
    let group = Group::Instructions;
    let zero = |event, summary| in_ring(Ring::Zero, group, event, summary);
    let mut all: Vec<Benchmark> = [
        Benchmark { control: Some(Event::LoopMove), ..zero(Event::Cpuid, "cpuid leaf 0") },
        zero(Event::Rdtsc, "rdtsc"),
        zero(Event::Sgdt, "sgdt"),
        zero(Event::Sidt, "sidt"),
        zero(Event::Pushf, "pushfq, popfq"),
    ]
    .into_iter()
    .flat_map(both)
    .collect();
    all.extend([
        zero(Event::Rdmsr, "rdmsr EFER"),
        zero(Event::Wrmsr, "wrmsr EFER, the same value"),
        zero(Event::Cr0, "mov to CR0, the same value"),
        zero(Event::Cr3, "mov to CR3, the same value: empties the TLB"),
        zero(Event::Cr4, "mov to CR4, the same value"),
        zero(Event::Cr8, "mov to CR8, zero"),
        zero(Event::Lgdt, "lgdt, the same table"),
        zero(Event::Lidt, "lidt, the same table"),
        Benchmark { operations: 2, ..zero(Event::Swapgs, "swapgs") },
        zero(Event::StiCli, "sti, cli"),
        Benchmark { control: Some(Event::LoopMove), ..zero(Event::Hypercall, "vmcall or vmmcall that does nothing") },
    ]);
    all
}

fn translation() -> Vec<Benchmark> {
    let group = Group::Translation;
    vec![
        in_ring(Ring::Three, group, Event::TlbHit, "dependent load from one page"),
        in_ring(Ring::Three, group, Event::TlbMiss, "dependent load, each from another of 8192 pages"),
        Benchmark {
            control: Some(Event::LoopLoad),
            ..in_ring(Ring::Zero, group, Event::TlbEvict, "invlpg, and the walk of the next load")
        },
        Benchmark {
            control: Some(Event::LoopLoad),
            ..in_ring(Ring::Zero, group, Event::TlbFlush, "mov to CR3, and the walks after it")
        },
        in_ring(Ring::Zero, group, Event::Invlpg, "invlpg"),
        Benchmark {
            control: Some(Event::LoopLoad),
            ..in_ring(Ring::Zero, group, Event::PteModify, "page-table entry changed, invlpg, load")
        },
        Benchmark {
            control: Some(Event::LoopMove),
            ..in_ring(Ring::Three, group, Event::Protect, "mprotect of one page, and a load from it")
        },
        Benchmark {
            control: Some(Event::LoopLoads),
            ..in_ring(Ring::Zero, group, Event::SwitchShared, "switch of CR3, then 8 pages that both spaces share")
        },
        Benchmark {
            control: Some(Event::LoopLoads),
            ..in_ring(Ring::Zero, group, Event::SwitchPrivate, "switch of CR3, then 8 pages that are each space's own")
        },
    ]
}

fn memory() -> Vec<Benchmark> {
    let read = |event, control, summary| Benchmark {
        control: Some(control),
        ..in_ring(Ring::Three, Group::Memory, event, summary)
    };
    vec![
        read(Event::Hot4K, Event::Loop, "dependent load from one word, 4 KiB pages"),
        read(Event::Cold4K, Event::LoopRandom, "dependent load at random from 64 MiB, 4 KiB pages"),
        read(Event::Hot2M, Event::LoopRandom, "dependent load at random from 4 KiB, 2 MiB pages"),
        read(Event::Cold2M, Event::LoopRandom, "dependent load at random from 64 MiB, 2 MiB pages"),
        read(Event::Within256K, Event::LoopRandom, "dependent load at random from 256 KiB, 4 KiB pages"),
        read(Event::Within2M, Event::LoopRandom, "dependent load at random from 2 MiB, 4 KiB pages"),
        read(Event::Within16M, Event::LoopRandom, "dependent load at random from 16 MiB, 4 KiB pages"),
        read(Event::Independent, Event::LoopRandom, "independent load at random from 64 MiB, 4 KiB pages"),
        read(Event::StreamRead, Event::Loop, "cache line read, one after another of 64 MiB"),
        read(Event::StreamNear, Event::Loop, "cache line read, one after another of 16 MiB"),
        read(Event::StreamWrite, Event::Loop, "cache line written, one after another of 64 MiB"),
    ]
}

fn code() -> Vec<Benchmark> {
    let chain = |event, summary| Benchmark {
        operations: 64,
        control: None,
        ..in_ring(Ring::Three, Group::Code, event, summary)
    };
    let cold = |event, most, summary| Benchmark { operations: 1, most, ..chain(event, summary) };
    vec![
        in_ring(Ring::Three, Group::Code, Event::CallRet, "call, ret"),
        chain(Event::Direct, "direct jump within a page"),
        chain(Event::DirectPages, "direct jump to another page"),
        chain(Event::Indirect, "indirect jump within a page"),
        chain(Event::IndirectPages, "indirect jump to another page"),
        chain(Event::SmallBlocks, "block of 4 additions and a jump, hot"),
        chain(Event::LargeBlocks, "block of 128 additions and a jump, hot"),
        cold(Event::ColdSmall, 100_000, "the same small block, the first time it runs"),
        cold(Event::ColdLarge, 20_000, "the same large block, the first time it runs"),
        Benchmark {
            control: Some(Event::CallRet),
            ..in_ring(Ring::Three, Group::Code, Event::SelfModify, "store into code, then a call of it")
        },
    ]
}

fn arithmetic() -> Vec<Benchmark> {
    let of = |event, operations, summary| Benchmark {
        operations,
        ..in_ring(Ring::Three, Group::Arithmetic, event, summary)
    };
    vec![
        of(Event::Integer, 16, "addition, rotation, move, ... of registers"),
        of(Event::Multiply, 4, "integer multiplication, each of the product before"),
        of(Event::Quotient, 1, "64-bit division"),
        of(Event::Load, 8, "load from one page"),
        of(Event::Store, 8, "store into one page"),
        of(Event::Float, 8, "floating-point addition or multiplication"),
        of(Event::FloatPacked, 8, "the same of two numbers at a time"),
        of(Event::FloatDivide, 1, "floating-point division, and the root of the quotient"),
        of(Event::Vector, 8, "operation on integers in XMM registers"),
        of(Event::Unforeseen, 1, "random number, and a branch by a bit of it"),
        of(Event::CopyString, 1, "rep movsb of 1 KiB"),
        of(Event::FillString, 1, "rep stosb of 1 KiB"),
        of(Event::SearchString, 1, "repne scasb of 1 KiB"),
        of(Event::CompareString, 1, "repe cmpsb of 1 KiB"),
    ]
}

fn time() -> Vec<Benchmark> {
    let group = Group::Time;
    let armed = |event, hlt, summary| Benchmark {
        control: Some(Event::LoopArm),
        exits: Exits { io: 3, mmio: 0, hlt },
        wait_ns: WAIT_NS,
        hz: HZ,
        ..in_ring(Ring::Zero, group, event, summary)
    };
    let lost = |event, hz, control, summary| Benchmark {
        control,
        hz,
        measure: Measure::Lost,
        ..in_ring(Ring::Three, group, event, summary)
    };
    vec![
        armed(Event::HaltWake, 1, "from the timer's interrupt to the instruction after hlt"),
        armed(Event::TimerLatency, 0, "from the timer's interrupt to the end of its handler, in a busy loop"),
        Benchmark {
            control: None,
            wait_ns: PERIOD_NS,
            hz: HZ,
            not_native: TIMER,
            ..in_ring(Ring::Three, group, Event::TimerPeriod, "1 ms timer: how much longer its period is")
        },
        Benchmark {
            not_native: TIMER,
            ..lost(Event::Tick, HZ, Some(Event::Noise), "one timer interrupt: time it takes from a program")
        },
        lost(Event::Noise, 0, None, "time taken from a program that only computes, for each millisecond"),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_event_is_measured_and_every_control_is_there() {
        let all = benchmarks();
        let cells: HashSet<_> = all.iter().map(|b| (b.event, b.ring)).collect();
        assert_eq!(cells.len(), all.len(), "no benchmark twice");
        for event in Event::ALL {
            assert!(all.iter().any(|b| b.event == *event), "{}", event.name());
        }
        for benchmark in &all {
            assert!(!benchmark.summary.is_empty(), "{benchmark}");
            assert!(benchmark.operations > 0 && benchmark.most > 1000, "{benchmark}");
            let Some(control) = benchmark.control else { continue };
            assert!(cells.contains(&(control, benchmark.ring)), "{benchmark} has no {}", control.name());
            assert_ne!(control, benchmark.event, "{benchmark}");
        }
    }

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = Event::ALL.iter().map(|event| event.name()).collect();
        assert_eq!(names.len(), Event::ALL.len());
    }
}
