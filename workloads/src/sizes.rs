//! The parameters of every program, the one place where sizes are written down.
//!
//! The programs include this file too: a program without arguments runs with the `default` of this table.
//!
//! Defaults are chosen so that an emulator of some 10 million instructions a second needs about a second for set-up and
//! region of interest together, and, where the cost is one of events (system calls, faults, exits), so that a KVM whose
//! event costs tens of microseconds needs a few tenths of a second. `quick` is about a fifth of that.

use crate::param::{Param, Scale};

/// What a last argument begins with that asks for laps: `laps=40`.
pub const LAPS_PREFIX: &str = "laps=";

/// How often a program does its work in one process, timing each: for programs that can (`Workload::laps`).
pub const LAPS: Param = Param {
    name: "laps",
    doc: "how often to do the work in one process",
    unit: "laps",
    default: 1,
    quick: 1,
    min: 1,
    max: 10_000,
    scale: Scale::Fixed,
};

/// `dense_mm`.
pub const DENSE_MM: [Param; 1] = [Param {
    name: "n",
    doc: "rows and columns of the matrices",
    unit: "rows",
    default: 128,
    quick: 75,
    min: 1,
    max: 8_192,
    scale: Scale::Cbrt,
}];

/// `random_access`.
pub const RANDOM_ACCESS: [Param; 2] = [
    Param {
        name: "mib",
        doc: "size of the array",
        unit: "MiB",
        default: 64,
        quick: 16,
        min: 1,
        max: 2_048,
        scale: Scale::Fixed,
    },
    Param {
        name: "reads",
        doc: "words to read",
        unit: "reads",
        default: 400_000,
        quick: 80_000,
        min: 1,
        max: 10_000_000_000,
        scale: Scale::Linear,
    },
];

/// `sieve`.
pub const SIEVE: [Param; 1] = [Param {
    name: "n",
    doc: "sieve the numbers below this",
    unit: "numbers",
    default: 1_200_000,
    quick: 240_000,
    min: 3,
    max: 2_000_000_000,
    scale: Scale::Linear,
}];

/// `fib`.
pub const FIB: [Param; 2] = [
    Param {
        name: "n",
        doc: "which Fibonacci number",
        unit: "index",
        default: 20,
        quick: 20,
        min: 1,
        max: 40,
        scale: Scale::Fixed,
    },
    Param {
        name: "rounds",
        doc: "how often to compute it",
        unit: "rounds",
        default: 40,
        quick: 8,
        min: 1,
        max: 1_000_000_000,
        scale: Scale::Linear,
    },
];

/// `qsort`.
pub const QSORT: [Param; 1] = [Param {
    name: "n",
    doc: "numbers to sort",
    unit: "numbers",
    default: 60_000,
    quick: 12_000,
    min: 1,
    max: 100_000_000,
    scale: Scale::Linear,
}];

/// `sha256`.
pub const SHA256: [Param; 1] = [Param {
    name: "kib",
    doc: "length of the message",
    unit: "KiB",
    default: 160,
    quick: 32,
    min: 1,
    max: 1_048_576,
    scale: Scale::Linear,
}];

/// `bytecode`.
pub const BYTECODE: [Param; 1] = [Param {
    name: "n",
    doc: "Collatz sequences to follow",
    unit: "numbers",
    default: 1_400,
    quick: 400,
    min: 1,
    max: 100_000_000,
    scale: Scale::Linear,
}];

/// `nbody`.
pub const NBODY: [Param; 1] = [Param {
    name: "steps",
    doc: "steps of 0.01 years",
    unit: "steps",
    default: 16_000,
    quick: 3_200,
    min: 1,
    max: 10_000_000_000,
    scale: Scale::Linear,
}];

/// `matmul_i64`.
pub const MATMUL_I64: [Param; 1] = [Param {
    name: "n",
    doc: "rows and columns of the matrices",
    unit: "rows",
    default: 110,
    quick: 64,
    min: 1,
    max: 8_192,
    scale: Scale::Cbrt,
}];

/// `crc32`.
pub const CRC32: [Param; 1] = [Param {
    name: "kib",
    doc: "length of the data",
    unit: "KiB",
    default: 1_024,
    quick: 200,
    min: 1,
    max: 1_048_576,
    scale: Scale::Linear,
}];

/// `strings`.
pub const STRINGS: [Param; 2] = [
    Param {
        name: "bytes",
        doc: "size of each buffer, rounded down to a multiple of 8",
        unit: "bytes",
        default: 4_096,
        quick: 4_096,
        min: 16,
        max: 268_435_456,
        scale: Scale::Fixed,
    },
    Param {
        name: "rounds",
        doc: "how often to go through them",
        unit: "rounds",
        default: 200,
        quick: 40,
        min: 1,
        max: 1_000_000_000,
        scale: Scale::Linear,
    },
];

/// `stream`.
pub const STREAM: [Param; 2] = [
    Param {
        name: "mib",
        doc: "size of each of the three arrays",
        unit: "MiB",
        default: 5,
        quick: 1,
        min: 1,
        max: 512,
        scale: Scale::Linear,
    },
    Param {
        name: "passes",
        doc: "how often to go through them",
        unit: "passes",
        default: 1,
        quick: 1,
        min: 1,
        max: 10_000_000,
        scale: Scale::Fixed,
    },
];

/// `chase`.
pub const CHASE: [Param; 2] = [
    Param {
        name: "mib",
        doc: "memory that the chain runs through, a power of two",
        unit: "MiB",
        default: 64,
        quick: 16,
        min: 1,
        max: 2_048,
        scale: Scale::Fixed,
    },
    Param {
        name: "steps",
        doc: "links to follow",
        unit: "steps",
        default: 700_000,
        quick: 35_000,
        min: 1,
        max: 10_000_000_000,
        scale: Scale::Linear,
    },
];

/// `tlb`.
pub const TLB: [Param; 2] = [
    Param {
        name: "pages",
        doc: "pages to visit, a power of two",
        unit: "pages",
        default: 8_192,
        quick: 8_192,
        min: 1,
        max: 524_288,
        scale: Scale::Fixed,
    },
    Param {
        name: "rounds",
        doc: "how often to visit them",
        unit: "rounds",
        default: 70,
        quick: 14,
        min: 1,
        max: 1_000_000_000,
        scale: Scale::Linear,
    },
];

/// `syscall`.
pub const SYSCALL: [Param; 1] = [Param {
    name: "n",
    doc: "system calls",
    unit: "calls",
    default: 6_000,
    quick: 1_200,
    min: 1,
    max: 10_000_000_000,
    scale: Scale::Linear,
}];

/// `pagefault`.
pub const PAGEFAULT: [Param; 2] = [
    Param {
        name: "pages",
        doc: "pages to map at once",
        unit: "pages",
        default: 256,
        quick: 256,
        min: 1,
        max: 262_144,
        scale: Scale::Fixed,
    },
    Param {
        name: "rounds",
        doc: "how often to map and touch them",
        unit: "rounds",
        default: 16,
        quick: 3,
        min: 1,
        max: 100_000_000,
        scale: Scale::Linear,
    },
];

/// `two_processes`.
pub const TWO_PROCESSES: [Param; 1] = [Param {
    name: "n",
    doc: "switches there and back",
    unit: "rounds",
    default: 1_000,
    quick: 200,
    min: 1,
    max: 1_000_000_000,
    scale: Scale::Linear,
}];

/// `sleep`.
pub const SLEEP: [Param; 2] = [
    Param {
        name: "n",
        doc: "how often to sleep",
        unit: "sleeps",
        default: 100,
        quick: 20,
        min: 1,
        max: 1_000_000,
        scale: Scale::Linear,
    },
    Param {
        name: "us",
        doc: "how long each time",
        unit: "us",
        default: 1_000,
        quick: 1_000,
        min: 1,
        max: 1_000_000,
        scale: Scale::Fixed,
    },
];

/// Steps of the computation of `preempt` in one round.
pub const PREEMPT_STEPS: u64 = 5_000;

/// `preempt`.
pub const PREEMPT: [Param; 1] = [Param {
    name: "rounds",
    doc: "rounds of 5000 divisions in each process",
    unit: "rounds",
    default: 130,
    quick: 26,
    min: 1,
    max: 1_000_000_000,
    scale: Scale::Linear,
}];

/// `port_io`.
pub const PORT_IO: [Param; 1] = [Param {
    name: "n",
    doc: "bytes to write",
    unit: "writes",
    default: 10_000,
    quick: 2_000,
    min: 1,
    max: 10_000_000_000,
    scale: Scale::Linear,
}];

/// `noop`.
pub const NOOP: [Param; 0] = [];

/// The micro-benchmarks, which are no workload of the catalogue.
pub const MICRO: [Param; 3] = [
    Param {
        name: "event",
        doc: "number of the event",
        unit: "number",
        default: 0,
        quick: 0,
        min: 0,
        max: 255,
        scale: Scale::Fixed,
    },
    Param {
        name: "ring",
        doc: "ring to do it in",
        unit: "ring",
        default: 3,
        quick: 3,
        min: 0,
        max: 3,
        scale: Scale::Fixed,
    },
    Param {
        name: "n",
        doc: "how often",
        unit: "times",
        default: 1_000,
        quick: 1_000,
        min: 1,
        max: 1_000_000_000_000,
        scale: Scale::Linear,
    },
];
