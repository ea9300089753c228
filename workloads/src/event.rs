//! The events that the micro-benchmarks time, by number.
//!
//! The micro-benchmark program and its kernel include this file too, so that a number means the same to all three.

macro_rules! events {
    ($($event:ident $name:literal)*) => {
        /// One event; its number is its place.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Event {
            $(
                #[doc = $name]
                $event,
            )*
        }

        impl Event {
            /// Every event, by number.
            pub const ALL: &'static [Self] = &[$(Self::$event),*];

            /// The name that users type.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$event => $name,)*
                }
            }
        }
    };
}

events! {
    // Controls: what stands around an event, without it.
    Loop "loop"
    LoopMove "loop-move"
    LoopRandom "loop-random"
    LoopArm "loop-arm"
    LoopFrame "loop-frame"
    LoopLoad "loop-load"
    LoopLoads "loop-loads"
    // Instructions that a hypervisor may intercept.
    Cpuid "cpuid"
    Rdtsc "rdtsc"
    Sgdt "sgdt"
    Sidt "sidt"
    Pushf "pushf-popf"
    Rdmsr "rdmsr"
    Wrmsr "wrmsr"
    Cr0 "cr0-write"
    Cr3 "cr3-write"
    Cr4 "cr4-write"
    Cr8 "cr8-write"
    Lgdt "lgdt"
    Lidt "lidt"
    Swapgs "swapgs"
    StiCli "sti-cli"
    Hypercall "hypercall"
    // Devices.
    PortOut "port-out"
    PortIn "port-in"
    MmioWrite "mmio-write"
    MmioRead "mmio-read"
    // Into the kernel and back.
    Syscall "syscall"
    Iret "iret"
    Interrupt "int"
    Breakpoint "breakpoint"
    Divide "divide-error"
    Undefined "undefined"
    DataFault "data-fault"
    FetchFault "fetch-fault"
    PageFault "page-fault"
    Unmap "unmap"
    // Address spaces.
    Protect "mprotect"
    PteModify "pte-modify"
    Invlpg "invlpg"
    TlbHit "tlb-hit"
    TlbMiss "tlb-miss"
    TlbEvict "tlb-evict"
    TlbFlush "tlb-flush"
    SwitchShared "switch-shared"
    SwitchPrivate "switch-private"
    Yield "yield"
    // Memory.
    Hot4K "memory-hot-4k"
    Cold4K "memory-cold-4k"
    Hot2M "memory-hot-2m"
    Cold2M "memory-cold-2m"
    Within256K "memory-256k"
    Within2M "memory-2m"
    Within16M "memory-16m"
    Independent "memory-parallel"
    StreamRead "stream-read"
    StreamNear "stream-read-16m"
    StreamWrite "stream-write"
    // Code.
    CallRet "call-ret"
    Direct "branch-direct"
    DirectPages "branch-direct-pages"
    Indirect "branch-indirect"
    IndirectPages "branch-indirect-pages"
    SmallBlocks "blocks-small"
    LargeBlocks "blocks-large"
    ColdSmall "code-cold-small"
    ColdLarge "code-cold-large"
    SelfModify "self-modify"
    // Arithmetic.
    Integer "integer"
    Multiply "multiply"
    Quotient "divide"
    Load "load"
    Store "store"
    Float "float"
    FloatDivide "float-divide"
    FloatPacked "float-packed"
    Vector "vector"
    Unforeseen "branch-random"
    CopyString "rep-movs"
    FillString "rep-stos"
    SearchString "rep-scas"
    CompareString "rep-cmps"
    // Time.
    HaltWake "hlt-wake"
    TimerLatency "timer-latency"
    TimerPeriod "timer-period"
    Tick "timer-tick"
    Noise "idle-noise"
}

impl Event {
    /// The event of that number.
    pub fn of(number: u64) -> Option<Self> {
        let mut rest = Self::ALL;
        // No index, which could panic: the kernel cannot format the message.
        while let [first, tail @ ..] = rest {
            if *first as u64 == number {
                return Some(*first);
            }
            rest = tail;
        }
        None
    }
}
