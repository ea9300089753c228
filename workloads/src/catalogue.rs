//! The list of programs.

use crate::sizes;
use crate::workload::{Group, Workload};

/// The image that `build.rs` made of `programs/<name>.rs`.
macro_rules! elf {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".elf"))
    };
}

/// An entry that runs everywhere, as one process.
macro_rules! workload {
    ($name:literal, $group:ident, $params:ident, $summary:literal) => {
        Workload {
            name: $name,
            group: Group::$group,
            summary: $summary,
            elf: elf!($name),
            native: true,
            processes: 1,
            hz: 0,
            laps: true,
            params: &sizes::$params,
        }
    };
}

static CATALOGUE: [Workload; 21] = [
    workload!(
        "dense_mm",
        Studio,
        DENSE_MM,
        "product of two n x n matrices of doubles: scalar floating point, cache misses down the columns"
    ),
    workload!(
        "random_access",
        Studio,
        RANDOM_ACCESS,
        "independent reads at random places: cache and TLB misses that overlap"
    ),
    workload!("sieve", Compute, SIEVE, "primes by the sieve of Eratosthenes: short integer loops, byte stores"),
    workload!("fib", Compute, FIB, "recursive Fibonacci numbers: calls and returns"),
    workload!("qsort", Compute, QSORT, "quicksort of random numbers: branches that cannot be predicted"),
    workload!("sha256", Compute, SHA256, "SHA-256 of a message: rotations and additions in long straight blocks"),
    workload!(
        "bytecode",
        Compute,
        BYTECODE,
        "a bytecode interpreter: an indirect branch for every instruction it runs"
    ),
    workload!("nbody", Compute, NBODY, "five bodies under gravity: double multiplication, division, square root"),
    workload!(
        "matmul_i64",
        Compute,
        MATMUL_I64,
        "product of two n x n integer matrices along cache lines: multiplication, addition"
    ),
    workload!("crc32", Compute, CRC32, "CRC-32 by table: a chain of dependent loads that hit the cache"),
    workload!(
        "strings",
        Compute,
        STRINGS,
        "rep movs, stos, scas, cmps and byte loops: one instruction, thousands of accesses"
    ),
    workload!("stream", Memory, STREAM, "copy, scale, add, triad over arrays of doubles: bandwidth, packed arithmetic"),
    workload!("chase", Memory, CHASE, "a chain of pointers through memory: latency that nothing hides"),
    workload!("tlb", Memory, TLB, "one word on each of many pages: address translation"),
    workload!("syscall", System, SYSCALL, "getpid: into the kernel and back"),
    workload!("pagefault", System, PAGEFAULT, "map, touch, unmap: demand paging"),
    Workload {
        native: false,
        processes: 2,
        laps: false,
        ..workload!(
            "two_processes",
            System,
            TWO_PROCESSES,
            "4 and 5 at the same virtual address of two processes: context switches, isolation"
        )
    },
    Workload {
        processes: 3,
        hz: 1000,
        laps: false,
        ..workload!(
            "preempt",
            System,
            PREEMPT,
            "three processes that never yield: timer interrupts, forced switches, all registers kept"
        )
    },
    Workload {
        hz: 1000,
        ..workload!("sleep", System, SLEEP, "sleeps of a millisecond: an idle guest, the clock, the grain of the timer")
    },
    Workload {
        native: false,
        ..workload!("port_io", System, PORT_IO, "out to port 0x80: an exit to the monitor for every byte")
    },
    workload!("noop", System, NOOP, "an empty region of interest: the price of measuring"),
];

/// Every program, in the order in which tables and charts show them: by group, then from plain to intricate.
pub fn catalogue() -> &'static [Workload] {
    &CATALOGUE
}

/// The program of this name.
pub fn find(name: &str) -> Option<&'static Workload> {
    CATALOGUE.iter().find(|workload| workload.name == name)
}

/// The guest kernel, an ELF64 image with a PVH entry note.
pub fn kernel() -> &'static [u8] {
    elf!("kernel")
}
